"""An experiment: train each student on each set with each seed, evaluate, and compare.

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
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import content_hash, replacing, write_jsonl, write_table
from tutelage.data.tables import messages_to_arrow
from tutelage.errors import RunError
from tutelage.evaluation import TaskSettings, evaluate_student
from tutelage.runs.folder import RunFolder
from tutelage.runs.opening import versions
from tutelage.runs.progress import Progress
from tutelage.runs.proving_sets import (
    SetRow,
    arm_rows,
    first_examples,
    hold_out,
    in_drawn_order,
    instruction_hash,
    within_budget,
    write_set,
)
from tutelage.runs.proving_settings import UNTRAINED, Balance, ProveSettings, ProveStudent
from tutelage.student import open_student
from tutelage.student.passage import Refusal
from tutelage.training import TrainSettings, train_student
from tutelage.training.rows import encode_candidate
from tutelage.training.train import student_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training and its evaluation.

    Attributes:
        key: Hash of all it depends on, and the name of its folder.
        student: Name of the student.
        arm: Name of the arm, or `untrained`.
        seed: Of draw and training.
        balance: What is equal between the arms.
        rows: What it trains on; empty for `untrained`.
        tokens: Trained tokens of these rows.
    """

    key: str
    student: str
    arm: str
    seed: int
    balance: Balance
    rows: tuple[SetRow, ...]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an experiment is going to do, in the order in which it does it."""

    cells: tuple[Cell, ...]
    tasks: tuple[TaskSettings, ...]
    sets: tuple[Mapping[str, Any], ...]


def plan_experiment(settings: ProveSettings, *, progress: Progress) -> Plan:
    """Draw every set. Nothing is trained; the files of held-out references are written.

    Raises:
        TutelageError: A set cannot be had, or is smaller than `examples`.
    """
    tasks, held = _tasks(settings)
    digests = [[t.model_dump(mode="json", exclude={"path"}), _digest(t.path)] for t in tasks]
    cells: list[Cell] = []
    sets: list[Mapping[str, Any]] = []
    progress.begin("plan", total=len(settings.students) * len(settings.arms), unit="sets")
    for student in settings.students:
        train = train_settings(settings, student, seed=0)
        with_end = open_student(student_settings(student.model, train))
        measured = _Measured(student=student, encode_with=with_end)
        whole = {}
        for arm in settings.arms:
            found = arm_rows(arm, student, settings, without=held)
            whole[arm.name] = measured.trainable(found)
            sets.append(_about_set(student, arm.name, whole[arm.name], measured, found))
            progress.advance()
        maker = _Cells(settings=settings, student=student, measured=measured, tasks=digests)
        cells += maker.all(whole)
        with_end.close()
    progress.end()
    return Plan(cells=tuple(_seeds_first(cells, settings)), tasks=tasks, sets=tuple(sets))


class _Measured:
    """How many trained tokens a row has, for one student; each row is encoded once."""

    def __init__(self, *, student: ProveStudent, encode_with: Any) -> None:
        self.student = student
        self.fingerprint: str = encode_with.fingerprint
        self._encoder = encode_with
        self.tokens: dict[str, int] = {}

    def trainable(self, rows: Sequence[SetRow]) -> list[SetRow]:
        """The rows that fit the student; the others take no part in any arm."""
        for row in rows:
            name = row.candidate.candidate_id
            if name not in self.tokens:
                encoded = encode_candidate(row.candidate, self._encoder)
                passages = () if isinstance(encoded, Refusal) else encoded
                self.tokens[name] = sum(passage.targets for passage in passages)
        return [row for row in rows if self.tokens[row.candidate.candidate_id]]

    def total(self, rows: Sequence[SetRow]) -> int:
        return sum(self.tokens[row.candidate.candidate_id] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """Makes the cells of one student."""

    settings: ProveSettings
    student: ProveStudent
    measured: _Measured
    tasks: Sequence[Any]

    def all(self, whole: Mapping[str, Sequence[SetRow]]) -> Iterator[Cell]:
        settings = self.settings
        for balance in settings.balance:
            yield self._cell(UNTRAINED, settings.seeds[0], balance, ())
            for seed in settings.seeds:
                drawn = {
                    arm.name: in_drawn_order(whole[arm.name], seed=seed, draw=arm.draw)
                    for arm in settings.arms
                }
                for name, rows in drawn.items():
                    place = f"{self.student.name}, arm {name}"
                    if balance == "examples":
                        taken = first_examples(rows, examples=settings.examples, place=place)
                    else:
                        reference = drawn[settings.reference][: settings.examples]
                        budget = self.measured.total(reference)
                        taken = within_budget(rows, self.measured.tokens, budget=budget)
                        if name == settings.reference:
                            taken = reference
                    yield self._cell(name, seed, balance, taken)

    def _cell(self, arm: str, seed: int, balance: Balance, rows: Sequence[SetRow]) -> Cell:
        train = train_settings(self.settings, self.student, seed=seed) if rows else None
        evaluate = self.settings.evaluate.model_copy(update={"template": self.student.template})
        key = content_hash(
            "cell",
            self.measured.fingerprint,
            None if train is None else train.model_dump(mode="json", exclude={"threads"}),
            sorted(row.candidate.candidate_id for row in rows),
            self.tasks,
            evaluate.model_dump(mode="json"),
        )
        return Cell(
            key=key,
            student=self.student.name,
            arm=arm,
            seed=seed,
            balance=balance,
            rows=tuple(sorted(rows, key=lambda row: row.candidate.candidate_id)),
            tokens=self.measured.total(rows),
        )


def _seeds_first(cells: Sequence[Cell], settings: ProveSettings) -> list[Cell]:
    """Whole seeds, the choice and its reference first: an experiment that stops can be compared."""
    arms = [UNTRAINED, settings.choice, settings.reference]
    arms += [a.name for a in settings.arms if a.name not in arms]
    students = [s.name for s in settings.students]
    return sorted(
        cells,
        key=lambda c: (
            students.index(c.student),
            settings.balance.index(c.balance),
            settings.seeds.index(c.seed),
            arms.index(c.arm),
        ),
    )


def train_settings(settings: ProveSettings, student: ProveStudent, *, seed: int) -> TrainSettings:
    """How a student is trained in a cell of this seed."""
    values = settings.train.model_dump() | student.train
    return TrainSettings.model_validate({**values, "template": student.template, "seed": seed})


def _about_set(
    student: ProveStudent,
    arm: str,
    rows: Sequence[SetRow],
    measured: _Measured,
    found: Sequence[SetRow],
) -> dict[str, Any]:
    return {
        "student": student.name,
        "arm": arm,
        "rows": len(rows),
        "do_not_fit": len(found) - len(rows),
        "mean_tokens": round(measured.total(rows) / len(rows), 1) if rows else None,
    }


def _tasks(settings: ProveSettings) -> tuple[tuple[TaskSettings, ...], set[str]]:
    """All tasks, with those of the held-out examples, and the questions that are held out."""
    if not settings.held_out:
        return settings.tasks, set()
    folder = settings.out / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    run = next(s.run for s in settings.students if s.run is not None)
    made, held = [], set()
    versions_held = hold_out(RunFolder(root=run).existing(), examples=settings.held_out)
    for version, candidates in versions_held.items():
        path = folder / f"held_out_{version}.jsonl"
        held |= {instruction_hash(c.context) for c in candidates}
        write_jsonl(path, ({"messages": messages_to_arrow(c.messages)} for c in candidates))
        made.append(TaskSettings(name=path.stem, kind="held_out", path=str(path)))
    return (*made, *settings.tasks), held


def _digest(path: str | None) -> str | None:
    if path is None or not Path(path).is_file():
        return path
    return sha256(Path(path).read_bytes()).hexdigest()


def run_experiment(
    settings: ProveSettings, *, progress: Progress, most_cells: int | None = None
) -> dict[str, Any]:
    """Do what an experiment has left to do.

    Args:
        settings: The experiment.
        progress: Told of each cell.
        most_cells: Stop after so many, to continue another time.

    Returns:
        How many cells there are, and how many are done.

    Raises:
        RunError: Another process works on it.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    with RunFolder(root=settings.out).locked():
        plan = plan_experiment(settings, progress=progress)
        _write_manifest(settings, plan)
        keys = list(dict.fromkeys(cell.key for cell in plan.cells))
        first = {cell.key: cell for cell in reversed(plan.cells)}
        open_keys = [key for key in keys if not is_done(settings.out / "cells" / key)]
        progress.begin("prove", total=len(keys), unit="cells")
        progress.advance(len(keys) - len(open_keys))
        for key in open_keys[: most_cells if most_cells is not None else len(open_keys)]:
            cell = first[key]
            with _turn(settings.lock):
                _run_cell(cell, settings, plan.tasks)
            note = f"{cell.student} {cell.arm} seed {cell.seed} by {cell.balance}"
            progress.advance(note=note)
        progress.end()
    done = sum(is_done(settings.out / "cells" / key) for key in keys)
    return {"cells": len(keys), "done": done}


@contextmanager
def _turn(lock: Path | None) -> Iterator[None]:
    """Hold a lock that other programs may hold too, for the length of one cell."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_done(folder: Path) -> bool:
    """Whether a cell is complete."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(manifest.get("state") == "done" and (folder / "results.parquet").is_file())


def _run_cell(cell: Cell, settings: ProveSettings, tasks: Sequence[TaskSettings]) -> None:
    folder = settings.out / "cells" / cell.key
    folder.mkdir(parents=True, exist_ok=True)
    student = next(s for s in settings.students if s.name == cell.student)
    about: dict[str, Any] = {"rows": len(cell.rows), "tokens": cell.tokens}
    model = student.model
    if cell.rows:
        write_set(folder / "rows.jsonl", cell.rows)
        train = train_settings(settings, student, seed=cell.seed)
        trained = train_student(
            folder / "rows.jsonl", model=student.model, settings=train, out=folder / "trained"
        )
        about["trained"] = {**asdict(trained), "path": "trained/model"}
        model = trained.path
    evaluate = settings.evaluate.model_copy(update={"template": student.template})
    table = evaluate_student(model, tasks, evaluate, folder / "evaluated")
    write_table(folder / "results.parquet", table)
    with replacing(folder / "manifest.json") as temporary:
        text = json.dumps({"state": "done", "key": cell.key, **about}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    if not settings.keep_models:
        shutil.rmtree(folder / "trained" / "model", ignore_errors=True)


def _write_manifest(settings: ProveSettings, plan: Plan) -> None:
    manifest = {
        "kind": "experiment",
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
        "processors": os.cpu_count(),
        "sets": list(plan.sets),
        "tasks": [
            {**task.model_dump(mode="json", exclude_defaults=True), "sha256": _digest(task.path)}
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
            }
            for c in plan.cells
        ],
    }
    with replacing(settings.out / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_results(out: Path) -> pa.Table:
    """Every item of every finished cell, with the columns student, arm, train_seed and balance.

    Raises:
        RunError: There is no experiment, or no cell is finished.
    """
    path = out / "manifest.json"
    if not path.is_file():
        raise RunError(f"{out}: there is no experiment here", hint="`tutelage prove` makes one")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    tables = []
    for cell in manifest["cells"]:
        folder = out / "cells" / cell["key"]
        if not is_done(folder):
            continue
        table = pq.read_table(folder / "results.parquet")
        for name in ("balance", "seed", "arm", "student"):
            column = pa.array([cell[name]] * table.num_rows)
            table = table.add_column(0, "train_seed" if name == "seed" else name, column)
        tables.append(table)
    if not tables:
        raise RunError(f"{out}: no cell is finished yet", hint="the same command continues")
    return pa.concat_tables(tables)
