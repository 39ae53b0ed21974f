"""Operations of a decoder between its matrix products, and token statistics of its states.

`native_kernels` has the same steps in C, which is several times faster on a CPU in bfloat16.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from tutelage.data import RANK_CLIP
from tutelage.student.packed_layout import Product, product
from tutelage.student.passages import Measured

if TYPE_CHECKING:
    from torch import Tensor


Columns: TypeAlias = "tuple[Tensor, ...]"
"""Columns of measured statistics: log-probabilities, and optionally ranks, entropies, sums of
squares.
"""

_LOGITS_IN_CACHE = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm:
    """RMS norm of the model.

    Attributes:
        module: The model's own.
        weight_H: float32: what the normed states are multiplied with.
        eps: Added to the mean square.
        late: Round to the model's type before multiplying, as Llama does and Gemma does not.
    """

    module: Any
    weight_H: "Tensor"
    eps: float
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heads:
    """Head layout of a layer's joined projection.

    Attributes:
        queries: Attention heads.
        keys: Key-value heads.
        size: Features of a head.
        query_norm: Applied to each query head, or None.
        key_norm: Applied to each key head, or None.
    """

    queries: int
    keys: int
    size: int
    query_norm: Norm | None
    key_norm: Norm | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Keys that the rows of a rectangle of scores may attend to.

    Attributes:
        positions_B_Q: int64: the position of each query in its passage; it sees keys up to there.
        kv_heads: Key-value heads.
        masks: By window: what plain torch adds to the scores; empty where no one needs it.
    """

    positions_B_Q: "Tensor"
    kv_heads: int
    masks: "Mapping[int | None, Tensor]"


class Ops(Protocol):
    """Protocol of the operations, each over all tokens of a line."""

    @property
    def needs_masks(self) -> bool:
        """Whether `softmax` needs the masks of its scores."""
        ...

    def norm(self, states_N_H: "Tensor", norm: Norm) -> "Tensor":
        """Apply the norm to each row."""
        ...

    def add_norm(
        self, states_N_H: "Tensor", block_N_H: "Tensor", norm: Norm
    ) -> "tuple[Tensor, Tensor]":
        """Add a block's output to the states; return the sum and its norm.

        Args:
            states_N_H: The states, which may be overwritten.
            block_N_H: The block's output.
            norm: The norm that follows.
        """
        ...

    def split_and_turn(
        self, joined_N_X: "Tensor", angles: "tuple[Tensor, Tensor]", heads: Heads
    ) -> "tuple[Tensor, Tensor, Tensor]":
        """Queries, keys and values, one row per (token, head), with rotary embedding.

        Args:
            joined_N_X: The output of the joined projection.
            angles: Cosines and sines of each token.
            heads: The head layout.
        """
        ...

    def softmax(
        self, scores_R_S: "Tensor", allowed: Scores, *, window: int | None, scale: float
    ) -> "Tensor":
        """Scaled and masked softmax over each row.

        Args:
            scores_R_S: The scores, which may be overwritten.
            allowed: The keys that each row may attend to.
            window: The sliding window in tokens, or None.
            scale: Factor of the scores.
        """
        ...

    def gate(self, joined_N_2I: "Tensor", activation: str, module: Any) -> "Tensor":
        """Activate the left half of each row and multiply it with the right half.

        Args:
            joined_N_2I: Both halves.
            activation: Name of the activation.
            module: The model's own activation, for unknown names.
        """
        ...

    def statistics(self, logits_N_V: "Tensor", targets_N: "Tensor", *, full: bool) -> Columns:
        """Statistics of one target per row, in float32 or better.

        Args:
            logits_N_V: The logits.
            targets_N: The target ids.
            full: Whether all four statistics are measured.
        """
        ...


class TorchOps:
    """Operations in plain torch, on any device and in any dtype."""

    @property
    def needs_masks(self) -> bool:
        """Always true for these operations."""
        return True

    def norm(self, states_N_H: "Tensor", norm: Norm) -> "Tensor":
        """Apply the norm to each row."""
        return norm.module(states_N_H)  # type: ignore[no-any-return]  # the model is untyped

    def add_norm(
        self, states_N_H: "Tensor", block_N_H: "Tensor", norm: Norm
    ) -> "tuple[Tensor, Tensor]":
        """Add a block's output to the states; return the sum and its norm."""
        sum_N_H = states_N_H + block_N_H
        return sum_N_H, norm.module(sum_N_H)

    def split_and_turn(
        self, joined_N_X: "Tensor", angles: "tuple[Tensor, Tensor]", heads: Heads
    ) -> "tuple[Tensor, Tensor, Tensor]":
        """Queries, keys and values, one row per (token, head)."""
        import torch

        parts_N_A_D = joined_N_X.view(len(joined_N_X), -1, heads.size)
        turning = heads.queries + heads.keys
        turned, value = parts_N_A_D[:, :turning], parts_N_A_D[:, turning:]
        if heads.query_norm is not None and heads.key_norm is not None:
            query = heads.query_norm.module(turned[:, : heads.queries])
            turned = torch.cat((query, heads.key_norm.module(turned[:, heads.queries :])), dim=1)
        cos_N_1_D, sin_N_1_D = (angle.to(turned.dtype)[:, None] for angle in angles)
        half = heads.size // 2
        crossed = torch.cat((-turned[..., half:], turned[..., :half]), dim=2)
        turned = (turned * cos_N_1_D).add_(crossed.mul_(sin_N_1_D))
        query, key = turned[:, : heads.queries], turned[:, heads.queries :]
        return (
            query.reshape(-1, heads.size),
            key.reshape(-1, heads.size),
            value.reshape(-1, heads.size),
        )

    def softmax(
        self, scores_R_S: "Tensor", allowed: Scores, *, window: int | None, scale: float
    ) -> "Tensor":
        """Scaled and masked softmax over each row."""
        import torch

        tiles, queries = allowed.positions_B_Q.shape
        mask = allowed.masks[window]
        shaped = scores_R_S.view(tiles, allowed.kv_heads, queries, -1, mask.shape[-1])
        torch.add(mask, shaped, alpha=scale, out=shaped)
        return scores_R_S.softmax(dim=-1)

    def gate(self, joined_N_2I: "Tensor", activation: str, module: Any) -> "Tensor":  # noqa: ARG002  (part of `Ops`)
        """Activate the left half of each row and multiply it with the right half."""
        left, right = joined_N_2I.chunk(2, dim=1)
        return module(left).mul_(right)  # type: ignore[no-any-return]  # the model is untyped

    def statistics(self, logits_N_V: "Tensor", targets_N: "Tensor", *, full: bool) -> Columns:
        """Statistics of one target per row, a few rows at a time so that they stay in the cache."""
        import torch

        if logits_N_V.device.type != "cpu":
            return _on_a_card(logits_N_V, targets_N, full=full)
        rows = max(1, _LOGITS_IN_CACHE // logits_N_V.shape[1])
        parts = [
            _row_statistics(logits, targets, full=full)
            for logits, targets in zip(
                torch.split(logits_N_V, rows), torch.split(targets_N, rows), strict=True
            )
        ]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _on_a_card(logits_N_V: "Tensor", targets_N: "Tensor", *, full: bool) -> Columns:
    """Statistics of all rows at once; compiled on CUDA, so that the logits are read only once."""
    import torch

    if logits_N_V.device.type == "cuda":
        compiled = _compiled()
        if compiled is not None:
            try:
                return compiled(logits_N_V, targets_N, full=full)  # type: ignore[no-any-return]
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ImportError, OSError, SubprocessError) as error:
                _log.warning(
                    "the statistics are not compiled on this device, which is slower: %s: %s",
                    type(error).__name__,
                    (str(error).splitlines() or [""])[0],
                )
                _NOT_COMPILED.append(True)
    return _row_statistics(logits_N_V, targets_N, full=full)


_NOT_COMPILED: list[bool] = []


@cache
def _compiler() -> Any:
    import torch

    return torch.compile(_row_statistics, dynamic=True)


def _compiled() -> Any:
    return None if _NOT_COMPILED else _compiler()


def _row_statistics(logits_N_V: "Tensor", targets_N: "Tensor", *, full: bool) -> Columns:
    # The copy is changed in place: fresh memory of this size costs more than the arithmetic.
    shifted_N_V = logits_N_V.float() if logits_N_V.dtype.itemsize < 4 else logits_N_V.clone()  # noqa: PLR2004  (bytes of float32)
    most_N_1 = shifted_N_V.amax(dim=1, keepdim=True)
    shifted_N_V.sub_(most_N_1)
    chosen_N_1 = shifted_N_V.gather(1, targets_N[:, None])
    if not full:
        return ((chosen_N_1[:, 0] - shifted_N_V.exp_().sum(dim=1).log()),)
    ranks_N = (shifted_N_V > chosen_N_1).sum(dim=1) + 1
    powers_N_V = shifted_N_V.exp()
    sum_N = powers_N_V.sum(dim=1)
    log_sum_N = sum_N.log()
    squares_N = powers_N_V.square().sum(dim=1) / sum_N / sum_N
    # 0 * -inf where a probability vanishes: its term of the entropy is 0.
    weighted_N = powers_N_V.mul_(shifted_N_V.clamp_(min=-1e4)).sum(dim=1)
    return (
        chosen_N_1[:, 0] - log_sum_N,
        ranks_N.clamp(max=RANK_CLIP),
        (log_sum_N - weighted_N / sum_N).clamp(min=0.0),
        squares_N,
    )


_LOGITS_AT_ONCE = 1 << 23
_FEWEST_ROWS, _MOST_ROWS = 64, 512
"""Most logits on a processor at the same time, but at least `_FEWEST_ROWS` rows of them, or the
head's matrix would be fetched from memory too often.
"""

_LOGITS_ON_A_CARD = 1 << 28
"""Most logits on a graphics card at the same time: 1 GiB in float32, so that each product uses the
whole card.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """Linear map from hidden states to logits.

    Attributes:
        logits_of: The product with the head's matrix, or None where the input already is logits.
        vocabulary: How many logits a row has.
        after: What the model does to its head's logits (a soft cap, a factor), or None.
        at_once: How many logits may exist at the same time.
    """

    logits_of: "Product | None"
    vocabulary: int
    after: "Product | None" = None
    at_once: int = _LOGITS_AT_ONCE


def head_of(layer: Any, *, after: "Product | None" = None) -> Head:
    """Head of a model's output layer, whose matrix may also be the embedding.

    A layer whose weight is somewhere else until it is used (`device_map` with too little memory) or
    not a plain matrix (quantised) computes its product itself.
    """
    weight = layer.weight
    plain = weight.device.type != "meta" and weight.is_floating_point() and weight.ndim > 1
    logits_of = product(weight, layer.bias, shared=True) if plain else layer
    return Head(
        logits_of=logits_of,
        vocabulary=int(layer.out_features),
        after=after,
        at_once=_LOGITS_AT_ONCE if weight.device.type == "cpu" else _LOGITS_ON_A_CARD,
    )


def measure(
    hidden_N_H: "Tensor",
    targets_N: "Tensor",
    *,
    head: Head,
    counts: Sequence[int],
    full: bool,
    ops: Ops,
) -> list[Measured]:
    """Measure the targets of several consecutive passages.

    Logits are computed for a few rows at a time and reduced at once in float32; there is never
    a matrix of all positions by all of the vocabulary.

    Args:
        hidden_N_H: The state at the position in front of each target.
        targets_N: int64: the token that followed.
        head: Turns states into logits.
        counts: How many targets each passage has; they sum to N.
        full: Whether all four statistics are wanted, or log-probabilities alone.
        ops: The operations that measure.

    Returns:
        One for each passage.
    """
    import torch

    most = _MOST_ROWS if head.at_once == _LOGITS_AT_ONCE else len(targets_N)
    rows = max(1, min(most, max(_FEWEST_ROWS, head.at_once // head.vocabulary)))
    parts = []
    for start in range(0, len(targets_N), rows):
        logits_N_V = hidden_N_H[start : start + rows]
        if head.logits_of is not None:
            logits_N_V = head.logits_of(logits_N_V)
        if head.after is not None:
            logits_N_V = head.after(logits_N_V)
        parts.append(ops.statistics(logits_N_V, targets_N[start : start + rows], full=full))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    if columns[0].device.type != "cpu":  # one copy, for each waits until all before it is done
        columns = list(torch.stack([column.float() for column in columns]).cpu())
    return _divided([column.numpy() for column in columns], counts=counts, full=full)


def _divided(columns: Sequence[np.ndarray], *, counts: Sequence[int], full: bool) -> list[Measured]:
    logprobs_N = np.minimum(columns[0], 0.0).astype(np.float32)  # rounding can pass 0
    found = []
    start = 0
    for count in counts:
        span = slice(start, start + count)
        start += count
        if not full:
            found.append(Measured(logprobs_T=logprobs_N[span].copy()))
            continue
        found.append(
            Measured(
                logprobs_T=logprobs_N[span].copy(),
                ranks_T=columns[1][span].astype(np.uint8),
                entropies_T=columns[2][span].astype(np.float32),
                sum_squares_T=columns[3][span].astype(np.float32),
            )
        )
    return found
