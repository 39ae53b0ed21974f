"""A model judges: opened, journaled and closed for one job."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.errors import TeacherError
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.teacher_outage import attended, need_collected
from tutelage.progress import Progress
from tutelage.teacher import Journal, TeacherSettings
from tutelage.verification import Claim, Verdict, judge

JUDGED_AT_ONCE = 64


@contextmanager
def journal_beside(path: Path, teacher: TeacherSettings) -> Iterator[Journal]:
    """Where replies are kept: where the settings say so, else at `path`."""
    foreign = teacher.kind == "replay" and teacher.journal is not None
    with Journal(teacher.journal or path, read_only=foreign) as journal:
        yield journal


def judged(
    claims: Iterable[Claim],
    *,
    teacher: Mapping[str, Any],
    journal: Path,
    run: str,
    doors: Doors | None = None,
    on_done: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Ask a model whether responses are right, one verdict for each claim, in their order.

    Args:
        claims: What is to be judged.
        teacher: Settings of the teacher room.
        journal: Where replies are kept, if the settings do not say.
        run: The name of the job that pays.
        doors: How teachers are reached.
        on_done: Called for each verdict.
        progress: Told what is asked, and of what fails.

    Raises:
        TeacherError: No reply could be had at all.
        BudgetError: The cap on cost was reached; what was answered is in the journal.
    """
    settings = checked(TeacherSettings, teacher, place="teacher")
    with journal_beside(journal, settings) as replies:
        return asyncio.run(
            _judge_all(
                claims, settings, replies, run=run, doors=doors, on_done=on_done, progress=progress
            )
        )


async def _judge_all(
    claims: Iterable[Claim],
    settings: TeacherSettings,
    journal: Journal,
    *,
    run: str,
    doors: Doors | None,
    on_done: Callable[[], None],
    progress: Progress | None,
) -> list[Verdict]:
    remaining = iter(claims)
    verdicts: list[Verdict] = []
    opening = attended(
        settings,
        journal,
        run=run,
        doors=doors or Doors(),
        progress=progress,
        requests="one request for each response",
    )
    async with opening as teacher:
        while batch := list(islice(remaining, JUDGED_AT_ONCE)):
            found = await asyncio.gather(*(judge(claim, teacher) for claim in batch))
            for claim, verdict in zip(batch, found, strict=True):
                verdicts.append(replace(verdict, candidate_id=claim.candidate_id))
                on_done()
        tally = teacher.tally
    need_collected(teacher)
    if tally.failed and not tally.answered + tally.from_journal:
        first = next((v.evidence for v in verdicts if v.evidence.startswith("judge ")), "")
        raise TeacherError(
            f"none of {tally.failed} requests was answered; the first: {first}",
            hint=teacher.report.first_hint,
        )
    return verdicts
