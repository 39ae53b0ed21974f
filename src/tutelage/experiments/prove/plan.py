"""Plan of an experiment: every set and every cell, before anything is trained."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tutelage.data import content_hash, write_jsonl
from tutelage.data.schemas import messages_to_arrow
from tutelage.evaluation import TaskSettings
from tutelage.evaluation.lm_eval_harness import folder_digest
from tutelage.experiments.prove.arms import (
    SetRow,
    arm_rows,
    first_examples,
    hold_out,
    in_drawn_order,
    within_budget,
)
from tutelage.experiments.prove.config import UNTRAINED, Balance, ProveSettings, ProveStudent
from tutelage.pipeline.run_dir import RunFolder
from tutelage.progress import Progress
from tutelage.student import StudentModel, open_student
from tutelage.student.config import template_values
from tutelage.student.passages import Refusal
from tutelage.training import TrainSettings
from tutelage.training.tokenized_rows import encode_candidate
from tutelage.training.train import student_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training and its evaluation.

    Attributes:
        key: Hash of all it depends on, and the name of its folder.
        student: Name of the student.
        arm: Name of the arm, or `untrained`.
        seed: Seed of draw and training.
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
    """Cells of an experiment, in the order in which they are done."""

    cells: tuple[Cell, ...]
    tasks: tuple[TaskSettings, ...]
    sets: tuple[Mapping[str, Any], ...]


def plan_experiment(settings: ProveSettings, *, progress: Progress) -> Plan:
    """Draw all sets and write the files of held-out references; nothing is trained.

    Raises:
        TutelageError: A set cannot be had, or is smaller than `examples`.
    """
    tasks, held = _tasks(settings)
    digests = [
        [t.model_dump(mode="json", exclude={"path"}), file_digest(t.path, out=settings.out)]
        for t in tasks
    ]
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
    return Plan(cells=tuple(_most_telling_first(cells, settings)), tasks=tasks, sets=tuple(sets))


class _Measured:
    """Trained tokens of each row for one student; each row is encoded once."""

    def __init__(self, *, student: ProveStudent, encode_with: StudentModel) -> None:
        self.student = student
        self.fingerprint: str = encode_with.fingerprint
        self._encoder = encode_with
        self.tokens: dict[str, int] = {}

    def trainable(self, rows: Sequence[SetRow]) -> list[SetRow]:
        """Rows that fit the student; others are not used in any arm."""
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
    """Builder of the cells of one student."""

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
                        reference = first_examples(
                            drawn[settings.reference],
                            examples=settings.examples,
                            place=f"{self.student.name}, arm {settings.reference}",
                        )
                        budget = self.measured.total(reference)
                        taken = reference
                        if name != settings.reference:
                            tokens = self.measured.tokens
                            one_row = budget / len(reference)
                            taken = within_budget(
                                rows, tokens, budget=budget, slack=one_row, place=place
                            )
                    yield self._cell(name, seed, balance, taken)

    def _cell(self, arm: str, seed: int, balance: Balance, rows: Sequence[SetRow]) -> Cell:
        train = train_settings(self.settings, self.student, seed=seed) if rows else None
        evaluate = self.settings.evaluate.model_copy(
            update={"template": self.student.template, **template_values(self.student)}
        )
        key = content_hash(
            "cell",
            self.measured.fingerprint,
            None if train is None else train.model_dump(mode="json", exclude={"threads"}),
            sorted(row.candidate.candidate_id for row in rows),
            self.tasks,
            evaluate.hashed(),
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


def _most_telling_first(cells: Sequence[Cell], settings: ProveSettings) -> list[Cell]:
    """Cells in the order of their value: the selection and its reference first."""
    arms = [UNTRAINED, settings.choice, settings.reference]
    arms += [a.name for a in settings.arms if a.name not in arms]
    students = [s.name for s in settings.students]
    return sorted(
        cells,
        key=lambda c: (
            students.index(c.student),
            settings.balance.index(c.balance),
            c.arm not in arms[:3],
            settings.seeds.index(c.seed),
            arms.index(c.arm),
        ),
    )


def rows_in_common(cells: Sequence[Cell], *, compared_with: Sequence[str]) -> list[dict[str, int]]:
    """Number of rows that each cell shares with others of its student, seed and balance.

    Args:
        cells: Cells of the whole experiment.
        compared_with: The other arms.

    Returns:
        For each cell the number by arm: rows of the same texts, wherever they come from. A row
        that both have twice counts twice.
    """
    rows = {(c.student, c.seed, c.balance, c.arm): Counter(map(_texts_of, c.rows)) for c in cells}
    found = []
    for cell in cells:
        place = (cell.student, cell.seed, cell.balance)
        own = rows[*place, cell.arm]
        found.append({arm: (own & rows[*place, arm]).total() for arm in compared_with})
    return found


def _texts_of(row: SetRow) -> str:
    return content_hash("row", [[m.role, m.content] for m in row.candidate.messages])


def train_settings(settings: ProveSettings, student: ProveStudent, *, seed: int) -> TrainSettings:
    """Training settings of a cell.

    Args:
        settings: The experiment.
        student: The student.
        seed: Seed of the training.
    """
    values = settings.train.model_dump() | student.train
    return TrainSettings.model_validate(
        {
            **values,
            "template": student.template,
            **template_values(student),
            "seed": seed,
        }
    )


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


def _tasks(settings: ProveSettings) -> tuple[tuple[TaskSettings, ...], frozenset[str]]:
    """All tasks, including those of held-out examples, and the held-out questions."""
    if not settings.held_out:
        return settings.tasks, frozenset()
    folder = settings.out / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    run = next(s.run for s in settings.students if s.run is not None)
    held = hold_out(RunFolder(root=run).existing(), examples=settings.held_out)
    made = []
    for version, candidates in held.references.items():
        path = folder / f"held_out_{version}.jsonl"
        write_jsonl(path, ({"messages": messages_to_arrow(c.messages)} for c in candidates))
        made.append(TaskSettings(name=path.stem, kind="held_out", path=str(path)))
    return (*made, *settings.tasks), held.questions


def file_digest(path: str | None, *, out: Path) -> str | None:
    """SHA-256 of a task's file or folder; any other text is returned unchanged.

    Args:
        path: Path of the task.
        out: Folder of the experiment, whose files are not part of the task.
    """
    if path is None or not Path(path).exists():
        return path
    if Path(path).is_dir():
        return folder_digest(Path(path), without=out)
    return sha256(Path(path).read_bytes()).hexdigest()
