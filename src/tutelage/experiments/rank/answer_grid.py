"""Grid of answers: entrants by questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.experiments.rank.predictors import Predictor
from tutelage.stats.intervals import Numbers

KEYS = ("question", "entrant")
DOMAIN = "domain"
ALL = "all"
"""Domain that covers all questions."""

Places: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Numbers of answers, E entrants by Q questions.

    Attributes:
        entrants: Their names, sorted.
        questions: Their ids, sorted.
        domains: Domains of each question; empty text where it has none.
        numbers: By column, float64 E by Q: the mean over a question's answers, NaN where the
            entrant has no answer with a number.
        answered: Answers by entrant, with or without numbers.
    """

    entrants: tuple[str, ...]
    questions: tuple[str, ...]
    domains: tuple[str, ...]
    numbers: Mapping[str, Numbers]
    answered: Places

    def grid(self, predictor: Predictor) -> tuple[list[Numbers], Flags]:
        """Columns of a predictor, and a mask of where all of them exist; 0 elsewhere."""
        raw = [self.numbers[name] for name in predictor.columns]
        there = np.logical_and.reduce([np.isfinite(values) for values in raw])
        return [np.where(there, values, 0.0) for values in raw], there

    def only(self, keep_Q: Flags) -> "Cells":
        """Same entrants over some of the questions."""
        places = np.flatnonzero(keep_Q)
        return Cells(
            entrants=self.entrants,
            questions=tuple(self.questions[i] for i in places),
            domains=tuple(self.domains[i] for i in places),
            numbers={name: values[:, places] for name, values in self.numbers.items()},
            answered=self.answered,
        )


def cells_of(answers: pa.Table, *, columns: Sequence[str]) -> Cells:
    """Grid of a table of answers; the order of rows and columns does not matter.

    Args:
        answers: One row an answer, with `question`, `entrant`, perhaps `domain`, and numbers,
            null where an answer has none.
        columns: Which numbers.

    Raises:
        DataError: There is no answer, or a column is missing.
    """
    missing = [n for n in (*KEYS, *columns) if n not in answers.column_names]
    if missing:
        raise DataError(
            f"the answers have no column {missing[0]!r}",
            hint=f"they have {', '.join(answers.column_names)}",
        )
    if not answers.num_rows:
        raise DataError("there is no answer to rank by", hint="is the pool empty?")
    questions, q_of = _numbered(answers["question"])
    entrants, e_of = _numbered(answers["entrant"])
    shape = (len(entrants), len(questions))
    numbers = {
        name: _means(answers[name].cast(pa.float64()).to_numpy(), e_of, q_of, shape)
        for name in columns
    }
    domains = [""] * len(questions)
    if DOMAIN in answers.column_names:
        for place, domain in zip(q_of.tolist(), answers[DOMAIN].to_pylist(), strict=True):
            domains[place] = domain or ""
    return Cells(
        entrants=entrants,
        questions=questions,
        domains=tuple(domains),
        numbers=numbers,
        answered=np.bincount(e_of, minlength=len(entrants)),
    )


def _numbered(column: Any) -> tuple[tuple[str, ...], Places]:
    values = [str(value) for value in column.to_pylist()]
    names = sorted(set(values))
    place = {name: index for index, name in enumerate(names)}
    return tuple(names), np.array([place[value] for value in values], dtype=np.int64)


def _means(values: Numbers, e_of: Places, q_of: Places, shape: tuple[int, int]) -> Numbers:
    there = np.isfinite(values)
    flat = e_of[there] * shape[1] + q_of[there]
    size = shape[0] * shape[1]
    # Sorted, so that the sum of several answers does not depend on the order of rows.
    order = np.lexsort((values[there], flat))
    sums = np.bincount(flat[order], weights=values[there][order], minlength=size)
    counts = np.bincount(flat, minlength=size)
    with np.errstate(invalid="ignore"):
        means: Numbers = np.where(counts > 0, sums / counts, np.nan).reshape(shape)
    return means
