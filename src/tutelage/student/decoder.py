"""Forward pass of common decoder architectures over a packed line of tokens.

Llama, Mistral, Qwen and Gemma 3 text models are one design with small differences; those are
read off the loaded model. Norms, activations and rotary angles are the model's own modules; only
what costs time is written anew: projections are joined, attention runs over tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.student.attention_tiles import Tiling, attend, tile
from tutelage.student.decoder_steps import Heads, Norm, Ops
from tutelage.student.packed_layout import ROWS, Line, Product, product

if TYPE_CHECKING:
    from torch import Tensor

MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma3_text"})
_ROPE_TYPES = frozenset({"default", "linear", "llama3"})
"""Rotary embeddings whose angles do not depend on the length of the text."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """One decoder layer with joined projections."""

    qkv: Product
    heads: Heads
    output: Product
    gate_up: Product
    activation: str
    activate: Any
    down: Product
    layer_type: str | None
    window: int | None
    norm_in: Norm
    norm_out: Norm | None  # Gemma norms what a block returns, too
    feed_norm_in: Norm
    feed_norm_out: Norm | None


class Decoder:
    """Decoder that reads packed lines, with the weights of the model it was made from."""

    def __init__(self, model: Any, *, ops: Ops) -> None:
        config = model.config
        self._body = model.base_model
        self._ops = ops
        layers = self._body.layers
        self._scale = float(layers[0].self_attn.scaling)
        by_type = isinstance(next(iter(config.rope_parameters.values())), dict)
        types = getattr(config, "layer_types", None) if by_type else None
        self._layers = [
            _take_over(layer, config=config, layer_type=kind)
            for layer, kind in zip(layers, types or [None] * len(layers), strict=True)
        ]
        self._last_norm = _norm(self._body.norm)

    def hidden(self, line: Line) -> "Tensor":
        """Hidden states after the last norm, one row per token of the line."""
        import torch

        ops = self._ops
        states_N_H = self._body.embed_tokens(torch.from_numpy(line.ids_N))
        heads = self._layers[0].heads
        windows = sorted({layer.window for layer in self._layers}, key=lambda w: w or 0)
        tiling = tile(
            line,
            heads=heads.queries,
            kv_heads=heads.keys,
            windows=windows if ops.needs_masks else (),
            dtype=states_N_H.dtype,
        )
        angles = self._angles(line)
        normed_N_H = ops.norm(states_N_H, self._layers[0].norm_in)
        ends = [layer.norm_in for layer in self._layers[1:]] + [self._last_norm]
        for layer, next_norm in zip(self._layers, ends, strict=True):
            block_N_H = self._attention(layer, normed_N_H, angles[layer.layer_type], tiling)
            if layer.norm_out is not None:
                block_N_H = ops.norm(block_N_H, layer.norm_out)
            states_N_H, normed_N_H = ops.add_norm(states_N_H, block_N_H, layer.feed_norm_in)
            block_N_H = self._feed_forward(layer, normed_N_H)
            if layer.feed_norm_out is not None:
                block_N_H = ops.norm(block_N_H, layer.feed_norm_out)
            states_N_H, normed_N_H = ops.add_norm(states_N_H, block_N_H, next_norm)
        return normed_N_H

    def _angles(self, line: Line) -> "dict[str | None, tuple[Tensor, Tensor]]":
        """Cosines and sines of each token by layer type, float32 (N, D)."""
        import torch

        positions_1_N = torch.from_numpy(line.positions_N)[None]
        wide = torch.empty(0, dtype=torch.float32)
        # transformers rounds angles to the model's type, and so does the model's training.
        dtype = self._body.embed_tokens.weight.dtype
        found: dict[str | None, tuple[Tensor, Tensor]] = {}
        for kind in {layer.layer_type for layer in self._layers}:
            extra = () if kind is None else (kind,)
            cos, sin = self._body.rotary_emb(wide, positions_1_N, *extra)
            found[kind] = (
                cos[0].to(dtype).float().contiguous(),
                sin[0].to(dtype).float().contiguous(),
            )
        return found

    def _attention(
        self, layer: _Layer, normed_N_H: "Tensor", angles: "tuple[Tensor, Tensor]", tiling: Tiling
    ) -> "Tensor":
        query, key, value = self._ops.split_and_turn(layer.qkv(normed_N_H), angles, layer.heads)
        collected = attend(
            query,
            key,
            value,
            tiling=tiling,
            window=layer.window,
            scale=self._scale,
            ops=self._ops,
        )
        return layer.output(collected.view(len(normed_N_H), -1))

    def _feed_forward(self, layer: _Layer, normed_N_H: "Tensor") -> "Tensor":
        """Gated feed-forward block, in slices of rows that stay in the processor's cache."""
        import torch

        parts = []
        for rows_N_H in torch.split(normed_N_H, ROWS):
            gated = self._ops.gate(layer.gate_up(rows_N_H), layer.activation, layer.activate)
            parts.append(layer.down(gated))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def is_known(config: Any) -> bool:
    """Whether a config describes a decoder that can read packed lines."""
    if config.model_type not in MODEL_TYPES or config.num_hidden_layers < 1:
        return False
    rope = config.rope_parameters
    kinds = rope.values() if isinstance(next(iter(rope.values())), dict) else [rope]
    plain = all(kind.get("rope_type", "default") in _ROPE_TYPES for kind in kinds)
    # Neither shows on a probe whose scores are small, so the config decides.
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    return plain and not capped and not getattr(config, "use_bidirectional_attention", False)


def _take_over(layer: Any, *, config: Any, layer_type: str | None) -> _Layer:
    """Join a layer's projections; the separate ones are released at once to save memory."""
    import torch

    attention, mlp = layer.self_attn, layer.mlp
    projections = [attention.q_proj, attention.k_proj, attention.v_proj]
    qkv_weight = torch.cat([p.weight for p in projections])
    biases = [p.bias for p in projections]
    gate_up_weight = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    qkv = product(qkv_weight, None if biases[0] is None else torch.cat(biases))
    output = product(attention.o_proj.weight, attention.o_proj.bias)
    gate_up_biases = [mlp.gate_proj.bias, mlp.up_proj.bias]
    gate_up = product(
        gate_up_weight, None if gate_up_biases[0] is None else torch.cat(gate_up_biases)
    )
    down = product(mlp.down_proj.weight, mlp.down_proj.bias)
    attention.q_proj = attention.k_proj = attention.v_proj = attention.o_proj = None
    mlp.gate_proj = mlp.up_proj = mlp.down_proj = None
    window = getattr(attention, "sliding_window", None)
    if config.model_type == "mistral":
        window = config.sliding_window
    sandwich = hasattr(layer, "pre_feedforward_layernorm")
    after_attention = _norm(layer.post_attention_layernorm)
    return _Layer(
        qkv=qkv,
        heads=Heads(
            queries=config.num_attention_heads,
            keys=config.num_key_value_heads,
            size=attention.head_dim,
            query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
            key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        ),
        output=output,
        gate_up=gate_up,
        activation=getattr(config, "hidden_activation", None) or config.hidden_act,
        activate=mlp.act_fn,
        down=down,
        layer_type=layer_type,
        window=window,
        norm_in=_norm(layer.input_layernorm),
        norm_out=after_attention if sandwich else None,
        feed_norm_in=_norm(layer.pre_feedforward_layernorm) if sandwich else after_attention,
        feed_norm_out=_norm(layer.post_feedforward_layernorm) if sandwich else None,
    )


def _norm(module: Any) -> Norm:
    """RMS norm of transformers: Llama's kind, or Gemma's, whose weight is stored minus one."""
    late = hasattr(module, "variance_epsilon")
    weight_H = module.weight.detach().float()
    return Norm(
        module=module,
        weight_H=(weight_H if late else weight_H + 1.0).contiguous(),
        eps=float(module.variance_epsilon if late else module.eps),
        late=late,
    )


def line_targets(line: Line, starts: Sequence[int]) -> "tuple[Tensor, Tensor]":
    """Positions of the states that predict the targets, and the target ids.

    Args:
        line: The batch.
        starts: For each passage the index of its first target.
    """
    import torch

    rows, targets = [], []
    for strand, start in zip(line.strands, starts, strict=True):
        rows.append(strand.where_T[start - 1 : -1])
        targets.append(line.ids_N[strand.where_T[start:]])
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(targets))
