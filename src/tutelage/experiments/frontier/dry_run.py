"""Dry run of a frontier: answers, calls and readings (`tutelage frontier --dry-run`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.data import Candidate, Example, read
from tutelage.experiments.frontier.run import FEATURES, FrontierJob, attempted_of, solutions_of
from tutelage.pipeline.config import checked
from tutelage.pipeline.cost_estimate import answering_work
from tutelage.pipeline.resources import Doors, journal_path
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.student_attempts import attempt_requests, own_teacher
from tutelage.pipeline.teacher_estimate import asked_estimate
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    Work,
    reading_of,
    reading_work,
    summed,
    text_sample,
)
from tutelage.progress import Progress
from tutelage.teacher import CachedTeacher, TeacherSettings

ANSWERS = "attempt: answers of the student"


def estimate_frontier(
    job: Mapping[str, Any],
    *,
    progress: Progress,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the answers and readings of a frontier; calls and cost where an endpoint answers.

    Args:
        job: See `FrontierJob`.
        progress: Told of the rows.
        doors: How the student is reached.
        measure_seconds: How long each speed is measured at most; 0 takes the last measurement.

    Raises:
        SettingsError: Some settings are wrong.
        DataError: The data cannot be read, or has too few solved examples for the shots.
    """
    settings = checked(FrontierJob, job, place="frontier")
    rows = 0
    examples: dict[str, Example] = {}
    responses: list[Candidate] = []
    progress.begin("estimate", total=None, unit="rows")
    for row in read(settings.data.path, settings=settings.data):
        rows += 1
        progress.advance()
        if row.example is not None and row.example.example_id not in examples:
            examples[row.example.example_id] = row.example
            responses += row.candidates
    progress.end()
    every = list(examples.values())
    figures, answers = _answers(settings, every, measure_seconds=measure_seconds)
    sample = text_sample(solutions_of(every, responses))
    reading = reading_of(
        sample,
        student=settings.student,
        metrics=FEATURES[1:],
        doors=doors,
        measure_seconds=measure_seconds,
    )
    read_them = reading_work("score: solutions", reading, count=sample.count, unit="texts")
    return {"rows": rows, **figures, **summed([answers, read_them])}


def _answers(
    settings: FrontierJob, examples: list[Example], *, measure_seconds: float
) -> tuple[dict[str, Any], Work]:
    """Answers of the student in this process, or calls of the endpoint that serves it."""
    asked = settings.asked_through or own_teacher(settings.student, batch=settings.batch)
    noted: list[CachedTeacher] = []

    async def ask(teacher: CachedTeacher) -> None:
        noted.append(teacher)
        for request in attempt_requests(
            attempted_of(examples, settings),
            settings=settings.attempts,
            teacher=teacher,
            pool=examples,
        ):
            teacher.note(request)

    journal = journal_path(RunFolder(root=Path(settings.out)), asked)
    figures, calling = asked_estimate(ask, teacher=asked, journal=journal, stage=ANSWERS)
    if asked.kind != "local":
        return figures, calling
    return {}, _written_here(asked, noted[0], measure_seconds=measure_seconds)


def _written_here(
    asked: TeacherSettings, teacher: CachedTeacher, *, measure_seconds: float
) -> Work:
    requests = list(teacher.to_send.values())
    return answering_work(
        ANSWERS,
        asked,
        requests[:64],
        count=len(requests),
        cached=len(teacher.answered),
        measure_seconds=measure_seconds,
    )
