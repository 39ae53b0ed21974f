"""Independent pieces of work on Ray workers: cells of an experiment, a training, an evaluation.

Each cell writes its own folder, which caller and workers share, and depends on no other. So it does
not matter where it is done: with the same number of threads its numbers are the same bit for bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from tutelage.distributed.cluster import joined, worker_environment
from tutelage.errors import RunError, SettingsError, TutelageError
from tutelage.pipeline.config import RaySettings, checked

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_LIVES = 3
"""Deaths of a worker, during one piece of work, after which an error is raised."""


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
