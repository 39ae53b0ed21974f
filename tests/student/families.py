"""Model families, built tiny and with random weights from the configs of transformers."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

VOCABULARY = 400
WINDOW = 16
"""Attention windows of the tiny models; some rows are several times as long."""

_TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "d_model": 32,
    "n_embd": 32,
    "embedding_size": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "decoder_layers": 2,
    "encoder_layers": 1,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "max_position_embeddings": 256,
    "n_positions": 256,
    "max_seq_len": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "is_decoder": True,
    "sliding_window": WINDOW,
    "window_size": WINDOW,
    "attention_window": WINDOW,
    "attention_chunk_size": WINDOW,
    "use_sliding_window": True,
    "max_window_layers": 1,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "state_size": 8,
    "ssm_state_size": 8,
    "mamba_d_state": 8,
    "mamba_d_head": 8,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "mamba_expand": 2,
    "lru_width": 32,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "use_cache": False,
}
"""What makes a config small, under all the names that configs have for it."""

_LATENT = {"head_dim": None, "num_key_value_heads": 4}
_OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "glm4_moe_lite": _LATENT,
    "minicpm3": _LATENT,
    "youtu": _LATENT,
    "falcon": {"head_dim": None, "num_kv_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_groups": 1},
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "num_hidden_layers": None,
        "num_attention_heads": None,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "n_groups": 1, "expand": 2, "num_attention_heads": None},
    "zamba2": {
        "layer_types": ["mamba", "hybrid"],
        "hybrid_layer_ids": [1],
        "attention_head_dim": 16,
        "n_mamba_heads": 8,
        "mamba_headdim": 8,
        "mamba_ngroups": 1,
        "num_mem_blocks": 1,
        "use_shared_attention_adapter": False,
        "adapter_rank": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}

TEXT_FAMILIES = (
    "afmoe",
    "apertus",
    "arcee",
    "aria_text",
    "bailing_hybrid",
    "bamba",
    "bart",
    "beam",
    "bert",
    "bert-generation",
    "big_bird",
    "bigbird_pegasus",
    "biogpt",
    "bitnet",
    "blenderbot",
    "blenderbot-small",
    "bloom",
    "camembert",
    "codegen",
    "cohere",
    "cohere2",
    "cohere2_moe",
    "ctrl",
    "cwm",
    "data2vec-text",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v4",
    "diffllama",
    "doge",
    "dots1",
    "electra",
    "ernie",
    "ernie4_5",
    "ernie4_5_moe",
    "exaone4",
    "exaone_moe",
    "falcon",
    "falcon_h1",
    "falcon_mamba",
    "flex_olmo",
    "flint",
    "gemma",
    "gemma2",
    "gemma3_text",
    "glm",
    "glm4",
    "glm4_moe",
    "glm4_moe_lite",
    "gpt-sw3",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gpt_neox_japanese",
    "gpt_oss",
    "gptj",
    "granite",
    "granite_swa",
    "granitemoe",
    "granitemoe_swa",
    "granitemoehybrid",
    "granitemoeshared",
    "helium",
    "hrm_text",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "hy_v3",
    "hy_v4",
    "hyperclovax",
    "inkling_text",
    "internlm3",
    "iquestcoder",
    "jais2",
    "jamba",
    "jetmoe",
    "kolibri1",
    "laguna",
    "lfm2",
    "lfm2_moe",
    "lfm3",
    "llama",
    "llama4_text",
    "mamba",
    "mamba2",
    "marian",
    "mbart",
    "megatron-bert",
    "mellum",
    "mimo_v2_flash",
    "minicpm3",
    "minimax",
    "minimax_m2",
    "minimax_m3_vl_text",
    "ministral",
    "ministral3",
    "mistral",
    "mixtral",
    "modernbert-decoder",
    "mpt",
    "mvp",
    "nanochat",
    "nemotron",
    "nemotron_h",
    "olmo",
    "olmo2",
    "olmo3",
    "olmo_hybrid",
    "olmoe",
    "openai-gpt",
    "opt",
    "pegasus",
    "persimmon",
    "phi",
    "phi3",
    "phimoe",
    "plbart",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_5_moe_text",
    "qwen3_5_text",
    "qwen3_moe",
    "qwen3_next",
    "qwen4_exp_text",
    "recurrent_gemma",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roformer",
    "rwkv",
    "seed_oss",
    "smollm3",
    "solar_open",
    "stablelm",
    "starcoder2",
    "vaultgemma",
    "xglm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "youtu",
    "zamba2",
    "zaya",
)
"""By model type, as transformers names them."""

_ROPE = {"rope_theta": 10000.0}
_LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 4.0, 6.0, 8.0],
    "original_max_position_embeddings": 32,
    **_ROPE,
}
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "phi3, longrope": (
            "phi3",
            {
                "rope_parameters": _LONGROPE,
                "original_max_position_embeddings": 32,
                "head_dim": None,
            },
        ),
        "llama, dynamic rope": (
            "llama",
            {
                "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, **_ROPE},
                "max_position_embeddings": 40,
            },
        ),
        "llama, yarn": (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 64,
                    **_ROPE,
                }
            },
        ),
        "gemma2, low soft caps": (
            "gemma2",
            {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0},
        ),
        "gemma3_text, soft caps": (
            "gemma3_text",
            {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 1.0},
        ),
        "granite, scaled logits": ("granite", {"logits_scaling": 8.0}),
        "cohere, scaled logits": ("cohere", {"logit_scale": 0.25}),
    }
)
"""One family with a setting that changes how it is read, by a name of its own."""

_SMALL = {
    name: _TINY[name]
    for name in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sliding_window",
    ]
}
_NO_HEAD_SIZE = {k: v for k, v in _SMALL.items() if k not in ("head_dim", "sliding_window")}
_THREE_AXES = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], **_ROPE}}
_SIGHT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_SIGHT = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "out_hidden_size": 32,
}
_MARKS = {
    "image_token_id": 398,
    "video_token_id": 397,
    "vision_start_token_id": 396,
    "vision_end_token_id": 395,
}
SEEING_FAMILIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "aya_vision": {
            "text_config": {"model_type": "cohere2", **_SMALL},
            "vision_config": {"model_type": "siglip_vision_model", **_SIGHT},
            "image_token_index": 398,
        },
        "gemma3": {
            "text_config": _SMALL,
            "vision_config": _SIGHT,
            "image_token_index": 398,
            "mm_tokens_per_image": 4,
            "boi_token_index": 397,
            "eoi_token_index": 396,
        },
        "gemma4": {
            "text_config": {
                **_SMALL,
                "vocab_size_per_layer_input": VOCABULARY,
                "hidden_size_per_layer_input": 8,
                "num_kv_shared_layers": 0,
            },
            "vision_config": None,
            "audio_config": None,
        },
        "glm4v": {
            "text_config": {**_SMALL, **_THREE_AXES},
            "vision_config": _QWEN_SIGHT,
            "image_token_id": 398,
            "video_token_id": 397,
        },
        "idefics3": {
            "text_config": {"model_type": "llama", **_SMALL},
            "vision_config": _SIGHT,
            "image_token_id": 398,
        },
        "internvl": {
            "text_config": {"model_type": "qwen2", **_SMALL},
            "vision_config": _SIGHT,
            "image_token_id": 398,
        },
        "lfm2_vl": {
            "text_config": {
                "model_type": "lfm2",
                "layer_types": ["full_attention", "conv"],
                **_NO_HEAD_SIZE,
            },
            "vision_config": {"model_type": "siglip2_vision_model", **_SIGHT},
            "image_token_id": 398,
        },
        "llama4": {
            "text_config": {
                **_SMALL,
                "intermediate_size_mlp": 48,
                "num_local_experts": 4,
                "attention_chunk_size": WINDOW,
            },
            "vision_config": {
                **_SIGHT,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
            },
            "image_token_index": 398,
        },
        "llava": {
            "text_config": {"model_type": "llama", **_SMALL},
            "vision_config": {"model_type": "clip_vision_model", **_SIGHT},
            "image_token_index": 398,
        },
        "llava_next": {
            "text_config": {"model_type": "mistral", **_SMALL},
            "vision_config": {"model_type": "clip_vision_model", **_SIGHT},
            "image_token_index": 398,
        },
        "llava_onevision": {
            "text_config": {"model_type": "qwen2", **_SMALL},
            "vision_config": {"model_type": "siglip_vision_model", **_SIGHT},
            "image_token_index": 398,
            "video_token_index": 397,
        },
        "mistral3": {
            "text_config": {"model_type": "mistral", **_SMALL},
            "vision_config": {"model_type": "pixtral", "head_dim": 8, **_SIGHT},
            "image_token_index": 398,
        },
        "mllama": {
            "text_config": {
                **_NO_HEAD_SIZE,
                "num_hidden_layers": 4,
                "cross_attention_layers": [1],
            },
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_global_layers": 1,
                "attention_heads": 4,
                "image_size": 28,
                "patch_size": 14,
                "vision_output_dim": 64,
                "intermediate_layers_indices": [0],
                "supported_aspect_ratios": [[1, 1]],
            },
            "image_token_index": 398,
        },
        "qwen2_5_vl": {
            "text_config": {**_SMALL, **_THREE_AXES},
            "vision_config": {**_QWEN_SIGHT, "fullatt_block_indexes": [0]},
            **_MARKS,
        },
        "qwen2_vl": {
            "text_config": {**_SMALL, **_THREE_AXES},
            "vision_config": {"depth": 1, "embed_dim": 32, "num_heads": 4, "hidden_size": 32},
            **_MARKS,
        },
        "qwen3_5": {
            "text_config": {
                **_SMALL,
                "layer_types": ["linear_attention", "full_attention"],
                "linear_num_value_heads": 4,
                "linear_num_key_heads": 2,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "rope_parameters": {
                    **_THREE_AXES["rope_parameters"],
                    "partial_rotary_factor": 1.0,
                },
            },
            "vision_config": {**_QWEN_SIGHT, "deepstack_visual_indexes": [0]},
            **_MARKS,
        },
        "qwen3_vl": {
            "text_config": {**_SMALL, **_THREE_AXES},
            "vision_config": {**_QWEN_SIGHT, "deepstack_visual_indexes": [0]},
            **_MARKS,
        },
        "smolvlm": {
            "text_config": {"model_type": "llama", **_SMALL},
            "vision_config": _SIGHT,
            "image_token_id": 398,
        },
    }
)
"""Models that also see, by model type, with their configs."""

FAMILIES = (*TEXT_FAMILIES, *VARIANTS, *SEEING_FAMILIES)


def tiny_model(family: str, *, seed: int = 0) -> Any:
    """A random model of a family; every weight is drawn, so that none can be forgotten."""
    import torch
    import transformers as hf
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as SEEING,
    )

    torch.manual_seed(seed)
    if family in SEEING_FAMILIES:
        config = hf.CONFIG_MAPPING[family](**SEEING_FAMILIES[family])
        model = getattr(hf, SEEING[family])(config)
    else:
        model = hf.AutoModelForCausalLM.from_config(_text_config(family))
    for parameter in model.parameters():
        if parameter.is_floating_point():
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def save_family(folder: Path, family: str, *, seed: int = 0) -> Any:
    """Save a random model of a family; return its class."""
    model = tiny_model(family, seed=seed)
    model.save_pretrained(folder)
    return type(model)


def _text_config(family: str) -> Any:
    import transformers as hf

    model_type, more = VARIANTS.get(family, (family, {}))
    kind = hf.CONFIG_MAPPING[model_type]
    usual = kind()
    values = {name: value for name, value in _TINY.items() if hasattr(usual, name)}
    values |= _OVERRIDES.get(model_type, {}) | dict(more)
    return kind(**{name: value for name, value in values.items() if value is not None})
