"""Functions of the Python API for training and evaluation: train, evaluate, prove."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values, is_path, scratch_folder
from tutelage.api.options import (
    EvaluateOptions,
    ShownProgress,
    TrainOptions,
    grouped,
    model_values,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Estimate, Evaluated, Proof, Trained, estimate_of
from tutelage.api.table_result import BY_STATUS, Result
from tutelage.api.workspace import opened, workspace
from tutelage.errors import SettingsError, in_python, spelled_in_python
from tutelage.pipeline import Student


@overload
def train(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = ...,
    chosen: str | None = ...,
    selection: str | None = ...,
    weights: str = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **options: Unpack[TrainOptions],
) -> Trained: ...


@overload
def train(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = ...,
    chosen: str | None = ...,
    selection: str | None = ...,
    weights: str = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **options: Unpack[TrainOptions],
) -> Estimate: ...


@overload
def train(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = ...,
    chosen: str | None = ...,
    selection: str | None = ...,
    weights: str = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **options: Unpack[TrainOptions],
) -> Trained | Estimate: ...


@spelled_in_python
def train(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = None,
    chosen: str | None = None,
    selection: str | None = None,
    weights: str = "auto",
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    **options: Unpack[TrainOptions],
) -> Trained | Estimate:
    """A student trained with TRL on some rows or on a set of a run.

    The loss covers responses and their end of turn, the same tokens that were scored. The same call
    resumes an interrupted training run.

    Args:
        data: A path or rows in memory (see `read`), or a run.
        student: The model to start from: a folder, a hub id or an alias, or a trained student.
        out: A separate folder; `out/model` is the trained student. None creates a temporary one.
        chosen: Of a run: `selected` (default), or a baseline such as `random`.
        selection: Of a run: a named selection; by default the run's own.
        weights: How much the loss of a row counts: `auto` (its column `train_weight`, or the rule
            of the run), `likelihood` (of a run), or `off`.
        engine: `local`, or `ray`: one task of a Ray worker.
        ray: The worker: `worker_cpus`, `worker_gpus`, `address`.
        dry_run: Only estimate tokens and time; a few steps are run in memory.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        **options: Settings of the training run: `method`, `epochs`, `learning_rate`,
            `batch_examples`, `max_tokens`, `seed`, `template`, ...

    Returns:
        One row with steps, tokens and losses in nats per token; `model` is the folder of the
        trained student, and `tables["left_out"]` has the rows that were not trained on. Or the
        estimate.

    Raises:
        MissingExtraError: TRL is not installed.
        RunError: `out` contains another training run.
        DataError: None of the rows can be trained on.

    Examples:
        >>> import tutelage as tt
        >>> trained = tt.train("runs/demo", "smollm2-135m", out="trained/choice")  # doctest: +SKIP
        >>> tt.evaluate(trained, {"choice": "arc_easy.jsonl"})                   # doctest: +SKIP
    """
    from tutelage.distributed import runs_on_ray
    from tutelage.distributed.ray_tasks import train_on_ray
    from tutelage.pipeline import estimate_training
    from tutelage.pipeline.train_stage import train as work

    (settings,) = grouped(options, TrainOptions, function="train")
    place = workspace(out, name="training")
    run = opened(data)
    with scratch_folder() as scratch, told(progress) as shown:
        if run is not None:
            rows = run.path
            selection = selection if selection is not None else run.selection
        else:
            rows = _file_of(data, Path(scratch))
        job: dict[str, Any] = {
            "model": _model_of(student),
            "settings": settings,
            "chosen": chosen,
            "selection": selection,
            "weights": weights,
        }
        if dry_run:
            return estimate_of(estimate_training(rows, **job, measure_seconds=measure_seconds))
        if runs_on_ray(engine, ray):
            summary = train_on_ray(rows, **job, out=place.path, pool=ray, progress=shown)
        else:
            summary = work(rows, **job, out=place.path, progress=shown)
    left_out = _left_out(place.path)
    plain = {k: v for k, v in summary.items() if not isinstance(v, Mapping)}
    return Trained(
        table=pa.Table.from_pylist([plain]),
        summary=summary,
        out=place.path,
        scratch=place.scratch,
        tables={"left_out": left_out},
    )


def _file_of(data: Data, folder: Path) -> Path:
    values = data_values(data, {}, folder=folder)
    path = values.pop("path")
    if values or not isinstance(path, str):
        raise SettingsError(
            "training takes one file, without reader settings",
            hint="make a run of it first: tutelage.load(data, ...)",
        )
    return Path(path)


def _left_out(out: Path) -> pa.Table:
    from tutelage.training.train import left_out_rows

    return pa.Table.from_pylist(left_out_rows(out))


def _model_of(student: Any) -> str:
    if isinstance(student, Trained):
        return str(student.model)
    if isinstance(student, Student):
        return student.settings.model
    if isinstance(student, Mapping | BaseModel):
        values = model_values(student, {})
        if set(values) != {"model"}:
            raise SettingsError(
                f"student: {', '.join(sorted(set(values) - {'model'}))} are reader settings",
                hint="give the name of the model, and settings of this function as keywords",
            )
        return str(values["model"])
    return str(student)


@overload
def evaluate(
    student: Any,
    tasks: str | Path | Mapping[str, Any] | Sequence[Any],
    *,
    out: str | Path | None = ...,
    limit: int | None = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **options: Unpack[EvaluateOptions],
) -> Evaluated: ...


@overload
def evaluate(
    student: Any,
    tasks: str | Path | Mapping[str, Any] | Sequence[Any],
    *,
    out: str | Path | None = ...,
    limit: int | None = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **options: Unpack[EvaluateOptions],
) -> Estimate: ...


@overload
def evaluate(
    student: Any,
    tasks: str | Path | Mapping[str, Any] | Sequence[Any],
    *,
    out: str | Path | None = ...,
    limit: int | None = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **options: Unpack[EvaluateOptions],
) -> Evaluated | Estimate: ...


@spelled_in_python
def evaluate(
    student: Any,
    tasks: str | Path | Mapping[str, Any] | Sequence[Any],
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    **options: Unpack[EvaluateOptions],
) -> Evaluated | Estimate:
    """The results of a student on tasks: one row for each item.

    Args:
        student: A folder, a hub id or an alias, or a trained student.
        tasks: Items by kind, such as `{"choice": "arc_easy.jsonl"}`, where items are a path or
            rows in memory; a list of tasks with `name`, `kind` and `path`; or a YAML file. Kinds
            are held_out, gain, choice, exact_match, ifeval, steps and lm_eval.
        out: A folder for rows and manifest; None creates a temporary one.
        limit: Items of each task, at least 1.
        engine: `local`, or `ray`: one task of a Ray worker.
        ray: The worker: `worker_cpus`, `worker_gpus`, `address`.
        dry_run: Only estimate the time; a few items of each task are evaluated.
        measure_seconds: With `dry_run`: duration of a speed measurement in seconds; 0 uses the last
            measurement.
        progress: None, True, False, or your own progress object; see `load`.
        **options: Settings of the evaluation: `template`, `dtype`, `batch_examples`, `seed`, ...

    Returns:
        One row for each item, with its status; `summary["tasks"]` has the mean of each task. Or
        the estimate.

    Raises:
        SettingsError: A task or a setting is wrong.
        DataError: The items of a task cannot be read, or there are none.

    Examples:
        >>> import tutelage as tt
        >>> found = tt.evaluate("smollm2-135m", {"choice": "arc_easy.jsonl"})   # doctest: +SKIP
        >>> found.summary["tasks"]["arc_easy"]["right_fraction"]                # doctest: +SKIP
        0.41
    """
    from tutelage.distributed import runs_on_ray
    from tutelage.distributed.ray_tasks import evaluate_on_ray
    from tutelage.pipeline import estimate_evaluation
    from tutelage.pipeline.train_stage import evaluate as work

    (settings,) = grouped(options, EvaluateOptions, function="evaluate")
    place = workspace(out, name="evaluation")
    with scratch_folder() as scratch, told(progress) as shown:
        wanted = _tasks(tasks, limit=limit, folder=Path(scratch))
        job: dict[str, Any] = {"tasks": wanted, "settings": settings, "out": place.path}
        model = _model_of(student)
        if dry_run:
            return estimate_of(estimate_evaluation(model, **job, measure_seconds=measure_seconds))
        if runs_on_ray(engine, ray):
            summary = evaluate_on_ray(model, **job, pool=ray, progress=shown)
        else:
            summary = work(model, **job, progress=shown)
    table = pa.concat_tables(pq.read_table(place.path / f"{task.name}.parquet") for task in wanted)
    return Evaluated(
        table=table, summary=summary, outcome=BY_STATUS, out=place.path, scratch=place.scratch
    )


def _tasks(tasks: Any, *, limit: int | None, folder: Path) -> list[Any]:
    from tutelage.evaluation import TaskSettings
    from tutelage.pipeline.config import checked
    from tutelage.pipeline.train_stage import tasks_of

    if is_path(tasks):
        text = str(tasks)
        named = "=" in text and not Path(text).exists()
        return tasks_of(
            file=None if named else Path(text), given=[text] if named else [], limit=limit
        )
    if isinstance(tasks, Mapping) and "kind" not in tasks:
        tasks = [_task_of(kind, items) for kind, items in tasks.items()]
    listed = [tasks] if isinstance(tasks, Mapping | BaseModel) else list(tasks)
    found: list[Any] = []
    for number, task in enumerate(listed):
        if isinstance(task, str):
            found += tasks_of(file=None, given=[task], limit=limit)
            continue
        values = {**model_values(task, {}), **({} if limit is None else {"limit": limit})}
        if values.get("path") is not None and not is_path(values["path"]):
            place = folder / str(number)
            values["path"] = data_values(values["path"], {}, folder=place)["path"]
        if values.get("path") is not None:
            values["path"] = str(values["path"])
        found.append(checked(TaskSettings, values, place=f"task {values.get('name', number)}"))
    if not found:
        raise SettingsError("no tasks are given", hint="such as {'choice': 'arc_easy.jsonl'}")
    return found


def _task_of(kind: str, items: Any) -> Any:
    if kind == "lm_eval" or is_path(items):
        return f"{kind}={items}"
    return {"name": kind, "kind": kind, "path": items}


@overload
def prove(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    quick: bool = ...,
    most_cells: int | None = ...,
    selection: str | None = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    plan: Literal[False] = ...,
    progress: ShownProgress = ...,
) -> Proof: ...


@overload
def prove(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    quick: bool = ...,
    plan: Literal[True],
    pilot: str | Path | None = ...,
    variances: str | None = ...,
    seconds_per_cell: float | None = ...,
) -> Result: ...


@overload
def prove(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    quick: bool = ...,
    most_cells: int | None = ...,
    selection: str | None = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    plan: Literal[False] = ...,
    progress: ShownProgress = ...,
) -> Estimate: ...


@overload
def prove(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    quick: bool = ...,
    most_cells: int | None = ...,
    selection: str | None = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    plan: Literal[False] = ...,
    progress: ShownProgress = ...,
) -> Proof | Estimate: ...


@spelled_in_python
def prove(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = None,
    quick: bool = False,
    most_cells: int | None = None,
    selection: str | None = None,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    plan: bool = False,
    pilot: str | Path | None = None,
    variances: str | None = None,
    seconds_per_cell: float | None = None,
    progress: ShownProgress = None,
) -> Proof | Estimate | Result:
    r"""The comparison of a selection with its baselines, by training on each and evaluating.

    The same call resumes an interrupted experiment.

    Args:
        config: A YAML file, or its content as a mapping: students, arms, seeds and tasks; see
            docs/prove.md. Paths in a mapping are relative to the working directory.
        out: Folder to use instead of the one that `config` names.
        quick: Selection and reference only, in minutes.
        most_cells: Stop after this many training runs, to continue another time; 0 only reports.
        selection: Use this named selection of each run.
        engine: `local`, or `ray` for cells on a pool of workers.
        ray: The pool: `workers`, `worker_cpus`, `worker_gpus`, `address`.
        dry_run: Only estimate tokens and time of the remaining training runs and evaluations.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        plan: Train nothing: the smallest difference that can be found, the cost in hours, and
            whether to increase seeds or items.
        pilot: With `plan`: the folder of a finished experiment that gives the variances.
        variances: With `plan`: named variances of earlier experiments instead; see docs/prove.md.
        seconds_per_cell: With `plan`: seconds of one training with its evaluation, instead of the
            mean of finished ones.
        progress: None, True, False, or your own progress object; see `load`.

    Returns:
        One row for each difference, with its interval; `in_words` says what was found. Without a
        finished training run there are no rows. If there are arms oracle and ungated,
        `tables["efficiency"]` gives the share of the possible gain that each arm reaches. Or the
        estimate; or, with `plan`, one row for each student, with `summary["in_words"]`.

    Raises:
        SettingsError: Some settings are wrong.
        RunError: A run that `config` names cannot be used.

    Examples:
        >>> import tutelage as tt
        >>> print(*tt.prove("experiment.yaml", quick=True).in_words, sep="\n")   # doctest: +SKIP
    """
    from tutelage.distributed import cells_elsewhere
    from tutelage.experiments.prove import prove as work
    from tutelage.experiments.prove.forecast import estimate_experiment, forecast

    planning = {"pilot": pilot, "variances": variances, "seconds_per_cell": seconds_per_cell}
    given = [name for name, value in planning.items() if value is not None]
    if given and not plan:
        raise SettingsError(f"{given[0]} belongs to plan", hint="add plan=True")
    place = None
    source: Path | Mapping[str, Any]
    if isinstance(config, str | Path):
        source = Path(config)
    else:
        source = model_values(config, {})
        if out is None and source.get("out") is None:
            place = workspace(None, name="experiment")
            out = place.path
        if out is not None:
            source = {**source, "out": str(Path(out).absolute())}
    if plan:
        found = forecast(
            source,
            out=None if out is None else Path(out),
            quick=quick,
            pilot=None if pilot is None else Path(pilot),
            variances=variances,
            seconds_per_cell=seconds_per_cell,
        )
        words = [in_python(sentence) for sentence in found["in_words"]]
        return Result(
            table=pa.Table.from_pylist(found["plan"]), summary={**found, "in_words": words}
        )
    with told(progress) as shown:
        job: dict[str, Any] = {
            "out": None if out is None else Path(out),
            "quick": quick,
            "selection": selection,
            "progress": shown,
        }
        if dry_run:
            return estimate_of(estimate_experiment(source, **job, measure_seconds=measure_seconds))
        elsewhere = cells_elsewhere(engine, ray)
        summary = work(source, **job, most_cells=most_cells, elsewhere=elsewhere)
    folder = Path(summary["out"])
    files = {name: folder / f"{name}.parquet" for name in ("comparisons", "results", "efficiency")}
    tables = {name: pq.read_table(file) for name, file in files.items() if file.exists()}
    return Proof(
        table=tables.get("comparisons", pa.table({})),
        summary=summary,
        out=folder,
        scratch=None if place is None else place.scratch,
        in_words=tuple(summary["in_words"]),
        tables=tables,
    )
