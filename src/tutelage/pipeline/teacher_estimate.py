"""Estimate of what a teacher would be asked: calls, tokens, cost, and time where it is known."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
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
from tutelage.pipeline.jobs import refine_settings
from tutelage.pipeline.resources import journal_path
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sample_stage import sample_job
from tutelage.pipeline.work_estimate import Work, summed
from tutelage.progress import Progress
from tutelage.refinement import Crowd, RefineSettings, reflection_request, sample_requests
from tutelage.teacher import Journal, Request, ScriptedTeacher, TeacherSettings, estimate
from tutelage.teacher.cost_estimate import COMPLETION_FRACTION
from tutelage.teacher.factory import known_schema

_STEPS = {"instruction": INSTRUCTION_REFLECTION, "response": RESPONSE_REFLECTION}


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
    found, calling = refine_estimate(
        parts.data,
        teacher=parts.teacher,
        refine=parts.refine,
        run=RunFolder(root=out),
        branches=1 if student is not None else 2,
        progress=progress,
    )
    return {**found, **summed([calling])}


def refine_estimate(
    data: DataSettings,
    *,
    teacher: TeacherSettings,
    refine: RefineSettings,
    run: RunFolder,
    branches: int,
    progress: Progress,
) -> tuple[dict[str, Any], Work]:
    """Teacher requests of a rewriting, and the same as a part of the work.

    Args:
        data: The rows.
        teacher: Who rewrites.
        refine: What it writes.
        run: The folder whose teacher cache may answer some.
        branches: Rewritten responses for each example: 1 where a student chooses on the way.
        progress: Told of each row.
    """
    progress.begin("estimate", total=None, unit="rows")
    rows = 0

    def originals() -> Iterator[Candidate]:
        nonlocal rows
        for row in read(data.path, settings=data):
            rows += 1
            progress.advance()
            yield from (c for c in row.candidates if c.step == ORIGINAL and c.status == OK)

    with _journal(journal_path(run, teacher)) as journal:
        obeys = bool(known_schema(teacher, journal))
        asker = ScriptedTeacher("", name=teacher.teacher_name, supports_schema=obeys)
        parents = branches if len(refine.steps) > 1 else 1
        requests = (
            _of_parent(request, parent)
            for candidate in originals()
            for name in refine.steps
            for request in [
                reflection_request(candidate, step=_STEPS[name], teacher=asker, settings=refine)
            ]
            for parent in range(parents if name == "response" else 1)
        )
        figures, work = _figures("rewrite", requests, teacher=teacher, journal=journal)
    progress.end()
    found = {
        "rows": rows,
        **figures,
        "response_reflections_for_each_example": branches,
        "note": "the rewritten response does not exist yet, so the original is used for its "
        "length; an unusable reply is requested again, at most "
        f"{refine.attempts - 1} more times",
    }
    return found, work


def _of_parent(request: Request, parent: int) -> Request:
    """A request like the one for the original, which stands for a pair that is not written yet."""
    return request if parent == 0 else replace(request, seed=parent)


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
        data: Settings of the data room, with `path`.
        teachers: Settings of the teacher room, one or several; each may have a `share`.
        sample: Settings of the sampling.
        accept: Settings of the check that accepts a response.
        out: The run folder, whose teacher cache may answer some.
        progress: Told of each row.

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
    namesakes = tuple(ScriptedTeacher("", name=name) for name in job.names)
    crowd = Crowd(teachers=namesakes, shares=tuple(t.share for t in job.teachers))

    def requests(name: str) -> Iterator[Request]:
        for example in examples.values():
            for index, request in enumerate(
                sample_requests(example, teacher=namesakes[0], settings=job.sample)
            ):
                if crowd.teacher_of(example.example_id, index).name == name:
                    yield replace(request, model=name)

    asked = {
        teacher.teacher_name: (teacher, requests(teacher.teacher_name)) for teacher in job.teachers
    }
    found, work = teachers_estimate(asked, run=RunFolder(root=out), stage="sample")
    progress.end()
    note = {}
    if job.accept is not None:
        note["note"] = "at most: an instruction with enough accepted responses is asked no more"
    return {"rows": rows, **found, **summed(work), **note}


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
    totals: dict[str, Any] = {}
    work: list[Work] = []
    for name, (teacher, requests) in asked.items():
        found, one = teacher_estimate(requests, teacher=teacher, run=run, stage=f"{stage} {name}")
        work.append(one)
        for key, value in found.items():
            if isinstance(value, int | float) and isinstance(totals.get(key, 0), int | float):
                totals[key] = totals.get(key, 0) + value
            elif key != "currency":
                totals[key] = None  # a price is missing, so the sum is not known
            else:
                totals[key] = value if totals.get(key, value) == value else None
    return totals, work


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
    with _journal(journal_path(run, teacher)) as journal:
        return _figures(stage, requests, teacher=teacher, journal=journal)


def _figures(
    stage: str, requests: Iterable[Request], *, teacher: TeacherSettings, journal: Journal
) -> tuple[dict[str, Any], Work]:
    figures = estimate(requests, settings=teacher, journal=journal)
    replies, pace = journal.pace(teacher=teacher.teacher_name)
    tokens = figures.prompt_tokens + round(figures.max_completion_tokens * COMPLETION_FRACTION)
    return asdict(figures), calling_work(
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
    basis = "nothing is to be sent"
    seconds: float | None = 0.0
    if calls:
        seconds, basis = None, "how fast the teacher answers is known after its first replies"
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
