"""Sequential stopping: a test of the first place that is valid at any number of looks.

The differences between teachers are followed by a confidence sequence (`stats.intervals`), which
holds at all looks together. A ratio of means is followed by its linearisation: the terms are how
far each question moves the ratio (influence values). E entrants share alpha by Bonferroni over
E - 1 rivals; a wrong first place, or any first place where all are equal, then comes up with a
probability of at most alpha in large samples. The first looks are skipped, for which "in large
samples" would be a joke.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import SETTLING
from tutelage.errors import SettingsError
from tutelage.experiments.rank.answer_grid import Cells, Places, cells_of
from tutelage.experiments.rank.predictors import Predictor
from tutelage.stats.intervals import Numbers, surely_above_zero

FEWEST_QUESTIONS = 25
"""Least number of questions before a conclusion: the sequence is asymptotic."""
TUNED_FOR_QUESTIONS = 150
"""Number of questions at which the sequence is tightest; it is valid at all counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """Settings of the test of the first place.

    Attributes:
        level: The probability of never claiming a wrong first place, in (0, 1).
        fewest: No claim before so many questions.
        tuned_for: Where the sequence is tightest.
    """

    level: float = 0.95
    fewest: int = FEWEST_QUESTIONS
    tuned_for: int = TUNED_FOR_QUESTIONS

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise SettingsError(f"level {self.level} must lie between 0 and 1")
        if self.fewest < 2 or self.tuned_for < 1:  # noqa: PLR2004  (a spread needs two)
            raise SettingsError("the watch needs at least 2 questions")


def asking_order(questions: Sequence[str], *, seed: int) -> list[str]:
    """Order of questions that depends only on their ids and the seed."""

    def key(question: str) -> bytes:
        text = f"{seed} {question}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16).digest()

    return sorted(questions, key=key)


def first_place_by_questions(
    answers: pa.Table,
    predictor: Predictor,
    *,
    looks: Sequence[int],
    settings: WatchSettings | None = None,
    seed: int = 0,
) -> pa.Table:
    """Leader after each number of questions, and the entrants that may still be first.

    An entrant that was surely worse than another at an earlier look stays out. One that has not a
    single number after `fewest` questions is out as long as it has none.

    Args:
        answers: As for `cells_of`; the entrants answer the same questions.
        predictor: What is ranked by.
        looks: After how many questions; ascending.
        settings: How surely.
        seed: Seed of the order of questions.

    Returns:
        The SETTLING schema, one row a look that there are questions for.
    """
    settings = settings or WatchSettings()
    cells = cells_of(answers, columns=predictor.columns)
    place = {question: index for index, question in enumerate(cells.questions)}
    order = np.array([place[q] for q in asking_order(cells.questions, seed=seed)])
    out: set[int] = set()
    rows = []
    for look in looks:
        if look > len(order):
            break
        row, out = _look(cells, predictor, order[:look], out, settings)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SETTLING)


def still_running(
    answers: pa.Table, predictor: Predictor, *, settings: WatchSettings | None = None
) -> tuple[str, ...]:
    """Entrants that may still be first, given all answers so far; sorted.

    Those without a single number are among them until `fewest` questions are answered.

    Args:
        answers: Table of answers.
        predictor: The deciding predictor.
        settings: Settings of the test; None for the default.

    Raises:
        DataError: There is no answer.
    """
    cells = cells_of(answers, columns=predictor.columns)
    every = np.arange(len(cells.questions))
    row, _ = _look(cells, predictor, every, set(), settings or WatchSettings())
    return tuple(row["in_running"])


def _look(
    cells: Cells, predictor: Predictor, places: Places, out: set[int], settings: WatchSettings
) -> tuple[dict[str, Any], set[int]]:
    columns, there = cells.grid(predictor)
    columns = [values[:, places] for values in columns]
    there = there[:, places]
    value_E, influence_E_T = influences(columns, there, predictor)
    better_E = predictor.sign * value_E
    known = [e for e in range(len(better_E)) if np.isfinite(better_E[e])]
    # Who has no number after that many questions is not first by it; before, that may be chance.
    entrants = range(len(cells.entrants)) if len(places) < settings.fewest else known
    if not known:
        names = [cells.entrants[e] for e in entrants]
        return {"questions": len(places), "in_running": names, "settled": False}, out
    alpha = (1 - settings.level) / max(1, len(cells.entrants) - 1)
    out = set(out)
    for worse in known:
        if worse in out:
            continue
        # Only those still running compete, so that the last one can never go out.
        for rival in (e for e in known if e not in out):
            if better_E[rival] > better_E[worse] and surely_above_zero(
                (predictor.sign * (influence_E_T[rival] - influence_E_T[worse]))[
                    there[rival] & there[worse]
                ],
                alpha=alpha,
                fewest=settings.fewest,
                tuned_for=settings.tuned_for,
            ):
                out.add(worse)
                break
    running = [e for e in entrants if e not in out]
    leader = max(set(known) & set(running), key=lambda e: (better_E[e], -e))
    row = {
        "questions": len(places),
        "leader": cells.entrants[leader],
        "value": float(value_E[leader]),
        "in_running": [cells.entrants[e] for e in running],
        "settled": running == [leader],
    }
    return row, out


def influences(
    columns: Sequence[Numbers], there: Any, predictor: Predictor
) -> tuple[Numbers, Numbers]:
    """Predictor of each entrant, and the influence of each question on it.

    Args:
        columns: E by T, 0 where there is nothing.
        there: E by T, where all columns have a number.
        predictor: What is computed.

    Returns:
        The value of each entrant; and E by T the terms whose mean over the entrant's questions is
        its value: value + slope * (column - mean), NaN where there is nothing.
    """
    counts_E = there.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [values.sum(axis=1) / counts_E for values in columns]
    value_E = predictor.of_means(means)
    terms = np.full(there.shape, np.nan)
    for e in np.flatnonzero(np.isfinite(value_E)):
        at = [float(mean[e]) for mean in means]
        moved = sum(
            slope * (values[e] - mean)
            for slope, values, mean in zip(predictor.slopes(at), columns, at, strict=True)
        )
        terms[e] = np.where(there[e], value_E[e] + moved, np.nan)
    return value_E, terms
