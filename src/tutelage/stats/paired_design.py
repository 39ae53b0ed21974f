"""Paired differences between two trainings, over items and seeds, with confidence intervals.

Pure: numbers in, numbers out. The data of one comparison is a table of paired differences

    D_S_I     seed s, item i:  value of arm A - value of arm B

    items are the same questions for every seed; a seed is a sample of training rows and an order

which varies by seed (another training), by item (another question) and by both. The interval has
to cover all three: 400 questions asked of one training say little about the next training.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tutelage.errors import DataError
from tutelage.stats.intervals import Numbers, normal_quantile, t_cdf, t_quantile
from tutelage.stats.power import detectable_effect

Differences: TypeAlias = Numbers
ItemValues: TypeAlias = Mapping[str, float]
_LEAST_ITEMS = 2
DRAWS = 2000
"""Bootstrap resamples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Mean difference with its confidence interval, standard error and p-value.

    Attributes:
        mean: Above 0 speaks for the first arm; in the unit of the values.
        low: Lower end of the interval.
        high: Upper end.
        p_value: Two-sided, of no difference, in [0, 1]; not corrected for other comparisons.
        standard_error: Standard error of the mean, over seeds and items.
        detectable: The smallest true difference that this design would find with a chance of 80 %
            at this level, if it were the only comparison; 0 where nothing varied, which says
            nothing.
        freedom: Degrees of freedom of the standard error, at least 1.
        seeds: Number of seeds.
        items: Number of items.
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
    """Mean of paired differences, with a bootstrap interval over seeds and items.

    Seeds and items are resampled independently of each other, with replacement (a two-way
    bootstrap). Resampling S seeds gives too small a spread by the factor sqrt((S - 1) / S) and
    knows nothing of how uncertain a spread from S seeds is; with the three seeds people can
    afford, intervals would come out at half their length. So the interval is stretched about the
    mean to the standard error of the two-way analysis of variance, times the quantile of
    Student's t at its degrees of freedom (Satterthwaite) over that of the normal distribution.
    With one seed the interval covers items only.

    Args:
        D_S_I: float64, no NaN; at least one seed and two items.
        level: Confidence level of the interval, in (0, 1).
        seed: Seed of the bootstrap.
        draws: Number of resamples.

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
            f"paired differences of shape {D_S_I.shape}: at least one seed and two items are needed"
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
        stretch = (error / spread) * (student / normal_quantile(1 - tail))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(
        mean=mean,
        low=mean + stretch * (float(low) - mean),
        high=mean + stretch * (float(high) - mean),
        p_value=2 * t_cdf(-abs(mean) / error, freedom),
        standard_error=error,
        detectable=detectable_effect(error, freedom, level=level),
        freedom=freedom,
        seeds=seeds,
        items=items,
    )


def standard_error(D_S_I: Differences) -> tuple[float, float]:
    """Standard error of the mean over seeds and items, and its degrees of freedom.

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


def bootstrap_means(D_S_I: Differences, *, seed: int, draws: int = DRAWS) -> Differences:
    """Means of resampled seeds by resampled items, float64 of length `draws`.

    Args:
        D_S_I: Paired differences, seeds by items.
        draws: Number of resamples.
        seed: Seed of the resampling.
    """
    seeds, items = D_S_I.shape
    drawing = np.random.default_rng(seed)
    weights_R_S = drawing.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    weights_R_I = drawing.multinomial(items, np.full(items, 1 / items), size=draws) / items
    means: Differences = ((weights_R_S @ D_S_I) * weights_R_I).sum(axis=1)
    return means


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Values of two arms, seeds by items.

    Attributes:
        seeds: Row by row.
        items: Column by column.
        arm_S_I: float64, the side that a difference above 0 speaks for.
        against_S_I: float64, the other side.
        left_out: Items without a value somewhere.
        seeds_left_out: Seeds of which both sides are finished and one has not a single value.
    """

    seeds: tuple[int, ...]
    items: tuple[str, ...]
    arm_S_I: np.ndarray
    against_S_I: np.ndarray
    left_out: int
    seeds_left_out: int = 0

    def interval(self, *, level: float) -> Interval:
        """Confidence interval of the mean difference, arm minus baseline."""
        return paired_interval(self.arm_S_I - self.against_S_I, level=level)


def paired_items(
    both: Sequence[tuple[int, ItemValues | None, ItemValues | None]],
) -> Paired | None:
    """Values that two arms have in common, by seed and item.

    Args:
        both: A seed and the items of each side: None where it is not finished, which is left out;
            empty where nothing came to a value, which is left out and counted.

    Returns:
        None where no seed is left, or fewer than two items have a value on all sides.

    Examples:
        >>> found = paired_items([(0, {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0, "c": 1.0})])
        >>> found.items, found.left_out, found.interval(level=0.95).mean
        (('a', 'b'), 1, 0.5)
    """
    finished = [(s, a, b) for s, a, b in both if a is not None and b is not None]
    complete = [(s, a, b) for s, a, b in finished if a and b]
    if not complete:
        return None
    items = sorted(set.intersection(*(set(a) & set(b) for _, a, b in complete)))
    everywhere = set.union(*(set(a) | set(b) for _, a, b in complete))
    if len(items) < _LEAST_ITEMS:
        return None
    return Paired(
        seeds=tuple(seed for seed, _, _ in complete),
        items=tuple(items),
        arm_S_I=np.array([[a[i] for i in items] for _, a, _ in complete]),
        against_S_I=np.array([[b[i] for i in items] for _, _, b in complete]),
        left_out=len(everywhere) - len(items),
        seeds_left_out=len(finished) - len(complete),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Efficiency of a selection: its part of the possible gain, with Fieller's interval.

    (choice - ungated) / (oracle - ungated), where an oracle knows which rows are faulty. A
    difference of 0.02 nats says little by itself; that it is 80 % of what perfect knowledge would
    give says how good the choice is.

    Attributes:
        ratio: Gain of the choice over that of the oracle; 1 is as good as the oracle.
        low: Lower end of the interval.
        high: Upper end.
        room: Mean of oracle minus ungated: the largest possible gain.
    """

    ratio: float
    low: float
    high: float
    room: float


def efficiency(
    *,
    choice_S_I: Differences,
    oracle_S_I: Differences,
    ungated_S_I: Differences,
    level: float = 0.95,
) -> Efficiency | None:
    """Efficiency of a selection, with Fieller's interval over seeds and items.

    Args:
        choice_S_I: Values of the arm that is gated, by seed and item.
        oracle_S_I: Values of the arm that knows the truth; the same seeds and items.
        ungated_S_I: Values of the arm that keeps everything.
        level: Confidence level of the interval.

    Returns:
        The efficiency; None where the oracle is not distinguishable from ungated: with no room
        there is no ratio.

    Raises:
        DataError: The tables differ in shape.

    Examples:
        >>> noise = np.array([[0.01, -0.01, 0.0, 0.02], [0.0, 0.01, -0.02, 0.01]])
        >>> found = efficiency(
        ...     choice_S_I=0.8 + noise, oracle_S_I=1 - noise, ungated_S_I=0 * noise
        ... )
        >>> round(found.ratio, 2), found.low < 0.8 < found.high
        (0.8, True)
    """
    if not choice_S_I.shape == oracle_S_I.shape == ungated_S_I.shape:
        raise DataError(
            f"values of shapes {choice_S_I.shape}, {oracle_S_I.shape} and {ungated_S_I.shape} "
            "cannot be paired",
            hint="take the seeds and items that all three arms have",
        )
    gain_S_I, room_S_I = choice_S_I - ungated_S_I, oracle_S_I - ungated_S_I
    gain, room = float(gain_S_I.mean()), float(room_S_I.mean())
    (gain_error, freedom), (room_error, other) = (
        standard_error(gain_S_I), standard_error(room_S_I),
    )  # fmt: skip
    # Var(a + b) - Var(a - b) = 4 Cov(a, b), with the same two-way estimate for all.
    both, _ = standard_error(gain_S_I + room_S_I)
    apart, _ = standard_error(gain_S_I - room_S_I)
    covariance = (both**2 - apart**2) / 4
    t = t_quantile((1 + level) / 2, min(freedom, other))
    a = room**2 - (t * room_error) ** 2
    if a <= 0:
        return None
    b = gain * room - t * t * covariance
    c = gain**2 - (t * gain_error) ** 2
    reach = math.sqrt(max(0.0, b * b - a * c))
    return Efficiency(ratio=gain / room, low=(b - reach) / a, high=(b + reach) / a, room=room)
