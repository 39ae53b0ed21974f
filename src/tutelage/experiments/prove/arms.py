"""Arms of an experiment: their sets, and the rows that each cell uses.

    run --rule--> the arm's whole set --minus held out--> in the order of a draw --> n rows, or
                                                          (by question and seed)     a token budget

The draw goes by question, so that two arms with the same seed train on the same questions wherever
both have them: they then differ by the version, not by luck.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import ORIGINAL, Candidate, Message, content_hash, read, write_jsonl
from tutelage.data.schemas import messages_from_arrow, messages_to_arrow
from tutelage.errors import DataError, RunError
from tutelage.experiments.prove.config import ArmSettings, ProveSettings, ProveStudent
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.select_stage import decided
from tutelage.student import StudentSettings
from tutelage.student.components import OpenStudent
from tutelage.student.config import template_values


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """One row of training data.

    Attributes:
        question: What the draw goes by: the example's id, or a hash of the context.
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
            f"arm {arm.name}: {len(missing)} candidates of {chooser.run} are not in {student.run}",
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
    """Rows in an order that depends only on their instructions, the seed and the draw.

    Args:
        rows: The rows.
        seed: Seed of the order.
        draw: Number of the draw.
    """
    return sorted(
        rows,
        key=lambda row: (
            content_hash("prove", seed, draw, row.question),
            content_hash("prove", seed, draw, row.candidate.candidate_id),
        ),
    )


def first_examples(rows: Sequence[SetRow], *, examples: int, place: str) -> list[SetRow]:
    """First examples in a drawn order.

    Args:
        rows: The rows in their order.
        examples: Number of examples.
        place: The arm, for the error.

    Raises:
        DataError: There are fewer.
    """
    if len(rows) < examples:
        raise DataError(
            f"{place}: the set has {len(rows)} rows, but {examples} are requested",
            hint=f"set `examples` to {len(rows)} or less",
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
    """Rows in drawn order up to a budget of trained tokens.

    A row that would pass it is skipped, so the budget is nearly used up; whether a row is taken
    still does not depend on which seed drew it for another arm.

    Args:
        rows: In drawn order.
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
    """Draw examples of a run on which no arm may train.

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
            f"{run.root}: {len(complete)} examples could be held out, but {examples} are requested",
            hint=f"set `held_out` to less than {len(complete)}",
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
