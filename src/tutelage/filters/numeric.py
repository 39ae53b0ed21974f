"""One number for each candidate, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import OK
from tutelage.errors import DataError, SettingsError
from tutelage.filters.candidate_texts import Pool, compute

NOT_SCORED = "not_scored"
"""The reason where the scores table has no row for a candidate."""

NO_NUMBER = "no_number"
"""The reason where the row is there and its number is null or not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A number for each of N candidates, where there is one.

    Attributes:
        values_N: float64; only meaningful where `known_N`.
        known_N: Bool.
        reasons_N: Why a number is missing; empty where it is known.
        details_N: For people; text or None.
    """

    values_N: NDArray[np.float64]
    known_N: NDArray[np.bool_]
    reasons_N: Sequence[str]
    details_N: Sequence[str | None]


def numbers(
    values: Sequence[float | None] | NDArray[np.float64],
    *,
    missing: str | Sequence[str] = NO_NUMBER,
    details: Sequence[str | None] | None = None,
) -> Numbers:
    """Make numbers of values; None, NaN and infinities are missing.

    Args:
        values: One for each candidate.
        missing: The reason of those that are missing, or one reason for each candidate.
        details: One for each candidate.
    """
    raw = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    known = np.isfinite(raw)
    why = [missing] * len(raw) if isinstance(missing, str) else missing
    return Numbers(
        values_N=np.where(known, raw, 0.0),
        known_N=known,
        reasons_N=["" if there else w for there, w in zip(known.tolist(), why, strict=True)],
        details_N=[None] * len(raw) if details is None else details,
    )


def column_numbers(
    pool: Pool, column: str, *, scores: pa.Table | None, student: str | None = None
) -> Numbers:
    """Look a column up: in the scores table by candidate id, else in the candidates table.

    Args:
        pool: The candidates.
        column: A column of numbers.
        scores: The scores table, if there is one.
        student: Whose scores, where there are several.

    Raises:
        SettingsError: No table has the column, or the student is not in the scores table or
            must be named.
        DataError: The scores table has two rows for one candidate.
    """
    if scores is not None and column in scores.column_names:
        return _from_scores(pool, column, _of_student(scores, student))
    if column in pool.table.column_names:
        return numbers(_floats(pool.table, column))
    known = [] if scores is None else scores.column_names
    raise SettingsError(
        f"no column {column!r} in the scores table "
        f"({', '.join(known) if known else 'there is none'}) or in the candidates table "
        f"({', '.join(pool.table.column_names)})",
        hint="score the candidates with that metric first, or name another column",
    )


def _from_scores(pool: Pool, column: str, scores: pa.Table) -> Numbers:
    scored_ids = scores["candidate_id"].combine_chunks()
    if compute.count_distinct(scored_ids).as_py() != len(scored_ids):
        raise DataError(
            "the scores table has two rows for one candidate",
            hint="a scores table has one row for each candidate and student",
        )
    at = compute.index_in(pa.array(pool.candidate_ids, pa.string()), value_set=scored_ids)
    rows = scores.take(at)
    missing = [NO_NUMBER] * len(pool)
    if "status" in scores.column_names:
        statuses: list[Any] = rows["status"].to_pylist()
        missing = [NO_NUMBER if s == OK else str(s) for s in statuses]
    absent = np.asarray(at.is_null())
    missing = [
        NOT_SCORED if gone else why for gone, why in zip(absent.tolist(), missing, strict=True)
    ]
    return numbers(_floats(rows, column), missing=missing)


def _of_student(scores: pa.Table, student: str | None) -> pa.Table:
    if "student" not in scores.column_names:
        return scores
    students: list[str] = sorted(s for s in scores["student"].unique().to_pylist() if s)
    if student is None and len(students) <= 1:
        return scores
    if student is None or student not in students:
        what = "holds scores of several students" if student is None else f"has no {student!r}"
        raise SettingsError(
            f"the scores table {what}: {', '.join(students)}",
            hint="name one of them as the filter's `student`",
        )
    chosen: pa.Table = scores.filter(compute.equal(scores["student"], student))
    return chosen


def _floats(table: pa.Table, column: str) -> Sequence[float | None]:
    kind = table.schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise SettingsError(f"column {column!r} holds {kind}, not numbers")
    values: Any = table[column].cast(pa.float64()).to_pylist()
    return list(values)
