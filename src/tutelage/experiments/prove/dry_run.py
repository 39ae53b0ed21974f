"""What an experiment has left to do and how long that takes (`tutelage prove --dry-run`)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.experiments.prove.config import ProveSettings, ProveStudent, load_prove_settings
from tutelage.experiments.prove.forecast import pilot_of, seconds_of_cells
from tutelage.experiments.prove.plan import Cell, Plan, plan_experiment, train_settings
from tutelage.experiments.prove.run import is_done
from tutelage.pipeline.cost_estimate import evaluation_work, training_work
from tutelage.pipeline.work_estimate import MEASURE_SECONDS, Work, summed
from tutelage.progress import Progress
from tutelage.student import open_student
from tutelage.student.config import template_values
from tutelage.student.passages import Refusal
from tutelage.training import Encoded, TrainingRow
from tutelage.training.tokenized_rows import encode_candidate, training_row
from tutelage.training.train import student_settings


def estimate_experiment(
    config: Path,
    *,
    out: Path | None,
    quick: bool,
    progress: Progress,
    selection: str | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """The trainings and evaluations that are left, their tokens and their time.

    Where cells are finished, their mean time is taken; otherwise a few steps and a few items of
    each task are measured. Every set is drawn, but nothing is kept in the experiment's folder.

    Args:
        config: A YAML file.
        out: Instead of the folder it names.
        quick: Of the quick look.
        progress: Told of each set.
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
    """The cells of one student that are left."""

    def __init__(
        self, *, settings: ProveSettings, student: ProveStudent, plan: Plan, cells: Sequence[Cell]
    ) -> None:
        self._settings, self._student = settings, student
        self._plan, self._cells = plan, cells
        self._train = train_settings(settings, student, seed=0)

    def as_before(self, seconds: float, told: str) -> Work:
        """By the mean time of finished cells."""
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
        """By a few steps and a few items."""
        found: list[Work] = []
        with open_student(student_settings(self._student.model, self._train)) as student:
            encoded = [self._encoded(cell, student) for cell in self._cells if cell.rows]
            if encoded:
                one = training_work(
                    encoded[0], student, self._train, measure_seconds=measure_seconds
                )
                tokens = self._train.epochs * sum(e.tokens for e in encoded)
                scale = tokens / one.tokens if one.tokens else 0.0
                found.append(
                    replace(
                        one,
                        stage=f"train {self._student.name}",
                        count=len(encoded),
                        unit="trainings",
                        tokens=tokens,
                        seconds=None if one.seconds is None else one.seconds * scale,
                    )
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
