"""Run of `tutelage prove`: train each student on each set with each seed, evaluate, report.

    OUT/manifest.json      settings, versions, and which cell belongs to which arm; before work
    OUT/tasks/             the held-out references
    OUT/cells/KEY/         one training and its evaluation, complete when its manifest says so
    OUT/results.parquet    every item of every cell
    OUT/comparisons.parquet, report.html, report.md

A cell is named by the hash of what it depends on, so arms that come to the same rows share it, and
whatever a killed experiment had finished is found again.
"""

import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import open_guarded, replacing, write_table, write_text
from tutelage.data.stored_json import StoredDict, StoredShape, optional, read_stored
from tutelage.errors import DivergedError, RunError, SettingsError
from tutelage.evaluation import (
    ItemResult,
    TaskSettings,
    evaluate_student,
    results_table,
    task_means,
)
from tutelage.experiments.prove.compare import (
    ArmEfficiency,
    Compared,
    compare_all,
    comparisons_table,
    efficiencies,
    efficiency_table,
)
from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.page import efficiency_words, facts_of, headline, sections_of
from tutelage.experiments.prove.plan import (
    Cell,
    Plan,
    file_digest,
    plan_experiment,
    rows_in_common,
    train_settings,
    write_set,
)
from tutelage.pipeline.resources import versions
from tutelage.pipeline.run_dir import RunFolder, sound
from tutelage.progress import Progress
from tutelage.stats.power import detectable_effect
from tutelage.student.config import template_values
from tutelage.training import Tracking, launched, tracked_run, train_student

_GAP_SECONDS = 1.0
DIVERGED = "diverged"
"""Status of the single row that replaces the items of a diverged training."""


class RunsCells(Protocol):
    """Protocol of a pool that works on several cells at the same time."""

    def each(self, work: Callable[[Cell], None], items: Sequence[Cell]) -> Iterator[Cell]:
        """Work on every cell and yield each finished one."""
        ...


def run_experiment(
    settings: ProveSettings,
    *,
    progress: Progress,
    most_cells: int | None = None,
    elsewhere: RunsCells | None = None,
) -> dict[str, Any]:
    """Run the remaining cells of an experiment.

    Args:
        settings: The experiment.
        progress: Notified of each cell.
        most_cells: Stop after so many, to continue another time.
        elsewhere: Works on the cells instead of this process.

    Returns:
        How many cells there are, how many are done, and of these how many diverged.

    Raises:
        RunError: Another process works on it, or the folder is that of something else.
    """
    if launched().count > 1:
        raise SettingsError(
            f"{launched().count} processes were launched, and each would run the whole experiment",
            hint="start it without a launcher; --engine ray works on several cells at a time",
        )
    settings.out.mkdir(parents=True, exist_ok=True)
    with RunFolder(root=settings.out).locked():
        _check_ours(settings.out)
        plan = plan_experiment(settings, progress=progress)
        _write_manifest(settings, plan)
        keys = list(dict.fromkeys(cell.key for cell in plan.cells))
        first = {cell.key: cell for cell in reversed(plan.cells)}
        open_keys = [key for key in keys if not is_done(settings.out / "cells" / key)]
        progress.begin("prove", total=len(keys), unit="cells")
        progress.advance(len(keys) - len(open_keys))
        todo = open_keys[: most_cells if most_cells is not None else len(open_keys)]
        if elsewhere is not None:
            _run_elsewhere([first[key] for key in todo], settings, plan, elsewhere, progress)
            todo = []
        with _Turns(settings.lock, seconds=settings.turn_seconds) as turns:
            for key in todo:
                cell = first[key]
                turns.wait()
                if not is_done(settings.out / "cells" / key):  # by another, while this waited
                    _run_cell(cell, settings, plan.tasks)
                turns.give_way()
                progress.advance(note=_name_of(cell))
        progress.end()
    finished = [key for key in keys if is_done(settings.out / "cells" / key)]
    diverged = sum(DIVERGED in _about(settings.out / "cells" / key) for key in finished)
    return {"cells": len(keys), "done": len(finished), "diverged": diverged}


def _run_elsewhere(
    cells: Sequence[Cell],
    settings: ProveSettings,
    plan: Plan,
    elsewhere: RunsCells,
    progress: Progress,
) -> None:
    """Run cells on a pool that shares the folder of the experiment."""
    if settings.lock is not None:
        raise SettingsError(
            "lock works only in one process, but Ray uses several",
            hint="leave out lock, or use --engine local",
        )
    shared = settings.model_copy(update={"out": settings.out.resolve()})
    work = partial(_train_and_evaluate, settings=shared, tasks=plan.tasks)
    for cell in elsewhere.each(work, cells):
        with _tracked(cell) as tracking:
            _log_means(tracking, cell, settings)
        progress.advance(note=_name_of(cell))


def _name_of(cell: Cell) -> str:
    return f"{cell.student} {cell.arm} seed {cell.seed} by {cell.balance}"


def _check_ours(out: Path) -> None:
    """Raise an error if the folder has a manifest of something else."""
    manifest = out / "manifest.json"
    if not manifest.exists():
        return
    try:
        text = manifest.read_text(encoding="utf-8") if manifest.is_file() else ""
        kind = json.loads(text).get("kind")
    except (ValueError, AttributeError, RecursionError):
        kind = None
    if kind != "experiment":
        raise RunError(
            f"{manifest}: is not the manifest of an experiment",
            hint="give the experiment its own folder: out in the configuration, or --out",
        )


class _Turns:
    """Turns at a machine that other programs use too, by a shared lock.

    Args:
        path: The lock, or None without other programs.
        seconds: A turn that lasts at least so long ends with its cell.
    """

    def __init__(self, path: Path | None, *, seconds: float) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = None
        if path is not None:
            self._file = os.fdopen(open_guarded(path, flags=os.O_WRONLY | os.O_APPEND), "a")
        self._seconds = seconds
        self._since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def wait(self) -> None:
        """Begin a turn, unless one is going on."""
        if self._file is not None and self._since is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = monotonic()

    def give_way(self) -> None:
        """End the turn if it has lasted long enough."""
        if self._file is None or self._since is None:
            return
        if monotonic() - self._since >= self._seconds:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._since = None
            sleep(_GAP_SECONDS)  # processes that wait have to notice


def is_done(folder: Path) -> bool:
    """Whether a cell is complete."""
    return _about(folder).get("state") == "done" and (folder / "results.parquet").is_file()


def _about(folder: Path) -> Mapping[str, Any]:
    manifest = folder / "manifest.json"
    if not manifest.is_file():  # a pipe has no end
        return {}
    try:
        found: Mapping[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _run_cell(cell: Cell, settings: ProveSettings, tasks: Sequence[TaskSettings]) -> None:
    with _tracked(cell) as tracking:
        _train_and_evaluate(cell, settings, tasks)
        _log_means(tracking, cell, settings)


def _tracked(cell: Cell) -> AbstractContextManager[Tracking | None]:
    names = ("student", "arm", "seed", "balance", "tokens", "key")
    config = {name: getattr(cell, name) for name in names} | {"rows": len(cell.rows)}
    return tracked_run(_name_of(cell), config=config)


def _log_means(tracking: Tracking | None, cell: Cell, settings: ProveSettings) -> None:
    if tracking is not None:
        table = pq.read_table(sound(settings.out / "cells" / cell.key / "results.parquet"))
        tracking.log(task_means(table))


def _train_and_evaluate(cell: Cell, settings: ProveSettings, tasks: Sequence[TaskSettings]) -> None:
    folder = settings.out / "cells" / cell.key
    folder.mkdir(parents=True, exist_ok=True)
    student = next(s for s in settings.students if s.name == cell.student)
    about: dict[str, Any] = {"rows": len(cell.rows), "tokens": cell.tokens}
    started = monotonic()
    evaluate = settings.evaluate.model_copy(
        update={"template": student.template, **template_values(student)}
    )
    model = student.model
    try:
        if cell.rows:
            write_set(folder / "rows.jsonl", cell.rows)
            train = train_settings(settings, student, seed=cell.seed)
            trained = train_student(
                folder / "rows.jsonl", model=student.model, settings=train, out=folder / "trained"
            )
            about["trained"] = {**asdict(trained), "path": "trained/model"}
            model = trained.path
    except DivergedError as error:  # a result of this arm: the others go on, and the report says so
        about["diverged"] = str(error)
        table = _nothing(tasks, error, seed=evaluate.seed)
    else:
        table = evaluate_student(model, tasks, evaluate, folder / "evaluated")
    write_table(folder / "results.parquet", table)
    about["seconds"] = round(monotonic() - started, 2)  # for the cost of the next plan
    with replacing(folder / "manifest.json") as temporary:
        text = json.dumps({"state": "done", "key": cell.key, **about}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    if not settings.keep_models:
        shutil.rmtree(folder / "trained" / "model", ignore_errors=True)


def _nothing(tasks: Sequence[TaskSettings], error: DivergedError, *, seed: int) -> pa.Table:
    """Results of a diverged training: one row per task with a status and no value."""
    row = ItemResult(item_id="", status=DIVERGED, detail=str(error))
    return pa.concat_tables(results_table([row], task=task.name, seed=seed) for task in tasks)


def _write_manifest(settings: ProveSettings, plan: Plan) -> None:
    common = rows_in_common(plan.cells, compared_with=(settings.choice, settings.reference))
    manifest = {
        "kind": "experiment",
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
        "processors": os.cpu_count(),
        "sets": list(plan.sets),
        "tasks": [
            {
                **task.model_dump(mode="json", exclude_defaults=True),
                "sha256": file_digest(task.path, out=settings.out),
            }
            for task in plan.tasks
        ],
        "cells": [
            {
                "key": c.key,
                "student": c.student,
                "arm": c.arm,
                "seed": c.seed,
                "balance": c.balance,
                "rows": len(c.rows),
                "tokens": c.tokens,
                "in_common": in_common,
            }
            for c, in_common in zip(plan.cells, common, strict=True)
        ],
    }
    write_text(settings.out / "manifest.json", json.dumps(manifest, indent=2) + "\n")


class _CellNote(StoredShape):
    key: str
    student: str
    arm: str
    seed: int
    balance: str
    rows: int = optional()
    tokens: int = optional()
    in_common: dict[str, int] = optional()


class _TaskNote(StoredShape):
    name: str


class _SetNote(StoredShape):
    student: str
    arm: str
    rows: int
    mean_tokens: float | None
    do_not_fit: int


class _ExperimentNote(StoredShape):
    kind: Literal["experiment"]
    settings: dict[str, Any] = optional()
    tasks: list[_TaskNote] = optional()
    sets: list[_SetNote] = optional()
    cells: list[_CellNote]


class _TrainedNote(StoredShape):
    seconds: float = optional()


class _CellResult(StoredShape):
    """The manifest of one finished cell."""

    state: str
    seconds: float = optional()
    trained: _TrainedNote = optional()
    diverged: str = optional()


def read_experiment(out: Path) -> StoredDict:
    """The manifest of an experiment.

    Raises:
        RunError: There is none, or it is damaged.
    """
    path = out / "manifest.json"
    if not path.is_file():
        raise RunError(f"{out}: there is no experiment here", hint="`tutelage prove` creates one")
    return read_stored(
        path,
        _ExperimentNote,
        what="the manifest of an experiment",
        hint="`tutelage prove` with the same configuration writes it again once the file is "
        "removed; finished trainings are found by their names",
    )


def read_cell(folder: Path) -> StoredDict:
    """The manifest of a finished cell.

    Raises:
        RunError: It is damaged.
    """
    return read_stored(
        folder / "manifest.json",
        _CellResult,
        what="the manifest of a cell",
        hint="remove the folder of that cell: the same `tutelage prove` trains it again",
    )


def read_results(out: Path) -> pa.Table:
    """Items of every finished cell, with student, arm, train_seed, balance and cell (its key).

    Raises:
        RunError: There is no experiment, or no cell is finished.
    """
    tables = []
    for cell in read_experiment(out)["cells"]:
        folder = out / "cells" / cell["key"]
        if not is_done(folder):
            continue
        table = pq.read_table(sound(folder / "results.parquet"))
        columns = {"key": "cell", "balance": "balance", "seed": "train_seed"}
        for name, column in {**columns, "arm": "arm", "student": "student"}.items():
            table = table.add_column(0, column, pa.array([cell[name]] * table.num_rows))
        tables.append(table)
    if not tables:
        raise RunError(f"{out}: no cell is finished yet", hint="the same command continues")
    return pa.concat_tables(tables)


def prove(
    config: Path | Mapping[str, Any],
    *,
    out: Path | None,
    quick: bool,
    most_cells: int | None,
    progress: Progress,
    selection: str | None = None,
    elsewhere: RunsCells | None = None,
) -> dict[str, Any]:
    """Run an experiment, or the rest of it, and write the results so far.

    Args:
        config: A YAML file, or what it would hold.
        out: Instead of the folder it names.
        quick: Only choice and reference, with fewer examples, seeds and items.
        most_cells: Stop after this many trainings, to continue another time; 0 only reports.
        progress: Notified of each cell.
        selection: The choice is this selection of each run, instead of what CONFIG says.
        elsewhere: Works on the cells instead of this process.

    Returns:
        The sentences, how much is done, and where the report is.
    """
    settings = load_prove_settings(config, out=out)
    if selection is not None:
        settings = settings.with_choice(selection)
    if quick:
        settings = settings.quick()
    done = run_experiment(settings, progress=progress, most_cells=most_cells, elsewhere=elsewhere)
    if not done["done"]:
        return {**done, "out": str(settings.out), "in_words": ["Nothing is finished yet."]}
    found = report_experiment(settings, done)
    if quick:
        found["in_words"] += _worth_it(found.pop("compared"), settings, config)
    found.pop("compared", None)
    return {**done, **found}


def report_experiment(settings: ProveSettings, done: Mapping[str, Any]) -> dict[str, Any]:
    """Write the tables, report.md and report.html of an experiment.

    Where an oracle and an ungated arm are there, efficiency.parquet is one of the tables.

    Args:
        settings: The experiment.
        done: How many cells there are and how many are done.
    """
    from tutelage.reporting import render_markdown_page, render_page

    results = read_results(settings.out)
    write_table(settings.out / "results.parquet", results)
    compared = compare_all(results, settings)
    write_table(settings.out / "comparisons.parquet", comparisons_table(compared))
    reached = _reached(results, settings)
    manifest = read_experiment(settings.out)
    primary = settings.primary or manifest["tasks"][0]["name"]
    opening = headline(compared, settings, primary=primary)
    opening += efficiency_words(reached, settings, primary=primary)
    if done.get("diverged"):
        opening.append(
            f"{done['diverged']} of {done['cells']} training runs diverged and have no values; "
            "results.parquet lists them. A lower learning rate may help."
        )
    page: dict[str, Any] = {
        "opening": opening,
        "facts": facts_of(compared, settings, done),
        "sections": sections_of(
            compared,
            settings,
            primary=primary,
            sets=manifest["sets"],
            cells=manifest["cells"],
            efficiencies=reached,
        ),
    }
    title = f"{settings.out.name}: effect of the selection"
    write_text(settings.out / "report.md", render_markdown_page(title=title, **page))
    html = render_page(title=settings.out.name, about="effect of the selection", **page)
    write_text(settings.out / "report.html", html)
    return {
        "in_words": opening,
        "out": str(settings.out),
        "report": str(settings.out / "report.html"),
        "compared": compared,
        **({"efficiency": [asdict(one) for one in reached]} if reached else {}),
    }


def _reached(results: pa.Table, settings: ProveSettings) -> list[ArmEfficiency]:
    """Efficiencies, also written to efficiency.parquet if there are any."""
    found = efficiencies(results, settings)
    path = settings.out / "efficiency.parquet"
    if found:
        write_table(path, efficiency_table(found))
    else:
        path.unlink(missing_ok=True)  # of arms that are no longer there
    return found


def _worth_it(
    compared: list[Compared], quick: ProveSettings, config: Path | Mapping[str, Any]
) -> list[str]:
    """Sentence on whether the full experiment is worthwhile after the quick look."""
    full = load_prove_settings(config)
    found = []
    for c in compared:
        if (c.arm, c.against, c.measure) != (quick.choice, quick.reference, "value"):
            continue
        if c.interval.standard_error == 0.0:
            found.append(
                f"{c.task}: the values do not vary between items and seeds in the quick look, "
                "so it gives no forecast of the full experiment."
            )
            continue
        # The standard error falls with the root of seeds: at worst all of it comes from them.
        shrink = (len(quick.seeds) / len(full.seeds)) ** 0.5
        detectable = detectable_effect(c.interval.standard_error * shrink, math.inf)
        larger = abs(c.interval.mean) >= detectable
        verdict = "is worth it" if larger else "would probably show no difference"
        found.append(
            f"{c.task}: with all its seeds ({len(full.seeds)}) a difference of about "
            f"{detectable:.2g} could be found, and the quick look sees {c.interval.mean:+.2g}: "
            f"the full experiment {verdict} here."
        )
    return found
