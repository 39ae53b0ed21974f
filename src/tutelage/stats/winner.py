"""Winner's curse: corrected estimates of the best of several noisy values.

Whoever wins among many by a noisy measure won partly by luck: its measured value is too high. Two
corrections are given. Shrinkage pulls every value towards the mean of all, by the share of the
spread that is noise. The split sample lets one half of seeds and items choose and the other half
measure; it is honest about the procedure, at the price of choosing with half of the data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.stats.intervals import Numbers

SPLITS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """Values shrunk towards their mean.

    Attributes:
        values: In the order given.
        errors: Standard errors of these values.
        weights: What is left of each one's distance from the mean, in [0, 1].
        spread: Standard deviation of the true values, as estimated.
    """

    values: Numbers
    errors: Numbers
    weights: Numbers
    spread: float


def shrink(values: Sequence[float], errors: Sequence[float]) -> Shrunk:
    """Empirical-Bayes estimates of several values from repeated measurements.

    The variance of the true values is that of the measured ones less the mean squared error
    (method of moments, at least 0); a value keeps the share true / (true + its error squared) of
    its distance from the mean. Order changes only between values with different errors.

    Args:
        values: Measured, at least two.
        errors: Their standard errors, at least 0.

    Raises:
        DataError: Fewer than two values, or not one error each.

    Examples:
        >>> shrink([1.0, 3.0], [1.0, 1.0]).values.tolist()
        [1.5, 2.5]
    """
    measured, error = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    if len(measured) < 2 or len(measured) != len(error):  # noqa: PLR2004  (a spread)
        raise DataError(f"shrinkage needs two values and as many errors, got {len(measured)}")
    true = max(0.0, float(measured.var(ddof=1) - (error**2).mean()))
    total = true + error**2
    weights = np.divide(true, total, out=np.ones_like(total), where=total > 0)
    mean = float(measured.mean())
    of_mean = float(total.mean()) / len(measured)
    return Shrunk(
        values=mean + weights * (measured - mean),
        errors=np.sqrt(weights * error**2 + (1 - weights) ** 2 * of_mean),
        weights=weights,
        spread=math.sqrt(true),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The best of several values, with an unbiased estimate of its advantage.

    Attributes:
        place: Index of the winner, by all data.
        measured: Its mean over all data, less the mean of all entrants; too high by luck.
        split: What the winner of one half gains in the other half, on average.
        again_fraction: How often a half chooses the same winner, in [0, 1].
    """

    place: int
    measured: float
    split: float
    again_fraction: float


def split_winner(D_E_S_I: NDArray[np.float64], *, seed: int = 0, splits: int = SPLITS) -> Winner:
    """Select by one half of the seeds and items and measure with the other half.

    Args:
        D_E_S_I: Values by entrant, seed and item, higher is better; no NaN. With one seed only
            items are split, and the luck of that seed's training stays in.
        seed: Seed of the splits.
        splits: Number of splits.

    Raises:
        DataError: Fewer than two entrants or items, or a value that is not finite.
    """
    entrants, seeds, items = D_E_S_I.shape
    if entrants < 2 or items < 2 or not np.isfinite(D_E_S_I).all():  # noqa: PLR2004
        raise DataError(f"a winner needs two entrants and two items, got {D_E_S_I.shape}")
    gains = D_E_S_I - D_E_S_I.mean(axis=0, keepdims=True)
    place = int(gains.mean(axis=(1, 2)).argmax())
    generator = np.random.default_rng(seed)
    gained, again = [], 0
    for _ in range(splits):
        item_half = generator.permutation(items) < items // 2
        seed_half = np.ones(seeds, dtype=bool)
        other_seeds = seed_half
        if seeds > 1:
            seed_half = generator.permutation(seeds) < (seeds + 1) // 2
            other_seeds = ~seed_half
        chosen = int(gains[:, seed_half][:, :, item_half].mean(axis=(1, 2)).argmax())
        gained.append(float(gains[chosen, other_seeds][:, ~item_half].mean()))
        again += chosen == place
    return Winner(
        place=place,
        measured=float(gains[place].mean()),
        split=float(np.mean(gained)),
        again_fraction=again / splits,
    )
