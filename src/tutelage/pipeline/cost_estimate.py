"""Estimates of a run, a rewriting, a scoring or a training, before they start."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from tutelage.data import VIEW_NAMES, Candidate, content_hash, read, read_records
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student, tasks_left
from tutelage.metrics import views_for
from tutelage.models import give_memory_back
from tutelage.pipeline.check_estimate import gate_work
from tutelage.pipeline.config import DataSettings, RunSettings, ScoreSettings, checked
from tutelage.pipeline.jobs import own_writer, with_responses
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.score_stage import candidates_of
from tutelage.pipeline.stages import stored_candidates
from tutelage.pipeline.teacher_estimate import RewritingEstimate, calling_work, refine_estimate
from tutelage.pipeline.train_stage import training_rows
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    Reading,
    TextSample,
    Work,
    keep_speed,
    reading_of,
    reading_work,
    scaled_reading,
    speed_key,
    stored_speed,
    summed,
    text_sample,
)
from tutelage.progress import Progress
from tutelage.reporting.number_format import count as counted
from tutelage.reporting.number_format import duration
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.teacher import LocalTeacher, Request, TeacherSettings
from tutelage.teacher.cost import COMPLETION_FRACTION, prompt_tokens_expected
from tutelage.training import Encoded, TrainSettings, encode_file, training_speed
from tutelage.training.train import student_settings

MEASURED_ITEMS = 4
"""Items of a task that are evaluated to measure its speed."""

MEASURED_TOKENS = 32
"""Most tokens of an answer that is generated only to measure the speed."""

_LOADED_AND_SAVED = 2
"""A trained model is saved in about the time in which it is loaded: it is the same file."""

SCORE = "score: texts of the data"
REWRITES = "score: rewrites"


def estimate_run(
    settings: RunSettings,
    *,
    progress: Progress,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the teacher calls and the student's reading of `run_all`.

    Args:
        settings: Settings of the run.
        progress: Notified of each row.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.

    Returns:
        Counts of rows and calls, tokens, costs in the user's prices, and time.
    """
    found, work, _ = run_work(
        settings, progress=progress, doors=doors, measure_seconds=measure_seconds
    )
    return {**found, **summed(work)}


def run_work(
    settings: RunSettings,
    *,
    progress: Progress,
    doors: Doors | None,
    measure_seconds: float,
    read_again: bool = False,
) -> tuple[dict[str, Any], list[Work], list[Work]]:
    """Parts of a run's work.

    Args:
        settings: Settings of the run.
        progress: Notified of each row.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
        read_again: Whether other students, whose cache is empty, will read the same.

    Returns:
        Rows and what the teacher costs; the parts; and the readings of a student with an empty
        cache.
    """
    found: dict[str, Any] = {}
    work: list[Work] = []
    rewriting = None
    if settings.teacher is not None:
        own = own_writer(settings.refine, settings.student, doors or Doors())
        rewriting = refine_estimate(
            settings.data,
            teacher=settings.teacher,
            refine=settings.refine,
            run=RunFolder(root=Path(settings.out)),
            branches=1,
            progress=progress,
            own=own,
        )
        found = rewriting.figures
        work.append(rewriting.work)
        if own is not None:
            work.append(_own_answers(rewriting, own, measure_seconds=measure_seconds))
    rows, sample = data_sample(settings.data, progress=progress)
    reading = reading_of(
        sample,
        student=settings.student,
        metrics=settings.score.metrics,
        doors=doors,
        measure_seconds=measure_seconds,
        more_like_it=(rewriting is not None and rewriting.unwritten > 0) or read_again,
        every_statistic=settings.select.quality_gate == "calibrated",
    )
    work.append(reading_work(SCORE, reading, count=sample.count))
    readings = [reading_work(SCORE, scaled_reading(reading, times=1.0), count=sample.count)]
    written: tuple[Candidate, ...] = ()
    if rewriting is not None and sample.count:
        written = rewriting.written
        more, count = _rewrites_read(rewriting, settings, reading, like=sample.count, doors=doors)
        work.append(reading_work(REWRITES, more, count=count))
        readings.append(reading_work(REWRITES, scaled_reading(more, times=1.0), count=count))
    if settings.select.quality_gate == "calibrated":
        gate = _gate(settings, written, doors, measure_seconds=measure_seconds, fresh=False)
        work += gate
        again = _gate(settings, written, doors, measure_seconds=0.0, fresh=True)
        readings += again if read_again else gate
    return {"rows": rows, **found}, work, readings


def _rewrites_read(
    rewriting: RewritingEstimate,
    settings: RunSettings,
    reading: Reading,
    *,
    like: int,
    doors: Doors | None,
) -> tuple[Reading, int]:
    """Reading of the rewrites: those that are cached as they are, the others like the originals.

    Returns:
        The reading, and of how many texts.
    """
    there = text_sample(rewriting.written)
    more = scaled_reading(reading, times=rewriting.unwritten / like)
    if there.count:
        known = reading_of(
            there,
            student=settings.student,
            metrics=settings.score.metrics,
            doors=doors,
            measure_seconds=0.0,
            every_statistic=settings.select.quality_gate == "calibrated",
        )
        more = replace(
            more, tokens=more.tokens + known.tokens, uncached=more.uncached + known.uncached
        )
    return more, there.count + rewriting.unwritten


def _gate(
    settings: RunSettings,
    written: Sequence[Candidate],
    doors: Doors | None,
    *,
    measure_seconds: float,
    fresh: bool,
) -> list[Work]:
    """The readings of the quality gate; the originals stand for versions to be written."""
    rows = with_responses(read(settings.data.path, settings=settings.data))
    return gate_work(
        [*candidates_of(rows), *written],
        settings.select,
        student=settings.student,
        doors=doors,
        measure_seconds=measure_seconds,
        already_read=set(views_for(settings.score.metrics)) == set(VIEW_NAMES),
        fresh=fresh,
    )


def _own_answers(
    rewriting: RewritingEstimate, own: TeacherSettings, *, measure_seconds: float
) -> Work:
    """Work of the student's own answers, which the teacher rewrites."""
    return answering_work(
        "the student's own answers",
        own,
        rewriting.own_answers[: own.concurrency],
        count=len(rewriting.own_answers),
        cached=rewriting.own_cached,
        measure_seconds=measure_seconds,
    )


def estimate_score(
    *,
    student: Mapping[str, Any],
    metrics: Sequence[str],
    progress: Progress,
    data: Mapping[str, Any] | None = None,
    run: Path | None = None,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the student's reading of `score_data` or `score_run`.

    Args:
        student: Settings of the student.
        metrics: Names of per-candidate metrics.
        progress: Notified of each row.
        data: Settings of the data, with `path`; or
        run: A run folder, whose candidates are scored.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
    """
    settings = checked(StudentSettings, student, place="student")
    wanted = checked(ScoreSettings, {"metrics": tuple(metrics)}, place="score")
    if run is not None:
        folder = RunFolder(root=run).existing()
        sample = text_sample(stored_candidates(folder.need(folder.candidates)))
        rows = sample.count
    else:
        rows, sample = data_sample(
            checked(DataSettings, data or {}, place="data"), progress=progress
        )
    reading = reading_of(
        sample,
        student=settings,
        metrics=wanted.metrics,
        doors=doors,
        measure_seconds=measure_seconds,
    )
    return {"rows": rows, **summed([reading_work("score", reading, count=sample.count)])}


def data_sample(settings: DataSettings, *, progress: Progress) -> tuple[int, TextSample]:
    """Number of rows of some data, and a sample of its texts.

    Raises:
        DataError: It cannot be read, or no row has a response.
    """
    rows = 0
    progress.begin("estimate", total=None, unit="rows")

    def counted() -> Iterator[Candidate]:
        nonlocal rows
        for row in with_responses(read(settings.path, settings=settings)):
            rows += 1
            progress.advance()
            yield from candidates_of([row])

    sample = text_sample(counted())
    progress.end()
    return rows, sample


def estimate_training(
    data: Path,
    *,
    model: str,
    settings: Mapping[str, Any],
    chosen: str | None,
    selection: str | None = None,
    weights: str = "auto",
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the tokens and time of `train`.

    Args:
        data: A file, or a run folder.
        model: The student to start from.
        settings: Settings of the training.
        chosen: For a run: `selected`, or the name of a baseline; None: `selected`.
        selection: For a run: a named selection; None is the run's own.
        weights: As for `train`.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
    """
    wanted = checked(
        TrainSettings,
        {**settings, **({"row_weights": "off"} if weights == "off" else {})},
        place="train",
    )
    with TemporaryDirectory(prefix="tutelage-") as folder:
        rows = training_rows(
            data,
            chosen=chosen,
            selection=selection,
            weights=weights,
            device=wanted.device,
            out=Path(folder),
        )
        with open_student(student_settings(model, wanted)) as student:
            encoded = encode_file(rows, student, weighted=wanted.row_weights == "auto")
            work = training_work(encoded, student, wanted, measure_seconds=measure_seconds)
    left_out = encoded.left_out_by_reason
    return {
        "rows": len(encoded.rows) + sum(left_out.values()),
        "left_out": left_out,
        **summed([work]),
    }


def training_work(
    encoded: Encoded,
    student: StudentModel,
    settings: TrainSettings,
    *,
    measure_seconds: float,
    times: int = 1,
    tokens: int | None = None,
) -> Work:
    """Trainings as one part of a command's work; measures a few steps of one.

    Args:
        encoded: The rows of one training.
        student: Who is trained; its weights are not kept.
        settings: How.
        measure_seconds: How long at most; 0 takes the last measurement.
        times: How many trainings there are; each loads the model and saves it.
        tokens: Of all of them; None: each has those of `encoded`, in each epoch.
    """
    kind, about = f"train {settings.method} {settings.dtype}", student.describe()
    key, setup_key = speed_key(kind, about), speed_key(f"{kind}, setup", about)
    speed, basis = stored_speed(key)
    if measure_seconds:
        found = training_speed(encoded, student, settings, seconds=measure_seconds)
        speed, basis = keep_speed(key, tokens=found.tokens, seconds=found.seconds)
        keep_speed(setup_key, tokens=1, seconds=found.setup_seconds, unit="loads")
    if tokens is None:
        tokens = encoded.tokens * settings.epochs * times
    work = Work(
        stage="train",
        count=len(encoded.rows) * settings.epochs,
        unit="rows",
        tokens=tokens,
        seconds=None if speed is None else tokens / speed,
        basis=basis,
    )
    return _with_setup(work, setup_key, times=_LOADED_AND_SAVED * times, what="load and save it")


def _with_setup(work: Work, key: str, *, times: int, what: str) -> Work:
    """Work with the time for loading the model added, if that was measured."""
    loads, _ = stored_speed(key)
    if loads is None or work.seconds is None or not times:
        return work
    seconds = times / loads
    told = f"{work.basis}; {duration(seconds)} to {what}"
    return replace(work, seconds=work.seconds + seconds, basis=told)


def estimate_evaluation(
    model: str,
    *,
    tasks: Sequence[TaskSettings],
    settings: Mapping[str, Any],
    out: Path | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimated items and time of `evaluate`.

    Args:
        model: The student.
        tasks: What it is evaluated on.
        settings: How.
        out: The folder of the evaluation, whose finished tasks are left out.
        measure_seconds: Whether a speed is measured; 0 takes the last measurement.
    """
    wanted = checked(EvaluateSettings, settings, place="evaluate")
    left = list(tasks) if out is None else tasks_left(model, tasks, wanted, out)
    work = [
        replace(
            evaluation_work(model, [task], wanted, times=1, measure_seconds=measure_seconds),
            stage=f"evaluate {task.name}",
        )
        for task in left
    ]
    return {"tasks": len(tasks), "done": len(tasks) - len(left), **summed(work)}


def evaluation_work(
    model: str,
    tasks: Sequence[TaskSettings],
    settings: EvaluateSettings,
    *,
    times: int,
    measure_seconds: float,
) -> Work:
    """Evaluations as one part of a command's work; measures a few items of each task.

    Args:
        model: The student before it is trained.
        tasks: Tasks of one evaluation.
        settings: How it is evaluated.
        times: How many evaluations there are.
        measure_seconds: Whether a speed is measured; 0 takes the last measurement.
    """
    counts = [items_of(task) for task in tasks]
    total = None if None in counts else times * sum(n for n in counts if n is not None)
    seconds, told = 0.0, []
    loading = content_hash("speed", "evaluate", model, settings.dtype, "loads")
    for task, count in zip(tasks, counts, strict=True):
        key = content_hash(
            "speed", "evaluate", model, task.model_dump(mode="json", exclude={"limit"})
        )
        speed, basis = stored_speed(key)
        if measure_seconds:
            measured = _measured_task(task, model, settings, most_seconds=measure_seconds)
            items, spent, loaded = measured
            speed, basis = keep_speed(key, tokens=items, seconds=spent, unit="items")
            keep_speed(loading, tokens=1, seconds=loaded, unit="loads")
        told.append(f"{task.name}: {basis}")
        if speed is None or count is None:
            total = None
        else:
            seconds += times * count / speed
    work = Work(
        stage="evaluate",
        count=times * sum(n or 0 for n in counts),
        unit="items",
        tokens=0,
        seconds=None if total is None else seconds,
        basis="; ".join(told),
    )
    return _with_setup(work, loading, times=times if tasks else 0, what="load the student")


def _measured_task(
    task: TaskSettings, model: str, settings: EvaluateSettings, *, most_seconds: float
) -> tuple[int, float, float]:
    """Count of evaluated items, their seconds, and the seconds that loading the model took.

    A first item is not timed: libraries are imported for it.
    """
    spent: list[float] = []
    for limit in (1, 1, MEASURED_ITEMS + 1):
        with TemporaryDirectory(prefix="tutelage-") as folder:
            began = monotonic()
            some = task.model_copy(update={"limit": limit})
            evaluate_student(model, [some], settings, Path(folder))
            spent.append(monotonic() - began)
        if len(spent) > 1 and spent[-1] > most_seconds:
            return 1, spent[-1], 0.0
    _, one, several = spent
    seconds = max(several - one, several / (20 * MEASURED_ITEMS))
    return MEASURED_ITEMS, seconds, max(0.0, one - seconds / MEASURED_ITEMS)


def items_of(task: TaskSettings) -> int | None:
    """Number of items of a task; None where it is unknown before reading."""
    if task.path is None or not Path(task.path).is_file():
        return task.limit
    rows = sum(1 for _ in read_records(task.path))
    return rows if task.limit is None else min(rows, task.limit)


def answering_work(
    stage: str,
    asked: TeacherSettings,
    requests: Sequence[Request],
    *,
    count: int,
    measure_seconds: float,
    cached: int = 0,
) -> Work:
    """Own answers of a student as one part of a command's work; measures one batch.

    Args:
        stage: What the answers are for.
        asked: The student as a teacher, in this process or at an endpoint.
        requests: Some of the requests.
        count: How many requests there are.
        measure_seconds: Whether the speed is measured; 0 takes the last measurement.
        cached: How many more are answered from the teacher cache.
    """
    found = _answers_to_write(stage, asked, requests, count=count, measure_seconds=measure_seconds)
    if not cached:
        return found
    told = f"; {found.basis}" if count else ""
    return replace(found, basis=f"{counted(cached, 'answer')} in the teacher cache{told}")


def _answers_to_write(
    stage: str,
    asked: TeacherSettings,
    requests: Sequence[Request],
    *,
    count: int,
    measure_seconds: float,
) -> Work:
    each = [prompt_tokens_expected(r) + round(COMPLETION_FRACTION * r.max_tokens) for r in requests]
    tokens = round(count * sum(each) / len(each)) if each else 0
    if asked.kind != "local":
        return calling_work(stage, asked, calls=count, tokens=tokens, replies=0, pace=0.0)
    key = content_hash("speed", "answer", asked.teacher_name, asked.concurrency)
    speed, basis = stored_speed(key)
    if measure_seconds and requests:
        some = [
            replace(r, max_tokens=min(r.max_tokens, MEASURED_TOKENS))
            for r in requests[: asked.concurrency]
        ]
        speed, basis = _measured_answers(key, asked, some)
    written = sum(COMPLETION_FRACTION * r.max_tokens for r in requests) / max(1, len(requests))
    return Work(
        stage=stage,
        count=count,
        unit="answers",
        tokens=tokens,
        seconds=0.0 if not count else None if speed is None else count * written / speed,
        basis=f"written: {basis}" if speed is not None else basis,
    )


def _measured_answers(
    key: str, asked: TeacherSettings, requests: Sequence[Request]
) -> tuple[float | None, str]:
    """Generated tokens per second; the first request, which loads the model, is not timed."""

    async def timed() -> tuple[int, float]:
        teacher = LocalTeacher(asked)
        await teacher.ask(replace(requests[0], max_tokens=1))
        began = monotonic()
        replies = await asyncio.gather(*map(teacher.ask, requests))
        return sum(r.completion_tokens or 0 for r in replies), monotonic() - began

    tokens, seconds = asyncio.run(timed())
    give_memory_back()
    return keep_speed(key, tokens=tokens, seconds=seconds) if tokens else stored_speed(key)
