"""Bootstrap and jackknife over instructions that several sets share.

A bootstrap resamples instructions with replacement, which is correct for means. But it repeats
texts, and repetition is what distinct-n, the compression ratio and the divergence of two word
distributions measure. For these, a tenth of the instructions or less is left out at a time instead
(delete-a-group jackknife).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutelage.stats.intervals import Estimate, Numbers, normal_interval

Codes: TypeAlias = NDArray[np.int64]


DRAWS = 400
GROUPS = 20
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """A statistic with its values over resampled instructions.

    Attributes:
        value: Over all texts; never NaN.
        draws: One value per resample; NaN where the statistic has no value in it.
        kind: How the resamples were made.
    """

    value: float
    draws: Numbers
    kind: Literal["bootstrap", "jackknife"]

    def minus(self, other: "Replicates") -> "Replicates":
        """Difference of two statistics in each resample, so that shared instructions are paired.

        What is no more than rounding is 0.

        Examples:
            >>> some = np.array([0.3, 2.0])
            >>> a = Replicates(value=0.1 + 0.2, draws=some, kind="bootstrap")
            >>> a.minus(Replicates(value=0.3, draws=some, kind="bootstrap")).value
            0.0
        """
        return Replicates(
            value=float(_difference(self.value, other.value)),
            draws=_difference(self.draws, other.draws),
            kind=self.kind,
        )

    def estimate(self) -> Estimate:
        """Value with its 95 % interval: bootstrap percentiles, or jackknife and normal."""
        draws = self.draws[np.isfinite(self.draws)]
        if len(draws) < 2:  # noqa: PLR2004  (one resample says nothing about spread)
            return Estimate(value=self.value)
        if self.kind == "bootstrap":
            low, high = np.quantile(draws, (0.025, 0.975))
            return Estimate(value=self.value, low=float(low), high=float(high))
        spread = float(((draws - draws.mean()) ** 2).sum())
        error = math.sqrt((len(draws) - 1) / len(draws) * spread)
        return normal_interval(self.value, error=error)


def _difference(one: Any, other: Any) -> Any:
    found = np.asarray(one - other)
    size = np.maximum(np.abs(one), np.abs(other))
    return np.where(np.abs(found) <= _ROUNDING * size, 0.0, found)


class Resampling:
    """Resamples of the instructions that several sets share.

    The resamples depend on the keys and the seed, not on the order of texts or sets.

    Args:
        keys: Keys of all texts of all sets.
        seed: Another seed gives other resamples.
    """

    def __init__(self, keys: Iterable[str], *, seed: int) -> None:
        names = sorted(set(keys))
        self._place = {name: index for index, name in enumerate(names)}
        generator = np.random.default_rng(seed)
        size = len(names)
        self._weights_DK = generator.multinomial(size, np.full(size, 1 / size), size=DRAWS).astype(
            np.uint16
        )
        groups = min(GROUPS, size)
        self._group_K = generator.permutation(size) % groups
        self.groups = groups
        self.instructions = size

    def places(self, keys: Sequence[str]) -> Codes:
        """Index of each text's instruction."""
        return np.array([self._place[key] for key in keys], dtype=np.int64)

    def bootstrap(
        self, statistic: Callable[[Numbers], float | None], keys: Sequence[str]
    ) -> Replicates | None:
        """Bootstrap of a statistic of weighted texts, with replacement.

        Args:
            statistic: From one weight a text (how often it was drawn) to a number; None where it
                has none.
            keys: Keys of the texts.

        Returns:
            None where the statistic has no value over all texts.
        """
        value = statistic(np.ones(len(keys)))
        if value is None:
            return None
        places = self.places(keys)
        # Resamples of one instruction are all equal, which would look like certainty.
        draws: list[float | None] = [None] * len(self._weights_DK)
        if len(set(keys)) > 1:
            draws = [statistic(row[places].astype(np.float64)) for row in self._weights_DK]
        return Replicates(value=value, draws=_filled(draws), kind="bootstrap")

    def jackknife(
        self, statistic: Callable[[list[Numbers]], float | None], keys: Sequence[Sequence[str]]
    ) -> Replicates | None:
        """Jackknife of a statistic of one or several sets, leaving out one group at a time.

        Args:
            statistic: From one mask for each set (1 kept, 0 left out) to a number, or None.
            keys: Keys of the texts of each set.
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


def grouped_draws(group_Q: Codes, *, draws: int, seed: int) -> Numbers:
    """Bootstrap counts of each question, sampled with replacement within its group; resamples by Q.

    Args:
        group_Q: The group of each question; one group samples from all questions.
        draws: Number of resamples.
        seed: Seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    weights = np.zeros((draws, len(group_Q)))
    for group in np.unique(group_Q):
        places = np.flatnonzero(group_Q == group)
        size = len(places)
        weights[:, places] = generator.multinomial(size, np.full(size, 1 / size), size=draws)
    return weights


def clustered_interval(
    values: Any, clusters: Sequence[str], *, draws: int, seed: int
) -> tuple[float, float] | None:
    """95 % percentile interval of a mean, from a bootstrap of whole clusters.

    None for a single cluster: its resamples are all equal, which would look like certainty.

    Args:
        values: Finite numbers.
        clusters: Which cluster each belongs to, such as its example.
        draws: Number of resamples.
        seed: Seed of the resampling.
    """
    _, owner = np.unique(np.array(clusters, dtype=str), return_inverse=True)
    sums, counts = np.bincount(owner, weights=values), np.bincount(owner)
    if len(sums) < 2:  # noqa: PLR2004
        return None
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    for index in range(draws):
        drawn = generator.integers(0, len(sums), size=len(sums))
        means[index] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
