"""What one worker does: a student of its own that reads whole chunks.

This file imports nothing of Ray, so that what a worker computes can be tested without it.
"""

import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import write_table
from tutelage.data.schemas import CHUNK_REPORT, candidates_from_table
from tutelage.errors import TutelageError
from tutelage.pipeline.resources import Reader
from tutelage.pipeline.score_stage import score_candidates, stored_schema
from tutelage.student import StudentSettings

LIVES = 3
"""How many workers a chunk may cost before its candidates are given up."""

GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFolder:
    """Where chunks and parts lie while a job goes on; the caller and all workers see it.

    Attributes:
        root: The folder.
    """

    root: Path

    def create(self) -> None:
        """Make what is not there, and forget the deaths of a job that was stopped."""
        for folder in (self.root / "chunks", self.root / "parts"):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.root / "started", ignore_errors=True)
        (self.root / "started").mkdir()

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def chunk(self, name: str) -> Path:
        """Candidates that are read together."""
        return self.root / "chunks" / name

    def part(self, name: str) -> Path:
        """Their rows, whole or not there."""
        return self.root / "parts" / name

    def started(self, name: str) -> Path:
        """One byte for each worker that began with this chunk and has not come to its end."""
        return self.root / "started" / name


class ScoringWorker:
    """Scores the chunks it is given; the student is loaded with the first one.

    Ray starts a worker that died again and hands it the same chunk, for ever. So each start of a
    chunk is noted in a file, and one that has cost too many lives is handed back.

    Args:
        student: Settings of the student.
        metrics: Names of per-candidate metrics.
        statistics: Also give the token statistics.
        fingerprint: What the student must be: the same path may lead to another model on
            another machine.
        folder: Where the parts go.
        open_student: How the student is opened.
    """

    def __init__(
        self,
        *,
        student: Mapping[str, Any],
        metrics: Sequence[str],
        statistics: bool,
        fingerprint: str,
        folder: WorkFolder,
        open_student: Callable[[StudentSettings], Reader],
    ) -> None:
        self._settings = StudentSettings.model_validate(student)
        self._metrics = tuple(metrics)
        self._statistics = statistics
        self._fingerprint = fingerprint
        self._folder = folder
        self._open_student = open_student
        self._student: Reader | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score some chunks.

        Args:
            block: In its column `part` the names of chunks.

        Returns:
            A row of `CHUNK_REPORT` for each chunk.
        """
        reports = [self._report(str(name)) for name in block["part"].to_pylist()]
        return pa.Table.from_pylist(reports, schema=CHUNK_REPORT)

    def _report(self, name: str) -> dict[str, Any]:
        chunk = pq.read_table(self._folder.chunk(name))
        if self._folder.part(name).exists():  # it was done when the worker that did it died
            return {"part": name, "rows": chunk.num_rows}
        problem = {"kind": None, "message": "", "hint": None}
        try:
            if self._lives_lost(name) >= LIVES:
                return {"part": name, "rows": 0, "problem": problem | {"kind": GAVE_UP}}
            self._score(name, chunk)
        except TutelageError as error:
            problem |= {"kind": type(error).__name__, "message": str(error), "hint": error.hint}
            return {"part": name, "rows": 0, "problem": problem}
        except Exception:  # noqa: BLE001  (the caller raises it again; only a death is retried)
            problem |= {"message": traceback.format_exc()}
            return {"part": name, "rows": 0, "problem": problem}
        self._folder.started(name).unlink(missing_ok=True)
        return {"part": name, "rows": chunk.num_rows}

    def _lives_lost(self, name: str) -> int:
        """How many workers have begun with this chunk and not come to its end."""
        with self._folder.started(name).open("ab") as file:
            file.write(b".")
            return file.tell() - 1

    def _score(self, name: str, chunk: pa.Table) -> None:
        if self._student is None:
            student = self._open_student(self._settings)
            if student.fingerprint != self._fingerprint:
                raise RuntimeError(
                    f"{self._settings.model} is another model on this machine: fingerprint "
                    f"{student.fingerprint}, expected {self._fingerprint}"
                )
            self._student = student
        rows = score_candidates(
            candidates_from_table(chunk),
            student=self._student,
            metrics=self._metrics,
            statistics=self._statistics,
        )
        schema = stored_schema(self._metrics, statistics=self._statistics)
        write_table(self._folder.part(name), pa.Table.from_pylist(list(rows), schema=schema))
