"""Statistical power of a planned experiment: its minimum detectable effect.

The paired differences of a comparison vary by seed, by item and by both (the rest). With the
standard deviations of the three, the standard error for any number of seeds S and items I is

    variance of the mean = seed^2 / S + item^2 / I + rest^2 / (S I)

so an experiment can be planned from a pilot's results, or from those of earlier experiments.
"""

import math
from dataclasses import asdict, dataclass

from tutelage.errors import DataError
from tutelage.stats.intervals import Numbers, shift_found_with, t_quantile

POWER = 0.8
"""Probability with which a true difference of the minimum detectable effect is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Variance components of a paired difference, as standard deviations in the outcome's unit.

    Attributes:
        seed: Between trainings with another seed.
        item: Between items.
        rest: Between items of one training, beyond both.
    """

    seed: float
    item: float
    rest: float


def detectable_effect(
    error: float, freedom: float, *, level: float = 0.95, comparisons: int = 1
) -> float:
    """Minimum detectable effect: the smallest true difference found with probability `POWER`.

    The standard error is estimated too, so the power is that of the noncentral t distribution.

    Args:
        error: Standard error of the mean.
        freedom: Its degrees of freedom, at least 1.
        level: Confidence level of the interval, in (0, 1).
        comparisons: How many are corrected for; Holm's first step, the strictest, is taken.

    Examples:
        >>> round(detectable_effect(1.0, math.inf), 2), round(detectable_effect(1.0, 4.0), 2)
        (2.8, 3.76)
    """
    bar = t_quantile(1 - (1 - level) / comparisons / 2, freedom)
    return shift_found_with(POWER, bar=bar, freedom=freedom) * error


def components_of(D_S_I: Numbers) -> Components:
    """Variance components of a pilot's paired differences; negative estimates count as 0.

    Args:
        D_S_I: Seeds by items, finite; two of each at least.

    Raises:
        DataError: There are fewer.

    Examples:
        >>> import numpy as np
        >>> components_of(np.array([[1.0, 3.0], [2.0, 4.0]]))
        Components(seed=0.7071067811865476, item=1.4142135623730951, rest=0.0)
    """
    seeds, items = D_S_I.shape
    if seeds < 2 or items < 2:  # noqa: PLR2004
        raise DataError(
            f"a pilot of {seeds} seeds and {items} items: components need two of each",
            hint="finish cells of a second seed, or plan with --variances",
        )
    mean = D_S_I.mean()
    by_seed_S = D_S_I.mean(axis=1) - mean
    by_item_I = D_S_I.mean(axis=0) - mean
    rest_S_I = D_S_I - mean - by_seed_S[:, None] - by_item_I[None, :]
    of_rest = float((rest_S_I**2).sum()) / ((seeds - 1) * (items - 1))
    of_seed = float((by_seed_S**2).sum()) / (seeds - 1) - of_rest / items
    of_item = float((by_item_I**2).sum()) / (items - 1) - of_rest / seeds
    return Components(
        seed=math.sqrt(max(0.0, of_seed)),
        item=math.sqrt(max(0.0, of_item)),
        rest=math.sqrt(of_rest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Detectable effect of an experiment with given numbers of seeds and items.

    Attributes:
        seeds: Number of seeds.
        items: Number of items.
        detectable: The smallest true difference that it finds with a chance of 80 %, where the
            comparison is the only one or the first of a fixed sequence.
        detectable_holm: The same after Holm's first step.
        seed_fraction: How much of the variance of the mean comes from seeds.
        item_fraction: How much comes from items; the rest comes from both.
        hours: What the trainings and evaluations cost; None where that is not known.
    """

    seeds: int
    items: int
    detectable: float
    detectable_holm: float
    seed_fraction: float
    item_fraction: float
    hours: float | None = None

    def row(self) -> dict[str, float | int | None]:
        """JSON form of the design."""
        return asdict(self)


def design(
    components: Components,
    *,
    seeds: int,
    items: int,
    comparisons: int,
    level: float = 0.95,
    hours: float | None = None,
) -> Design:
    """Detectable effect of an experiment with given numbers of seeds and items.

    The degrees of freedom are those that the analysis will have (Satterthwaite), at the expected
    mean squares.

    Args:
        components: Components of the comparison.
        seeds: At least 2, since one seed gives no significant result.
        items: At least 2.
        comparisons: How many are corrected for after Holm.
        level: Confidence level of the intervals.
        hours: The cost, if it is known.

    Raises:
        DataError: There are too few seeds or items.

    Examples:
        >>> pilot = Components(seed=0.009, item=0.015, rest=0.022)
        >>> round(design(pilot, seeds=8, items=200, comparisons=1).detectable, 3)
        0.011
    """
    if seeds < 2 or items < 2:  # noqa: PLR2004
        raise DataError(
            f"a plan with seeds: {seeds}, items: {items}; with fewer than two of each nothing can "
            "be shown",
            hint="give more seeds, or a larger limit",
        )
    rest = components.rest**2
    ms_seed = items * components.seed**2 + rest
    ms_item = seeds * components.item**2 + rest
    total = ms_seed + ms_item - rest
    parts = ((ms_seed, seeds - 1), (ms_item, items - 1), (rest, (seeds - 1) * (items - 1)))
    below = sum(part**2 / df for part, df in parts)
    freedom = max(1.0, total**2 / below) if below else float(seeds - 1)
    error = math.sqrt(total / (seeds * items))
    return Design(
        seeds=seeds,
        items=items,
        detectable=detectable_effect(error, freedom, level=level),
        detectable_holm=detectable_effect(error, freedom, level=level, comparisons=comparisons),
        seed_fraction=items * components.seed**2 / total if total else 0.0,
        item_fraction=seeds * components.item**2 / total if total else 0.0,
        hours=hours,
    )


def what_to_increase(planned: Design, *, more_seeds: Design, more_items: Design) -> str:
    """Which of `seeds` and `items`, doubled, lowers the detectable effect more.

    Where items are nearly as good (nine tenths of the gain), they are the answer: they cost no
    training.

    Args:
        planned: The experiment as it is planned.
        more_seeds: The same with twice as many seeds.
        more_items: The same with twice as many items.
    """
    by_seeds = planned.detectable - more_seeds.detectable
    by_items = planned.detectable - more_items.detectable
    return "items" if by_items >= 0.9 * by_seeds else "seeds"
