"""The refine stage: the teacher writes, the student chooses on the way.

Examples are taken a chunk at a time, in the order of the input. In the lazy order each chunk goes
through four steps, so that at most two replies per example are paid for:

    teacher  reflects on the instruction of every original
    student  reads both, and the rule says which instruction goes on
    teacher  reflects on the response of that one only
    student  reads it in the score stage

In the eager order, for when no student is at hand, every branch is written: three replies.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    Candidate,
    TableWriter,
)
from tutelage.data.tables import CANDIDATES, candidate_to_row
from tutelage.refinement import RefineSettings, reflect_all
from tutelage.runs.progress import Progress
from tutelage.teacher import JournaledTeacher

CHUNK_EXAMPLES = 256
"""How many examples go through the four steps together; bounds memory and the batch plan."""

Winners = Callable[[Sequence[Candidate]], Sequence[Candidate]]
"""From all candidates of a chunk so far to the one of each example whose response is reflected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refining:
    """What the refine stage needs.

    Attributes:
        teacher: Who writes.
        settings: What is written.
        winners: The student's choice between the instructions; None for the eager order.
    """

    teacher: JournaledTeacher
    settings: RefineSettings
    winners: Winners | None


def refine(
    loaded: Iterable[Candidate], *, refining: Refining, out: Path, total: int, progress: Progress
) -> dict[str, Any]:
    """Write every loaded candidate and everything the teacher makes of it to one table.

    Args:
        loaded: Originals and imported refinements; the candidates of an example stand together.
        refining: Who writes, what, and who chooses.
        out: The candidates table.
        total: How many examples there are, for the progress.
        progress: Told of each example that is done.

    Returns:
        The tally: candidates by step and status, and what the teacher was paid.
    """
    statuses: Counter[str] = Counter()
    progress.begin("refine", total=total, unit="examples")
    with TableWriter(out, CANDIDATES) as table:

        def keep(candidates: Iterable[Candidate]) -> None:
            for candidate in candidates:
                table.write(candidate_to_row(candidate))
                if candidate.teacher is not None or candidate.step != ORIGINAL:
                    statuses[f"{candidate.step}:{candidate.status}"] += 1

        asyncio.run(_refine(loaded, refining=refining, keep=keep, progress=progress))
    progress.end(note=refining.teacher.spending().in_words())
    return {
        "teacher_candidates": dict(sorted(statuses.items())),
        "teacher": refining.teacher.spending().as_dict(),
    }


async def _refine(
    loaded: Iterable[Candidate],
    *,
    refining: Refining,
    keep: Callable[[Iterable[Candidate]], None],
    progress: Progress,
) -> None:
    try:
        for chunk in _chunks(loaded, size=CHUNK_EXAMPLES):
            written = await _refine_chunk([c for group in chunk for c in group], refining=refining)
            order = {group[0].example_id: index for index, group in enumerate(chunk)}
            keep(sorted(written, key=lambda c: order[c.example_id]))
            progress.advance(len(chunk), note=refining.teacher.spending().in_words())
    finally:
        await refining.teacher.aclose()


async def _refine_chunk(candidates: list[Candidate], *, refining: Refining) -> list[Candidate]:
    async def reflect(parents: Sequence[Candidate], step: str) -> list[Candidate]:
        return await reflect_all(
            parents, step=step, teacher=refining.teacher, settings=refining.settings
        )

    written = list(candidates)
    originals = [c for c in candidates if c.step == ORIGINAL and c.status == OK]
    if "instruction" in refining.settings.steps:
        written += await reflect(originals, INSTRUCTION_REFLECTION)
    if "response" in refining.settings.steps:
        if refining.winners is None:
            parents = [c for c in written if c.step in _BEFORE_RESPONSE and c.status == OK]
        else:
            parents = list(refining.winners(written))
        written += await reflect(parents, RESPONSE_REFLECTION)
    return written


_BEFORE_RESPONSE = (ORIGINAL, INSTRUCTION_REFLECTION)


def _chunks(loaded: Iterable[Candidate], *, size: int) -> Iterator[list[list[Candidate]]]:
    groups = (list(group) for _, group in groupby(loaded, key=lambda c: c.example_id))
    while chunk := list(islice(groups, size)):
        yield chunk
