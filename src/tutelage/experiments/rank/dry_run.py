"""Dry run of a ranking: calls, readings and trainings (`tutelage rank ... --dry-run`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.data import Candidate, Example, read, write_jsonl
from tutelage.data.schemas import messages_to_arrow
from tutelage.experiments.rank.answer_pool import (
    EntrantKind,
    PoolAnswer,
    examples_of,
    pool_answers,
    question_of,
)
from tutelage.experiments.rank.config import GraceSettings, OwnAnswers, RankSettings
from tutelage.experiments.rank.proxy_training import ProbeSettings, rungs_of
from tutelage.pipeline.config import checked
from tutelage.pipeline.cost_estimate import (
    answering_work,
    evaluation_work,
    training_work,
)
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.student_attempts import own_teacher
from tutelage.pipeline.teacher_estimate import teachers_estimate
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    Reading,
    Work,
    reading_of,
    reading_work,
    scaled_reading,
    summed,
    text_sample,
)
from tutelage.progress import Progress
from tutelage.refinement import SampleSettings, sample_request
from tutelage.student import open_student
from tutelage.student.config import template_values
from tutelage.teacher import Request, ScriptedTeacher, TeacherSettings
from tutelage.training import encode_file
from tutelage.training.train import student_settings

_GRACE_TIMES = 3.0
"""Cost of a backward pass, relative to a forward one."""


def estimate_ranking(
    job: Mapping[str, Any],
    *,
    kind: EntrantKind,
    progress: Progress,
    teachers: Sequence[TeacherSettings] = (),
    budget: int = 0,
    probe: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the calls, readings, answers and trainings of a ranking, with tokens, cost and time.

    Args:
        job: See `RankSettings`.
        kind: Whether teachers or sources are ranked.
        progress: Notified of the rows.
        teachers: The teachers that are asked first.
        budget: Questions to each of them, at most.
        probe: See `ProbeSettings`; None where sources are not tried out.
        doors: How the student is reached.
        measure_seconds: How long a speed is measured at most; 0 takes the last measurement.
    """
    settings = checked(RankSettings, job, place="rank")
    progress.begin("estimate", total=None, unit="rows")
    asked: dict[str, Any] = {}
    work: list[Work] = []
    if teachers:
        questions = _questions(settings)
        examples = list(questions.values())[:budget]
        asked, work = _asked(settings, teachers, examples)
        candidates = _as_texts(settings, budget=budget)
        answers = len(examples) * len(teachers)
    else:
        pool = pool_answers(
            settings.data,
            kind=kind,
            fields=settings.fields,
            questions=settings.questions,
            seed=settings.seed,
        ).answers
        examples, candidates = examples_of(pool), _texts(pool)
        answers = len(pool)
    progress.advance(answers)
    progress.end()
    reading = reading_of(
        sample := text_sample(candidates),
        student=settings.student,
        metrics=settings.metrics,
        doors=doors,
        measure_seconds=measure_seconds,
        more_like_it=bool(teachers) or settings.grace is not None,
    )
    if teachers and sample.count:
        reading = scaled_reading(reading, times=answers / sample.count)
    read_them = reading_work("read answers", reading, count=answers, unit="answers")
    if answers and not sample.count:
        unknown = (
            "how long the answers are is not known: the questions have no answers of their own"
        )
        read_them = replace(read_them, tokens=None, seconds=None, basis=unknown)
    work.append(read_them)
    if settings.own is not None:
        work.append(_own(settings, settings.own, examples, measure_seconds=measure_seconds))
    if settings.grace is not None:
        work.append(
            _graced(settings.grace, reading, answers=answers, entrants=len(teachers) or None)
        )
    if probe is not None:
        probing = checked(ProbeSettings, probe, place="probe")
        work += _probes(settings, probing, measure_seconds=measure_seconds)
    return {"rows": answers, **asked, **summed(work)}


def _texts(pool: Iterable[PoolAnswer]) -> list[Candidate]:
    return [answer.candidate for answer in pool]


def _questions(settings: RankSettings) -> dict[str, Example]:
    rows = read(settings.data.path, settings=settings.data)
    return {question_of(row.example): row.example for row in rows if row.example is not None}


def _as_texts(settings: RankSettings, *, budget: int) -> list[Candidate]:
    """Texts that resemble the answers to come: the responses in the questions' own rows, if any."""
    rows = read(settings.data.path, settings=settings.data)
    return [c for row in rows for c in row.candidates][: max(1, budget)]


def _asked(
    settings: RankSettings, teachers: Sequence[TeacherSettings], examples: Sequence[Example]
) -> tuple[dict[str, Any], list[Work]]:
    sampling = SampleSettings(n=1)
    asked = {}
    for teacher in teachers:
        namesake = ScriptedTeacher("", name=teacher.teacher_name)
        requests = [sample_request(e, 0, teacher=namesake, settings=sampling) for e in examples]
        asked[teacher.teacher_name] = (teacher, requests)
    totals, work = teachers_estimate(asked, run=RunFolder(root=Path(settings.out)), stage="ask")
    note = "a teacher that can no longer be the best gets fewer questions"
    return {**totals, "note": note}, work


def _own(
    settings: RankSettings, own: OwnAnswers, examples: Sequence[Example], *, measure_seconds: float
) -> Work:
    asked = own.asked_through or own_teacher(settings.student, batch=own.batch)
    namesake = ScriptedTeacher("", name=asked.teacher_name)
    greedy = SampleSettings(n=1, temperature=0.0, max_tokens=own.max_tokens)
    usable = [example for example in examples if not example.uses_tools]
    requests: list[Request] = [
        sample_request(example, 0, teacher=namesake, settings=greedy) for example in usable[:64]
    ]
    return answering_work(
        "own answers",
        asked,
        requests,
        count=len(usable),
        measure_seconds=measure_seconds,
    )


def _graced(grace: GraceSettings, reading: Reading, *, answers: int, entrants: int | None) -> Work:
    """Estimate of the gradients: three times the reading of those answers."""
    count = min(answers, grace.questions * (entrants or 1)) if entrants else answers
    share = count / answers if answers else 0.0
    tokens = round(reading.tokens * share)
    seconds = reading.seconds(tokens)
    return Work(
        stage="gradients",
        count=count,
        unit="answers",
        tokens=tokens,
        seconds=None if seconds is None else _GRACE_TIMES * seconds,
        basis="at most; three times the reading of these answers",
    )


def _probes(settings: RankSettings, probe: ProbeSettings, *, measure_seconds: float) -> list[Work]:
    """Trainings of all rungs and of the sweep, each with its number of rows."""
    rows = [
        (row.example.source or "", candidate)
        for row in read(settings.data.path, settings=settings.data)
        if row.example is not None
        for candidate in row.candidates[:1]
    ]
    sources = len({source for source, _ in rows})
    taken = min(sources, probe.top or sources)
    rungs = rungs_of(
        max(1, taken),
        examples=probe.examples,
        keep_fraction=probe.keep_fraction,
        growth=probe.growth,
        rungs=probe.rungs,
    )
    trainings = [(rung.entrants * len(probe.seeds), rung.examples) for rung in rungs]
    mixes = len({n for n in probe.sweep if n < taken} | {taken})
    trainings.append((mixes * len(probe.sweep_seeds), probe.sweep_examples or rungs[-1].examples))
    count = sum(cells for cells, _ in trainings)
    examples = sum(cells * size for cells, size in trainings)
    student = settings.student
    train = probe.train.model_copy(
        update={"template": student.template, **template_values(student)}
    )
    with TemporaryDirectory(prefix="tutelage-") as folder:
        file = Path(folder) / "rows.jsonl"
        some = [c for _, c in rows if c.messages][: max(2, probe.examples)]
        write_jsonl(file, ({"messages": messages_to_arrow(c.messages)} for c in some))
        with open_student(student_settings(student.model, train)) as model:
            encoded = encode_file(file, model)
            tokens = round(train.epochs * encoded.tokens * examples / len(encoded.rows))
            work = training_work(
                encoded, model, train, measure_seconds=measure_seconds, times=count, tokens=tokens
            )
    evaluate = probe.evaluate.model_copy(
        update={"template": student.template, **template_values(student)}
    )
    return [
        replace(work, stage="train probes", count=count, unit="training runs"),
        replace(
            evaluation_work(
                student.model, probe.tasks, evaluate, times=count, measure_seconds=measure_seconds
            ),
            stage="evaluate probes",
        ),
    ]
