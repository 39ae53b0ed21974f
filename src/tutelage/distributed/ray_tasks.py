"""Tasks on Ray workers: cells of an experiment, trainings, evaluations, and local teachers.

Each cell writes its own folder, which caller and workers share, and depends on no other. So it does
not matter where it is done: with the same number of threads its numbers are the same bit for bit.
Ray is imported only when it is used.

Of teachers, only a model in this process (`kind: local`) is distributed:

    refine, sample --> journal, account, slots --> workers
    (this process)                              (a model each; they write nothing)

A teacher behind an endpoint is called from this process: waiting needs no CPU, and limits on
requests and tokens per minute apply to one client. In both cases each reply is in the teacher cache
before it is used, so if a worker is killed only the replies that it was writing are lost, and
nothing is paid for twice.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from tutelage.errors import (
    MissingExtraError,
    RunError,
    SettingsError,
    TeacherUnreachableError,
    TutelageError,
)
from tutelage.evaluation import TaskSettings
from tutelage.pipeline.config import RaySettings, checked
from tutelage.pipeline.resources import OpensTeacher
from tutelage.progress import Progress, Silent
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
from tutelage.training import launched, tracked


@contextmanager
def joined(settings: RaySettings) -> Iterator[Any]:
    """Context manager with the connected module `ray`; a cluster started here ends with the block.

    A program that has called `ray.init` itself keeps its cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: There is no such cluster.
    """
    # Ray writes a warning about its own future otherwise; nothing here uses its GPU variables.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "the engine ray needs Ray", hint="pip install 'tutelage[ray]', or --engine local"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray").setLevel(logging.ERROR)  # it speaks before it obeys
    try:
        if settings.address == "local":
            # One more than the workers take: with all taken, nothing could read their input.
            cpus = settings.workers * settings.worker_cpus + 1
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=settings.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise RunError(
            f"the Ray cluster {settings.address!r} cannot be joined: {error}",
            hint="start one with `ray start --head`, or leave the address at local",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def worker_environment(settings: RaySettings) -> dict[str, Any]:
    """Environment of a worker: as many threads as it has processors, none of them spinning."""
    return {
        "env_vars": {
            "OMP_NUM_THREADS": str(settings.worker_cpus),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
        }
    }


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_LIVES = 3
"""Deaths of a worker, during one piece of work or request, after which an error is raised."""


class RayCells:
    """Pool that works on as many items at the same time as it has workers.

    Args:
        pool: How many workers, what each of them has, and on which cluster.
    """

    def __init__(self, pool: RaySettings) -> None:
        self._pool = pool

    def each(self, work: Callable[[_Item], None], items: Sequence[_Item]) -> Iterator[_Item]:
        """Results of all items, in their order as far as workers are free.

        Args:
            work: Sent to the workers with each item; its results are what it writes.
            items: The pieces of work.

        Yields:
            Each item when it is done.

        Raises:
            TutelageError: What stopped a piece of work. Nothing new is begun then; what is under
                way ends.
            RunError: A worker died again and again.
        """
        if not items:
            return
        with joined(self._pool) as ray:
            task = _task(ray, self._pool)(_done)
            waiting = list(enumerate(items))
            under_way: dict[Any, int] = {}
            problem: Exception | None = None
            while under_way or (waiting and problem is None):
                while waiting and problem is None and len(under_way) < self._pool.workers:
                    index, item = waiting.pop(0)
                    under_way[task.remote(work, item)] = index
                (ready,), _ = ray.wait(list(under_way), num_returns=1)
                index = under_way.pop(ready)
                try:
                    said = ray.get(ready)
                except ray.exceptions.RayError as error:
                    said = _as_error(error)
                if said is None:
                    yield items[index]
                else:
                    problem = problem or said
            if problem is not None:
                raise problem


def _task(ray: Any, pool: RaySettings) -> Any:
    """Ray's decorator for a function that works on one item."""
    return ray.remote(
        num_cpus=pool.worker_cpus,
        num_gpus=pool.worker_gpus or None,
        max_retries=_LIVES - 1,
        max_calls=1,  # a new process for each, which holds no memory of the one before
        runtime_env=worker_environment(pool),
    )


def called_on_worker(
    work: Callable[[_Item], _Result], item: _Item, *, pool: Mapping[str, Any] | None
) -> _Result:
    """The result of one function call, computed by a single Ray worker.

    Args:
        work: A function of a module; sent to the worker with its argument.
        item: Its argument.
        pool: Settings of the worker: `worker_cpus`, `worker_gpus` and `address`.

    Raises:
        SettingsError: A setting is wrong, or several workers are asked for.
        TutelageError: What the function raised.
        RunError: The worker died again and again.
    """
    values = dict(pool or {})
    if values.get("workers", 1) != 1:
        raise SettingsError(
            f"workers {values['workers']}: this is one task for one worker",
            hint="leave workers out; `tutelage prove` runs many training runs on a pool",
        )
    settings = checked(RaySettings, {**values, "workers": 1}, place="ray")
    with joined(settings) as ray:
        try:
            found, problem = ray.get(_task(ray, settings)(_answered).remote(work, item))
        except ray.exceptions.RayError as error:
            raise _as_error(error) from error
    if problem is not None:
        raise problem
    return cast("_Result", found)


def cells_elsewhere(engine: str, pool: Mapping[str, Any] | None) -> RayCells | None:
    """Ray workers for the cells of an experiment, or None for this process.

    Args:
        engine: `local` or `ray`.
        pool: Settings of the pool.

    Raises:
        SettingsError: A setting is wrong, or the pool is described but not asked for.
    """
    if runs_on_ray(engine, pool):
        return RayCells(checked(RaySettings, dict(pool or {}), place="ray"))
    return None


def runs_on_ray(engine: str, pool: Mapping[str, Any] | None) -> bool:
    """Whether the engine is Ray.

    Args:
        engine: `local` or `ray`.
        pool: Settings of the pool.

    Raises:
        SettingsError: There is no such engine, or the pool is described but not asked for.
    """
    if engine not in ("local", "ray"):
        raise SettingsError(f"engine is {engine!r}", hint="it is local or ray")
    if engine == "local" and pool:
        raise SettingsError(
            f"{next(iter(pool))} is for Ray's workers", hint="set engine to ray (--engine ray)"
        )
    return engine == "ray"


def _done(work: Callable[[Any], None], item: Any) -> TutelageError | None:
    """Result of a cell: None, or our own error as a value, because Ray would wrap an exception."""
    try:
        work(item)
    except TutelageError as error:
        return error
    return None


def _answered(work: Callable[[Any], Any], item: Any) -> tuple[Any, TutelageError | None]:
    """Return value of a function, or one of our errors as a value."""
    try:
        return work(item), None
    except TutelageError as error:
        return None, error


def _as_error(error: Exception) -> Exception:
    first = str(error).strip().splitlines() or [type(error).__name__]
    return RunError(
        f"a worker could not finish its task: {first[0]} ... {first[-1].strip()}",
        hint="the same command continues with what is left; is there memory for a training in each "
        "worker? fewer --workers need less",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTask:
    """A training as a worker gets it; every path is absolute.

    Attributes:
        data: A file, or a run folder.
        job: What else `pipeline.train_stage.train` takes.
        tracker: The name of a tracker, which the worker opens; or None.
        project: What the tracker keeps the run under.
    """

    data: Path
    job: Mapping[str, Any]
    tracker: str | None = None
    project: str = "tutelage"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateTask:
    """An evaluation as a worker gets it; every path is absolute.

    Attributes:
        model: The student.
        job: What else `pipeline.train_stage.evaluate` takes.
    """

    model: str
    job: Mapping[str, Any]


def train_on_ray(
    data: Path,
    *,
    model: str,
    out: Path,
    pool: Mapping[str, Any] | None,
    progress: Progress,
    tracker: str | None = None,
    project: str = "tutelage",
    **job: Any,
) -> dict[str, Any]:
    """Train a student on a Ray worker, with the result of `pipeline.train_stage.train`.

    Args:
        data: A file, or a run folder, which the worker can read under the same path.
        model: The student to start from.
        out: A folder of its own, which the worker can write under the same path.
        pool: Settings of the worker: `worker_cpus`, `worker_gpus` and `address`.
        progress: Told of the beginning and of the end.
        tracker: The name of an experiment tracker, which the worker opens.
        project: What the tracker keeps the run under.
        **job: What else `train` takes: `settings`, `chosen`, `selection`, `weights`.

    Raises:
        SettingsError: A setting is wrong, or this is one of several launched processes.
        RunError: The worker died again and again, or another training lies in `out`.
    """
    if (count := launched().count) > 1:
        raise SettingsError(
            f"{count} processes were launched, and each would start a training run on Ray",
            hint="start it without `accelerate launch`, or with --engine local",
        )
    whole = {**job, "model": _absolute(model), "out": out.absolute()}
    task = TrainTask(data=data.absolute(), job=whole, tracker=tracker, project=project)
    progress.begin("train on a Ray worker", total=1, unit="training")
    found = called_on_worker(_trained, task, pool=pool)
    progress.advance()
    progress.end()
    return {**found, "path": str(out / "model")}


def evaluate_on_ray(
    model: str,
    *,
    tasks: list[TaskSettings],
    out: Path,
    pool: Mapping[str, Any] | None,
    progress: Progress,
    **job: Any,
) -> dict[str, Any]:
    """Evaluate a student on a Ray worker, with the result of `pipeline.train_stage.evaluate`.

    Args:
        model: The student.
        tasks: What it is evaluated on; the worker can read their files under the same paths.
        out: A folder of its own, which the worker can write under the same path.
        pool: Settings of the worker: `worker_cpus`, `worker_gpus` and `address`.
        progress: Told of the beginning and of the end.
        **job: What else `evaluate` takes: `settings`.
    """
    whole = {**job, "tasks": [*map(_placed, tasks)], "out": out.absolute()}
    task = EvaluateTask(model=_absolute(model), job=whole)
    progress.begin("evaluate on a Ray worker", total=1, unit="evaluation")
    found = called_on_worker(_evaluated, task, pool=pool)
    progress.advance()
    progress.end()
    return {**found, "out": str(out)}


def _trained(task: TrainTask) -> dict[str, Any]:
    from tutelage.pipeline.train_stage import train

    with tracked(task.tracker, project=task.project):
        return train(task.data, **task.job, progress=Silent())


def _evaluated(task: EvaluateTask) -> dict[str, Any]:
    from tutelage.pipeline.train_stage import evaluate

    return evaluate(task.model, **task.job, progress=Silent())


def _placed(task: TaskSettings) -> TaskSettings:
    if task.path is None or not Path(task.path).exists():
        return task
    return task.model_copy(update={"path": _absolute(task.path)})


def _absolute(name: str) -> str:
    """Absolute path of an existing path; any other name unchanged."""
    return str(Path(name).absolute()) if Path(name).exists() else name


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
