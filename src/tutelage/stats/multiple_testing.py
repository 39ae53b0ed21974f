"""Multiple testing: corrected p-values, intervals of all pairs, and the winner's curse.

A plain bootstrap of the largest difference finds far too many differences with few questions: of
ten equal teachers and 14 questions it found a difference in 30 of 100 simulations. So
`pair_intervals` flips signs instead: if two teachers are equal, the difference of how a question
moves them is as likely to have the other sign. The largest studentised difference over all pairs
under random signs (one sign a question, for all pairs) gives the one multiple c of the standard
error that holds for all pairs together (single-step max-T; Romano and Wolf, Econometrica 2005, with
random signs in place of bootstrap samples). Sources share no questions: there the deviations of
each are flipped independently.

The best of several values with noise is overestimated, because it was chosen partly by luck.
`shrink` pulls every value towards the mean of all, by the share of the spread that is noise.
`split_winner` chooses with one half of seeds and items and measures with the other half, which is
unbiased but has only half of the data to choose with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.stats.intervals import Numbers

_TIE = 1e-12


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p-values (Holm 1979), valid under any dependence.

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
    """P-values of hypotheses tested in a fixed order.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIntervals:
    """Differences of P pairs with simultaneous intervals.

    Attributes:
        low: Lower ends.
        high: Upper ends.
        apart: Whether 0 is outside.
    """

    low: Numbers
    high: Numbers
    apart: Any


def pair_intervals(
    terms_E_Q: Numbers,
    first_P: Any,
    second_P: Any,
    *,
    paired: bool,
    level: float,
    draws: int,
    seed: int,
) -> PairIntervals:
    """Simultaneous intervals of the differences first - second (max-T).

    Args:
        terms_E_Q: How each question moves each entrant: terms whose mean is its value, NaN where
            it has none.
        first_P: Places of the first of each pair.
        second_P: Places of the second.
        paired: Whether entrants share questions.
        level: Confidence level of all intervals together.
        draws: Number of samples of random signs.
        seed: Seed of signs.
    """
    generator = np.random.default_rng(seed)
    signs_D_Q = generator.choice([-1.0, 1.0], size=(draws, terms_E_Q.shape[1]))
    if paired:
        gaps_P_Q = terms_E_Q[first_P] - terms_E_Q[second_P]
        mean_P, error_P, flipped_D_P = _flipped(gaps_P_Q, signs_D_Q, centred=False)
        largest_D = flipped_D_P.max(axis=1)
    else:
        mean_E, error_E, _ = _flipped(terms_E_Q, signs_D_Q, centred=True)
        mean_P = mean_E[first_P] - mean_E[second_P]
        error_P = np.hypot(error_E[first_P], error_E[second_P])
        drawn_D_E, spread_D_E = _means(_centred(terms_E_Q), signs_D_Q)
        gaps_D_P = np.abs(drawn_D_E[:, first_P] - drawn_D_E[:, second_P])
        spread_D_P = np.hypot(spread_D_E[:, first_P], spread_D_E[:, second_P])
        largest_D = _ratio(gaps_D_P, spread_D_P).max(axis=1)
    reach_P = float(np.quantile(largest_D, level, method="higher")) * error_P
    low_P, high_P = mean_P - reach_P, mean_P + reach_P
    apart = np.isfinite(reach_P) & ((low_P > _TIE) | (high_P < -_TIE))
    return PairIntervals(low=low_P, high=high_P, apart=apart)


def _flipped(
    values_P_Q: Numbers, signs_D_Q: Numbers, *, centred: bool
) -> tuple[Numbers, Numbers, Numbers]:
    """Mean and standard error of each row, and its studentised mean for each sample of signs."""
    there = np.isfinite(values_P_Q)
    counts = there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values_P_Q, 0.0).sum(axis=1) / counts
        squares = np.where(there, (values_P_Q - mean[:, None]) ** 2, 0.0).sum(axis=1)
        error = np.sqrt(squares / (counts - 1) / counts)
    means, errors = _means(_centred(values_P_Q) if centred else values_P_Q, signs_D_Q)
    return mean, error, _ratio(np.abs(means), errors)


def _centred(values_P_Q: Numbers) -> Numbers:
    there = np.isfinite(values_P_Q)
    counts = np.maximum(there.sum(axis=1, keepdims=True), 1)
    mean = np.where(there, values_P_Q, 0.0).sum(axis=1, keepdims=True) / counts
    centred: Numbers = values_P_Q - mean
    return centred


def _means(values_P_Q: Numbers, signs_D_Q: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and standard error of each row for each sample of signs, D by P."""
    there = np.isfinite(values_P_Q)
    counts = there.sum(axis=1)
    filled = np.where(there, values_P_Q, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (signs_D_Q @ filled.T) / counts
        squares = np.maximum((filled**2).sum(axis=1) - counts * means**2, 0.0)
        errors = np.sqrt(squares / (counts - 1) / counts)
    return means, errors


def _ratio(means: Numbers, errors: Numbers) -> Numbers:
    """Means divided by their errors; 0 where both are 0 or unknown."""
    small = errors <= _TIE
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(small, np.where(means <= _TIE, 0.0, np.inf), means / errors)
    known: Numbers = np.where(np.isnan(found), 0.0, found)
    return known


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

    The variance of the true values is that of the measured ones minus the mean squared error
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
        measured: Its mean over all data, minus the mean of all; too high by luck.
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
