"""GRACE: does what a teacher's answers teach go together, and does it reach other questions?

Gradients of a part of the questions span directions; those of the others are measured in them.
"""

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

SPLITS = 10
TEST_FRACTION = 0.1
SMOOTHING = 1e-3
FEWEST_QUESTIONS = 10


def grace(
    gradients_N_D: NDArray[np.float64], questions_N: NDArray[np.int64], *, seed: int = 0
) -> NDArray[np.float64]:
    """GRACE of one teacher, split by split; its score is the mean. Lower is better.

    trace(inverse(S_train) S_test), with S the second moment of gradients: those of the training
    questions scaled to length 1, its eigenvalues smoothed by a thousandth of their mean; those of
    the other questions as they are. The result does not depend on the order of gradients.

    Source: In Good GRACEs (arXiv 2511.02833), as in the authors' code. Deviations: the projection
    (see `student.gradients`), inner weights instead of adapters, and as many dimensions as the
    caller projects to, which should be fewer than training gradients.

    Args:
        gradients_N_D: One a response.
        questions_N: The question of each; splits are by question.
        seed: Of the splits.

    Returns:
        float64, one score a split.

    Raises:
        DataError: Fewer than 10 questions, or a gradient that is zero or not finite.
    """
    names = np.unique(questions_N)
    if len(names) < FEWEST_QUESTIONS:
        raise DataError(f"GRACE needs {FEWEST_QUESTIONS} questions at least, got {len(names)}")
    lengths_N = np.linalg.norm(gradients_N_D, axis=1)
    if not np.isfinite(gradients_N_D).all() or not (lengths_N > 0).all():
        raise DataError("a gradient is zero or not finite", hint="leave such answers out")
    order = np.lexsort((*gradients_N_D.T, questions_N))
    gradients, questions, lengths = gradients_N_D[order], questions_N[order], lengths_N[order]
    generator = np.random.default_rng(seed)
    tested = max(1, round(TEST_FRACTION * len(names)))
    scores = []
    for _ in range(SPLITS):
        test = np.isin(questions, generator.permutation(names)[:tested])
        train_N_D = gradients[~test] / lengths[~test, None]
        values_D, vectors_D_D = np.linalg.eigh(train_N_D.T @ train_N_D / len(train_N_D))
        smoothed_D = (1 - SMOOTHING) * np.maximum(values_D, 0.0) + SMOOTHING * values_D.mean()
        along_N_D = gradients[test] @ vectors_D_D
        scores.append(float(((along_N_D**2) / smoothed_D).sum(axis=1).mean()))
    return np.array(scores)
