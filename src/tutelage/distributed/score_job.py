"""Score stage on many workers: chunks of candidates are sent out, their rows come back.

    candidates --> chunks (Parquet) --> Ray Data --> parts (Parquet) --> rows in order
    (this process)                   (a pool of workers)              (this process)

A chunk contains exactly the candidates that the student in this process would plan together, so a
worker computes the same batches and gives the same numbers. Existing parts are not computed again,
so an interrupted job resumes. A worker that is killed is restarted and processes its chunk again;
the finished batches of that chunk are in the cache.
"""

import logging
import shutil
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage import errors
from tutelage.data import OK, Candidate, content_hash, write_table
from tutelage.data.schemas import CANDIDATES, CHUNK_REPORT, candidate_to_row, candidates_from_table
from tutelage.data.token_table import arrays_of
from tutelage.distributed.ray_tasks import joined, opens_on_ray, worker_environment
from tutelage.errors import RunError, TutelageError
from tutelage.models import resolve_device, resolve_dtype
from tutelage.pipeline.config import RaySettings, ScoreSettings
from tutelage.pipeline.resources import OpensTeacher, Reader
from tutelage.pipeline.score_stage import Scorer, score_candidates, stored_schema
from tutelage.progress import Progress
from tutelage.student import Statistics, StudentSettings, chunks_of, open_student

# What one worker does: a student of its own that reads whole chunks.
#
# This file imports nothing of Ray, so that what a worker computes can be tested without it.


LIVES = 3
"""Workers that one chunk may crash before its candidates are given up."""

GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFolder:
    """Folder of chunks and parts during a job, visible to the caller and all workers.

    Attributes:
        root: The folder.
    """

    root: Path

    def create(self) -> None:
        """Create missing folders, and reset the crash counts of an interrupted job."""
        for folder in (self.root / "chunks", self.root / "parts"):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.root / "started", ignore_errors=True)
        (self.root / "started").mkdir()

    def remove(self) -> None:
        """Remove the whole folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    def chunk(self, name: str) -> Path:
        """Path of a chunk: candidates that are read together."""
        return self.root / "chunks" / name

    def part(self, name: str) -> Path:
        """Path of a chunk's rows, written atomically."""
        return self.root / "parts" / name

    def started(self, name: str) -> Path:
        """Path of a chunk's crash count: one byte per worker that began and did not finish it."""
        return self.root / "started" / name


class ScoringWorker:
    """Worker that scores chunks; the student is loaded with the first one.

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
        at_least: Statistics that later stages need of the same readings.
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
        at_least: Statistics = "nll",
    ) -> None:
        self._settings = StudentSettings.model_validate(student)
        self._metrics = tuple(metrics)
        self._statistics = statistics
        self._fingerprint = fingerprint
        self._folder = folder
        self._open_student = open_student
        self._at_least: Statistics = at_least
        self._student: Reader | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score the candidates of some chunks.

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
        """Number of workers that began this chunk and did not finish it."""
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
            at_least=self._at_least,
        )
        schema = stored_schema(self._metrics, statistics=self._statistics)
        write_table(self._folder.part(name), pa.Table.from_pylist(list(rows), schema=schema))


FAILED = "student_failed"
_MANY_CHUNKS = 4
_NOT_IN_KEY = {"use_cache", "cache_path"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RayScoring:
    """One scoring job on many workers.

    Attributes:
        settings: Settings of the student.
        fingerprint: Fingerprint of the student.
        metrics: Names of per-candidate metrics.
        statistics: Also bring the token statistics.
        pool: How many workers, and where.
        folder: Where chunks and parts lie while it goes on.
        open_student: How a worker opens its student; it is sent there.
        at_least: Statistics that later stages need of the same readings.
    """

    settings: StudentSettings
    fingerprint: str
    metrics: tuple[str, ...]
    statistics: bool = False
    pool: RaySettings
    folder: WorkFolder
    open_student: Callable[[StudentSettings], Reader] = open_student
    at_least: Statistics = "nll"

    def computing(self, metrics: tuple[str, ...]) -> "RayScoring":
        """Same job for these metrics."""
        return replace(self, metrics=metrics)

    def scorer(
        self, candidates: Callable[[], Iterable[Candidate]], *, progress: Progress
    ) -> Scorer:
        """Scorer that scores every candidate on the workers.

        Args:
            candidates: Gives all of them, in the same order whenever it is called.
            progress: Told of each chunk that is back.

        Raises:
            TutelageError: As `work`.
        """
        progress.begin("score", total=None, unit="candidates")
        self.work(candidates(), progress=progress)
        progress.end()
        return self.rows

    def work(self, candidates: Iterable[Candidate], *, progress: Progress) -> int:
        """Score every candidate and store the parts.

        Args:
            candidates: Consumed once; never all in memory.
            progress: Told of each chunk that is back. A stage must have begun.

        Returns:
            How many candidates there are.

        Raises:
            TutelageError: What stopped a worker: the student cannot be loaded, for example. What
                is finished is kept.
        """
        self.folder.create()
        waiting: list[Path] = []
        total = 0
        for name, chunk in self._named(candidates):
            total += len(chunk)
            if self.folder.part(name).exists():
                progress.advance(len(chunk), note="from an earlier start")
                continue
            waiting.append(self.folder.chunk(name))
            rows = [candidate_to_row(candidate) for candidate in chunk]
            write_table(waiting[-1], pa.Table.from_pylist(rows, schema=CANDIDATES))
        if waiting:
            self._ask(waiting, progress=progress)
        return total

    def rows(self, candidates: Iterable[Candidate]) -> Iterator[dict[str, Any]]:
        """Rows of the scores table, in the order of the candidates.

        Args:
            candidates: The same that `work` was given, once more.
        """
        for name, chunk in self._named(candidates):
            part = self.folder.part(name)
            if part.exists():
                yield from arrays_of(pq.read_table(part))
            else:
                yield from (self._given_up(candidate) for candidate in chunk)

    def forget(self) -> None:
        """Remove chunks and parts, once their rows are in a table."""
        self.folder.remove()

    def _named(self, candidates: Iterable[Candidate]) -> Iterator[tuple[str, list[Candidate]]]:
        """Chunks with names derived from everything that decides their numbers."""
        for number, chunk in enumerate(chunks_of(candidates)):
            key = content_hash(
                self.fingerprint,
                self.settings.model_dump(mode="json", exclude=_NOT_IN_KEY),
                list(self.metrics),
                self.statistics,
                [[c.candidate_id, c.example_id, c.status] for c in chunk],
            )
            yield f"{number:06d}-{key}.parquet", chunk

    def _ask(self, chunks: Sequence[Path], *, progress: Progress) -> None:
        with joined(self.pool) as ray, closing(_reports(ray, self, chunks)) as reports:
            for report in reports:
                problem = report["problem"]
                if problem is not None and problem["kind"] != GAVE_UP:
                    raise _as_error(problem)
                progress.advance(report["rows"])

    def _given_up(self, candidate: Candidate) -> dict[str, Any]:
        reason, detail = FAILED, f"the worker that read it died {LIVES} times"
        if candidate.status != OK:
            reason, detail = candidate.status, candidate.detail or ""
        return {
            "candidate_id": candidate.candidate_id,
            "example_id": candidate.example_id,
            "student": self.fingerprint,
            "status": reason,
            "detail": detail,
        }


def ray_job(
    student: StudentSettings,
    reader: Reader,
    score: ScoreSettings,
    *,
    out: Path,
    open_student: Callable[[StudentSettings], Reader],
    at_least: Statistics = "nll",
) -> RayScoring:
    """Scoring job that writes `out`.

    What a student leaves to the machine is decided here, once: on machines that differ, workers
    would decide differently, and numbers of two dtypes must not meet in one table.

    Args:
        student: Settings of the student that each worker opens.
        reader: The student in this process.
        score: Settings of the scores.
        out: The table of scores.
        open_student: How a worker opens its student; it is sent there.
        at_least: Statistics that later stages need of the same readings.
    """
    if score.ray.worker_gpus and student.device == "auto":
        student = student.model_copy(update={"device": "cuda"})
    dtype = resolve_dtype(student, resolve_device(student))
    return RayScoring(
        settings=student.model_copy(update={"dtype": dtype}),
        fingerprint=reader.fingerprint,
        metrics=score.metrics,
        statistics=score.statistics,
        pool=score.ray,
        folder=WorkFolder(root=out.with_name(f".{out.name}.ray")),
        open_student=open_student,
        at_least=at_least,
    )


def _reports(
    ray: Any, job: RayScoring, chunks: Sequence[Path]
) -> Generator[dict[str, Any], None, None]:
    """Reports of the workers on each chunk, as they arrive."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    arguments = {
        "student": job.settings.model_dump(),
        "metrics": job.metrics,
        "statistics": job.statistics,
        "fingerprint": job.fingerprint,
        "folder": WorkFolder(root=job.folder.root.resolve()),
        "open_student": job.open_student,
        "at_least": job.at_least,
    }
    with ray.data.DataContext.current(context), _quiet():
        # Names, not rows: Ray joins small blocks of rows, and then one worker would get them all.
        scored = ray.data.from_items(
            [{"part": path.name} for path in chunks], override_num_blocks=len(chunks)
        ).map_batches(
            ScoringWorker,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs=arguments,
            compute=ray.data.ActorPoolStrategy(
                size=min(job.pool.workers, len(chunks)),
                max_tasks_in_flight_per_actor=_in_flight(len(chunks), job.pool.workers),
            ),
            num_cpus=job.pool.worker_cpus,
            num_gpus=job.pool.worker_gpus or None,
            runtime_env=worker_environment(job.pool),
        )
        try:
            found = iter(scored.iter_batches(batch_size=None, batch_format="pyarrow"))
            with closing(found) as blocks:
                for block in blocks:
                    yield from block.to_pylist()
        except ray.exceptions.RayError as error:
            raise RunError(
                f"the workers failed: {str(error).splitlines()[0]}",
                hint="the same command continues; `ray status` shows what the cluster has",
            ) from error


def _in_flight(chunks: int, workers: int) -> int:
    """Chunks that a worker has at a time, including the one it is reading.

    Two, so that it never waits for the next one; one where there are few, so that at the end no
    chunk waits for a busy worker while another is idle.
    """
    return 2 if chunks >= _MANY_CHUNKS * workers else 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Ray's warning about having fewer chunks than workers, as at every start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
        yield


def _as_error(problem: Mapping[str, Any]) -> Exception:
    kind = getattr(errors, problem["kind"] or "", None)
    if isinstance(kind, type) and issubclass(kind, TutelageError):
        return kind(problem["message"], hint=problem["hint"])
    return RuntimeError(f"a worker failed:\n{problem['message']}")


class RayWorkers:
    """Ray workers for scoring and local teachers; Ray is imported when the first job starts."""

    scoring_job = staticmethod(ray_job)

    def teacher_opener(self, pool: RaySettings) -> OpensTeacher:
        """Opener of teachers; those that are local models are spread over the pool."""
        return opens_on_ray(pool)
