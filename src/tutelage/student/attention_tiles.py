"""Attention over a packed line, computed in rectangular tiles of similar size.

Every passage's new tokens are cut into tiles of queries; a tile's keys are all tokens of its
passage up to its last query. Tiles of like size are padded to one rectangle and multiplied at
once. Padding exists only here: everything else in the model runs over the bare line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tutelage.student.decoder_steps import Ops, Scores
from tutelage.student.packed_layout import Line

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
        places: Where the results of real queries stand among this group's (tile, query) slots.
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
