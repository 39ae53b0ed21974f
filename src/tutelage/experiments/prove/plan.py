"""Plan of an experiment: the sets of its arms and the rows of every cell, before any training.

    run --rule--> the arm's whole set, without the rows held out --> in random order --> n rows, or
                                                          (by question and seed)     a token budget

The random order goes by question, so that two arms with the same seed train on the same questions
wherever both have them: they then differ by the version, not by luck.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import ORIGINAL, Candidate, Message, content_hash, read, write_jsonl
from tutelage.data.schemas import messages_from_arrow, messages_to_arrow
from tutelage.errors import DataError, RunError
from tutelage.evaluation import TaskSettings
from tutelage.evaluation.lm_eval_harness import folder_digest
from tutelage.experiments.prove.config import (
    FEWEST_EXAMPLES,
    UNTRAINED,
    ArmSettings,
    Balance,
    ProveSettings,
    ProveStudent,
)
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.select_stage import decided
from tutelage.progress import Progress
from tutelage.reporting.number_format import count
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.student.components import OpenStudent
from tutelage.student.config import template_values
from tutelage.student.passages import Refusal
from tutelage.training import TrainSettings
from tutelage.training.tokenized_rows import encode_candidate
from tutelage.training.train import student_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """One row of training data.

    Attributes:
        question: What is sampled: the example's id, or a hash of the context.
        candidate: The row itself.
    """

    question: str
    candidate: Candidate


_MAY_MISS = 0.1
"""Tolerance of a cell's number of trained tokens, as a fraction of the budget."""


def arm_rows(
    arm: ArmSettings,
    student: ProveStudent,
    settings: ProveSettings,
    *,
    without: Collection[str] = (),
) -> list[SetRow]:
    """Complete set of an arm for one student.

    Args:
        arm: A rule or a file.
        student: The student that is trained.
        settings: Names the students, one of which may be the chooser.
        without: Ids of examples, and hashes of instructions, that are held out.

    Raises:
        DataError: The set is empty.
        RunError: A run has no scores, or the chooser's run holds other data.
    """
    held_out = frozenset(without)
    rows = _of_file(arm.file) if arm.file is not None else _of_rule(arm, student, settings)
    kept = [
        row
        for row in rows
        if not held_out & {row.question, instruction_hash(row.candidate.context)}
    ]
    if not kept:
        raise DataError(
            f"arm {arm.name}: its set is empty for {student.name}",
            hint="`tutelage report` of the run says why nothing was chosen",
        )
    return kept


def _of_rule(arm: ArmSettings, student: ProveStudent, settings: ProveSettings) -> list[SetRow]:
    chooser = next(s for s in settings.students if s.name == (arm.chooser or student.name))
    if chooser.run is None or student.run is None or (arm.select or arm.selection) is None:
        raise RunError(f"arm {arm.name}: {chooser.name} has no run")
    run = RunFolder(root=chooser.run).existing()
    if arm.select is not None:
        chosen = decided(run, settings=arm.select, student=_scored_by(run, chooser)).chosen
    else:
        named = run.selected_as(arm.selection)
        chosen = pq.read_table(named.need(named.chosen))
    examples, candidates = (
        [str(name) for name in chosen[column].to_pylist()]
        for column in ("example_id", "candidate_id")
    )
    own = RunFolder(root=student.run).existing()
    texts = _texts(own.need(own.candidates), set(candidates))
    missing = set(candidates) - set(texts)
    if missing:
        raise RunError(
            f"arm {arm.name}: {student.run} lacks {count(len(missing), 'candidate')} of "
            f"{chooser.run}",
            hint="both students must have scored the same data",
        )
    return [
        SetRow(question=example, candidate=texts[candidate])
        for example, candidate in zip(examples, candidates, strict=True)
    ]


def _scored_by(run: RunFolder, chooser: ProveStudent) -> str:
    """Fingerprint of a student, which must have scored the run."""
    parts = OpenStudent(
        StudentSettings(model=chooser.model, template=chooser.template, **template_values(chooser))
    )
    scored = pq.read_table(run.need(run.scores), columns=["student"])["student"].unique()
    if parts.fingerprint not in scored.to_pylist():
        raise RunError(
            f"{run.root}: {chooser.name} ({chooser.model}, template {chooser.template}) has not "
            "scored it",
            hint=f"`tutelage score {run.root} --student {chooser.model} "
            f"--template {chooser.template}`",
        )
    return parts.fingerprint


def _texts(path: Path, wanted: Collection[str]) -> dict[str, Candidate]:
    found = {}
    columns = ["candidate_id", "example_id", "step", "messages", "status"]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):
            for row in pa.Table.from_batches([batch]).to_pylist():
                if row["candidate_id"] in wanted and row["messages"]:
                    messages = messages_from_arrow(row["messages"])
                    found[row["candidate_id"]] = Candidate(
                        candidate_id=row["candidate_id"],
                        example_id=row["example_id"],
                        step=row["step"],
                        parent_id=None,
                        messages=messages,
                    )
    return found


def _of_file(path: Path) -> list[SetRow]:
    rows = []
    for row in read(str(path)):
        versions = (*row.candidates, *row.repeated)
        if row.example is None or len(versions) != 1:
            raise DataError(
                f"{row.file}:{row.line}: {row.status}, {len(versions)} candidates",
                hint="an arm's file has one conversation per row",
            )
        rows.append(SetRow(question=instruction_hash(versions[0].context), candidate=versions[0]))
    return rows


def instruction_hash(context: Sequence[Message]) -> str:
    """Hash of an instruction: its turns, without differences of white space."""
    return content_hash("question", [[m.role, " ".join(m.content.split())] for m in context])


def in_drawn_order(rows: Iterable[SetRow], *, seed: int, draw: int = 0) -> list[SetRow]:
    """Rows in a random order that depends only on their instructions, the seed and `draw`.

    Args:
        rows: The rows.
        seed: Seed of the order.
        draw: Number of the random order.
    """
    return sorted(
        rows,
        key=lambda row: (
            content_hash("prove", seed, draw, row.question),
            content_hash("prove", seed, draw, row.candidate.candidate_id),
        ),
    )


def first_examples(rows: Sequence[SetRow], *, examples: int, place: str) -> list[SetRow]:
    """First examples in a random order.

    Args:
        rows: The rows in their order.
        examples: Number of examples.
        place: The arm, for the error.

    Raises:
        DataError: There are fewer.
    """
    if len(rows) < examples:
        raise DataError(
            f"{place}: the set has {count(len(rows), 'row')}, but {examples} are requested",
            hint=f"set `examples` to {len(rows)} or less"
            if len(rows) >= FEWEST_EXAMPLES
            else f"a set needs at least {FEWEST_EXAMPLES} rows",
        )
    return list(rows[:examples])


def within_budget(
    rows: Sequence[SetRow],
    tokens: Mapping[str, int],
    *,
    budget: int,
    slack: float = 0.0,
    place: str = "the set",
) -> list[SetRow]:
    """Rows in random order up to a budget of trained tokens.

    A row that would pass it is skipped, so the budget is nearly used up; whether a row is taken
    still does not depend on which seed drew it for another arm.

    Args:
        rows: In random order.
        tokens: Trained tokens of each row, by candidate id.
        budget: At least 1.
        slack: So many tokens may stay unused where that is more than a tenth of the budget, since
            rows are not divided.
        place: For the message.

    Raises:
        DataError: More stays unused: the comparison would not be one of equal tokens.
    """
    taken: list[SetRow] = []
    left = budget
    for row in rows:
        needed = tokens[row.candidate.candidate_id]
        if needed <= left:
            taken.append(row)
            left -= needed
    if left > max(_MAY_MISS * budget, slack):
        raise DataError(
            f"{place}: {budget - left:,} trained tokens are available, the reference has "
            f"{budget:,}",
            hint="ask for fewer `examples`, leave the arm out, or set `balance: [examples]`",
        )
    return taken


def write_set(path: Path, rows: Iterable[SetRow]) -> None:
    """Write rows for the trainer."""
    write_jsonl(
        path,
        (
            {
                "messages": messages_to_arrow(row.candidate.messages),
                "candidate_id": row.candidate.candidate_id,
                "example_id": row.candidate.example_id,
                "step": row.candidate.step,
            }
            for row in rows
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out examples, on which no arm may train.

    Attributes:
        references: By version (`original`, and `refined` where there are refinements): one
            candidate of each example, the most changed one.
        questions: Their ids and the hashes of the instructions of all their versions.
    """

    references: Mapping[str, Sequence[Candidate]]
    questions: frozenset[str]


def hold_out(run: RunFolder, *, examples: int) -> HeldOut:
    """Sample examples of a run on which no arm may train.

    Raises:
        DataError: The run has fewer examples that are complete.
    """
    by_example: dict[str, dict[str, Candidate]] = {}
    instructions: dict[str, set[str]] = {}
    for candidate in _texts(run.need(run.candidates), _all_ids(run)).values():
        version = "original" if candidate.step == ORIGINAL else "refined"
        by_example.setdefault(candidate.example_id, {})[version] = candidate
        hashed = instruction_hash(candidate.context)
        instructions.setdefault(candidate.example_id, {candidate.example_id}).add(hashed)
    most = max((len(v) for v in by_example.values()), default=0)
    complete = sorted(
        (name for name, versions in by_example.items() if len(versions) == most),
        key=lambda name: content_hash("held out", name),
    )
    if len(complete) < examples:
        raise DataError(
            f"{run.root}: {count(len(complete), 'example')} could be held out, but {examples:,} "
            "are requested",
            hint=f"set `held_out` to less than {len(complete)}"
            if complete
            else "check that the run has candidates with text",
        )
    references: dict[str, list[Candidate]] = {}
    drawn = complete[:examples]
    for name in drawn:
        for version, candidate in sorted(by_example[name].items()):
            references.setdefault(version, []).append(candidate)
    questions = frozenset().union(*(instructions[name] for name in drawn))
    return HeldOut(references=references, questions=questions)


def _all_ids(run: RunFolder) -> set[Any]:
    return set(pq.read_table(run.candidates, columns=["candidate_id"])["candidate_id"].to_pylist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training and its evaluation.

    Attributes:
        key: Hash of all it depends on, and the name of its folder.
        student: Name of the student.
        arm: Name of the arm, or `untrained`.
        seed: Seed of sample and training.
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
    """Sample all sets and write the files of held-out references; nothing is trained.

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
        # Rows computed at once change no result: where memory ran out, cells go on with fewer.
        how = None if train is None else train.model_copy(update={"microbatch_examples": None})
        key = content_hash(
            "cell",
            self.measured.fingerprint,
            None if how is None else how.model_dump(mode="json", exclude={"threads"}),
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
