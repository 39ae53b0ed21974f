"""Rows of the user that already have a fault, and so must not count as clean.

A gate is fitted with the user's own rows as the clean side. If half of them are mismatched, a
budget of 5 % false refusals would forbid to refuse any. So rows that look like a planted fault are
set aside first. Where a threshold has t of the plants and u of the user's rows above it, about
u / t of the rows have the fault, provided that clean rows do not reach so far. Whether they do
shows in the ratio itself: with clean rows above the thresholds it rises quickly as they fall.
Where it stays as it is from half of the plants to nine tenths, that share of the rows is set aside,
and every row that looks more faulty than the typical plant.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tutelage.gate.thresholds import Scored

Numbers = NDArray[np.float64]

_TYPICAL, _MOST = 0.5, 0.9
"""Shares of the plants above the two thresholds at which the ratio is compared."""
_MOST_SHARE = 0.75
"""Above this the detector cannot tell plants from the user's rows, and nothing is set aside."""
_STEADY = 1.6
"""How much higher the ratio may be at the lower threshold."""
_CHANCE = 2
"""So many rows more may be above it: few rows are an uneven sample."""


def faulty_fraction(user_N: Numbers, planted_M: Numbers) -> float:
    """The share of the user's rows that have a fault, in [0, 1]; 0 where it cannot be told.

    Args:
        user_N: Log-odds of the user's rows by the detector of the fault.
        planted_M: Those of rows into which it was planted.

    Examples:
        >>> rows = np.concatenate([np.zeros(100), np.full(100, 9.0)])
        >>> faulty_fraction(rows, np.full(50, 9.0))
        0.5
        >>> faulty_fraction(np.zeros(100), np.full(50, 9.0))
        0.0
    """
    if not len(user_N) or not len(planted_M):
        return 0.0
    (typical, typical_share), (low, low_share) = (
        _above(user_N, planted_M, caught) for caught in (_TYPICAL, _MOST)
    )
    steady = _STEADY * typical * low_share / typical_share + _CHANCE
    if typical == 0 or low > steady:
        return 0.0
    share = min(typical / typical_share, low / low_share) / len(user_N)
    return 0.0 if share > _MOST_SHARE else share


def _above(user_N: Numbers, planted_M: Numbers, caught: float) -> tuple[int, float]:
    """How many rows, and which share of the plants, reach the threshold of such a share."""
    at = np.sort(planted_M)[::-1][max(0, math.ceil(caught * len(planted_M)) - 1)]
    return int((user_N >= at).sum()), float((planted_M >= at).mean())


def suspected_rows(scored: Scored, *, strong_M: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each of the user's rows the index of the fault it is set aside for, or -1.

    Args:
        scored: Cross-fitted log-odds; detector d belongs to fault d.
        strong_M: Which plants have the strong dose.
    """
    found_N = np.full(len(scored.clean_N_D), -1, dtype=np.int64)
    for d in range(scored.clean_N_D.shape[1]):
        own_M = scored.fault_M == d
        own_M = own_M & strong_M if (own_M & strong_M).any() else own_M
        user_N, planted_M = scored.clean_N_D[:, d], scored.faulty_M_D[own_M, d]
        share = faulty_fraction(user_N, planted_M)
        if share == 0.0:
            continue
        typical = int((user_N >= np.median(planted_M)).sum())
        count = max(math.floor(share * len(user_N) + 1e-9), typical)
        highest = np.argsort(-user_N, kind="stable")[:count]
        free = highest[found_N[highest] == -1]
        found_N[free] = d
    return found_N
