"""A training or an evaluation as one task of a Ray worker; folders are shared with the caller."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.distributed.experiment_cells import called_on_worker
from tutelage.errors import SettingsError
from tutelage.evaluation import TaskSettings
from tutelage.progress import Progress, Silent
from tutelage.training import launched, tracked


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
