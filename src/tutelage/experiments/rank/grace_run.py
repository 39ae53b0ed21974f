"""GRACE of the teachers of a pool, from gradients of the student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tutelage.data import OK, Unscored, content_hash, write_table
from tutelage.data.schemas import GRADIENTS, STANDINGS
from tutelage.errors import DataError
from tutelage.experiments.rank.answer_pool import PoolAnswer
from tutelage.pipeline.run_dir import is_whole, sound
from tutelage.progress import Progress
from tutelage.student import StudentSettings, open_student

# ----------------------------------------------------------------------------------------------
# GRACE: does what a teacher's answers teach go together, and does it reach other questions?.
#
# Gradients of a part of the questions span directions; those of the others are measured in them.
# ----------------------------------------------------------------------------------------------


SPLITS = 10
TEST_FRACTION = 0.1
SMOOTHING = 1e-3
FEWEST_QUESTIONS = 10


def grace(
    gradients_N_D: NDArray[np.float64], questions_N: NDArray[np.int64], *, seed: int = 0
) -> NDArray[np.float64]:
    """GRACE of one teacher: the mean over splits. Lower is better.

    trace(inverse(S_train) S_test), with S the second moment of gradients: those of the training
    questions scaled to length 1, its eigenvalues smoothed by a thousandth of their mean; those of
    the other questions as they are. The result does not depend on the order of gradients.

    Source: In Good GRACEs (arXiv 2511.02833), as in the authors' code. Deviations: the projection
    (see `student.gradients`), inner weights instead of adapters, and as many dimensions as the
    caller projects to, which should be fewer than training gradients.

    Args:
        gradients_N_D: One a response.
        questions_N: The question of each; splits are by question.
        seed: Seed of the splits.

    Returns:
        float64, one score a split.

    Raises:
        DataError: Fewer than 10 questions, or a gradient that is zero or not finite.
    """
    names = np.unique(questions_N)
    if len(names) < FEWEST_QUESTIONS:
        raise DataError(f"GRACE needs at least {FEWEST_QUESTIONS} questions, got {len(names)}")
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


# ----------------------------------------------------------------------------------------------
# Grace run.
# ----------------------------------------------------------------------------------------------


class GraceSettings(BaseModel):
    """Settings of the GRACE score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: int = Field(
        default=64,
        ge=FEWEST_QUESTIONS,
        description="Questions of each teacher; each needs a backward pass.",
    )
    dimensions: int = Field(
        default=32,
        ge=2,
        description="Dimensions of the projected gradients; fewer than the questions.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Graced:
    """GRACE result of one teacher.

    Attributes:
        value: Mean over splits; lower is better. None with too few gradients.
        spread: Standard deviation over splits, which share their questions: not an interval.
        questions: With a gradient.
    """

    value: float | None
    spread: float | None
    questions: int


def grace_scores(
    answers: Sequence[PoolAnswer],
    settings: GraceSettings,
    *,
    student: StudentSettings,
    folder: Path,
    seed: int,
    progress: Progress,
) -> dict[str, Graced]:
    """GRACE of every teacher or source, on its first questions in the order of asking.

    Args:
        answers: In that order.
        settings: The settings.
        student: A small model: every answer costs a backward pass in float32.
        folder: Where gradients are kept; a second call computes only what is not there.
        seed: Seed of the projection and the splits.
        progress: Told of each answer.
    """
    from tutelage.student.gradients import projected_gradients

    asked: dict[str, dict[str, None]] = {}  # of each, since sources share no questions
    for answer in answers:
        asked.setdefault(answer.entrant, {})[answer.question] = None
    allowed = {name: set(list(found)[: settings.questions]) for name, found in asked.items()}
    wanted = [a for a in answers if a.question in allowed[a.entrant] and a.candidate.status == OK]
    wanted.sort(key=lambda a: a.entrant)  # stable: questions keep their order
    found: dict[str, Graced] = {}
    progress.begin("gradients", total=len(wanted), unit="answers")
    model = open_student(student)
    try:
        for entrant, group in groupby(wanted, key=lambda a: a.entrant):
            mine = list(group)
            ids = [a.candidate.candidate_id for a in mine]
            key = content_hash("gradients", model.fingerprint, ids, settings.dimensions, seed)
            path = folder / f"{key}.parquet"
            if not is_whole(path):
                folder.mkdir(parents=True, exist_ok=True)
                gradients = projected_gradients(
                    (a.candidate for a in mine),
                    student=model,
                    dimensions=settings.dimensions,
                    seed=seed,
                )
                rows = []
                for answer, gradient in zip(mine, gradients, strict=True):
                    rows.append(_row(answer, gradient))
                    progress.advance()
                write_table(path, pa.Table.from_pylist(rows, schema=GRADIENTS))
            else:
                progress.advance(len(mine))
            found[entrant] = _graced(pq.read_table(sound(path)), seed=seed)
    finally:
        model.close()
    progress.end()
    return found


def _row(answer: PoolAnswer, gradient: Any) -> dict[str, Any]:
    failed = isinstance(gradient, Unscored)
    return {
        "question": answer.question,
        "candidate_id": answer.candidate.candidate_id,
        "status": gradient.reason if failed else OK,
        "gradient": None if failed else gradient.tolist(),
    }


def _graced(table: pa.Table, *, seed: int) -> Graced:
    rows = [row for row in table.to_pylist() if row["gradient"] is not None]
    rows = [row for row in rows if any(row["gradient"])]
    names = sorted({row["question"] for row in rows})
    if len(names) < FEWEST_QUESTIONS:
        return Graced(value=None, spread=None, questions=len(names))
    place = {name: index for index, name in enumerate(names)}
    scores = grace(
        np.array([row["gradient"] for row in rows], dtype=np.float64),
        np.array([place[row["question"]] for row in rows]),
        seed=seed,
    )
    return Graced(
        value=float(scores.mean()), spread=float(scores.std(ddof=1)), questions=len(names)
    )


def with_grace(standings: pa.Table, scores: Mapping[str, Graced]) -> pa.Table:
    """Standings with rows for the predictor `grace`: value and rank, without an interval."""
    known = {name: g.value for name, g in scores.items() if g.value is not None}
    ordered = sorted(scores, key=lambda name: (name not in known, known.get(name, 0.0), name))
    rows = [
        {
            "domain": "all",
            "predictor": "grace",
            "entrant": name,
            "better": "lower",
            "value": known.get(name),
            "rank": 1 + sum(v < known[name] for v in known.values()) if name in known else None,
            "questions": scores[name].questions,
        }
        for name in ordered
    ]
    return pa.concat_tables([standings, pa.Table.from_pylist(rows, schema=STANDINGS)])
