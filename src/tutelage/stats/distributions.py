"""The normal distribution and Student's t, central and noncentral.

The normal distribution comes from the standard library. Student's t needs scipy, which comes with
the `train` extra: only comparisons of trainings use it.
"""

from statistics import NormalDist
from typing import Any

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
