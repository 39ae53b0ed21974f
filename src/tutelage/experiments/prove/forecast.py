"""Forecast of an experiment (`tutelage prove --plan`): detectable effect and cost."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from tutelage.errors import DataError, SettingsError
from tutelage.evaluation import TaskSettings
from tutelage.experiments.prove.compare import pairs_of
from tutelage.experiments.prove.config import (
    HELD_OUT_TASKS,
    UNTRAINED,
    ProveSettings,
    ProveStudent,
    load_prove_settings,
)
from tutelage.experiments.prove.plan import Cell, Plan, plan_experiment, train_settings
from tutelage.experiments.prove.run import is_done, read_cell, read_experiment, read_results
from tutelage.pipeline.config import checked
from tutelage.pipeline.cost_estimate import evaluation_work, items_of, training_work
from tutelage.pipeline.work_estimate import MEASURE_SECONDS, Work, summed
from tutelage.progress import Progress
from tutelage.reporting.number_format import count, duration, share
from tutelage.stats.paired_design import Paired, paired_items
from tutelage.stats.power import Components, Design, components_of, design, what_to_increase
from tutelage.student import open_student
from tutelage.student.config import template_values
from tutelage.student.passages import Refusal
from tutelage.training import Encoded, TrainingRow
from tutelage.training.tokenized_rows import encode_candidate, training_row
from tutelage.training.train import student_settings

_HOUR = 3600
STORED: Mapping[str, Components] = MappingProxyType(
    {
        "smollm2_references_alike": Components(seed=0.009, item=0.015, rest=0.022),
        "smollm2_references_differ": Components(seed=0.007, item=0.045, rest=0.026),
        "gemma_references": Components(seed=0.026, item=0.06, rest=0.13),
        "smollm2_answers_right": Components(seed=0.03, item=0.13, rest=0.22),
        "smollm2_choice_margin": Components(seed=0.06, item=0.39, rest=0.23),
    }
)
"""Variance components measured in docs/experiments, for plans without a pilot.

Two-way analysis of variance of the raw items of the experiments "Does choosing help?" and "Sixteen
answers": SmolLM2-135M and Gemma-3-270M, 64 rows a set, log-likelihood of open references in nats a
token (sets of arms that are much alike, or that differ), share of AddSub problems that are right,
and margin of the right answer on ARC-easy in nats.
"""
STORED_FOR: Mapping[str, str] = MappingProxyType(
    {
        "held_out": "smollm2_references_differ",
        "gain": "smollm2_references_differ",
        "choice": "smollm2_choice_margin",
        "exact_match": "smollm2_answers_right",
    }
)
"""Components used for a kind of task that no pilot has measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """Finished cells of an experiment.

    Attributes:
        folder: Folder of the experiment.
        settings: Its settings.
        results: Every item of every finished cell.
    """

    folder: Path
    settings: ProveSettings
    results: pa.Table


def forecast(
    config: Path | Mapping[str, Any],
    *,
    out: Path | None = None,
    quick: bool = False,
    pilot: Path | None = None,
    variances: str | None = None,
    seconds_per_cell: float | None = None,
) -> dict[str, Any]:
    """Forecast the detectable effect and cost of an experiment, and what to increase.

    Components of variance come from the pilot, from cells of the experiment itself or of its quick
    look that are finished, or from earlier experiments (`STORED`), in this order.

    Args:
        config: A YAML file, or what it holds.
        out: Instead of the folder it names.
        quick: Plan the quick look.
        pilot: The folder of another experiment.
        variances: One of `STORED`, instead of a pilot.
        seconds_per_cell: Instead of what finished cells took.

    Returns:
        The plans by student, the cost, and sentences.

    Raises:
        SettingsError: Nothing is known of the variances of the primary task.
        RunError: There is no pilot in the folder.
    """
    settings = load_prove_settings(config, out=out)
    settings = settings.quick() if quick else settings
    if variances is not None and variances not in STORED:
        raise SettingsError(
            f"--variances {variances}: there is no such name", hint=f"one of {', '.join(STORED)}"
        )
    found = pilot_of(settings, pilot)
    seconds, told = seconds_of_cells(settings, found, given=seconds_per_cell)
    done = sum(1 for _ in _manifests(settings.out))
    plans = [
        _of_student(settings, student.name, found, variances=variances, seconds=seconds)
        for student in settings.students
    ]
    cells = cells_of(settings, seeds=len(settings.seeds))
    hours = None if seconds is None else max(0, cells - done) * seconds / _HOUR
    cost = f"At most {count(cells, 'cell')}; {settings.out} has {count(done, 'finished cell')}. "
    if done >= cells:
        cost += "None is left, unless the configuration has changed since."
    elif hours is None:
        cost += "The duration of a cell is unknown: give --seconds-per-cell, or finish one cell."
    else:
        cost += f"The others take about {duration(hours * _HOUR)} ({told})."
    return {
        "plan": plans,
        "cells": cells,
        "done": done,
        "seconds_per_cell": seconds,
        "hours": hours,
        "in_words": [*(sentence for p in plans for sentence in p.pop("words")), cost],
    }


def cells_of(settings: ProveSettings, *, seeds: int) -> int:
    """Most cells of an experiment; arms with the same rows share theirs."""
    of_student = len(settings.balance) * len(settings.arms) * seeds + 1
    return len(settings.students) * of_student


def pilot_of(settings: ProveSettings, folder: Path | None) -> Pilot | None:
    """Named pilot; otherwise the experiment's own finished cells, or its quick look's."""
    if folder is not None:
        return _read_pilot(folder)
    own = (settings.out, settings.out.with_name(f"{settings.out.name}-quick"))
    return next((_read_pilot(path) for path in own if any(_manifests(path))), None)


def _read_pilot(folder: Path) -> Pilot:
    """Finished cells in an experiment's folder."""
    results = read_results(folder)
    manifest = read_experiment(folder)
    settings = checked(ProveSettings, manifest["settings"], place=str(folder / "manifest.json"))
    return Pilot(folder=folder, settings=settings, results=results)


def _seconds(about: Mapping[str, Any]) -> float:
    return float(about["seconds"] if "seconds" in about else about["trained"]["seconds"])


def _manifests(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Contents of the manifests of finished cells."""
    for path in sorted((folder / "cells").glob("*/manifest.json")):
        if is_done(path.parent):
            yield read_cell(path.parent)


def seconds_of_cells(
    settings: ProveSettings, pilot: Pilot | None, *, given: Any
) -> tuple[float | None, str]:
    """Mean seconds of a cell with training, and their source.

    Args:
        settings: The experiment.
        pilot: The pilot, or None.
        given: Seconds given by the user, or None.
    """
    if given is not None:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if not number or not 0 < given < math.inf:
            raise SettingsError(
                f"--seconds-per-cell {given}: must be a number of seconds above 0",
                hint="leave it out to use the mean of finished cells",
            )
        return given, f"{duration(given)} a cell, as given"
    if pilot is None:
        return None, ""
    measured = [_seconds(about) for about in _manifests(pilot.folder) if "trained" in about]
    if not measured:
        return None, ""
    scale = settings.examples / pilot.settings.examples
    seconds = fmean(measured) * scale
    told = f"{duration(seconds)} a cell, the mean of {count(len(measured), 'finished cell')}"
    if scale != 1.0:
        rows = count(pilot.settings.examples, "example")
        told += f" of {rows}, scaled to {settings.examples:,}"
    return seconds, told


def _of_student(
    settings: ProveSettings,
    student: str,
    pilot: Pilot | None,
    *,
    variances: str | None,
    seconds: float | None,
) -> dict[str, Any]:
    task = _primary(settings)
    paired = None if variances or pilot is None else _paired(pilot, student, task)
    if paired is not None and pilot is not None:
        components = components_of(paired.arm_S_I - paired.against_S_I)
        source = (
            f"the pilot {pilot.folder.name} ({len(paired.seeds)} seeds, {len(paired.items)} items)"
        )
    else:
        components, source = _stored(settings, task, variances)
    items = _items(settings, task) or (len(paired.items) if paired is not None else None)
    if items is None:
        raise SettingsError(
            f"task {task}: its number of items is not known in advance",
            hint="give the task a limit",
        )
    comparisons = _comparisons(settings)

    def planned(seeds: int, items: int, seconds: float | None = seconds) -> Design:
        cells = cells_of(settings, seeds=seeds)
        return design(
            components,
            seeds=seeds,
            items=items,
            comparisons=comparisons,
            level=settings.level,
            hours=None if seconds is None else cells * seconds / _HOUR,
        )

    seeds = len(settings.seeds)
    plan = planned(seeds, items)
    more_seeds, more_items = planned(2 * seeds, items), planned(seeds, 2 * items, None)
    increase = what_to_increase(plan, more_seeds=more_seeds, more_items=more_items)
    return {
        "student": student,
        "task": task,
        "source": source,
        "components": asdict(components),
        "comparisons": comparisons,
        "planned": plan.row(),
        "twice_the_seeds": more_seeds.row(),
        "twice_the_items": more_items.row(),
        "increase": increase,
        "words": [
            *_words(settings, (student, task, source), (plan, more_seeds, more_items), comparisons),
            *([] if plan.detectable == 0.0 else [_advice(increase)]),
        ],
    }


def _words(
    settings: ProveSettings,
    names: tuple[str, str, str],
    designs: tuple[Design, Design, Design],
    comparisons: int,
) -> list[str]:
    (student, task, source), (plan, more_seeds, more_items) = names, designs
    if plan.detectable == 0.0:
        nothing = (
            f"{student}, {task}: in {source}, nothing varied between items or seeds, so the "
            "minimum detectable effect is unknown. Use other variances with --variances."
        )
        return [nothing]
    corrected = f"{plan.detectable_holm:.3g} after Holm's correction for {comparisons} comparison"
    corrected += "" if comparisons == 1 else "s"
    if settings.correction == "fixed_sequence":
        corrected = "the same in the fixed sequence, as long as all tests before it are significant"
    found = (
        f"{student}, {task}: with {plan.seeds} seeds and {plan.items:,} items, the minimum "
        f"detectable effect (80 % power) is {plan.detectable:.3g}; {corrected}. "
        f"It is computed from {source}."
    )
    parts = (
        f"{share(plan.seed_fraction)} of the variance of the mean comes from seeds and "
        f"{share(plan.item_fraction)} from items; the rest comes from both together. "
        "The minimum detectable effect is "
        f"{more_seeds.detectable:.3g} with {more_seeds.seeds} seeds, and "
        f"{more_items.detectable:.3g} with {more_items.items:,} items."
    )
    return [found, parts]


def _advice(increase: str) -> str:
    if increase == "items":
        return "To detect smaller differences, use more items: this needs no more training."
    return "To detect smaller differences, use more seeds: more items would change little."


def _primary(settings: ProveSettings) -> str:
    if settings.primary is not None:
        return settings.primary
    return "held_out_original" if settings.held_out else settings.tasks[0].name


def _task(settings: ProveSettings, name: str) -> TaskSettings | None:
    """Settings of a task; None for those of held-out examples of the run."""
    return next((t for t in settings.tasks if t.name == name), None)


def _items(settings: ProveSettings, name: str) -> int | None:
    task = _task(settings, name)
    if task is None:
        return settings.held_out if name in HELD_OUT_TASKS else None
    return items_of(task)


def _comparisons(settings: ProveSettings) -> int:
    students = len(settings.students)
    between = len(list(combinations(range(students), 2)))
    return len(settings.balance) * (students * len(pairs_of(settings)) + between)


def _stored(settings: ProveSettings, name: str, variances: str | None) -> tuple[Components, str]:
    task = _task(settings, name)
    chosen = variances or STORED_FOR.get("held_out" if task is None else task.kind)
    if chosen is None:
        raise SettingsError(
            f"task {name}: no earlier experiment gives the variance of its items",
            hint=f"run a pilot and give --pilot FOLDER, or name --variances ({', '.join(STORED)})",
        )
    return STORED[chosen], f"the stored variances {chosen}"


def _paired(pilot: Pilot, student: str, task: str) -> Paired | None:
    """Selection and reference in the pilot, or else the pair of arms with most seeds."""
    settings = pilot.settings
    names = [s.name for s in settings.students]
    student = student if student in names else names[0]
    values: dict[tuple[str, str, int], dict[str, float]] = {}
    columns = ["student", "balance", "arm", "train_seed", "task", "item_id", "value"]
    for row in pilot.results.select(columns).to_pylist():
        if row["student"] == student and row["task"] == task and row["arm"] != UNTRAINED:
            cell = values.setdefault((row["balance"], row["arm"], row["train_seed"]), {})
            if row["value"] is not None:
                cell[row["item_id"]] = row["value"]
    arms = [arm.name for arm in settings.arms]
    pairs: Sequence[tuple[str, str]] = [
        (settings.choice, settings.reference),
        *combinations(arms, 2),
    ]
    found = [
        paired
        for balance in settings.balance
        for arm, against in pairs
        if (paired := paired_items([
            (s, values.get((balance, arm, s)), values.get((balance, against, s)))
            for s in settings.seeds
        ])) is not None
    ]  # fmt: skip
    if not found:
        return None
    best = max(found, key=lambda p: len(p.seeds))  # the first of equals: choice and reference
    if len(best.seeds) < 2:  # noqa: PLR2004
        raise DataError(
            f"{pilot.folder}: one seed of {task} is finished; the variance between seeds needs two",
            hint="finish a second seed, or plan with --variances",
        )
    return best


# ----------------------------------------------------------------------------------------------
# What an experiment has left to do and how long that takes (`tutelage prove --dry-run`).
# ----------------------------------------------------------------------------------------------


def estimate_experiment(
    config: Path | Mapping[str, Any],
    *,
    out: Path | None,
    quick: bool,
    progress: Progress,
    selection: str | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Remaining trainings and evaluations, with their tokens and time.

    Where cells are finished, their mean time is taken; otherwise a few steps and a few items of
    each task are measured. Every set is sampled, but nothing is kept in the experiment's folder.

    Args:
        config: A YAML file, or what it would hold.
        out: Instead of the folder it names.
        quick: Settings of the quick look.
        progress: Notified of each set.
        selection: As for `prove`.
        measure_seconds: How long each student's speed is measured at most; 0 takes the last
            measurement.
    """
    settings = load_prove_settings(config, out=out)
    if selection is not None:
        settings = settings.with_choice(selection)
    settings = settings.quick() if quick else settings
    with TemporaryDirectory(prefix="tutelage-") as folder:
        drawn = settings.model_copy(update={"out": Path(folder)})
        plan = plan_experiment(drawn, progress=progress)
        cells = {cell.key: cell for cell in reversed(plan.cells)}
        left = [c for key, c in cells.items() if not is_done(settings.out / "cells" / key)]
        seconds, told = seconds_of_cells(settings, pilot_of(settings, None), given=None)
        work: list[Work] = []
        for student in settings.students:
            own = [cell for cell in left if cell.student == student.name]
            of_student = _Estimating(settings=drawn, student=student, plan=plan, cells=own)
            if not own:
                continue
            if seconds is not None:
                work.append(of_student.as_before(seconds, told))
            else:
                work += of_student.measured(measure_seconds)
    return {"cells": len(cells), "done": len(cells) - len(left), **summed(work)}


class _Estimating:
    """Estimates for the remaining cells of one student."""

    def __init__(
        self, *, settings: ProveSettings, student: ProveStudent, plan: Plan, cells: Sequence[Cell]
    ) -> None:
        self._settings, self._student = settings, student
        self._plan, self._cells = plan, cells
        self._train = train_settings(settings, student, seed=0)

    def as_before(self, seconds: float, told: str) -> Work:
        """Estimate from the mean time of finished cells."""
        with open_student(student_settings(self._student.model, self._train)) as student:
            encoded = [self._encoded(cell, student) for cell in self._cells]
        return Work(
            stage=f"train and evaluate {self._student.name}",
            count=len(self._cells),
            unit="cells",
            tokens=self._train.epochs * sum(e.tokens for e in encoded),
            seconds=len(self._cells) * seconds,
            basis=told,
        )

    def measured(self, measure_seconds: float) -> list[Work]:
        """Estimate from a few steps and a few items."""
        found: list[Work] = []
        with open_student(student_settings(self._student.model, self._train)) as student:
            encoded = [self._encoded(cell, student) for cell in self._cells if cell.rows]
            if encoded:
                trainings = training_work(
                    encoded[0],
                    student,
                    self._train,
                    measure_seconds=measure_seconds,
                    times=len(encoded),
                    tokens=self._train.epochs * sum(e.tokens for e in encoded),
                )
                stage = f"train {self._student.name}"
                found.append(
                    replace(trainings, stage=stage, count=len(encoded), unit="training runs")
                )
        evaluate = self._settings.evaluate.model_copy(
            update={"template": self._student.template, **template_values(self._student)}
        )
        evaluated = evaluation_work(
            self._student.model,
            self._plan.tasks,
            evaluate,
            times=len(self._cells),
            measure_seconds=measure_seconds,
        )
        return [*found, replace(evaluated, stage=f"evaluate {self._student.name}")]

    def _encoded(self, cell: Cell, student: Any) -> Encoded:
        rows: list[TrainingRow] = []
        for number, row in enumerate(cell.rows):
            passages = encode_candidate(row.candidate, student)
            if not isinstance(passages, Refusal):
                rows += [training_row(number, passage) for passage in passages]
        return Encoded(rows=tuple(rows), left_out=())
