"""How sure a number is: the same statistic over other draws of the instructions.

Two ways, because one of them would lie. A bootstrap draws instructions with replacement, which is
right for means. But a draw with replacement repeats texts, and repetition is what distinct-n, the
compression ratio and the divergence of two word distributions measure, so there a tenth of the
instructions or less is left out at a time instead (delete-a-group jackknife).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

Codes = NDArray[np.int64]


DRAWS = 400
GROUPS = 20
_95 = 1.959964


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
class Replicates:
    """A statistic, and what it would have been over other draws of the same instructions.

    Attributes:
        value: Over all texts; never NaN.
        draws: One value a draw; NaN for a draw in which the statistic has no value.
        kind: How the draws were made.
    """

    value: float
    draws: Numbers
    kind: Literal["bootstrap", "jackknife"]

    def minus(self, other: "Replicates") -> "Replicates":
        """The difference, draw by draw: paired wherever the two share instructions."""
        return Replicates(
            value=self.value - other.value, draws=self.draws - other.draws, kind=self.kind
        )

    def estimate(self) -> Estimate:
        """The value with its 95 % interval: percentiles, or the jackknife's normal interval."""
        draws = self.draws[np.isfinite(self.draws)]
        if len(draws) < 2:  # noqa: PLR2004  (one draw says nothing about spread)
            return Estimate(value=self.value)
        if self.kind == "bootstrap":
            low, high = np.quantile(draws, (0.025, 0.975))
            return Estimate(value=self.value, low=float(low), high=float(high))
        spread = float(((draws - draws.mean()) ** 2).sum())
        error = math.sqrt((len(draws) - 1) / len(draws) * spread)
        return Estimate(
            value=self.value, low=self.value - _95 * error, high=self.value + _95 * error
        )


class Resampling:
    """Draws of the instructions that several sets share.

    The draws depend on the keys and the seed, not on the order of texts or sets.

    Args:
        keys: Of all texts of all sets.
        seed: Another seed gives other draws.
        draws: Of the bootstrap.
    """

    def __init__(self, keys: Iterable[str], *, seed: int, draws: int = DRAWS) -> None:
        names = sorted(set(keys))
        self._place = {name: index for index, name in enumerate(names)}
        generator = np.random.default_rng(seed)
        size = len(names)
        self._weights_DK = generator.multinomial(size, np.full(size, 1 / size), size=draws).astype(
            np.uint16
        )
        groups = min(GROUPS, size)
        self._group_K = generator.permutation(size) % groups
        self.groups = groups
        self.instructions = size

    def places(self, keys: Sequence[str]) -> Codes:
        """The number of each text's instruction."""
        return np.array([self._place[key] for key in keys], dtype=np.int64)

    def bootstrap(
        self, statistic: Callable[[Numbers], float | None], keys: Sequence[str]
    ) -> Replicates | None:
        """A statistic of weighted texts, over draws with replacement.

        Args:
            statistic: From one weight a text (how often it was drawn) to a number; None where it
                has none.
            keys: Of the texts.

        Returns:
            None where the statistic has no value over all texts.
        """
        value = statistic(np.ones(len(keys)))
        if value is None:
            return None
        places = self.places(keys)
        # Draws of one instruction are all alike, and that is not certainty.
        draws: list[float | None] = [None] * len(self._weights_DK)
        if len(set(keys)) > 1:
            draws = [statistic(row[places].astype(np.float64)) for row in self._weights_DK]
        return Replicates(value=value, draws=_filled(draws), kind="bootstrap")

    def jackknife(
        self, statistic: Callable[[list[Numbers]], float | None], keys: Sequence[Sequence[str]]
    ) -> Replicates | None:
        """A statistic of kept texts of one or several sets, leaving out a group at a time.

        Args:
            statistic: From one mask for each set (1 kept, 0 left out) to a number, or None.
            keys: Of the texts of each set.
        """
        value = statistic([np.ones(len(one)) for one in keys])
        if value is None:
            return None
        groups = [self._group_K[self.places(one)] for one in keys]
        draws: list[float | None] = [None] * self.groups
        if all(len(set(one)) > 1 for one in keys):
            draws = [
                statistic([(group != left_out).astype(np.float64) for group in groups])
                for left_out in range(self.groups)
            ]
        return Replicates(value=value, draws=_filled(draws), kind="jackknife")


def _filled(draws: Sequence[float | None]) -> Numbers:
    return np.array([math.nan if draw is None else draw for draw in draws], dtype=np.float64)


def wilson(right: float, total: float) -> Estimate:
    """A proportion with Wilson's 95 % interval, which is honest at 0 and at 1 too.

    Args:
        right: How many are right, in [0, total].
        total: How many were checked, above 0.

    Examples:
        >>> found = wilson(0, 10)
        >>> found.value, round(found.low, 3), round(found.high, 3)
        (0.0, 0.0, 0.278)
    """
    share, square = right / total, _95**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = (
        _95
        * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
        / (1 + square / total)
    )
    return Estimate(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))
