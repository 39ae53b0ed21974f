"""The score stage on many workers: chunks of candidates out, their rows back.

    candidates --> chunks (Parquet) --> Ray Data --> workers --> parts (Parquet) --> rows in order
    (this process)                     (a pool of student actors)  (this process)

A chunk is exactly what the student in this process would plan together, so that a worker reads the
same batches and gives the same numbers. Each part is durable when it arrives; what is there already
is not asked for again, so a job that was killed goes on where it was. A worker that is killed is
started again and reads its chunk again; the batches it had finished wait in the cache.
"""

import logging
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage import errors
from tutelage.data import OK, Candidate, content_hash, write_table
from tutelage.data.tables import candidate_to_row
from tutelage.data.token_table import arrays_of
from tutelage.errors import RunError, TutelageError
from tutelage.runs.opening import Doors, Reader
from tutelage.runs.progress import Progress
from tutelage.runs.ray_cluster import joined, worker_environment
from tutelage.runs.ray_settings import RaySettings
from tutelage.runs.ray_worker import ScoringWorker, by_chunk, chunks_schema, scored_schema
from tutelage.runs.scoring import Scorer
from tutelage.runs.settings import ScoreSettings
from tutelage.student import (
    StudentSettings,
    chunks_of,
    open_student,
    resolve_device,
    resolve_dtype,
)

ATTEMPTS = 3
"""How often a chunk may cost a worker its life before its candidates are given up."""

FAILED = "student_failed"
_NOT_IN_KEY = {"use_cache", "cache_path"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RayScoring:
    """One scoring job for many workers.

    Attributes:
        settings: Of the student.
        fingerprint: Of the student.
        metrics: Names of per-candidate metrics.
        statistics: Also bring the token statistics.
        pool: How many workers, and where.
        folder: Where chunks and parts lie while it goes on; all workers must see it.
        open_student: How a worker opens its student; it is sent there.
    """

    settings: StudentSettings
    fingerprint: str
    metrics: tuple[str, ...]
    statistics: bool = False
    pool: RaySettings
    folder: Path
    open_student: Callable[[StudentSettings], Reader] = open_student

    def scorer(
        self, candidates: Callable[[], Iterable[Candidate]], *, progress: Progress
    ) -> Scorer:
        """Have every candidate scored; what is returned gives the rows.

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
        """Have every candidate scored, and keep the parts.

        Args:
            candidates: Consumed once; never all in memory.
            progress: Told of each chunk that is back. A stage must have begun.

        Returns:
            How many candidates there are.

        Raises:
            TutelageError: What stopped a worker: the student cannot be loaded, for example. What
                is finished is kept.
        """
        (self.folder / "chunks").mkdir(parents=True, exist_ok=True)
        (self.folder / "parts").mkdir(exist_ok=True)
        names: dict[int, str] = {}
        waiting: list[int] = []
        total = 0
        for number, chunk in enumerate(chunks_of(candidates)):
            names[number] = f"{number:06d}-{self._key(chunk)}.parquet"
            total += len(chunk)
            if self._part(names[number]).exists():
                progress.advance(len(chunk), note="from an earlier start")
                continue
            waiting.append(number)
            rows = [
                {**candidate_to_row(c), "chunk": number, "chunk_rows": len(chunk)} for c in chunk
            ]
            table = pa.Table.from_pylist(rows, schema=chunks_schema())
            write_table(self.folder / "chunks" / names[number], table)
        if waiting:
            self._ask({n: names[n] for n in waiting}, progress=progress)
        return total

    def rows(self, candidates: Iterable[Candidate]) -> Iterator[dict[str, Any]]:
        """The rows of the scores table, in the order of the candidates.

        Args:
            candidates: The same that `work` was given, once more.
        """
        for number, chunk in enumerate(chunks_of(candidates)):
            part = self._part(f"{number:06d}-{self._key(chunk)}.parquet")
            if part.exists():
                yield from arrays_of(pq.read_table(part))
            else:
                yield from (self._given_up(candidate) for candidate in chunk)

    def forget(self) -> None:
        """Remove chunks and parts: their rows stand in a table now."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _key(self, chunk: Sequence[Candidate]) -> str:
        """Everything that decides the numbers of a chunk."""
        return content_hash(
            self.fingerprint,
            self.settings.model_dump(mode="json", exclude=_NOT_IN_KEY),
            list(self.metrics),
            self.statistics,
            [[c.candidate_id, c.example_id, c.status] for c in chunk],
        )

    def _part(self, name: str) -> Path:
        return self.folder / "parts" / name

    def _ask(self, names: Mapping[int, str], *, progress: Progress) -> None:
        paths = [self.folder / "chunks" / name for name in names.values()]
        with joined(self.pool) as ray, closing(_blocks(ray, self, paths)) as blocks:
            for table in blocks:
                for number, part in by_chunk(table):
                    problem = part["problem"][0].as_py()
                    if problem is not None:
                        raise _as_error(problem)
                    schema = scored_schema(self.metrics, statistics=self.statistics)
                    kept = [name for name in schema.names if name not in {"chunk", "problem"}]
                    write_table(self._part(names[number]), part.select(kept))
                    progress.advance(part.num_rows)

    def _given_up(self, candidate: Candidate) -> dict[str, Any]:
        reason, detail = FAILED, f"the worker that read it died {ATTEMPTS} times"
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
    student: StudentSettings, reader: Reader, score: ScoreSettings, *, out: Path, doors: Doors
) -> RayScoring:
    """The job that writes `out`.

    What a student leaves to the machine is decided here, once: on machines that differ, workers
    would decide differently, and numbers of two dtypes must not meet in one table.
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
        folder=out.with_name(f".{out.name}.ray"),
        open_student=doors.open_student,
    )


def _blocks(ray: Any, job: RayScoring, chunks: Sequence[Path]) -> Generator[pa.Table]:
    """What the workers give back, as it comes."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A worker reports its own problems as rows, so what is lost here are deaths.
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    arguments = {
        "student": job.settings.model_dump(),
        "metrics": job.metrics,
        "statistics": job.statistics,
        "fingerprint": job.fingerprint,
        "open_student": job.open_student,
    }
    workers = min(job.pool.workers, len(chunks))
    with ray.data.DataContext.current(context):
        scored = ray.data.read_parquet(
            [str(path.resolve()) for path in chunks], override_num_blocks=len(chunks)
        ).map_batches(
            ScoringWorker,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs=arguments,
            # One at a time: a death counts against every chunk that waits at the same worker.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=job.pool.worker_cpus,
            num_gpus=job.pool.worker_gpus or None,
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": ATTEMPTS - 1},
            runtime_env=worker_environment(job.pool),
        )
        try:
            with closing(
                iter(scored.iter_batches(batch_size=None, batch_format="pyarrow"))
            ) as blocks:
                yield from blocks
        except ray.exceptions.RayError as error:
            raise RunError(
                f"the workers cannot go on: {str(error).splitlines()[0]}",
                hint="the same command continues; `ray status` shows what the cluster has",
            ) from error


def _as_error(problem: Mapping[str, Any]) -> Exception:
    kind = getattr(errors, problem["kind"] or "", None)
    if isinstance(kind, type) and issubclass(kind, TutelageError):
        return kind(problem["message"], hint=problem["hint"])
    return RuntimeError(f"a worker failed:\n{problem['message']}")
