"""Whole jobs, for the command line and for Python: each is a short list of stages."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tutelage.data import Row, content_hash, read
from tutelage.errors import RunError, SettingsError
from tutelage.refinement import RefineSettings
from tutelage.runs import stages
from tutelage.runs.folder import RunFolder, checksum
from tutelage.runs.gate_stage import calibrate, ensure_calibrated
from tutelage.runs.opening import (
    Doors,
    Reader,
    begin,
    note,
    opened_student,
    prompts_used,
    secret_free,
)
from tutelage.runs.overruling import overrides_digest
from tutelage.runs.progress import Progress, Silent
from tutelage.runs.ray_scoring import ray_job
from tutelage.runs.ray_settings import RaySettings
from tutelage.runs.ray_teacher import doors_of
from tutelage.runs.reporting import write_report
from tutelage.runs.scoring import candidates_of, score_file
from tutelage.runs.selecting import gate_checksums
from tutelage.runs.settings import DataSettings, RunSettings, ScoreSettings, checked
from tutelage.runs.stages import Stage, Tally, run_stage
from tutelage.runs.words import in_words
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings

READ_BY = ("fingerprint", "dtype", "device", "template", "max_length", "backend")
"""What of a student's description its numbers depend on."""


def run_all(
    settings: RunSettings,
    *,
    progress: Progress,
    doors: Doors | None = None,
    with_page: bool = True,
) -> dict[str, Any]:
    """Load, refine, score, select and report; continue where it stopped.

    Args:
        settings: Everything that decides what the run does.
        progress: Told how far each stage is.
        doors: How student and teacher are reached; tests put fakes behind them.
        with_page: Whether the report is drawn; `report` is an empty text where it is not.

    Returns:
        The tallies of the stages by name, the paths of the outputs, and `in_words`.

    Raises:
        TutelageError: Any of this package's errors; what is finished is kept.
    """
    doors = doors or Doors()
    run = RunFolder(root=Path(settings.out)).create()
    with run.locked():
        tallies = {"load": _load(run, settings, progress=progress)}
        with opened_student(settings.student, doors) as student:
            note(run, student=dict(student.describe()))
            if settings.teacher is not None:
                tallies["refine"] = _refine(
                    run,
                    refine=settings.refine,
                    teacher=settings.teacher,
                    student=student,
                    select=settings.select,
                    doors=doors_of(doors, engine=settings.score.engine, pool=settings.score.ray),
                    progress=progress,
                )
            else:
                tallies["refine"] = _take_as_loaded(run)
            tallies["score"] = _score(run, student, settings, doors=doors, progress=progress)
            note(run, student=dict(student.describe()))
            if settings.select.quality_gate == "calibrated":
                tallies["quality_gate"] = calibrate(
                    run, settings.select, student=student, progress=progress
                )
            fingerprint = student.fingerprint
        tallies["select"] = _select(run, settings.select, student=fingerprint, progress=progress)
        page = write_report(run.root, progress=progress) if with_page else ""
    summary: dict[str, Any] = {**tallies, "run": str(run.root), "report": str(page)}
    return {**summary, "in_words": in_words(summary)}


def _load(run: RunFolder, settings: RunSettings, *, progress: Progress) -> Tally:
    inputs = stages.input_checksums(settings.data)
    begin(run, settings=secret_free(settings), inputs=inputs, seed=settings.select.seed)
    stage = Stage(
        name="load",
        key=stages.load_key(settings.data, inputs),
        outputs=(run.rows, run.examples, run.loaded),
    )
    return run_stage(
        run, stage, lambda: stages.load(run, settings=settings.data, progress=progress)
    )


def _refine(
    run: RunFolder,
    *,
    refine: RefineSettings,
    teacher: TeacherSettings,
    student: Reader | None,
    select: SelectSettings,
    doors: Doors,
    progress: Progress,
) -> Tally:
    note(run, teacher={"name": teacher.teacher_name, "prompts": prompts_used(refine)})
    stage = Stage(
        name="refine",
        key=content_hash(
            _key_of(run, "load"),
            refine.model_dump(mode="json"),
            teacher.teacher_name,
            dict(teacher.extra_body),
            prompts_used(refine),
            student.describe()["fingerprint"] if student else None,
            select.model_dump(mode="json", include={"rule", "mode", "margin"}),
        ),
        outputs=(run.candidates,),
    )

    def work() -> Tally:
        return stages.refine(
            run,
            refine=refine,
            teacher=teacher,
            student=student,
            select=select,
            doors=doors,
            progress=progress,
        )

    return run_stage(run, stage, work, again=stages.worth_asking_again)


def _take_as_loaded(run: RunFolder) -> Tally:
    stage = Stage(
        name="refine", key=content_hash(_key_of(run, "load"), None), outputs=(run.candidates,)
    )
    return run_stage(run, stage, lambda: stages.take_as_loaded(run))


def _score(
    run: RunFolder, student: Reader, settings: RunSettings, *, doors: Doors, progress: Progress
) -> Tally:
    wanted = settings.score
    description = student.describe()
    stage = Stage(
        name="score",
        key=content_hash(
            _key_of(run, "refine"),
            checksum(run.candidates),
            wanted.model_dump(mode="json", include={"metrics"}),
            {name: description[name] for name in READ_BY},
            settings.student.model_dump(
                mode="json", include={"on_overflow", "turns", "score_end_of_turn"}
            ),
        ),
        outputs=(run.scores, *((run.statistics,) if wanted.statistics else ())),
    )
    workers = None
    if wanted.engine == "ray":
        workers = ray_job(settings.student, student, wanted, out=run.scores, doors=doors)
    return run_stage(
        run,
        stage,
        lambda: stages.score(
            run, student=student, settings=wanted, progress=progress, workers=workers
        ),
    )


def _select(run: RunFolder, settings: SelectSettings, *, student: str, progress: Progress) -> Tally:
    stage = Stage(
        name="select",
        key=content_hash(
            _key_of(run, "score"),
            settings.model_dump(mode="json"),
            student,
            gate_checksums(run, settings),
            *filter(None, [overrides_digest(run)]),  # selected.jsonl holds what persons decided
        ),
        outputs=(run.decisions, run.chosen, run.nulls, run.selected, run.rejected),
    )
    return run_stage(
        run,
        stage,
        lambda: stages.select(run, settings=settings, student=student, progress=progress),
    )


def _key_of(run: RunFolder, stage: str) -> str:
    done = run.read_manifest().get("stages", {}).get(stage)
    if done is None:
        raise RunError(
            f"{run.root}: the stage {stage!r} has not been done", hint="start with `tutelage run`"
        )
    key: str = done["key"]
    return key


def refine_data(
    *,
    data: Mapping[str, Any],
    teacher: Mapping[str, Any],
    refine: Mapping[str, Any],
    student: str | None,
    out: Path,
    progress: Progress,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Load rows and let a teacher reflect on them, into a run folder.

    Args:
        data: Settings of the data room, with `path`.
        teacher: Settings of the teacher room.
        refine: Settings of the refinement room.
        student: Who chooses on the way; None writes every branch.
        out: The run folder.
        progress: Told how far each stage is.
        engine: `ray` spreads a local teacher over a pool of workers.
        ray: Settings of the pool.

    Returns:
        The tallies of both stages.
    """
    pool = checked(RaySettings, ray or {}, place="ray")
    parts = refine_settings(data=data, teacher=teacher, refine=refine, student=student, out=out)
    run = RunFolder(root=out).create()
    with run.locked():
        inputs = stages.input_checksums(parts.data)
        begin(run, settings=parts.model_dump(mode="json"), inputs=inputs, seed=0)
        loading = Stage(
            name="load",
            key=stages.load_key(parts.data, inputs),
            outputs=(run.rows, run.examples, run.loaded),
        )
        loaded = run_stage(
            run, loading, lambda: stages.load(run, settings=parts.data, progress=progress)
        )
        with ExitStack() as stack:
            reader = stack.enter_context(opened_student(parts.student)) if parts.student else None
            refined = _refine(
                run,
                refine=parts.refine,
                teacher=parts.teacher,
                student=reader,
                select=SelectSettings(),
                doors=doors_of(None, engine=engine, pool=pool),
                progress=progress,
            )
    return {"load": loaded, "refine": refined, "run": str(out)}


class RefineJob(BaseModel):
    """What `refine_data` was asked to do."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    teacher: TeacherSettings
    refine: RefineSettings
    student: StudentSettings | None
    out: str


def refine_settings(*, student: str | None, out: Path, **rooms: Mapping[str, Any]) -> RefineJob:
    """The checked settings of a refine job.

    Raises:
        SettingsError: Some are wrong; all of them are named.
    """
    chooser = None if student is None else {"model": student}
    return checked(RefineJob, {**rooms, "student": chooser, "out": str(out)}, place="refine")


def score_data(
    *,
    data: Mapping[str, Any],
    student: Mapping[str, Any],
    metrics: Sequence[str],
    out: Path,
    progress: Progress,
    statistics: Path | None = None,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Let a student read rows, and write its numbers: one row per input row, in order.

    Args:
        data: Settings of the data room, with `path`.
        student: Settings of the student room.
        metrics: Names of per-candidate metrics.
        out: The Parquet file.
        progress: Told how far it is.
        statistics: Where the statistics of every token are to be kept, or None.
        engine: `local` reads in this process, `ray` in a pool of workers.
        ray: Settings of the pool.
        doors: How the student is reached.

    Returns:
        The tally of statuses, and what the student is.
    """
    reading = checked(DataSettings, data, place="data")
    settings = checked(StudentSettings, student, place="student")
    values = {"metrics": tuple(metrics), "statistics": statistics is not None}
    wanted = checked(ScoreSettings, {**values, "engine": engine, "ray": ray or {}}, place="score")
    doors = doors or Doors()

    def rows() -> Iterable[Row]:
        return read(reading.path, settings=reading)

    with opened_student(settings, doors) as model:
        scorer, shown, workers = None, progress, None
        if wanted.engine == "ray":
            workers = ray_job(settings, model, wanted, out=out, doors=doors)
            scorer = workers.scorer(lambda: candidates_of(rows()), progress=progress)
            shown = Silent()
        tally = score_file(
            rows(),
            student=model,
            metrics=wanted.metrics,
            out=out,
            progress=shown,
            statistics=statistics,
            scorer=scorer,
        )
        if workers is not None:
            workers.forget()
        return {**tally, "student": dict(model.describe())}


def select_again(
    root: Path,
    *,
    given: Mapping[str, Any],
    student: str | None,
    progress: Progress,
    afresh: bool = False,
) -> dict[str, Any]:
    """Decide again from stored scores; nobody is asked, unless a quality gate has to be fitted.

    Args:
        root: The run folder.
        given: Settings of the selection that differ from those of the last one.
        student: Fingerprint of the student whose scores decide; None takes the run's own.
        progress: Told how far it is.
        afresh: Whether what is not given is the default, and not what it was last time.

    Returns:
        The tally of the selection.
    """
    run = RunFolder(root=root).existing()
    run.need(run.scores)
    manifest = run.read_manifest()
    before = manifest.get("settings", {}).get("select", {})
    if afresh or given.get("rule", before.get("rule")) != before.get("rule"):
        before = {}
    settings = checked(SelectSettings, {**before, **given}, place="select")
    fingerprint = student or manifest.get("student", {}).get("fingerprint")
    _need_scores_of(run, student)
    with run.locked():
        if settings.quality_gate == "calibrated":
            ensure_calibrated(run, settings, fingerprint=fingerprint, progress=progress)
        tally = _select(run, settings, student=fingerprint, progress=progress)
        # Only now: what was refused must not be what the next call starts from.
        note(
            run,
            settings={**manifest.get("settings", {}), "select": settings.model_dump(mode="json")},
            seeds={"select": settings.seed},
        )
        return tally


def _need_scores_of(run: RunFolder, student: str | None) -> None:
    column = pq.read_table(run.scores, columns=["student"])["student"]
    there = sorted({str(name) for name in column.unique().to_pylist()})
    if student is not None and student not in there:
        raise SettingsError(
            f"{run.scores}: holds no scores of a student {student!r}",
            hint=f"--student takes one of {', '.join(there)}",
        )
