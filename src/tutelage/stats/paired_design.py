"""Does one way of training beat another? Differences over items and seeds, with their uncertainty.

Pure: numbers in, numbers out. The data of one comparison is a table of paired differences

    D_S_I     seed s, item i:  value of arm A - value of arm B

    items are the same questions for every seed; a seed is a draw of training rows and an order

which varies by seed (another training), by item (another question) and by both. The interval has
to cover all three: 400 questions asked of one training say little about the next training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

Differences = NDArray[np.float64]
DRAWS = 2000
"""Resamples of the bootstrap."""
_NEARLY_NORMAL = 1e4
"""Degrees of freedom above which a standard error counts as known."""
POWER = 0.8
"""The minimum detectable effect is one that would be found in so many of a hundred repetitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean difference with its uncertainty.

    Attributes:
        mean: Above 0 speaks for the first arm; in the unit of the values.
        low: Lower end of the interval.
        high: Upper end.
        p_value: Two-sided, of no difference, in [0, 1]; not corrected for other comparisons.
        standard_error: Of the mean, over seeds and items.
        detectable: The smallest true difference that this design would find with a chance of 80 %
            at this level, if it were the only comparison; 0 where nothing varied, which says
            nothing.
        freedom: Degrees of freedom of the standard error, at least 1.
        seeds: How many.
        items: How many.
    """

    mean: float
    low: float
    high: float
    p_value: float
    standard_error: float
    detectable: float
    freedom: float
    seeds: int
    items: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def paired_interval(
    D_S_I: Differences, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """The mean of paired differences, with a bootstrap interval over seeds and items.

    Seeds and items are resampled independently of each other, with replacement (a two-way
    bootstrap). Resampling S seeds gives too small a spread by the factor sqrt((S - 1) / S) and
    knows nothing of how uncertain a spread from S seeds is; with the three seeds people can
    afford, intervals would come out at half their length. So the interval is stretched about the
    mean to the standard error of the two-way analysis of variance, times the quantile of
    Student's t at its degrees of freedom (Satterthwaite) over that of the normal distribution.
    With one seed the interval covers items only.

    Args:
        D_S_I: float64, no NaN; at least one seed and two items.
        level: Of the interval, in (0, 1).
        seed: Of the bootstrap.
        draws: How many resamples.

    Raises:
        DataError: There are too few items, or a difference is not a number.

    Examples:
        >>> found = paired_interval(np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]]))
        >>> round(found.mean, 6), found.seeds, found.items
        (2.0, 3, 2)
    """
    D_S_I = np.asarray(D_S_I, dtype=np.float64)
    if D_S_I.ndim != 2 or D_S_I.shape[0] < 1 or D_S_I.shape[1] < 2:  # noqa: PLR2004
        raise DataError(
            f"paired differences of shape {D_S_I.shape}: needs a seed and two items at least"
        )
    if not np.isfinite(D_S_I).all():
        raise DataError("a difference is not a finite number", hint="leave unscored items out")
    mean = float(D_S_I.mean())
    error, freedom = standard_error(D_S_I)
    seeds, items = D_S_I.shape
    if error == 0.0:
        return Interval(
            mean=mean, low=mean, high=mean, p_value=float(mean == 0.0), standard_error=0.0,
            detectable=0.0, freedom=freedom, seeds=seeds, items=items,
        )  # fmt: skip
    means = bootstrap_means(D_S_I, seed=seed, draws=draws)
    tail = (1 - level) / 2
    student = t_quantile(1 - tail, freedom)
    spread = float(means.std())
    stretch = 1.0
    if spread > 0.0:
        stretch = (error / spread) * (student / t_quantile(1 - tail, math.inf))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(
        mean=mean,
        low=mean + stretch * (float(low) - mean),
        high=mean + stretch * (float(high) - mean),
        p_value=2 * (1 - t_distribution(abs(mean) / error, freedom)),
        standard_error=error,
        detectable=detectable_effect(error, freedom, level=level),
        freedom=freedom,
        seeds=seeds,
        items=items,
    )


def standard_error(D_S_I: Differences) -> tuple[float, float]:
    """The standard error of the mean over seeds and items, and its degrees of freedom.

    Two-way random effects: D = mean + seed + item + rest. The variance of the mean is estimated
    by (MS of seeds + MS of items - MS of the rest) / (S I), which is at least what either factor
    alone gives; degrees of freedom after Satterthwaite.
    """
    seeds, items = D_S_I.shape
    mean = D_S_I.mean()
    by_item_I = D_S_I.mean(axis=0) - mean
    if seeds == 1:
        return float(np.sqrt((by_item_I**2).sum() / (items - 1) / items)), float(items - 1)
    by_seed_S = D_S_I.mean(axis=1) - mean
    rest_S_I = D_S_I - mean - by_item_I[None, :] - by_seed_S[:, None]
    ms_seed = items * float((by_seed_S**2).sum()) / (seeds - 1)
    ms_item = seeds * float((by_item_I**2).sum()) / (items - 1)
    ms_rest = float((rest_S_I**2).sum()) / ((seeds - 1) * (items - 1))
    total = max(ms_seed + ms_item - ms_rest, ms_seed, ms_item)
    if total <= 0.0:
        return 0.0, float(seeds - 1)
    parts = (
        (ms_seed, seeds - 1),
        (ms_item, items - 1),
        (ms_rest if total == ms_seed + ms_item - ms_rest else 0.0, (seeds - 1) * (items - 1)),
    )
    below = sum(part**2 / df for part, df in parts)
    freedom = total**2 / below if below else float(seeds - 1)
    return math.sqrt(total / (seeds * items)), max(1.0, freedom)


def detectable_effect(
    error: float, freedom: float, *, level: float = 0.95, comparisons: int = 1
) -> float:
    """The smallest true difference that is found with a chance of `POWER`.

    The standard error is estimated too, so the power is that of the noncentral t distribution:
    the chance that a normal variable of mean effect / error exceeds the quantile of Student's t
    times the root of chi-squared over its degrees of freedom.

    Args:
        error: Standard error of the mean.
        freedom: Its degrees of freedom, at least 1.
        level: Of the interval, in (0, 1).
        comparisons: How many are corrected for; Holm's first step, the strictest, is taken.

    Examples:
        >>> round(detectable_effect(1.0, math.inf), 2), round(detectable_effect(1.0, 4.0), 2)
        (2.8, 3.76)
    """
    bar = t_quantile(1 - (1 - level) / comparisons / 2, freedom)
    spread_R, weight_R = np.ones(1), np.ones(1)
    if freedom < _NEARLY_NORMAL:
        spread_R = np.linspace(1e-6, 1 + 12 / math.sqrt(2 * freedom), 801)
        log_weight_R = (freedom - 1) * np.log(spread_R) - freedom * spread_R**2 / 2
        weight_R = np.exp(log_weight_R - log_weight_R.max())
        weight_R /= weight_R.sum()
    low, high = 0.0, 2 * bar + 10
    for _ in range(40):
        middle = (low + high) / 2
        chance_R = _normal(middle - bar * spread_R)
        low, high = (middle, high) if weight_R @ chance_R < POWER else (low, middle)
    return (low + high) / 2 * error


def bootstrap_means(D_S_I: Differences, *, seed: int, draws: int = DRAWS) -> Differences:
    """Means of resampled seeds by resampled items, float64 of length `draws`."""
    seeds, items = D_S_I.shape
    drawing = np.random.default_rng(seed)
    weights_R_S = drawing.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    weights_R_I = drawing.multinomial(items, np.full(items, 1 / items), size=draws) / items
    means: Differences = ((weights_R_S @ D_S_I) * weights_R_I).sum(axis=1)
    return means


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are, after Holm (1979): valid for any dependence.

    Returns:
        For each, in order, the level at which it would still be significant among all, at most 1.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = reached
    return corrected


def fixed_sequence(p_values: Sequence[float]) -> list[float]:
    """P-values of hypotheses that are tested in an order fixed beforehand.

    Each is tested at the full level as long as all before it were significant, so its corrected
    p-value is the largest up to it. The order must be written down before the results are seen.

    Args:
        p_values: In that order.

    Returns:
        For each the level at which it would be significant in the sequence.

    Examples:
        >>> fixed_sequence([0.01, 0.2, 0.03])
        [0.01, 0.2, 0.2]
    """
    return [max(p_values[: place + 1]) for place in range(len(p_values))]


def _normal(x_R: Differences) -> Differences:
    """The normal cumulative distribution function."""
    return np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in x_R])


def t_distribution(t: float, freedom: float) -> float:
    """Student's cumulative distribution function at t >= 0; the normal one at infinite freedom."""
    if math.isinf(freedom):
        return 0.5 * math.erfc(-t / math.sqrt(2))
    x = freedom / (freedom + t * t)
    return 1 - 0.5 * _incomplete_beta(x, freedom / 2, 0.5)


def t_quantile(probability: float, freedom: float) -> float:
    """The inverse of `t_distribution`, for probabilities in [0.5, 1)."""
    low, high = 0.0, 1.0
    while t_distribution(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if t_distribution(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 300):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            fraction *= d * c
        if abs(d * c - 1) < 1e-14:  # noqa: PLR2004
            break
    return front * fraction / a
