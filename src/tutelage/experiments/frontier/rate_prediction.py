"""Pass rates predicted from the token statistics of solutions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import OK, Attempts
from tutelage.stats import Estimate, Resampling, fit, predict_out_of_fold
from tutelage.stats.rank_correlation import spearman

FEATURES = ("nll_response_given_instruction", "ifd", "mean_rank", "rsr")
"""Token statistics that predict a pass rate, in addition to the length."""
LENGTHS = ("response_tokens",)


def features_of(scores: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Features of each complete example: four statistics and the log of the length."""
    found = {}
    for row in scores.to_pylist():
        values = [row[name] for name in (*FEATURES, *LENGTHS)]
        if row["status"] == OK and all(value is not None for value in values):
            numbers = [float(value) for value in values[: len(FEATURES)]]
            lengths = [math.log(max(1, value)) for value in values[len(FEATURES) :]]
            found[row["example_id"]] = np.array([*numbers, *lengths])
    return found


def predicted_rates(
    attempts: Mapping[str, Attempts], features: Mapping[str, NDArray[np.float64]]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Predicted pass rates, out of fold for attempted examples.

    Args:
        attempts: By example.
        features: By example.

    Returns:
        A rate for each example with features, where there are attempts enough to learn from; and
        how well the order of predictions agrees with the order of the measured rates.
    """
    known = sorted(e for e, a in attempts.items() if e in features and a.checked)
    measured = {e: attempts[e] for e in known}
    right = np.array([a.sampled_right + a.greedy_right for a in measured.values()], float)
    total = np.array([a.checked for a in measured.values()], float)
    rows = np.array([features[e] for e in known]) if known else np.zeros((0, 1))
    out_of_fold = predict_out_of_fold(known, rows, right, total)
    if out_of_fold is None:
        return {}, {"examples": len(known), "spearman": None}
    rates = right / total
    accuracy = {
        "examples": len(known),
        "spearman": correlation(known, out_of_fold, rates),
        "by_feature": {
            name: correlation(known, rows[:, index], rates)
            for index, name in enumerate((*FEATURES, *(f"log {n}" for n in LENGTHS)))
        },
        "mean_predicted": float(out_of_fold.mean()),
        "mean_measured": float(rates.mean()),
    }
    predicted = dict(zip(known, out_of_fold.tolist(), strict=True))
    others = sorted(set(features) - set(known))
    if others:
        whole = fit(rows, right, total)
        guessed = whole.rates(np.array([features[e] for e in others]))
        predicted |= dict(zip(others, guessed.tolist(), strict=True))
    return predicted, accuracy


def correlation(
    keys: Sequence[str], a: NDArray[np.float64], b: NDArray[np.float64], *, seed: int = 0
) -> dict[str, float | None] | None:
    """Spearman's rank correlation with a 95 % bootstrap interval over examples, or None.

    Args:
        keys: Example ids, which the bootstrap resamples.
        a: Values of the first variable.
        b: Values of the second.
        seed: Seed of the bootstrap.
    """

    def statistic(weights: NDArray[np.float64]) -> float | None:
        times = weights.astype(np.int64)
        return spearman(np.repeat(a, times), np.repeat(b, times))

    found = Resampling(keys, seed=seed).bootstrap(statistic, keys)
    if found is None:
        return None
    estimate: Estimate = found.estimate()
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
