"""Logistic regression of rates on standardised features, with a small ridge, by Newton's method.

It predicts how often a student is right from what it found surprising. Predictions for examples
that were attempted are made out of fold: by a fit that has not seen them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.data import content_hash
from tutelage.stats.intervals import Numbers

FOLDS = 5
RIDGE = 1.0
STEPS = 50
MIN_EXAMPLES = 10
"""Fewest attempted examples with which a prediction is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted logistic regression.

    Attributes:
        means_F: Means of the features, over the examples it was fitted to.
        scales_F: Their standard deviations; 1 where a feature is constant.
        weights_F: In standard deviations.
        bias: The log-odds at the means.
    """

    means_F: Numbers
    scales_F: Numbers
    weights_F: Numbers
    bias: float

    def rates(self, features_N_F: Numbers) -> Numbers:
        """Predicted pass rates, each in (0, 1)."""
        z = (features_N_F - self.means_F) / self.scales_F @ self.weights_F + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))), dtype=np.float64)


def fit(features_N_F: Numbers, right_N: Numbers, attempts_N: Numbers) -> Fit:
    """Fit a logistic regression to pass rates.

    Args:
        features_N_F: Finite; one row an example.
        right_N: Right attempts, in [0, attempts].
        attempts_N: Attempts, above 0.
    """
    means = features_N_F.mean(axis=0)
    scales = features_N_F.std(axis=0)
    scales[scales == 0] = 1.0
    rows = np.column_stack([np.ones(len(right_N)), (features_N_F - means) / scales])
    ridge = np.diag([1e-6, *[RIDGE] * features_N_F.shape[1]])
    # Half a pass and half a failure more than were seen keep the bias finite.
    total = attempts_N.sum()
    start = (right_N.sum() + 0.5) / (total + 1)
    weights = np.zeros(rows.shape[1])
    weights[0] = np.log(start / (1 - start))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (right_N - attempts_N * p) - ridge @ weights
        bend = (rows * (attempts_N * p * (1 - p))[:, None]).T @ rows + ridge
        step = np.linalg.solve(bend, slope)
        largest = np.abs(step).max()
        weights = weights + step * min(1.0, 3.0 / max(largest, 1e-12))
        if largest < 1e-9:  # noqa: PLR2004  (as good as it gets in float64)
            break
    return Fit(means_F=means, scales_F=scales, weights_F=weights[1:], bias=float(weights[0]))


def predict_out_of_fold(
    example_ids: Sequence[str],
    features_N_F: Numbers,
    right_N: Numbers,
    attempts_N: Numbers,
) -> Numbers | None:
    """Out-of-fold predictions of each example's pass rate.

    Args:
        example_ids: Decide the fold, so that the order of examples does not matter.
        features_N_F: As for `fit`.
        right_N: As for `fit`.
        attempts_N: As for `fit`.

    Returns:
        One rate an example in (0, 1), or None where there are too few examples.
    """
    if len(example_ids) < MIN_EXAMPLES:
        return None
    by_hash = sorted(range(len(example_ids)), key=lambda i: content_hash("fold", example_ids[i]))
    fold_N = np.empty(len(example_ids), dtype=np.int64)
    fold_N[by_hash] = np.arange(len(example_ids)) % FOLDS
    rates = np.empty(len(example_ids))
    for fold in range(FOLDS):
        held_out = fold_N == fold
        seen = ~held_out
        fitted = fit(features_N_F[seen], right_N[seen], attempts_N[seen])
        rates[held_out] = fitted.rates(features_N_F[held_out])
    return rates
