"""Token statistics computed from hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.student.decoder_steps import Ops
from tutelage.student.packed_layout import Product, product
from tutelage.student.passages import Measured

if TYPE_CHECKING:
    from torch import Tensor

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
