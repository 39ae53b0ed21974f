"""Estimate of what a teacher would be asked: calls, tokens, cost, and time where it is known."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    Candidate,
    Example,
    read,
)
from tutelage.pipeline.config import DataSettings
from tutelage.pipeline.jobs import own_writer, refine_settings
from tutelage.pipeline.refine_stage import own_answers
from tutelage.pipeline.resources import Doors, journal_path
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sample_stage import Accepting, SampleJob, sample_job
from tutelage.pipeline.work_estimate import Work, summed
from tutelage.progress import Progress
from tutelage.refinement import (
    Crowd,
    RefineSettings,
    fault_of_tools,
    reflect_all,
    reflection_request,
    sample_in_waves,
)
from tutelage.refinement.statuses import NOT_IN_JOURNAL, WAITING_FOR_BATCH
from tutelage.teacher import CachedTeacher, Journal, Request, TeacherSettings
from tutelage.teacher.cost import COMPLETION_FRACTION
from tutelage.teacher.factory import known_schema

_REFLECTABLE = (ORIGINAL, INSTRUCTION_REFLECTION)
_UNREAD = (NOT_IN_JOURNAL, WAITING_FOR_BATCH)
_CHUNK_EXAMPLES = 256
"""Examples whose rewrites are looked up together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewritingEstimate:
    """Estimate of a rewriting: the calls it needs, and the replies that are already cached.

    Attributes:
        figures: Rows, calls, tokens and costs.
        work: The calls of the teacher as a part of the work.
        written: Texts whose replies are cached: rewrites, and the student's own answers.
        unwritten: How many more texts there will be at most.
        own_answers: The student's own answers that are still to be given, as requests.
        own_cached: How many of its own answers are cached.
    """

    figures: dict[str, Any]
    work: Work
    written: tuple[Candidate, ...]
    unwritten: int
    own_answers: tuple[Request, ...] = ()
    own_cached: int = 0


def estimate_refine(
    *,
    data: Mapping[str, Any],
    teacher: Mapping[str, Any],
    refine: Mapping[str, Any],
    student: str | Mapping[str, Any] | None,
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Estimate of what `refine_data` would ask and pay; takes its arguments."""
    parts = refine_settings(data=data, teacher=teacher, refine=refine, student=student, out=out)
    found = refine_estimate(
        parts.data,
        teacher=parts.teacher,
        refine=parts.refine,
        run=RunFolder(root=out),
        branches=1 if student is not None else 2,
        progress=progress,
        own=own_writer(parts.refine, parts.student, Doors()),
    )
    return {**found.figures, **summed([found.work])}


def refine_estimate(
    data: DataSettings,
    *,
    teacher: TeacherSettings,
    refine: RefineSettings,
    run: RunFolder,
    branches: int,
    progress: Progress,
    own: TeacherSettings | None = None,
) -> RewritingEstimate:
    """Estimate of the teacher calls that a rewriting of some data needs.

    The replies that the cache holds are read as the run would read them, so that a rewriting that
    was stopped is counted from where it stopped.

    Args:
        data: The rows.
        teacher: Who rewrites.
        refine: What it writes.
        run: The folder whose teacher cache may answer some.
        branches: Rewritten responses for each example: 1 where a student chooses on the way.
        progress: Notified of each row.
        own: The student as a teacher, where its own answers are rewritten.
    """
    progress.begin("estimate", total=None, unit="rows")
    rows = 0

    def groups() -> Iterator[list[Candidate]]:
        nonlocal rows
        for row in read(data.path, settings=data):
            rows += 1
            progress.advance()
            yield [c for c in row.candidates if c.step in _REFLECTABLE and c.status == OK]

    with _journal(journal_path(run, teacher)) as journal:
        asker = CachedTeacher(
            teacher, journal, supports_schema=bool(known_schema(teacher, journal))
        )
        answerer = None if own is None else CachedTeacher(own, journal)
        lookup = _RewriteLookup(asker=asker, answerer=answerer, settings=refine, lazy=branches == 1)
        asyncio.run(lookup.run(groups()))
        work = _calling("rewrite", teacher, asker, journal)
    progress.end()
    found = {
        "rows": rows,
        **asdict(asker.estimate),
        "response_reflections_for_each_example": branches,
        "note": "; ".join(lookup.notes(refine)),
    }
    own_answers = () if answerer is None else tuple(answerer.to_send.values())
    return RewritingEstimate(
        figures=found,
        work=work,
        written=tuple(lookup.written),
        unwritten=len(asker.to_send) + len(asker.waiting) + len(own_answers),
        own_answers=own_answers,
        own_cached=0 if answerer is None else len(answerer.answered),
    )


@dataclass(slots=True, kw_only=True)
class _RewriteLookup:
    """Rewrites of some data as far as the teacher cache holds them.

    Attributes:
        asker: Notes what the teacher would be asked.
        answerer: Notes what the student would answer itself, where its answers are rewritten.
        settings: What is written.
        lazy: Whether a student chooses the instruction that goes on, so that one of the two is
            rewritten further.
        written: Texts that are cached.
        unknown: Instructions whose rewrite is not there, so that the request that follows from it
            is not known.
        undecided: Cached responses to one of two instructions, of which the student may choose
            the other.
    """

    asker: CachedTeacher
    answerer: CachedTeacher | None
    settings: RefineSettings
    lazy: bool
    written: list[Candidate] = field(default_factory=list)
    unknown: int = 0
    undecided: int = 0

    async def run(self, groups: Iterable[Sequence[Candidate]]) -> None:
        """Look up the rewrites of all examples; each group is the versions of one."""
        remaining = filter(None, groups)
        while chunk := list(islice(remaining, _CHUNK_EXAMPLES)):
            await (self._rewritten(chunk) if self.answerer is None else self._answered(chunk))

    def notes(self, refine: RefineSettings) -> list[str]:
        """Notes on the basis of the estimate."""
        found = []
        if self.unknown:
            found.append(
                "some texts to rewrite do not exist yet; their originals are counted instead"
            )
        if self.undecided:
            found.append(
                f"up to {self.undecided:,} more calls if the student chooses the other instruction "
                "than before"
            )
        more = refine.attempts - 1
        again = "at most once more" if more == 1 else f"at most {more} more times"
        return [*found, f"an unusable reply is requested again, {again}"]

    async def _rewritten(self, groups: Sequence[Sequence[Candidate]]) -> None:
        steps, originals = self.settings.steps, [c for g in groups for c in g if c.step == ORIGINAL]
        by_example: dict[str, Candidate] = {}
        if "instruction" in steps:
            found = await self._reflected(originals, INSTRUCTION_REFLECTION)
            by_example = {c.example_id: c for c in found}
        if "response" not in steps:
            return
        parents: list[Candidate] = []
        for versions in groups:
            new = by_example.get(versions[0].example_id)
            options = [*([new] if new is not None and new.status == OK else []), *versions]
            usable = [c for c in options if fault_of_tools(c, step=RESPONSE_REFLECTION) is None]
            if not usable:
                continue
            pending = new is not None and new.status in _UNREAD
            self.unknown += pending
            if not self.lazy:
                parents += usable
            if pending and not (self.lazy and any(map(self._is_cached, usable))):
                self.asker.expect(self._request(usable[-1]))
            elif self.lazy:
                parents.append(self._likely(usable, more=pending))
        await self._reflected(parents, RESPONSE_REFLECTION)

    def _likely(self, options: Sequence[Candidate], *, more: bool) -> Candidate:
        """Version whose response is rewritten: the one that was before, or the newest."""
        cached = [c for c in options if self._is_cached(c)]
        self.undecided += bool(cached) and (more or len(cached) < len(options))
        return (cached or options)[0]

    def _is_cached(self, parent: Candidate) -> bool:
        return self.asker.knows(self._request(parent))

    def _request(self, parent: Candidate) -> Request:
        return reflection_request(
            parent, step=RESPONSE_REFLECTION, teacher=self.asker, settings=self.settings
        )

    async def _reflected(self, parents: Sequence[Candidate], step: str) -> list[Candidate]:
        found = await reflect_all(parents, step=step, teacher=self.asker, settings=self.settings)
        self.written += [c for c in found if c.status == OK]
        return found

    async def _answered(self, groups: Sequence[Sequence[Candidate]]) -> None:
        """The student's own answers, and the teacher's rewrites of them."""
        assert self.answerer is not None  # noqa: S101  (for the type checker)
        originals = [c for g in groups for c in g if c.step == ORIGINAL]
        answers = await own_answers(originals, own=self.answerer, settings=self.settings)
        there = [c for c in answers if c.status == OK]
        self.written += there
        await self._reflected(there, RESPONSE_REFLECTION)
        by_example = {c.example_id: c for c in originals}
        for answer in answers:
            if answer.status in _UNREAD:
                self.unknown += 1
                self.asker.expect(self._request(by_example[answer.example_id]))


def estimate_sample(
    *,
    data: Mapping[str, Any],
    teachers: Sequence[Mapping[str, Any]],
    sample: Mapping[str, Any],
    accept: Mapping[str, Any] | None = None,
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Teacher requests of `sample_data`, and their cost.

    Args:
        data: Settings of the data, with `path`.
        teachers: Settings of the teacher, one or several; each may have a `share`.
        sample: Settings of the sampling.
        accept: Settings of the check that accepts a response.
        out: The run folder, whose teacher cache may answer some.
        progress: Notified of each row.

    Returns:
        Counts of rows and calls, tokens, costs in the user's prices, and time.

    Raises:
        SettingsError: Some settings are wrong; all of them are named.
    """
    job = sample_job(data=data, teachers=teachers, sample=sample, accept=accept, out=out)
    rows = 0
    examples: dict[str, Example] = {}
    progress.begin("estimate", total=None, unit="rows")
    for row in read(job.data.path, settings=job.data):
        rows += 1
        progress.advance()
        if row.example is not None:
            examples.setdefault(row.example.example_id, row.example)
    figures, work = asyncio.run(_sampled(job, list(examples.values()), run=RunFolder(root=out)))
    progress.end()
    note = {}
    if job.accept is not None:
        note["note"] = "at most: an instruction with enough accepted responses is asked no more"
    return {"rows": rows, **figures, **summed(work), **note}


async def _sampled(
    job: SampleJob, examples: Sequence[Example], *, run: RunFolder
) -> tuple[dict[str, Any], list[Work]]:
    """Estimated calls of each teacher in a sampling; cached responses are checked as there."""
    with ExitStack() as stack:
        journals = [
            stack.enter_context(_journal(journal_path(run, teacher))) for teacher in job.teachers
        ]
        askers = tuple(
            CachedTeacher(teacher, journal)
            for teacher, journal in zip(job.teachers, journals, strict=True)
        )
        await sample_in_waves(
            examples,
            crowd=Crowd(teachers=askers, shares=tuple(t.share for t in job.teachers)),
            settings=job.sample,
            accept=None if job.accept is None else Accepting(job.accept),
        )
        work = [
            _calling(f"sample {teacher.teacher_name}", teacher, asker, journal)
            for teacher, asker, journal in zip(job.teachers, askers, journals, strict=True)
        ]
    return _added([asdict(asker.estimate) for asker in askers]), work


def teachers_estimate(
    asked: Mapping[str, tuple[TeacherSettings, Iterable[Request]]], *, run: RunFolder, stage: str
) -> tuple[dict[str, Any], list[Work]]:
    """Total cost of requests to several teachers, and one part of the work for each.

    Args:
        asked: The settings and the requests of each teacher, by its name.
        run: The folder whose teacher cache may answer some.
        stage: What they are for.

    Returns:
        The sums, where a cost is None if a teacher has no prices or other currencies; the parts.
    """
    found: list[dict[str, Any]] = []
    work: list[Work] = []
    for name, (teacher, requests) in asked.items():
        figures, one = teacher_estimate(requests, teacher=teacher, run=run, stage=f"{stage} {name}")
        found.append(figures)
        work.append(one)
    return _added(found), work


def _added(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of estimates; None where one is unknown, and where currencies differ."""
    totals: dict[str, Any] = {}
    for figures in found:
        for key, value in figures.items():
            if isinstance(value, int | float) and isinstance(totals.get(key, 0), int | float):
                totals[key] = totals.get(key, 0) + value
            elif key != "currency":
                totals[key] = None  # a price is missing, so the sum is not known
            else:
                totals[key] = value if totals.get(key, value) == value else None
    return totals


def teacher_estimate(
    requests: Iterable[Request], *, teacher: TeacherSettings, run: RunFolder, stage: str
) -> tuple[dict[str, Any], Work]:
    """Cost of some requests, and the same as one part of a command's work.

    Args:
        requests: What would be asked.
        teacher: Who.
        run: The folder whose teacher cache may answer some.
        stage: What they are for.
    """
    return asked_estimate(
        lambda asker: _noted(requests, asker),
        teacher=teacher,
        journal=journal_path(run, teacher),
        stage=stage,
    )


async def _noted(requests: Iterable[Request], asker: CachedTeacher) -> None:
    for request in requests:
        asker.note(request)


def asked_estimate(
    ask: Callable[[CachedTeacher], Coroutine[Any, Any, object]],
    *,
    teacher: TeacherSettings,
    journal: Path,
    stage: str,
) -> tuple[dict[str, Any], Work]:
    """Estimated calls and cost of some work, and the same as one part of a command's work.

    Args:
        ask: Does the work with a teacher that answers from the cache alone.
        teacher: Who would be asked.
        journal: Its cache; it need not exist.
        stage: What the calls are for.
    """
    with _journal(journal) as replies:
        asker = CachedTeacher(
            teacher, replies, supports_schema=bool(known_schema(teacher, replies))
        )
        asyncio.run(ask(asker))
        return asdict(asker.estimate), _calling(stage, teacher, asker, replies)


def _calling(stage: str, teacher: TeacherSettings, asker: CachedTeacher, journal: Journal) -> Work:
    figures = asker.estimate
    replies, pace = journal.pace(teacher=teacher.teacher_name)
    tokens = figures.prompt_tokens + round(figures.max_completion_tokens * COMPLETION_FRACTION)
    return calling_work(
        stage, teacher, calls=figures.calls, tokens=tokens, replies=replies, pace=pace
    )


def calling_work(
    stage: str, teacher: TeacherSettings, *, calls: int, tokens: int, replies: int, pace: float
) -> Work:
    """Calls of a teacher as one part of a command's work; no request is sent to measure it.

    Args:
        stage: What they are for.
        teacher: Who would be asked.
        calls: How many would be sent.
        tokens: Expected, of prompts and replies.
        replies: How many of the teacher's replies the cache holds.
        pace: Their mean seconds.
    """
    basis = "nothing has to be sent"
    seconds: float | None = 0.0
    if calls:
        seconds, basis = None, "the speed of the teacher is known only after its first replies"
        if teacher.batch:
            basis = "the provider answers a batch when it has time, usually within a day"
        elif replies:
            seconds = calls * pace / teacher.concurrency
            basis = (
                f"{pace:.1f} s a reply, the mean of {replies:,} cached ones, "
                f"{teacher.concurrency} concurrent"
            )
    return Work(stage=stage, count=calls, unit="calls", tokens=tokens, seconds=seconds, basis=basis)


@contextmanager
def _journal(path: Path) -> Iterator[Journal]:
    """The journal there is, read only, or an empty one that goes away again."""
    if path.exists():
        with Journal(path, read_only=True) as journal:
            yield journal
        return
    with TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite") as journal:
        yield journal
