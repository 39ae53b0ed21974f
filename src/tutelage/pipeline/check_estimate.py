"""Estimates of verification, filters and a calibrated gate: calls, readings and time."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import OK, Candidate, content_hash, read_records
from tutelage.filters import FiltersSettings, Means, ask_for_ratings
from tutelage.gate import DOSES, HELD_OUT, Dose
from tutelage.pipeline.check_stages import (
    JUDGED_AT_ONCE,
    filtering,
    refuse_agreement,
    stored_claims,
)
from tutelage.pipeline.config import DataSettings, checked
from tutelage.pipeline.gate_stage import is_calibrated, reading_of_run, texts_beyond_candidates
from tutelage.pipeline.resources import Doors, journal_path
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.selection_settings import selection_settings
from tutelage.pipeline.stages import stored_candidates
from tutelage.pipeline.teacher_estimate import asked_estimate
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    Work,
    keep_speed,
    reading_of,
    reading_work,
    scaled_reading,
    stored_speed,
    summed,
    text_sample,
)
from tutelage.progress import Progress
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings
from tutelage.teacher import CachedTeacher, TeacherSettings
from tutelage.verification import Claim, VerifySettings, claims_of, judge, verify_table

Clock = Callable[[], float]

_MEASURED_CLAIMS = 2_000
"""Most responses that are checked to measure the speed."""
_MAJORITY = "answers are compared with each other, in about the time that it takes to read them"
_OWN_FUNCTION = "an extension is not called for an estimate"


def estimate_verify_file(
    *,
    data: Mapping[str, Any],
    check: Mapping[str, Any],
    fields: Mapping[str, str],
    out: Path,
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate what `verify_file` would ask a judge, or how long it would check; nothing is sent.

    Args:
        data: Settings of the data, with `path`.
        check: Settings of the verification.
        fields: Which field holds the response, the reference and so on.
        out: The Parquet file; a judge's replies are kept next to it.
        progress: Notified of each row read.
        teacher: Settings of the judge.
        measure_seconds: How long a check is timed at most; 0 takes the last measurement.

    Raises:
        DataError: The file cannot be read, or a field is not there.
        SettingsError: A setting is wrong, or a judge is missing.
    """
    reading = checked(DataSettings, data, place="data")
    refuse_agreement(check)
    settings = checked(VerifySettings, check, place="verify")
    rows = 0

    def read() -> Iterator[Mapping[str, object]]:
        nonlocal rows
        for record in read_records(reading.path, settings=reading):
            rows += 1
            progress.advance()
            if record.problem is None and isinstance(record.value, Mapping):
                yield record.value

    progress.begin("estimate", total=None, unit="rows")
    named: dict[str, Any] = {f"{name}_field": field for name, field in fields.items()}
    claims = list(claims_of(read(), settings, **named))
    progress.end()
    found = _estimated(
        claims,
        settings,
        teacher=teacher,
        journal=lambda judge_: judge_.journal or out.with_suffix(".journal.sqlite"),
        measure_seconds=measure_seconds,
    )
    return {"rows": rows, **found}


def estimate_verify_run(
    root: Path,
    *,
    check: Mapping[str, Any],
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate what `verify_run` would ask a judge, or how long it would check; nothing is sent.

    Args:
        root: The run folder.
        check: Settings of the verification, or `{"check": "agreement"}`.
        progress: Notified of the candidates.
        teacher: Settings of the judge.
        measure_seconds: How long a check is timed at most; 0 takes the last measurement.

    Raises:
        RunError: The run has no candidates, or a table is damaged.
        SettingsError: A setting is wrong, or a judge is missing.
    """
    run = RunFolder(root=root).existing()
    count = pq.read_metadata(run.need(run.candidates)).num_rows
    progress.begin("estimate", total=count, unit="candidates")
    if check.get("check") == "agreement":
        work = Work(
            stage="verify: agreement",
            count=count,
            unit="candidates",
            tokens=0,
            seconds=None,
            basis=_MAJORITY,
        )
        progress.end()
        return {"candidates": count, **summed([work])}
    claims = list(stored_claims(run))
    progress.advance(len(claims))
    progress.end()
    found = _estimated(
        claims,
        checked(VerifySettings, check, place="verify"),
        teacher=teacher,
        journal=lambda judge_: journal_path(run, judge_),
        measure_seconds=measure_seconds,
    )
    return {"candidates": count, **found}


def _estimated(
    claims: list[Claim],
    settings: VerifySettings,
    *,
    teacher: Mapping[str, Any] | None,
    journal: Callable[[TeacherSettings], Path],
    measure_seconds: float,
) -> dict[str, Any]:
    if settings.check != "judge" or teacher is None:
        work = checking_work(claims, settings, measure_seconds=measure_seconds)
        return summed([work])
    asked = checked(TeacherSettings, teacher, place="teacher")

    async def ask(judge_: CachedTeacher) -> None:
        remaining = iter(claims)
        while batch := list(islice(remaining, JUDGED_AT_ONCE)):
            await asyncio.gather(*(judge(claim, judge_) for claim in batch))

    figures, calling = asked_estimate(
        ask, teacher=asked, journal=journal(asked), stage="verify: judge"
    )
    return {**figures, **summed([calling])}


def checking_work(
    claims: list[Claim],
    settings: VerifySettings,
    *,
    measure_seconds: float,
    clock: Clock = monotonic,
) -> Work:
    """Check of responses in this process as one part of a command's work; times some of them.

    Args:
        claims: What is checked.
        settings: Which check.
        measure_seconds: How long at most; 0 takes the last measurement.
        clock: Seconds; only differences count.

    Raises:
        SettingsError: The check is `judge` and there is no teacher.
        MissingExtraError: The check needs a library that is not installed.
    """
    verdicts = verify_table(claims, settings)
    key = content_hash("speed", "verify", settings.check, settings.processes)
    speed, basis = stored_speed(key)
    if settings.check == "extension":
        speed, basis = None, _OWN_FUNCTION
    elif measure_seconds and claims:
        count, seconds = _timed(verdicts, seconds=measure_seconds, clock=clock)
        speed, basis = keep_speed(key, tokens=count, seconds=seconds, unit="responses")
    return Work(
        stage=f"verify: {settings.check}",
        count=len(claims),
        unit="responses",
        tokens=0,
        seconds=0.0 if not claims else None if speed is None else len(claims) / speed,
        basis=basis,
    )


def _timed(verdicts: Iterator[Any], *, seconds: float, clock: Clock) -> tuple[int, float]:
    """Responses that were checked and the seconds; the first one, which starts workers, is not."""
    began, first, only = clock(), True, 0.0
    count, spent = 0, 0.0
    for _ in islice(verdicts, _MEASURED_CLAIMS):
        if first:
            first, only = False, clock() - began
            began = clock()
            continue
        count, spent = count + 1, clock() - began
        if spent > seconds:
            break
    close = getattr(verdicts, "close", None)
    if close is not None:  # ends the workers
        close()
    return (count, spent) if count else (1, only)


def estimate_filter(
    root: Path,
    *,
    config: Path | FiltersSettings,
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    compare: bool = False,
) -> dict[str, Any]:
    """Estimate what filters would ask a teacher; nothing is sent or written.

    Filters in front of one that asks are applied, so that only what they keep is counted; the
    functions of extensions are not called.

    Args:
        root: The run folder.
        config: A YAML file with a list `filters`, or what it would hold.
        progress: Notified when it begins and ends.
        teacher: Settings of the teacher.
        compare: Whether each filter is applied on its own, to all candidates.

    Raises:
        SettingsError: A filter needs a teacher or scores that are not there.
    """
    run, settings, candidates, scores = filtering(root, config)
    progress.begin("estimate", total=candidates.num_rows, unit="candidates")
    kinds = [one.kind for one in settings.filters]
    found: dict[str, Any] = {"candidates": candidates.num_rows}
    work = []
    if "teacher_rating" in kinds:
        figures, calling = _ratings(run, settings, candidates, scores, teacher, compare=compare)
        found |= figures
        work.append(calling)
    others = [kind for kind in kinds if kind != "teacher_rating"]
    if others:
        work.append(
            Work(
                stage=f"filter: {', '.join(others)}",
                count=candidates.num_rows,
                unit="candidates",
                tokens=0,
                seconds=None,
                basis="filters in this process call no endpoint; they are not timed",
            )
        )
    progress.advance(candidates.num_rows)
    progress.end()
    note = {}
    if "extension" in kinds and len(work) > 1:
        note["note"] = "at most: an extension filter may drop candidates that are counted here"
    return {**found, **summed(work), **note}


def _ratings(
    run: RunFolder,
    settings: FiltersSettings,
    candidates: pa.Table,
    scores: pa.Table | None,
    teacher: Mapping[str, Any] | None,
    *,
    compare: bool,
) -> tuple[dict[str, Any], Work]:
    """Calls of the filters that ask."""
    if teacher is None:
        asyncio.run(
            ask_for_ratings(candidates, filters=settings.filters, means=Means(scores=scores))
        )
    asked = checked(TeacherSettings, teacher or {}, place="teacher")

    async def ask(rater: CachedTeacher) -> None:
        await ask_for_ratings(
            candidates,
            filters=settings.filters,
            means=Means(scores=scores, teacher=rater),
            each_alone=compare,
        )

    return asked_estimate(
        ask, teacher=asked, journal=journal_path(run, asked), stage="filter: teacher_rating"
    )


GATE_TEXTS = "quality gate: candidates"
GATE_PLANTS = "quality gate: planted faults"


def gate_work(
    written: Sequence[Candidate],
    settings: SelectSettings,
    *,
    student: StudentSettings,
    doors: Doors | None,
    measure_seconds: float,
    doses: Sequence[Dose] = DOSES,
    held_out_fraction: float = HELD_OUT,
    already_read: bool = False,
    fresh: bool = False,
) -> list[Work]:
    """The readings of a calibrated gate as parts of a command's work.

    The faults are planted as the gate would plant them, so their texts are counted and not guessed.

    Args:
        written: The candidates, those without text included.
        settings: `quality_gate_examples`, `quality_gate_rejected` and `seed`.
        student: Who reads.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
        doses: In which doses faults are planted.
        held_out_fraction: The share of the examples on which the gate is measured, in (0, 1).
        already_read: Whether the candidates were read before, with all statistics.
        fresh: Whether another student will read them, of which nothing is cached.
    """
    texts = [c for c in written if c.status == OK]
    plants = texts_beyond_candidates(
        texts, settings, doses=doses, held_out_fraction=held_out_fraction
    )
    parts = [(GATE_PLANTS, plants), *([] if already_read else [(GATE_TEXTS, texts)])]
    work = []
    for stage, candidates in parts:
        sample = text_sample(candidates)
        reading = reading_of(
            sample,
            student=student,
            metrics=None,
            doors=doors,
            measure_seconds=measure_seconds,
            every_statistic=True,
            kind=stage,
            more_like_it=fresh,
        )
        if fresh:
            reading = scaled_reading(reading, times=1.0)
        work.append(reading_work(stage, reading, count=sample.count, unit="texts"))
    return work[::-1]


def estimate_select(
    root: Path,
    *,
    given: Mapping[str, Any],
    student: str | None,
    afresh: bool = False,
    name: str | None = None,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Texts that `select_again` would let the student score: none, unless a gate has to be fitted.

    Args:
        root: The run folder.
        given: Settings of the selection that differ from those of the last one.
        student: Fingerprint of the student whose scores decide; None takes the run's own.
        afresh: Whether what is not given is the default, and not what it was last time.
        name: Of a named selection.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.

    Raises:
        RunError: There is no run, or nothing has been scored.
        SettingsError: A setting is wrong.
    """
    run = RunFolder(root=root).existing().with_selection(name)
    settings = selection_settings(run, given=given, afresh=afresh)
    written = list(stored_candidates(run.need(run.candidates)))
    work: list[Work] = []
    if settings.quality_gate == "calibrated":
        own = run.read_manifest().get("student", {}).get("fingerprint")
        fingerprint = str(student or own)
        if not is_calibrated(run, settings, fingerprint=fingerprint):
            reading = reading_of_run(run, fingerprint=fingerprint, doors=doors)
            work = gate_work(
                written, settings, student=reading, doors=doors, measure_seconds=measure_seconds
            )
    note = (
        {} if work else {"note": "a selection from stored scores reads nothing and takes seconds"}
    )
    return {"candidates": len(written), **summed(work), **note}
