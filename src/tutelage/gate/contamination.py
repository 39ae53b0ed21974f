"""Rows of the user that already have a fault, and so must not count as clean.

A gate is fitted with the user's own rows as the clean side. If half of them are mismatched, a
budget of 5 % false refusals would forbid to refuse any. So the share of rows that look like a
planted fault is estimated first, from below: where a threshold lets t of the plants through its
upper side and u of the user's rows, at most u / t of the rows have the fault, and far up, where
clean rows no longer reach, it is about that many. The lowest such ratio, at the lower end of its
interval, is the share of rows that are set aside, those with the highest log-odds.

A few rows that look faulty are therefore still counted as clean, which is the safe side: the
thresholds are then stricter than they need to be.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tutelage.gate.thresholds import Scored, share_of

Numbers = NDArray[np.float64]

_LEAST_CAUGHT = 0.3
"""Thresholds are looked at that at least so many of the plants are above."""
_LEVEL = 0.98
"""Of the interval whose lower end counts: one-sided 99 %."""


def faulty_fraction(user_N: Numbers, planted_M: Numbers) -> float:
    """The least share of the user's rows that have a fault, in [0, 1].

    Args:
        user_N: Log-odds of the user's rows by the detector of the fault.
        planted_M: Those of rows into which it was planted.

    Examples:
        >>> rows = np.concatenate([np.zeros(100), np.full(100, 9.0)])
        >>> round(faulty_fraction(rows, np.full(50, 9.0)), 2)
        0.42
        >>> faulty_fraction(np.zeros(100), np.full(50, 9.0))
        0.0
    """
    if not len(user_N) or not len(planted_M):
        return 0.0
    least = 1.0
    for at in np.unique(planted_M):
        caught = float((planted_M >= at).mean())
        if caught < _LEAST_CAUGHT:
            break
        above = share_of(int((user_N >= at).sum()), len(user_N), level=_LEVEL)
        least = min(least, above.low / caught)
    return least


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
        user_N = scored.clean_N_D[:, d]
        count = math.floor(faulty_fraction(user_N, scored.faulty_M_D[own_M, d]) * len(user_N))
        highest = np.argsort(-user_N, kind="stable")[:count]
        free = highest[found_N[highest] == -1]
        found_N[free] = d
    return found_N
