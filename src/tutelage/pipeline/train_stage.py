"""Training and evaluation of a student, as the commands run them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tutelage.data import replacing, write_jsonl
from tutelage.errors import SettingsError
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student, summary_of
from tutelage.pipeline.config import checked, yaml_file
from tutelage.pipeline.export_stage import as_training_row
from tutelage.pipeline.resources import need_some
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import Weights, chosen_rows, weighted_rows
from tutelage.progress import Progress
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.training import (
    TrainSettings,
    check_truth,
    first_writes,
    refuse_other_rows,
    train_student,
)

MOST_SHOWN = 10


def train(
    data: Path,
    *,
    model: str,
    settings: Mapping[str, Any],
    chosen: str | None,
    selection: str | None = None,
    weights: str = "auto",
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train a student on a file of rows, or on a set of a run.

    Args:
        data: A file, or a run folder.
        model: The student to start from.
        settings: Settings of the training.
        chosen: For a run: `selected`, or the name of a null; None: `selected`. For a file: None.
        selection: For a run: a named selection; None is the run's own. For a file: None.
        weights: How much the loss of a row counts: `auto` (its column train_weight, or the rule
            of the run), `likelihood` (of a run), or `off`.
        out: A folder of its own.
        progress: Notified of each step.

    Returns:
        What the training came to.

    Raises:
        SettingsError: There is no such file, run or set, or a setting is wrong.
        RunError: Another training lies in `out`, of which nothing is changed.
    """
    wanted = checked(
        TrainSettings,
        {**settings, **({"row_weights": "off"} if weights == "off" else {})},
        place="train",
    )
    rows = training_rows(
        data, chosen=chosen, selection=selection, weights=weights, device=wanted.device, out=out
    )
    trained = train_student(rows, model=model, settings=wanted, out=out, progress=progress)
    return asdict(trained)


def training_rows(
    data: Path, *, chosen: str | None, selection: str | None, weights: str, device: str, out: Path
) -> Path:
    """File of training rows: DATA itself, or a set of a run, written into `out`.

    Args:
        data: A file, or a run folder.
        chosen: For a run: `selected`, or the name of a null; None: `selected`. For a file: None.
        selection: For a run: a named selection; None is the run's own. For a file: None.
        weights: As for `train`.
        device: Where it will be trained; of several processes the first one writes the rows.
        out: Where the rows of a run are written.

    Raises:
        SettingsError: There is no such file, run or set.
        RunError: Another training lies in `out`.
    """
    if data.is_dir():
        run = RunFolder(root=data).existing().selected_as(selection)
        chosen_of = chosen_rows(run, chosen=chosen or "selected")
        kind: Weights = "likelihood" if weights == "likelihood" else "auto"
        found = [as_training_row(row) for row in weighted_rows(chosen_of, run, weights=kind)]
        with first_writes(device=device) as writes:
            return _written(found, out) if writes else out / "rows.jsonl"
    if not data.is_file():
        raise SettingsError(f"{data}: no such file or run folder", hint="give one or the other")
    if chosen is not None or selection is not None:
        given = f"--set {chosen}" if chosen is not None else f"--selection {selection}"
        raise SettingsError(
            f"{given}: {data} is a file, which holds one set",
            hint=f"leave {given.split(maxsplit=1)[0]} out, or give the run folder",
        )
    if weights == "likelihood":
        raise SettingsError(
            f"--weights likelihood: {data} is a file, which has no scores",
            hint="give the run folder, or a file with a column train_weight",
        )
    return data


def _written(found: Iterable[Mapping[str, Any]], out: Path) -> Path:
    """Write the rows to the training's folder, unless it belongs to other rows."""
    out.mkdir(parents=True, exist_ok=True)
    rows = out / "rows.jsonl"
    with replacing(rows) as temporary:
        write_jsonl(temporary, found)
        refuse_other_rows(temporary, out)
    return rows


class TaskList(BaseModel):
    """Tasks of a YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[TaskSettings, ...]


def tasks_of(*, file: Path | None, given: Sequence[str], limit: int | None) -> list[TaskSettings]:
    """Tasks from a YAML file and from `KIND=PATH` texts.

    Args:
        file: The YAML file, or None.
        given: The texts.
        limit: Most items of each task; None for all.

    Raises:
        SettingsError: A task is wrong, or there is none.
    """
    tasks: list[TaskSettings] = []
    if file is not None:
        values = yaml_file(file)
        values = {"tasks": values} if isinstance(values, list) else values
        if not isinstance(values, dict):
            raise SettingsError(f"{file}: expected a list of tasks", hint="see docs/evaluate.md")
        tasks += checked(TaskList, values, place=str(file)).tasks
    for text in given:
        kind, separator, path = text.partition("=")
        if not separator:
            raise SettingsError(
                f"--task {text}: expected KIND=PATH", hint="such as --task choice=arc_easy.jsonl"
            )
        named = Path(path).name.split(".")[0] or path
        task: dict[str, Any] = {"name": named, "kind": kind, "path": path}
        if kind == "lm_eval":
            task = {"name": path, "kind": kind, "harness_task": path}
        tasks.append(checked(TaskSettings, task, place=f"--task {text}"))
    if not tasks:
        raise SettingsError("no tasks are given", hint="--task KIND=PATH, or --tasks FILE.yaml")
    if limit is None:
        return tasks
    return [task.model_copy(update={"limit": limit}) for task in tasks]


def evaluate(
    model: str,
    *,
    tasks: Sequence[TaskSettings],
    settings: Mapping[str, Any],
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate a student on tasks.

    Args:
        model: The student.
        tasks: The tasks.
        settings: Settings of the evaluation.
        out: The folder to write to.
        progress: Gets the progress.

    Returns:
        For each task how many items have which status, the mean value and the share right.
    """
    wanted = checked(EvaluateSettings, settings, place="evaluate")
    table = evaluate_student(model, tasks, wanted, out, progress=progress)
    names = table["task"].to_pylist()
    found = {}
    for task in tasks:
        rows = [index for index, name in enumerate(names) if name == task.name]
        found[task.name] = summary_of(table.take(rows))
    counts = Counter(map(str, table["status"].to_pylist()))
    need_some(counts, ("ok", "no_answer"), problem="none of the items could be evaluated", out=out)
    return {"out": str(out), "tasks": found}


def trainer_truth(
    file: Path,
    *,
    student: str,
    template: str,
    arguments: Mapping[str, Any] | None = None,
    max_length: int | None,
    limit: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Compare what a trainer would train on with what a student was scored on.

    Args:
        file: An exported file, or any rows.
        student: A folder, a hub id or an alias.
        template: As the student was scored.
        arguments: Its other settings about the template, such as `template_args`.
        max_length: The trainer's limit; None: none.
        limit: At most so many rows are compared, from the start of the file; None: all.
        progress: Notified how many rows are compared.

    Returns:
        How many rows were compared and how many were not, how many have which finding, what is
        trained beyond the scored tokens, and the first rows that are not the same; `healthy` is
        false where there is any, and says nothing of rows that were not compared.
    """

    def opened(*, end: bool) -> StudentModel:
        settings: dict[str, Any] = {"model": student, "template": template, "use_cache": False}
        settings |= arguments or {}
        return open_student(
            checked(StudentSettings, settings | {"score_end_of_turn": end}, place="doctor")
        )

    truth = check_truth(
        file,
        scored=opened(end=False),
        trained=opened(end=True),
        max_length=max_length,
        most_rows=limit,
        progress=progress,
    )
    others = [asdict(row) for row in truth.rows if row.finding != "same"]
    return {
        "file": str(file),
        "through": truth.through,
        "rows": len(truth.rows),
        "rows_in_file": truth.rows_in_file,
        "not_compared": truth.not_compared,
        "findings": dict(truth.findings),
        "scored_tokens": sum(row.scored_tokens for row in truth.rows),
        "loss_tokens": sum(row.loss_tokens for row in truth.rows),
        "trained_beyond_the_scored_tokens": dict(truth.ends),
        "not_the_same": others[:MOST_SHOWN],
        "healthy": truth.is_true,
    }
