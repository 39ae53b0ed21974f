"""Two ways of training, side by side: what both have everywhere, seed by seed and item by item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tutelage.stats.paired_design import Interval, paired_interval

ItemValues: TypeAlias = Mapping[str, float]
_LEAST_ITEMS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The values of two sides, seeds by items.

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
        """Of the mean of arm minus against."""
        return paired_interval(self.arm_S_I - self.against_S_I, level=level)


def pair(
    both: Sequence[tuple[int, ItemValues | None, ItemValues | None]],
) -> Paired | None:
    """Put two sides beside each other.

    Args:
        both: A seed and the items of each side: None where it is not finished, which is left out;
            empty where nothing came to a value, which is left out and counted.

    Returns:
        None where no seed is left, or fewer than two items have a value on all sides.

    Examples:
        >>> found = pair([(0, {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0, "c": 1.0})])
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
