"""Evaluation of a student on tasks, with every answer stored and finished work reused.

OUT/manifest.json        student, settings, versions and wanted tasks of the last call, before work;
                         then, task by task, what came out and of which student and settings
OUT/TASK.parquet         the rows of one task
OUT/answers.jsonl        what the student wrote, as soon as it was written
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import (
    Unscored,
    content_hash,
    remove_leftovers_below,
    write_table,
    write_text,
)
from tutelage.data.stored_json import StoredShape, optional, read_stored
from tutelage.errors import RunError, SettingsError
from tutelage.evaluation.config import EvaluateSettings, TaskSettings
from tutelage.evaluation.items import (
    UNITS,
    Item,
    ItemResult,
    read_items,
    read_references,
    results_table,
)
from tutelage.evaluation.lm_eval_harness import folder_digest, run_harness
from tutelage.evaluation.tasks import (
    Answer,
    answer_all,
    choose,
    constraints_met,
    exact_match,
    gain,
    held_out,
    reasoning_quality,
)
from tutelage.progress import Progress, Silent
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.student.config import template_values
from tutelage.version import installed_version

_VERSIONS = ("tutelage", "torch", "transformers", "lm_eval", "math-verify")


def evaluate_student(
    model: str,
    tasks: Sequence[TaskSettings],
    settings: EvaluateSettings,
    out: Path,
    *,
    progress: Progress | None = None,
) -> pa.Table:
    """Evaluate a student on tasks.

    Args:
        model: A folder (such as `Trained.path`), a hub id or an alias.
        tasks: With names that differ.
        settings: How the student is opened and answers.
        out: A folder of its own; tasks whose rows are there already are not repeated.
        progress: Told of each item.

    Returns:
        The RESULTS schema: one row an item, task by task. Every value is better when it is
        higher; an item without a value has a status that says why.

    Raises:
        SettingsError: Two tasks share a name.
        DataError: The items of a task cannot be read, or there are none.
        RunError: The folder is that of something else.
    """
    progress = progress or Silent()
    repeated = [name for name, count in Counter(t.name for t in tasks).items() if count > 1]
    if repeated:
        raise SettingsError(f"tasks share the name {repeated[0]!r}", hint="give each its own name")
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers_below(out)
    manifest: dict[str, Any] = _read_manifest(out / "manifest.json")
    if "schema_version" in manifest or "kind" in manifest:
        raise RunError(
            f"{out / 'manifest.json'}: is not the manifest of an evaluation",
            hint="choose another folder for --out",
        )
    student = _opened(model, settings)
    asked = {
        "settings": settings.model_dump(mode="json"),
        "versions": {name: installed_version(name) for name in _VERSIONS},
    }
    wanted = [task.model_dump(mode="json") for task in tasks]
    manifest |= {"student": dict(student.describe()), **asked, "wanted": wanted}
    done = manifest.setdefault("tasks", {})
    tables = []
    try:
        _write_manifest(out / "manifest.json", manifest)
        for task in tasks:
            key = _key(task, student, settings, out=out)
            file = out / f"{task.name}.parquet"
            was_done = _is_done(done.get(task.name, {}), task, key=key, file=file)
            if was_done and (before := _earlier_results(file, task, progress=progress)) is not None:
                tables.append(before)
                continue
            results, about = _run(task, student, settings, out=out, progress=progress)
            table = results_table(results, task=task.name, seed=settings.seed)
            if done.pop(task.name, None) is not None:  # its rows are about to be replaced
                _write_manifest(out / "manifest.json", manifest)
            write_table(file, table)
            done[task.name] = {
                "key": key,
                "settings": task.model_dump(mode="json"),
                "student": dict(student.describe()),
                "evaluate": asked,
                "unit": UNITS[task.kind],
                **about,
                **summary_of(table),
            }
            _write_manifest(out / "manifest.json", manifest)
            tables.append(table)
    finally:
        student.close()
    return pa.concat_tables(tables)


def tasks_left(
    model: str, tasks: Sequence[TaskSettings], settings: EvaluateSettings, out: Path
) -> list[TaskSettings]:
    """The tasks that `evaluate_student` would evaluate: those without rows so far.

    Args:
        model: As for `evaluate_student`.
        tasks: With names that differ.
        settings: How the student is opened and answers.
        out: The folder of the evaluation; it need not exist.
    """
    done = _read_manifest(out / "manifest.json").get("tasks", {})
    with _opened(model, settings) as student:
        return [
            task
            for task in tasks
            if not _is_done(
                done.get(task.name, {}),
                task,
                key=_key(task, student, settings, out=out),
                file=out / f"{task.name}.parquet",
            )
        ]


def _opened(model: str, settings: EvaluateSettings) -> StudentModel:
    return open_student(
        StudentSettings(
            model=model,
            template=settings.template,
            dtype=settings.dtype,
            device=settings.device,
            backend=settings.backend,
            max_length=settings.max_length,
            use_cache=False,
            **template_values(settings),
        )
    )


def summary_of(table: pa.Table) -> dict[str, Any]:
    """Count of items by status, the mean value, and the share of correct items."""
    right: float | None = pc.mean(table["correct"].cast(pa.float64())).as_py()
    return {
        "items": table.num_rows,
        "by_status": dict(sorted(Counter(table["status"].to_pylist()).items())),
        "mean_value": pc.mean(table["value"]).as_py(),
        **({} if right is None else {"right_fraction": right}),
    }


def task_means(results: pa.Table) -> dict[str, Any]:
    """Mean value and share of correct items of each task, under `evaluation/`, for a tracker."""
    found = {}
    for task in dict.fromkeys(str(name) for name in results["task"].to_pylist()):
        summary = summary_of(results.filter(pc.equal(results["task"], pa.scalar(task))))
        for name in ("mean_value", "right_fraction"):
            found[f"evaluation/{task}/{name}"] = summary.get(name)
    return found


def _key(
    task: TaskSettings, student: StudentModel, settings: EvaluateSettings, *, out: Path
) -> str:
    """Key of a task's rows, by which finished work is found."""
    path = Path(task.path) if task.path else None
    digest = sha256(path.read_bytes()).hexdigest() if path and path.is_file() else None
    if task.kind == "lm_eval" and path and path.is_dir():
        digest = folder_digest(path, without=out)
    return content_hash(
        "evaluate",
        student.fingerprint,
        task.model_dump(mode="json", exclude={"path"}),
        digest or task.path,
        settings.hashed(),
        dict(student.describe())["dtype"],
    )


def _earlier_results(file: Path, task: TaskSettings, *, progress: Progress) -> pa.Table | None:
    """The rows of a task that was done before, or None where the file is gone or damaged."""
    if not file.is_file():
        return None
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):
        return None  # the task is done again
    progress.tell(f"{task.name}: evaluated before; its {table.num_rows:,} rows are read")
    return table


def _is_done(entry: Mapping[str, Any], task: TaskSettings, *, key: str, file: Path) -> bool:
    """Whether the rows in a file are those of a task, by its entry in the manifest.

    An entry of the harness that names no filter is of a version that gave a document a row for
    each filter, and took the first documents instead of a random sample.
    """
    same = entry.get("key") == key and (task.kind != "lm_eval" or "filter" in entry)
    return same and file.is_file()


def _run(
    task: TaskSettings,
    student: StudentModel,
    settings: EvaluateSettings,
    *,
    out: Path,
    progress: Progress,
) -> tuple[list[ItemResult], Mapping[str, Any]]:
    if task.kind == "lm_eval":
        progress.begin(task.name, total=None, unit="documents")
        results, about = run_harness(task, student, settings)
        progress.end()
        return results, about
    results = []
    if task.kind in ("held_out", "gain"):
        references = read_references(task, seed=settings.seed)
        progress.begin(task.name, total=len(references), unit="items")
        measure = held_out if task.kind == "held_out" else gain
        for result in measure(references, student):
            results.append(result)
            progress.advance()
    elif task.kind == "choice":
        items = read_items(task, seed=settings.seed)
        progress.begin(task.name, total=len(items), unit="items")
        for result in choose(items, student):
            results.append(result)
            progress.advance()
    else:
        items = read_items(task, seed=settings.seed)
        progress.begin(task.name, total=len(items), unit="items")
        results = _written(task, items, student, settings, out=out, progress=progress)
    progress.end()
    return results, {}


def _written(
    task: TaskSettings,
    items: Sequence[Item],
    student: StudentModel,
    settings: EvaluateSettings,
    *,
    out: Path,
    progress: Progress,
) -> list[ItemResult]:
    """Results of a task with generated answers, or with answers that come with its items."""
    if task.kind == "steps" and "reasoning" in task.fields:
        texts = [str(item.extra.get("reasoning", "")) for item in items]
        return list(reasoning_quality(items, texts, student, lead=task.lead))
    answers = answer_all(
        items,
        student,
        max_new_tokens=task.max_new_tokens,
        batch=settings.batch_examples,
        kept=out / "answers.jsonl",
        progress=progress,
    )
    both = list(zip(items, answers, strict=True))
    answered = [(item, answer) for item, answer in both if isinstance(answer, Answer)]
    graded = _graded(task, [i for i, _ in answered], [a for _, a in answered], student)
    return [
        ItemResult(item_id=item.item_id, status=answer.reason, detail=answer.detail)
        if isinstance(answer, Unscored)
        else next(graded)
        for item, answer in both
    ]


def _graded(
    task: TaskSettings, items: Sequence[Item], answers: Sequence[Answer], student: StudentModel
) -> Iterator[ItemResult]:
    if task.kind == "steps":
        texts = [answer.text for answer in answers]
        return reasoning_quality(items, texts, student, lead=task.lead)
    if task.kind == "ifeval":
        return constraints_met(items, answers)
    return exact_match(items, answers, task)


class _Manifest(StoredShape):
    tasks: dict[str, dict[str, Any]] = optional()


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    hint = "choose another folder for --out, or remove the file: the tasks are then done again"
    return read_stored(path, _Manifest, what="the manifest of an evaluation", hint=hint)


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(manifest, indent=2) + "\n")
