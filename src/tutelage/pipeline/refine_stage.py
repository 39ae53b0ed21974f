"""Refine stage: the teacher rewrites, and the student chooses between the steps.

Examples are taken a chunk at a time, in the order of the input. In the lazy order each chunk goes
through four steps, so that at most two replies per example are paid for:

    teacher  reflects on the instruction of every original
    student  reads both, and the rule says which instruction goes on
    teacher  reflects on the response of that one only
    student  reads it in the score stage

With `source: student` the student first answers each instruction itself, and the teacher rewrites
that answer: the answer is a candidate of step `sample`, the rewrite one of step
`response_reflection` that was made from it.

In the eager order, for when no student is at hand, every branch is written: three replies.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    Candidate,
    Example,
    TableWriter,
)
from tutelage.data.example import OWN_ANSWER
from tutelage.data.schemas import CANDIDATES, candidate_to_row, candidates_to_table
from tutelage.metrics import scores_schema
from tutelage.pipeline.resources import Reader
from tutelage.pipeline.score_stage import ReadingCounter, score_candidates
from tutelage.pipeline.teacher_outage import AttendedTeacher, Usability, tally_of
from tutelage.progress import Progress, Silent
from tutelage.refinement import Crowd, RefineSettings, reflect_all, sample_in_waves
from tutelage.refinement.statuses import WAITING_FOR_BATCH
from tutelage.selection import SelectSettings, choose_parents, needed_metrics
from tutelage.student import Statistics
from tutelage.teacher import Teacher

CHUNK_EXAMPLES = 256
"""Examples that pass the four steps together, to limit memory and the batch plan."""

Parents = Callable[[Sequence[Candidate]], Sequence[Candidate]]
"""Function type: from a chunk's candidates to the one of each example whose response is rewritten.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refining:
    """Inputs of the refine stage.

    Attributes:
        open_teacher: Opens the teacher, inside the event loop that asks.
        settings: Settings of the rewriting.
        parents: The student's choice between the instructions; None for the eager order.
        open_student: The student as a teacher, where its own answers are rewritten; else None.
        student_name: Name of the student in tables.
    """

    open_teacher: Callable[[], AbstractAsyncContextManager[AttendedTeacher]]
    settings: RefineSettings
    parents: Parents | None
    open_student: Callable[[], AbstractAsyncContextManager[AttendedTeacher]] | None = None
    student_name: str | None = None


class _ReadingNote(Silent):
    """Shows in the line of the refine stage that the teacher waits for the student, and how far.

    Args:
        progress: Of the refine stage, which advances with replies alone.
        versions: How many the student reads.
    """

    def __init__(self, progress: Progress, versions: int) -> None:
        self._progress, self._versions, self._read = progress, versions, 0
        progress.tell(f"The student reads {versions:,} versions to choose between instructions")
        self.advance(0)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Count versions that were read."""
        del note
        self._read += count
        self._progress.advance(
            0, note=f"waiting for the student: {self._read:,} of {self._versions:,} versions read"
        )


def lazy_parents(
    student: Reader,
    select: SelectSettings,
    *,
    progress: Progress,
    at_least: Statistics = "nll",
) -> Parents:
    """Let the student choose, by the rule that will decide in the end.

    Args:
        student: Who reads and chooses.
        select: The rule.
        progress: Of the refine stage, in whose line the reading is shown.
        at_least: Statistics that later stages need of these candidates, so that they need not be
            read again.
    """
    metrics = needed_metrics(select.rule) or ("ifd", "r_ifd")

    def parents(candidates: Sequence[Candidate]) -> list[Candidate]:
        counter = ReadingCounter(_ReadingNote(progress, len(candidates)))
        scored = []
        with counter.watching(student):
            for row in score_candidates(
                counter.asked(candidates),
                student=student,
                metrics=metrics,
                at_least=at_least,
            ):
                counter.came()
                scored.append(row)
        chosen = choose_parents(
            candidates=candidates_to_table(candidates),
            scores=pa.Table.from_pylist(scored, schema=scores_schema(metrics)),
            settings=select,
        )
        by_id = {c.candidate_id: c for c in candidates}
        return [by_id[candidate_id] for candidate_id in chosen.values()]

    return parents


def refine_candidates(
    loaded: Iterable[Candidate],
    *,
    refining: Refining,
    out: Path,
    total: int,
    progress: Progress,
    samples: Mapping[str, Sequence[Candidate]] | None = None,
) -> dict[str, Any]:
    """Write every loaded candidate and all its rewrites to one table.

    Args:
        loaded: Originals and imported refinements; the candidates of an example come together.
        refining: The teacher, the settings and the choice between steps.
        out: The candidates table.
        total: How many examples there are, for the progress.
        progress: Notified of each reflection that is done.
        samples: Responses that were sampled earlier, by example; they stay.

    Returns:
        The tally: candidates by step and status, and what the teacher was paid.
    """
    branches = 2 if refining.parents is None and len(refining.settings.steps) > 1 else 1
    replies = sum(branches if step == "response" else 1 for step in refining.settings.steps)
    progress.begin("refine", total=total * replies, unit="reflections")
    with TableWriter(out, CANDIDATES) as table:
        statuses, teacher, usability = asyncio.run(
            _refine(
                loaded, refining=refining, table=table, progress=progress, samples=samples or {}
            )
        )
    progress.end(note=paid_in_words(teacher))
    return {
        "teacher_candidates": dict(sorted(statuses.items())),
        **tally_of(teacher),
        **usability.tally(teacher),
    }


async def _refine(
    loaded: Iterable[Candidate],
    *,
    refining: Refining,
    table: TableWriter,
    progress: Progress,
    samples: Mapping[str, Sequence[Candidate]],
) -> tuple[Counter[str], AttendedTeacher, Usability]:
    statuses: Counter[str] = Counter()
    usability = Usability()
    async with AsyncExitStack() as stack:
        teacher = await stack.enter_async_context(refining.open_teacher())
        own = None
        if refining.open_student is not None:
            own = await stack.enter_async_context(refining.open_student())
        for chunk in _chunks(loaded, size=CHUNK_EXAMPLES):
            candidates = [c for group in chunk for c in group]
            if own is None:
                written = await _refine_chunk(
                    candidates, teacher=teacher, refining=refining, progress=progress
                )
            else:
                written = await _revise_own_answers(
                    candidates, own=own, teacher=teacher, refining=refining, progress=progress
                )
            statuses.update(f"{c.step}:{c.status}" for c in written)
            usability.add(written)
            order = {group[0].example_id: index for index, group in enumerate(chunk)}
            kept = [
                c
                for example_id in order
                for c in samples.get(example_id, ())
                if c.teacher != refining.student_name  # it is among what was written just now
            ]
            for candidate in sorted(candidates + written + kept, key=lambda c: order[c.example_id]):
                table.append([candidate_to_row(candidate)])
        return statuses, teacher, usability


async def _refine_chunk(
    candidates: Sequence[Candidate],
    *,
    teacher: AttendedTeacher,
    refining: Refining,
    progress: Progress,
) -> list[Candidate]:
    settings = refining.settings

    async def reflect(parents: Sequence[Candidate], step: str) -> list[Candidate]:
        return await reflect_all(
            parents,
            step=step,
            teacher=teacher,
            settings=settings,
            on_done=lambda _: progress.advance(note=paid_in_words(teacher)),
        )

    written: list[Candidate] = []
    if "instruction" in settings.steps:
        originals = [c for c in candidates if c.step == ORIGINAL and c.status == OK]
        written += await reflect(originals, INSTRUCTION_REFLECTION)
    if "response" in settings.steps:
        # Which instruction goes on is not known before the rewritten one is there.
        waiting = {c.example_id for c in written if c.status == WAITING_FOR_BATCH}
        so_far = [c for c in (*candidates, *written) if c.example_id not in waiting]
        if refining.parents is None:
            parents = [c for c in so_far if c.step in _REFLECTABLE and c.status == OK]
        else:
            compared = [c for c in so_far if c.step in _REFLECTABLE]
            parents = list(refining.parents(compared)) if compared else []
        written += await reflect(parents, RESPONSE_REFLECTION)
    return written


async def _revise_own_answers(
    candidates: Sequence[Candidate],
    *,
    own: AttendedTeacher,
    teacher: AttendedTeacher,
    refining: Refining,
    progress: Progress,
) -> list[Candidate]:
    """Own answer of the student to each instruction, and the teacher's rewrites of it."""
    originals = [c for c in candidates if c.step == ORIGINAL and c.status == OK]
    answers = await own_answers(originals, own=own, settings=refining.settings)
    answers = [replace(c, detail=c.detail or OWN_ANSWER) for c in answers]
    revised = await reflect_all(
        answers,
        step=RESPONSE_REFLECTION,
        teacher=teacher,
        settings=refining.settings,
        on_done=lambda _: progress.advance(note=paid_in_words(teacher)),
    )
    return [*answers, *revised]


_REFLECTABLE = (ORIGINAL, INSTRUCTION_REFLECTION)


def paid_in_words(teacher: AttendedTeacher) -> str:
    """Calls and cost so far, in a few words."""
    tally = teacher.tally
    calls = "call" if tally.answered == 1 else "calls"
    words = f"{tally.answered} new {calls}, {tally.from_journal} cached"
    if tally.failed:
        words += f", {tally.failed} failed"
    if tally.currency is not None:
        words += f", {tally.cost:.4f} {tally.currency}"
    if teacher.away is not None:
        words += f", {teacher.away}"
    return words


def _chunks(loaded: Iterable[Candidate], *, size: int) -> Iterator[list[list[Candidate]]]:
    groups = (list(group) for _, group in groupby(loaded, key=lambda c: c.example_id))
    while chunk := list(islice(groups, size)):
        yield chunk


async def own_answers(
    originals: Sequence[Candidate], *, own: Teacher, settings: RefineSettings
) -> list[Candidate]:
    """Answer of the student to each instruction without tools.

    Args:
        originals: The candidates whose instructions are answered.
        own: The student as a teacher.
        settings: How it answers.
    """
    examples = [
        Example(
            example_id=c.example_id,
            messages=c.messages,
            tools=c.tools,
            template_args=c.template_args,
        )
        for c in originals
    ]
    return await sample_in_waves(
        [example for example in examples if not example.uses_tools],
        crowd=Crowd(teachers=(own,), shares=(1.0,)),
        settings=settings.own_answers,
    )
