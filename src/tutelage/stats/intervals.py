"""Confidence intervals of means and proportions, and the distributions behind them.

The normal distribution comes from the standard library. Student's t needs scipy, which comes with
the `train` extra: only comparisons of trainings use it.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import MissingExtraError

_NORMAL = NormalDist()
_NEARLY_NORMAL = 1e6
"""Degrees of freedom above which a standard error counts as known exactly."""


def normal_quantile(probability: float) -> float:
    """The inverse of the normal cumulative distribution function, for probabilities in (0, 1).

    Examples:
        >>> round(normal_quantile(0.975), 6)
        1.959964
    """
    return _NORMAL.inv_cdf(probability)


def t_cdf(t: float, freedom: float) -> float:
    """Student's cumulative distribution function; the normal one at infinite freedom."""
    if freedom > _NEARLY_NORMAL:
        return _NORMAL.cdf(t)
    return float(_special().stdtr(freedom, t))


def t_quantile(probability: float, freedom: float) -> float:
    """Inverse of `t_cdf`, for probabilities in (0, 1)."""
    if freedom > _NEARLY_NORMAL:
        return normal_quantile(probability)
    return float(_special().stdtrit(freedom, probability))


def shift_found_with(power: float, *, bar: float, freedom: float) -> float:
    """Noncentrality with which Student's t exceeds `bar` with probability `power`.

    Args:
        power: In (0, 1).
        bar: What the statistic must exceed to count as significant.
        freedom: Degrees of freedom of the standard error, at least 1.

    Returns:
        The noncentrality: the true effect over its standard error.

    Examples:
        >>> round(shift_found_with(0.8, bar=1.959964, freedom=float("inf")), 2)
        2.8
    """
    if freedom > _NEARLY_NORMAL:
        return bar + normal_quantile(power)
    special = _special()
    low, high = 0.0, 2 * bar + 10
    for _ in range(60):
        middle = (low + high) / 2
        missed = float(special.nctdtr(freedom, middle, bar))
        low, high = (middle, high) if 1 - missed < power else (low, middle)
    return (low + high) / 2


def _special() -> Any:
    try:
        from scipy import special  # noqa: PLC0415  (half a second, and not in the core install)
    except ImportError as error:
        raise MissingExtraError(
            "Student's t distribution needs scipy, which is not installed",
            hint="pip install 'tutelage[train]'",
        ) from error
    return special


Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: In the unit of the measure.
        low: Lower end, or None where fewer than two instructions leave nothing to resample.
        high: Upper end, likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of counted rows with its Wilson interval.

    Attributes:
        count: How many of them.
        rows: Number of all rows, at least 1.
        low: Lower end of the interval.
        high: Upper end.
    """

    count: int
    rows: int
    low: float
    high: float

    @property
    def fraction(self) -> float:
        """Proportion, in [0, 1]."""
        return self.count / self.rows


def share_of(count: int, rows: int, *, level: float = 0.95) -> Share:
    """Proportion with its Wilson interval, which also holds for small counts and at 0 and 1.

    Args:
        count: How many, in [0, rows].
        rows: Number of all rows, at least 1.
        level: Confidence level of the interval, in (0, 1).

    Examples:
        >>> found = share_of(3, 100)
        >>> found.fraction, round(found.low, 3), round(found.high, 3)
        (0.03, 0.01, 0.085)
        >>> share_of(0, 10).low, round(share_of(0, 10).high, 3)
        (0.0, 0.278)
    """
    z = normal_quantile((1 + level) / 2)
    p, wide = count / rows, 1 + z * z / rows
    middle = (p + z * z / (2 * rows)) / wide
    reach = z / wide * math.sqrt(p * (1 - p) / rows + z * z / (4 * rows * rows))
    low = 0.0 if count == 0 else max(0.0, middle - reach)
    high = 1.0 if count == rows else min(1.0, middle + reach)
    return Share(count=count, rows=rows, low=low, high=high)


def wilson(right: int, total: int) -> Estimate:
    """Proportion with its 95 % Wilson interval, as an estimate.

    Examples:
        >>> wilson(3, 4).value
        0.75
    """
    found = share_of(right, total)
    return Estimate(value=found.fraction, low=found.low, high=found.high)


def normal_interval(value: float, *, error: float) -> Estimate:
    """Value with the normal 95 % interval of its standard error, which is at least 0."""
    reach = normal_quantile(0.975) * error
    return Estimate(value=value, low=value - reach, high=value + reach)


def mean_interval(values: Numbers) -> Estimate:
    """Mean of finite independent values with its 95 % interval; no interval for a single value.

    Examples:
        >>> mean_interval(np.array([1.0]))
        Estimate(value=1.0, low=None, high=None)
    """
    mean = float(values.mean())
    if len(values) < 2:  # noqa: PLR2004  (one value says nothing about spread)
        return Estimate(value=mean)
    return normal_interval(mean, error=float(values.std(ddof=1)) / math.sqrt(len(values)))


def half_width(spread: float, *, terms: int, alpha: float, tuned_for: int) -> float:
    """Half the width of a confidence sequence of a mean, which is valid at every look.

    An ordinary interval is right for one look. Looking after every question and stopping at the
    first interval that excludes 0 is wrong far more often than stated. The asymptotic confidence
    sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory
    and asymptotic confidence sequences, Annals of Statistics 2024, theorem 2.2) holds at all looks:

        mean of t terms +- s_t * sqrt((2 (t r^2 + 1) / (t^2 r^2)) * log(sqrt(t r^2 + 1) / alpha))

    Args:
        spread: Standard deviation of the terms, at least 0.
        terms: Number of terms, at least 1.
        alpha: Significance level of the whole sequence, two-sided.
        tuned_for: Where it is tightest.
    """
    twice = -2 * math.log(alpha)
    rho2 = (twice + math.log(twice) + 1) / tuned_for if twice > 0 else 1 / tuned_for
    reach = terms * rho2 + 1
    return spread * math.sqrt(2 * reach / (terms**2 * rho2) * math.log(math.sqrt(reach) / alpha))


def surely_above_zero(terms_T: Numbers, *, alpha: float, fewest: int, tuned_for: int) -> bool:
    """Whether the confidence sequence of a mean lies above 0.

    Args:
        terms_T: Finite, in the order in which they came.
        alpha: Significance level of the whole sequence, two-sided.
        fewest: No claim before so many terms: the sequence is asymptotic.
        tuned_for: How many terms it is tightest at.
    """
    if len(terms_T) < fewest:
        return False
    width = half_width(
        float(terms_T.std(ddof=1)), terms=len(terms_T), alpha=alpha, tuned_for=tuned_for
    )
    return bool(terms_T.mean() > width) and width > 0
