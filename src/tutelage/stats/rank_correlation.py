"""Rank statistics: Spearman's and Kendall's correlations, and the area under the ROC curve."""

import math
from collections.abc import Sequence

import numpy as np

from tutelage.stats.intervals import Numbers, normal_quantile

MIN_PAIRS = 3
"""Smallest number of pairs with a correlation: two pairs always agree or disagree perfectly."""
_NEARLY_1 = 1 - 1e-12


def average_ranks(values: Numbers) -> Numbers:
    """Ranks from 1, ascending; ties share the mean of their ranks.

    Examples:
        >>> average_ranks(np.array([10.0, 20.0, 10.0])).tolist()
        [1.5, 3.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Numbers = (last - (counts - 1) / 2)[inverse]
    return ranks


def spearman(a: Numbers, b: Numbers) -> float | None:
    """Spearman's rank correlation; ties share the mean of their ranks.

    Args:
        a: Finite numbers.
        b: As many.

    Returns:
        In [-1, 1], or None where there are fewer than 3 or one of the two is constant.

    Examples:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
        0.5
    """
    if len(a) < MIN_PAIRS:
        return None
    ranks_a, ranks_b = average_ranks(a), average_ranks(b)
    ranks_a -= ranks_a.mean()
    ranks_b -= ranks_b.mean()
    spread = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    if spread == 0:
        return None
    return float(np.clip((ranks_a @ ranks_b) / spread, -1.0, 1.0))


def spearman_interval(rho: float, *, n: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a rank correlation: Fisher's z with Bonett and Wright's variance.

    z +- q sqrt((1 + rho^2 / 2) / (n - 3)), turned back (Psychometrika 65, 2000, eq. 8). It is an
    approximation that widens with the correlation; with 3 pairs or fewer it is [-1, 1].

    Args:
        rho: In [-1, 1].
        n: How many independent pairs of numbers it rests on.
        level: Confidence level of the interval, in (0, 1).

    Examples:
        >>> [round(end, 3) for end in spearman_interval(0.5, n=103)]
        [0.329, 0.639]
    """
    if n <= MIN_PAIRS:
        return -1.0, 1.0
    # A perfect correlation has no finite z.
    z = math.atanh(max(-_NEARLY_1, min(_NEARLY_1, rho)))
    reach = normal_quantile((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return min(math.tanh(z - reach), rho), max(math.tanh(z + reach), rho)


def kendall(a: Numbers, b: Numbers) -> float | None:
    """Kendall's tau-b, the excess of concordant over discordant pairs, corrected for ties.

    Args:
        a: Finite numbers.
        b: As many.

    Returns:
        In [-1, 1], or None with fewer than 2 or where one of the two is constant.

    Examples:
        >>> kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).__round__(3)
        0.333
    """
    above = np.triu_indices(len(a), k=1)
    of_a = np.sign(a[:, None] - a[None, :])[above]
    of_b = np.sign(b[:, None] - b[None, :])[above]
    spread = math.sqrt(float((of_a != 0).sum()) * float((of_b != 0).sum()))
    return None if spread == 0 else float((of_a * of_b).sum()) / spread


def auc(positive: Sequence[float] | Numbers, negative: Sequence[float] | Numbers) -> float | None:
    """Area under the ROC curve: probability that a positive outscores a negative; ties count half.

    Examples:
        >>> auc([2.0, 3.0], [1.0, 2.0])
        0.875
    """
    a, b = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if not len(a) or not len(b):
        return None
    order = np.sort(b)
    below = np.searchsorted(order, a, side="left") + np.searchsorted(order, a, side="right")
    return float(below.mean() / 2 / len(b))
