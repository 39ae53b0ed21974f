"""Local teacher on many workers, with one model each and one shared cache.

    refine, sample --> journal, account, slots --> workers
    (this process)                              (a model each; they write nothing)

Only a teacher that is a model in this process (`kind: local`) is distributed. A teacher behind an
endpoint is called from this process: waiting needs no CPU, and limits on requests and tokens per
minute apply to one client. In both cases each reply is in the teacher cache before it is used, so
if a worker is killed only the replies that it was writing are lost, and nothing is paid for twice.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tutelage.distributed.cluster import joined, worker_environment
from tutelage.errors import TeacherUnreachableError, TutelageError
from tutelage.pipeline.config import RaySettings
from tutelage.pipeline.resources import OpensTeacher
from tutelage.teacher import (
    Journal,
    JournaledTeacher,
    LocalTeacher,
    Reply,
    Request,
    Teacher,
    TeacherSettings,
    open_teacher,
)

_LIVES = 3
"""Deaths of a worker, during one request, after which an error is raised."""


class TeacherWorker:
    """Worker that answers several requests at a time.

    Args:
        settings: Settings of the teacher.
        open_worker: From settings to the teacher itself.
    """

    def __init__(
        self, settings: TeacherSettings, *, open_worker: Callable[[TeacherSettings], Teacher]
    ) -> None:
        self._teacher = open_worker(settings)

    async def ask(self, request: Request) -> Reply | TutelageError:
        """Reply, or our own error as a value; other errors keep their traceback."""
        try:
            return await self._teacher.ask(request)
        except TutelageError as error:
            return error


class RayTeacher:
    """Teacher that sends each request to the least busy worker.

    Args:
        settings: Settings of the teacher; each worker answers `concurrency` requests at a time.
        pool: How many workers, and where.
        open_worker: How a worker opens its teacher; it is sent there.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        pool: RaySettings,
        *,
        open_worker: Callable[[TeacherSettings], Teacher] = LocalTeacher,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._open_worker = open_worker
        self._joined = ExitStack()
        self._ray: Any = None
        self._workers: list[Any] = []
        self._under_way: list[int] = []

    @property
    def name(self) -> str:
        """Name stored with every candidate that this teacher wrote."""
        return self._settings.teacher_name

    @property
    def supports_schema(self) -> bool:
        """Always false: a local model's generation is not constrained."""
        return False

    @property
    def endpoint(self) -> str:
        """Endpoint under which the cache stores replies."""
        return "ray"

    async def open(self) -> None:
        """Join the cluster and start the workers; each loads its model at its first request.

        Raises:
            MissingExtraError: Ray is not installed.
            RunError: The cluster cannot be joined.
        """
        self._ray = self._joined.enter_context(joined(self._pool))
        kind = self._ray.remote(
            num_cpus=self._pool.worker_cpus,
            num_gpus=self._pool.worker_gpus or None,
            max_concurrency=2 * self._settings.concurrency,
            max_restarts=-1,
            max_task_retries=_LIVES - 1,
            runtime_env=worker_environment(self._pool),
        )(TeacherWorker)
        self._workers = [
            kind.remote(self._settings, open_worker=self._open_worker)
            for _ in range(self._pool.workers)
        ]
        self._under_way = [0] * len(self._workers)

    async def close(self) -> None:
        """Stop the workers, and the cluster if it was started here."""
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers = []
        self._joined.close()

    async def ask(self, request: Request) -> Reply:
        """Reply to one request.

        Raises:
            TeacherUnreachableError: The worker died of it again and again.
            TutelageError: What the worker said.
        """
        index = min(range(len(self._workers)), key=self._under_way.__getitem__)
        self._under_way[index] += 1
        try:
            said = await self._workers[index].ask.remote(request)
        except self._ray.exceptions.RayActorError as error:
            raise TeacherUnreachableError(
                f"a worker died {_LIVES} times while it answered: {_last_line(error)}",
                hint="does each worker have memory for a model? fewer --workers need less",
            ) from error
        finally:
            self._under_way[index] -= 1
        if isinstance(said, TutelageError):
            raise said
        reply: Reply = said
        return reply


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def opens_on_ray(
    pool: RaySettings, *, open_worker: Callable[[TeacherSettings], Teacher] = LocalTeacher
) -> OpensTeacher:
    """Function that opens teachers and spreads local ones over a pool."""

    def opens(
        settings: TeacherSettings, journal: Journal, *, run: str | None = None
    ) -> JournaledTeacher:
        if settings.kind != "local":
            return open_teacher(settings, journal, run=run)
        wide = settings.model_copy(update={"concurrency": settings.concurrency * pool.workers})
        spread = RayTeacher(settings, pool, open_worker=open_worker)
        return open_teacher(wide, journal, run=run, local=spread)

    return opens
