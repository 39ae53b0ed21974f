"""Texts, a tiny tokenizer and the golden scores beside the project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny_student import CHATML, byte_pairs
from tutelage.data import VIEW_NAMES, Candidate, Message, Reading, TokenStats, candidate_id_of

SHARED = Path(__file__).parents[2].parent / "shared"
GOLDEN = SHARED / "golden"
MODELS = Path.home() / ".cache" / "tutelage" / "models"


def candidate_of(instruction: str, response: str, *, system: str | None = None) -> Candidate:
    turns = [Message(role="user", content=instruction), Message(role="assistant", content=response)]
    if system is not None:
        turns.insert(0, Message(role="system", content=system))
    return candidate_from(turns)


def candidate_from(turns: list[Message]) -> Candidate:
    name = candidate_id_of(
        example_id="e", step="original", parent_id=None, teacher=None, messages=turns
    )
    return Candidate(candidate_id=name, example_id="e", messages=tuple(turns))


def model_folder(name: str) -> str:
    folder = MODELS / name
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"the model {name} is not on this machine")
    return str(folder)


def read_golden_rows() -> list[Candidate]:
    path = GOLDEN / "rows.jsonl"
    if not path.is_file():
        pytest.skip("the golden scores are not beside the project")
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        instruction = "\n".join(part for part in (row["instruction"], row["input"]) if part)
        found.append(candidate_of(instruction, row["output"]))
    return found


def golden_scores(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def rsr(stats: TokenStats) -> float:
    assert stats.ranks_T is not None
    return float(stats.ranks_T.sum(dtype=np.float64) / -stats.logprobs_T.sum(dtype=np.float64))


def assert_agrees(reading: Any, golden: dict[str, Any]) -> None:
    assert isinstance(reading, Reading), reading
    views = reading.views
    assert views["response"].tokens == golden["response_tokens"]
    assert views["instruction"].tokens == golden["instruction_tokens"]
    assert reading.straddles == golden["straddle"]
    nll = {view: views[view].mean_nll for view in VIEW_NAMES}
    for view in VIEW_NAMES:
        assert nll[view] == pytest.approx(golden[f"nll_{view}"], abs=5e-4), view
    ifd = np.exp(nll["response_given_instruction"] - nll["response"])
    r_ifd = np.exp(nll["instruction_given_response"] - nll["instruction"])
    assert ifd == pytest.approx(golden["ifd"], abs=1e-3)
    assert r_ifd == pytest.approx(golden["r_ifd"], abs=1e-3)
    ratio = nll["response_given_instruction"] / nll["response"]
    assert ratio == pytest.approx(golden["ifd_loss"], abs=1e-3)
    assert rsr(views["response_given_instruction"]) == pytest.approx(golden["rsr"], abs=2e-2)


@pytest.fixture(name="candidate_of", scope="session")
def _candidate_of() -> Any:
    return candidate_of


@pytest.fixture(name="candidate_from", scope="session")
def _candidate_from() -> Any:
    return candidate_from


@pytest.fixture(name="model_folder")
def _model_folder() -> Any:
    return model_folder


@pytest.fixture(name="golden_scores")
def _golden_scores() -> Any:
    return golden_scores


@pytest.fixture(name="assert_agrees")
def _assert_agrees() -> Any:
    return assert_agrees


@pytest.fixture
def golden_rows() -> list[Candidate]:
    return read_golden_rows()


TEXT = [
    "Name three primary colours: red, blue and yellow.",
    "Write a short poem about the sea -- its waves and its wind.",
    "Someone gave the answer below to a request. Write the request it answers.",
    "### Instruction:\n### Response:- first\n- second :-) ü 漢字 ",
]


def tiny_tokenizer(*, bos: bool = False, template: str | None = CHATML) -> Any:
    """A byte-level BPE tokenizer with merges across spaces and punctuation, 400 tokens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = byte_pairs(TEXT, across_words=True, bos=bos)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special)


_SMALL = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0}
_SMALL |= {"eos_token_id": 1, "pad_token_id": 1, "num_attention_heads": 4, "initializer_range": 0.3}
_DECODER = _SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
_DECODER |= {"max_position_embeddings": 256}


def tiny_config(kind: str) -> Any:
    import transformers as hf

    if kind == "gpt2":
        return hf.GPT2Config(
            **{k: v for k, v in _SMALL.items() if k not in {"hidden_size", "num_hidden_layers"}}
            | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
        )
    if kind == "gemma3_text":
        layers = ["sliding_attention", "full_attention"]
        return hf.Gemma3TextConfig(
            **_DECODER, layer_types=layers, sliding_window=16, query_pre_attn_scalar=8
        )
    if kind == "mistral":
        return hf.MistralConfig(**_DECODER, sliding_window=16)
    made = {"llama": hf.LlamaConfig, "qwen2": hf.Qwen2Config, "qwen3": hf.Qwen3Config}
    return made[kind](**_DECODER)


def save_tiny(folder: Path, kind: str, *, seed: int = 0, **tokenizer: Any) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(kind))
    for parameter in model.parameters():  # biases and norms too, so that none can be forgotten
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tiny_tokenizer(**tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(name="save_tiny", scope="session")
def _save_tiny() -> Any:
    return save_tiny


@pytest.fixture(name="tiny_tokenizer", scope="session")
def _tiny_tokenizer() -> Any:
    return tiny_tokenizer


@pytest.fixture(scope="session")
def some_candidates() -> list[Candidate]:
    return [
        candidate_of("Name three primary colours.", "red, blue and yellow"),
        candidate_of("Name three primary colours.", "red, blue and a third one."),
        candidate_of("Write a short poem about the sea.", "- its waves\n- its wind " * 6),
        candidate_of("Write", "ü 漢字"),
    ]
