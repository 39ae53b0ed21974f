"""Confidence intervals of proportions and means."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutelage.stats.distributions import normal_quantile

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


def normal_interval(value: float, *, error: float, level: float = 0.95) -> Estimate:
    """Value with the normal interval of its standard error.

    Args:
        value: In the unit of the measure.
        error: Its standard error, at least 0.
        level: Confidence level of the interval, in (0, 1).
    """
    reach = normal_quantile((1 + level) / 2) * error
    return Estimate(value=value, low=value - reach, high=value + reach)


def mean_interval(values: Numbers, *, level: float = 0.95) -> Estimate:
    """Mean of independent values with its normal interval; no interval for a single value.

    Args:
        values: Finite, at least one.
        level: Confidence level of the interval, in (0, 1).

    Examples:
        >>> mean_interval(np.array([1.0]))
        Estimate(value=1.0, low=None, high=None)
    """
    mean = float(values.mean())
    if len(values) < 2:  # noqa: PLR2004  (one value says nothing about spread)
        return Estimate(value=mean)
    return normal_interval(
        mean, error=float(values.std(ddof=1)) / math.sqrt(len(values)), level=level
    )
