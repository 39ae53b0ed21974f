"""What one worker does: a student of its own that reads whole chunks.

This file imports nothing of Ray, so that what a worker computes can be tested without it.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data.tables import CANDIDATES, candidates_from_table
from tutelage.errors import TutelageError
from tutelage.runs.opening import Reader
from tutelage.runs.scoring import score_candidates, stored_schema
from tutelage.student import StudentSettings

CHUNK = pa.field("chunk", pa.int64())
CHUNK_ROWS = pa.field("chunk_rows", pa.int64())
PROBLEM = pa.struct(
    [
        ("kind", pa.string()),  # the name of one of our errors; null for a bug
        ("message", pa.string()),
        ("hint", pa.string()),
    ]
)


def chunks_schema() -> pa.Schema:
    """The candidates table, with the number and the size of the chunk that a row belongs to."""
    return pa.schema([CHUNK, CHUNK_ROWS, *CANDIDATES])


def scored_schema(metrics: Sequence[str], *, statistics: bool) -> pa.Schema:
    """What comes back: the rows of a chunk, or one row with the problem that kept it from any."""
    return pa.schema(
        [CHUNK, pa.field("problem", PROBLEM), *stored_schema(metrics, statistics=statistics)]
    )


def by_chunk(block: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each chunk in a block, the chunks in ascending order."""
    for number in sorted({int(n) for n in block["chunk"].to_numpy()}):
        yield number, block.filter(pc.field("chunk") == number)


class ScoringWorker:
    """Scores the chunks it is given; the student is loaded with the first one.

    Args:
        student: Settings of the student.
        metrics: Names of per-candidate metrics.
        statistics: Also give the token statistics.
        fingerprint: What the student must be: the same path may lead to another model on
            another machine.
        open_student: How the student is opened.
    """

    def __init__(
        self,
        *,
        student: Mapping[str, Any],
        metrics: Sequence[str],
        statistics: bool,
        fingerprint: str,
        open_student: Callable[[StudentSettings], Reader],
    ) -> None:
        self._settings = StudentSettings.model_validate(student)
        self._metrics = tuple(metrics)
        self._statistics = statistics
        self._fingerprint = fingerprint
        self._open_student = open_student
        self._student: Reader | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score every chunk of a block.

        Args:
            block: Rows of `chunks_schema`; each chunk is in it as a whole or not at all.

        Returns:
            Rows of `scored_schema`, the chunks in ascending order.
        """
        return pa.concat_tables(self._scored(n, chunk) for n, chunk in by_chunk(block))

    def _scored(self, number: int, chunk: pa.Table) -> pa.Table:
        schema = scored_schema(self._metrics, statistics=self._statistics)
        try:
            rows = self._rows(number, chunk)
        except TutelageError as error:
            rows = [_problem(number, type(error).__name__, str(error), error.hint)]
        except Exception:  # noqa: BLE001  (the caller raises it again; only a death is retried)
            rows = [_problem(number, None, traceback.format_exc(), None)]
        return pa.Table.from_pylist(rows, schema=schema)

    def _rows(self, number: int, chunk: pa.Table) -> list[dict[str, Any]]:
        if chunk["chunk_rows"][0].as_py() != chunk.num_rows:
            raise RuntimeError(f"chunk {number} has arrived in pieces")
        if self._student is None:
            student = self._open_student(self._settings)
            if student.fingerprint != self._fingerprint:
                raise RuntimeError(
                    f"{self._settings.model} is another model on this machine: fingerprint "
                    f"{student.fingerprint}, expected {self._fingerprint}"
                )
            self._student = student
        scored = score_candidates(
            candidates_from_table(chunk),
            student=self._student,
            metrics=self._metrics,
            statistics=self._statistics,
        )
        return [{**row, "chunk": number} for row in scored]


def _problem(number: int, kind: str | None, message: str, hint: str | None) -> dict[str, Any]:
    return {"chunk": number, "problem": {"kind": kind, "message": message, "hint": hint}}
