"""Packed engine: common decoders over lines of tokens, without padding, with shared prefixes.

Llama, Mistral, Qwen and Gemma 3 text models are one design with small differences; those are
read off the loaded model. Norms, activations and rotary angles are the model's own modules; only
what costs time is reimplemented: projections are joined, attention runs over tiles.

Every passage's new tokens are cut into tiles of queries; a tile's keys are all tokens of its
passage up to its last query. Tiles of similar size are padded to one rectangle and multiplied at
once. Padding exists only here: everything else in the model runs over the line without padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.models.loading import forward_errors, memory_errors
from tutelage.student.decoder_steps import Head, Heads, Norm, Ops, Scores, measure
from tutelage.student.engine import ForwardError, OutOfMemoryError, out_of_range
from tutelage.student.model_checks import plain_head
from tutelage.student.packed_layout import ROWS, Line, Product, lay_out, plan_packed, product
from tutelage.student.passages import Measured, Passage, Refusal, passage_of

if TYPE_CHECKING:
    from torch import Tensor


QUERIES_PER_TILE = 128
_SCORES_AT_ONCE = 1 << 20
"""Most elements of a tile, so that it stays in the processor's cache between the two products."""
_PADDED_OVER_REAL = 1.3
_GROUP_TOKENS = 32
"""Tiles whose numbers of keys differ by less than this share a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """Some queries of one passage; their keys are `where_T[:end]`."""

    where_T: NDArray[np.int64]
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGroup:
    """Tiles padded to one rectangle of B tiles by Q queries by S keys.

    Attributes:
        tiles: B.
        query_rows: int64, flat: rows of the line seen as (token, head), in the order (tile,
            key-value head, query, head of the group).
        key_rows: int64, flat: rows of the line seen as (token, key-value head), in the order
            (tile, key-value head, key).
        scores: Which keys each query may see.
        places: Positions of the results of real queries among this group's (tile, query) slots.
        line: The line's places of those queries.
    """

    tiles: int
    query_rows: "Tensor"
    key_rows: "Tensor"
    scores: Scores
    slots: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """All groups of a line, and how their results are put back in order.

    Attributes:
        groups: Together they hold each token of the line once as a query.
        back: int64, flat: for each (token, head) of the line its row among the concatenated
            results of the groups.
    """

    groups: tuple[TileGroup, ...]
    back: "Tensor"


def tile(
    line: Line,
    *,
    heads: int,
    kv_heads: int,
    windows: Sequence[int | None],
    dtype: "object",
) -> Tiling:
    """Cut a line into groups of tiles.

    Args:
        line: The batch.
        heads: Attention heads.
        kv_heads: Key-value heads; divides `heads`.
        windows: The windows to make masks for; None is full attention. Empty where `Ops` does
            without masks.
        dtype: Dtype of the masks.
    """
    import torch

    groups = tuple(
        _group(tiles, heads=heads, kv_heads=kv_heads, windows=windows, dtype=dtype)
        for tiles in _grouped(_tiles(line), heads=heads)
    )
    back_N_A = np.empty((len(line.ids_N), heads), dtype=np.int64)
    start = 0
    for group in groups:
        queries = len(group.query_rows) // (group.tiles * heads)
        rows = np.arange(group.tiles * heads * queries).reshape(
            group.tiles, kv_heads, queries, heads // kv_heads
        )
        rows_BQ_A = rows.transpose(0, 2, 1, 3).reshape(group.tiles * queries, heads)
        back_N_A[group.places] = start + rows_BQ_A[group.slots]
        start += rows.size
    return Tiling(groups=groups, back=torch.from_numpy(back_N_A.reshape(-1)))


def _tiles(line: Line) -> list[_Tile]:
    found = []
    for strand in line.strands:
        length = len(strand.where_T)
        count = -(-(length - strand.shared) // QUERIES_PER_TILE)
        bounds = np.linspace(strand.shared, length, count + 1).astype(int)
        for start, end in pairwise(bounds):
            found.append(_Tile(where_T=strand.where_T, start=int(start), end=int(end)))
    return found


def _grouped(tiles: list[_Tile], *, heads: int) -> list[list[_Tile]]:
    """Tiles grouped by similar size, the largest first, so that padding stays small."""
    groups: list[list[_Tile]] = []
    real = 0
    queries = 0
    for item in sorted(tiles, key=lambda t: (-t.end, t.start - t.end)):
        size = (item.end - item.start) * item.end
        if groups:
            widest = groups[-1][0].end
            most = max(queries, item.end - item.start)
            padded = (len(groups[-1]) + 1) * most * widest
            close = (
                widest - item.end < _GROUP_TOKENS and most - (item.end - item.start) < _GROUP_TOKENS
            )
            fits = padded * heads <= _SCORES_AT_ONCE
            if fits and (close or padded <= _PADDED_OVER_REAL * (real + size)):
                groups[-1].append(item)
                real, queries = real + size, most
                continue
        groups.append([item])
        real, queries = size, item.end - item.start
    return groups


def _group(
    tiles: Sequence[_Tile],
    *,
    heads: int,
    kv_heads: int,
    windows: Sequence[int | None],
    dtype: "object",
) -> TileGroup:
    import torch

    queries = max(t.end - t.start for t in tiles)
    keys = max(t.end for t in tiles)
    query_B_Q = np.zeros((len(tiles), queries), dtype=np.int64)
    position_B_Q = np.zeros((len(tiles), queries), dtype=np.int64)
    key_B_S = np.zeros((len(tiles), keys), dtype=np.int64)
    slots, places = [], []
    for row, item in enumerate(tiles):
        count = item.end - item.start
        query_B_Q[row, :count] = item.where_T[item.start : item.end]
        position_B_Q[row, :count] = np.arange(item.start, item.end)
        key_B_S[row, : item.end] = item.where_T[: item.end]
        slots.append(np.arange(row * queries, row * queries + count))
        places.append(query_B_Q[row, :count])
    per_group = heads // kv_heads
    head_K_G = np.arange(heads).reshape(kv_heads, per_group)
    # (tile, key-value head, query, head of the group) -> row of the line seen as (token, head)
    rows = query_B_Q[:, None, :, None] * heads + head_K_G[None, :, None, :]
    key_rows = key_B_S[:, None, :] * kv_heads + np.arange(kv_heads)[None, :, None]
    masks = {window: _mask(position_B_Q, keys, window, dtype) for window in windows}
    return TileGroup(
        tiles=len(tiles),
        query_rows=torch.from_numpy(rows.reshape(-1)),
        key_rows=torch.from_numpy(key_rows.reshape(-1)),
        scores=Scores(positions_B_Q=torch.from_numpy(position_B_Q), kv_heads=kv_heads, masks=masks),
        slots=np.concatenate(slots),
        places=np.concatenate(places),
    )


def _mask(
    position_B_Q: NDArray[np.int64], keys: int, window: int | None, dtype: "object"
) -> "Tensor":
    """Additive mask of 0 and minus infinity, shaped (B, 1, Q, 1, S)."""
    import torch

    distance_B_Q_S = position_B_Q[:, :, None] - np.arange(keys)[None, None, :]
    hidden = distance_B_Q_S < 0
    if window is not None:
        hidden |= distance_B_Q_S >= window
    mask = torch.zeros(hidden.shape, dtype=dtype)  # type: ignore[call-overload]  # a torch.dtype
    mask.masked_fill_(torch.from_numpy(hidden), -torch.inf)
    return mask[:, None, :, None, :]  # type: ignore[no-any-return]  # untyped by torch


def attend(
    query_NA_D: "Tensor",
    key_NK_D: "Tensor",
    value_NK_D: "Tensor",
    *,
    tiling: Tiling,
    window: int | None,
    scale: float,
    ops: Ops,
) -> "Tensor":
    """Causal attention of every token to its own passage.

    Args:
        query_NA_D: The line's queries, one row a (token, head).
        key_NK_D: Keys, one row a (token, key-value head).
        value_NK_D: Values, likewise.
        tiling: Tiling of this line.
        window: How far back a layer looks, in tokens; None for all the way.
        scale: Multiplies the scores.
        ops: Makes weights of scores.

    Returns:
        What each query collects, in the shape of `query_NA_D`.
    """
    import torch

    size = query_NA_D.shape[1]
    results = []
    for group in tiling.groups:
        batch = group.tiles * group.scores.kv_heads
        query = query_NA_D.index_select(0, group.query_rows).view(batch, -1, size)
        key = key_NK_D.index_select(0, group.key_rows).view(batch, -1, size)
        value = value_NK_D.index_select(0, group.key_rows).view(batch, -1, size)
        scores = torch.bmm(query, key.transpose(1, 2))
        weights = ops.softmax(scores, group.scores, window=window, scale=scale)
        results.append(torch.bmm(weights, value).view(-1, size))
    return torch.cat(results).index_select(0, tiling.back)


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


_PROBE_TOKENS = 40
_TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest relative difference from transformers' states on the probe."""


class PackedEngine:
    """Fast engine for decoders whose forward pass this file implements.

    Made by `open_packed`, which first compares it with the model's own forward pass.
    """

    def __init__(
        self,
        decoder: Decoder,
        head: Head,
        *,
        embedded: int,
        batch_tokens: int,
        lanes: int,
        ops: Ops,
    ) -> None:
        self._embedded, self._answered = embedded, head.vocabulary
        self._decoder: Decoder | None = decoder
        self._head: Head | None = head
        self._batch_tokens = batch_tokens
        self._lanes = lanes
        self._ops = ops

    @property
    def name(self) -> str:
        """Name in the manifest."""
        return "packed"

    @property
    def lanes(self) -> int:
        """Number of lanes given at construction."""
        return self._lanes

    def refusal(self, passage: Passage) -> Refusal | None:
        """Reason why a passage cannot be read: token ids outside the vocabulary; else None."""
        return out_of_range(passage, embedded=self._embedded, answered=self._answered)

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Divide passages into batches that share prefixes, under the token budget."""
        return plan_packed(passages, batch_tokens=self._batch_tokens)

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given.

        Raises:
            OutOfMemoryError: The batch is too large.
            ForwardError: The forward pass failed on it.
        """
        import torch

        if self._decoder is None or self._head is None:
            raise RuntimeError("the engine is closed")
        with torch.inference_mode(), forward_errors(ForwardError), memory_errors(OutOfMemoryError):
            line = lay_out(passages)
            rows_N, targets_N = line_targets(line, [p.target_start for p in passages])
            hidden_N_H = self._decoder.hidden(line).index_select(0, rows_N)
            counts = [p.targets for p in passages]
            return measure(
                hidden_N_H, targets_N, head=self._head, counts=counts, full=full, ops=self._ops
            )

    def shrink(self) -> None:
        """Halve the tokens of all further batches."""
        self._batch_tokens = max(1, self._batch_tokens // 2)

    def close(self) -> None:
        """Free the memory of the model."""
        self._decoder = None
        self._head = None


def open_packed(model: Any, *, batch_tokens: int, lanes: int, ops: Ops) -> PackedEngine | None:
    """Packed engine of a loaded model, or None where the architecture is not supported.

    The model is taken apart only after its own states on a probe are noted; where the new forward
    pass does not give the same, the caller has to load the model again.

    Args:
        model: The loaded model, which is taken apart.
        batch_tokens: Tokens of a batch.
        lanes: Batches that are read at the same time.
        ops: The operations between matrix products.

    Returns:
        The engine, or None where the decoder is not known or does not agree.
    """
    import torch

    head = plain_head(model) if is_known(model.config) else None
    if head is None or head.after is not None:
        return None
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids = np.random.default_rng(0).integers(0, vocabulary, size=_PROBE_TOKENS).tolist()
    probes = [passage_of(ids[:20], ids[20:]), passage_of(ids[:12], ids[25:])]
    with torch.inference_mode():
        expected = [
            model.base_model(
                input_ids=torch.from_numpy(p.ids_T.astype(np.int64))[None], use_cache=False
            ).last_hidden_state[0]
            for p in probes
        ]
        decoder = Decoder(model, ops=ops)
        line = lay_out(probes)
        found_N_H = decoder.hidden(line).float()
        for strand, states_T_H in zip(line.strands, expected, strict=True):
            difference = found_N_H[torch.from_numpy(strand.where_T)] - states_T_H.float()
            relative = float(difference.norm() / states_T_H.float().norm())
            if not relative < _TOLERANCES[str(model.dtype).removeprefix("torch.")]:
                return None
    return PackedEngine(
        decoder, head, embedded=vocabulary, batch_tokens=batch_tokens, lanes=lanes, ops=ops
    )
