"""Complete jobs for the command line and Python, each a short list of stages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tutelage.data import Row, Rows, read
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.pipeline import stages
from tutelage.pipeline.config import (
    DEFAULT_METRICS,
    DataSettings,
    RaySettings,
    RunSettings,
    ScoreSettings,
    checked,
)
from tutelage.pipeline.gate_results import why_not_fitted
from tutelage.pipeline.gate_stage import calibrate, ensure_calibrated, statistics_needed
from tutelage.pipeline.report_stage import write_report
from tutelage.pipeline.resources import (
    Doors,
    Reader,
    begin,
    need_some,
    note,
    opened_student,
    prompts_used,
    scoring_job,
    secret_free,
    teacher_doors,
)
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.score_stage import candidates_of, score_file
from tutelage.pipeline.select_stage import check_truth_column
from tutelage.pipeline.selection_settings import (
    last_settings,
    reset_notes,
    selection_settings,
    shortfall_notes,
)
from tutelage.pipeline.stage import Tally, refine_stage, run_stage
from tutelage.pipeline.staleness import check_contract, older_contract_note, stale_outputs
from tutelage.pipeline.student_attempts import own_teacher
from tutelage.pipeline.summary_text import in_words
from tutelage.progress import Progress, Silent
from tutelage.refinement import RefineSettings
from tutelage.selection import SelectSettings
from tutelage.student import Statistics, StudentSettings
from tutelage.teacher import TeacherSettings


def run_all(
    settings: RunSettings,
    *,
    progress: Progress,
    doors: Doors | None = None,
    with_page: bool = True,
) -> dict[str, Any]:
    """Load, refine, score, select and report; a repeated call resumes.

    Args:
        settings: Everything that decides what the run does.
        progress: Notified of the progress of each stage.
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
        check_contract(run, model=settings.student.model)
        for path in (run.verdicts, run.filters):  # what it reads and does not write
            if path.exists():
                run.need(path)
        tallies = {"load": stages.need_responses(_load(run, settings, progress=progress))}
        if settings.select.rule == "oracle":  # before anything is paid for
            check_truth_column(run, settings.select)
        with opened_student(settings.student, doors) as student:
            note(run, student=dict(student.describe()))
            if settings.teacher is not None:
                tallies["refine"] = _refine(
                    run,
                    refine=settings.refine,
                    teacher=settings.teacher,
                    student=student,
                    select=settings.select,
                    doors=teacher_doors(
                        doors, engine=settings.score.engine, pool=settings.score.ray
                    ),
                    progress=progress,
                    reading=settings.student,
                    at_least=statistics_needed(settings.score.metrics, settings.select),
                )
            else:
                tallies["refine"] = stages.take_once(run)
            tallies["score"] = _score(run, student, settings, doors=doors, progress=progress)
            note(run, student=dict(student.describe()))
            if settings.select.quality_gate == "calibrated":
                tallies["quality_gate"] = calibrate(
                    run, settings.select, student=student, progress=progress
                )
            fingerprint = student.fingerprint
        tallies["select"] = stages.select_once(
            run, settings=settings.select, student=fingerprint, progress=progress
        )
        page = write_report(run.root, progress=progress) if with_page else ""
    summary: dict[str, Any] = {**tallies, "run": str(run.root), "report": str(page)}
    return {**summary, "in_words": in_words(summary)}


def _load(run: RunFolder, settings: RunSettings, *, progress: Progress) -> Tally:
    inputs = stages.input_checksums(settings.data)
    begin(run, settings=secret_free(settings), inputs=inputs, seed=settings.select.seed)
    return stages.load_once(run, settings=settings.data, inputs=inputs, progress=progress)


def _refine(
    run: RunFolder,
    *,
    refine: RefineSettings,
    teacher: TeacherSettings,
    student: Reader | None,
    select: SelectSettings,
    doors: Doors,
    progress: Progress,
    reading: StudentSettings | None,
    at_least: Statistics,
) -> Tally:
    own = own_writer(refine, reading, doors)
    note(run, teacher={"name": teacher.teacher_name, "prompts": prompts_used(refine)})
    stage = refine_stage(
        run,
        refine=refine,
        teacher=teacher,
        student=str(student.describe()["fingerprint"]) if student else None,
        select=select,
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
            own=own,
            at_least=at_least,
        )

    return run_stage(run, stage, work, again=stages.worth_asking_again)


def own_writer(
    refine: RefineSettings, student: StudentSettings | None, doors: Doors
) -> TeacherSettings | None:
    """Student as a teacher, where its own answers are rewritten.

    Args:
        refine: Settings of the rewriting.
        student: Settings of the student, or None.
        doors: Factories of teacher and student.

    Raises:
        SettingsError: They are, and there is no student.
    """
    if refine.source != "student":
        return None
    if student is None:
        raise SettingsError(
            "refine.source student: no student is given, so there are no answers of the student",
            hint="give --student, or set refine.source to original",
        )
    return (doors.own_teacher or own_teacher)(student)


def _score(
    run: RunFolder, student: Reader, settings: RunSettings, *, doors: Doors, progress: Progress
) -> Tally:
    workers = None
    if settings.score.engine == "ray":
        workers = scoring_job(
            settings.student,
            student,
            settings.score,
            out=run.scores,
            doors=doors,
            at_least=statistics_needed((), settings.select),
        )
    return stages.score(
        run,
        student=student,
        reading=settings.student,
        settings=settings.score,
        progress=progress,
        workers=workers,
        at_least=statistics_needed((), settings.select),
    )


def refine_data(
    *,
    data: Mapping[str, Any],
    teacher: Mapping[str, Any],
    refine: Mapping[str, Any],
    student: str | Mapping[str, Any] | None,
    out: Path,
    progress: Progress,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Load rows and let a teacher rewrite them, into a run folder.

    Args:
        data: Settings of the data, with `path`.
        teacher: Settings of the teacher.
        refine: Settings of the refinement.
        student: The student that chooses on the way, by name or with settings; None writes
            every branch.
        out: The run folder.
        progress: Notified of the progress of each stage.
        engine: `ray` spreads a local teacher over a pool of workers.
        ray: Settings of the pool.
        doors: How student and teacher are reached.

    Returns:
        The tallies of both stages.
    """
    pool = checked(RaySettings, ray or {}, place="ray")
    parts = refine_settings(data=data, teacher=teacher, refine=refine, student=student, out=out)
    run = RunFolder(root=out).create()
    with run.locked():
        inputs = stages.input_checksums(parts.data)
        begin(run, settings=parts.model_dump(mode="json"), inputs=inputs, seed=0)
        loaded = stages.load_once(run, settings=parts.data, inputs=inputs, progress=progress)
        stages.need_responses(loaded)
        with ExitStack() as stack:
            reader: Reader | None = None
            if parts.student is not None:
                reader = stack.enter_context(opened_student(parts.student, doors))
            refined = _refine(
                run,
                refine=parts.refine,
                teacher=parts.teacher,
                student=reader,
                select=SelectSettings(),
                doors=teacher_doors(doors, engine=engine, pool=pool),
                progress=progress,
                reading=parts.student,
                at_least=statistics_needed(DEFAULT_METRICS, SelectSettings()),
            )
    return {"load": loaded, "refine": refined, "run": str(out)}


class RefineJob(BaseModel):
    """Arguments of the function `refine_data`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    teacher: TeacherSettings
    refine: RefineSettings
    student: StudentSettings | None
    out: str


def refine_settings(
    *, student: str | Mapping[str, Any] | None, out: Path, **rooms: Mapping[str, Any]
) -> RefineJob:
    """Validated settings of a refine job.

    Raises:
        SettingsError: Some are wrong; all of them are named.
    """
    chooser = {"model": student} if isinstance(student, str) else student
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
    """Score rows with a student, into a table with one row per input row, in order.

    Args:
        data: Settings of the data, with `path`.
        student: Settings of the student.
        metrics: Names of per-candidate metrics.
        out: The Parquet file.
        progress: Notified of the progress.
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

    found = read(reading.path, settings=reading)

    with opened_student(settings, doors) as model:
        scorer, shown, workers = None, progress, None
        if wanted.engine == "ray":
            workers = scoring_job(settings, model, wanted, out=out, doors=doors)
            scorer = workers.scorer(lambda: candidates_of(found), progress=progress)
            shown = Silent()
        tally = score_file(
            with_responses(found),
            student=model,
            metrics=wanted.metrics,
            out=out,
            progress=shown,
            statistics=statistics,
            scorer=scorer,
        )
        if workers is not None:
            workers.forget()
        need_some(
            tally["by_status"], ("ok",), problem="none of the rows could be scored", out=str(out)
        )
        notes = [*found.notes, *tally.get("notes", ())]
        more: dict[str, Any] = {"notes": notes} if notes else {}
        if found.unanswered:
            more["unanswered"] = list(found.unanswered)
        return {**tally, **more, "student": dict(model.describe())}


def score_run(
    root: Path,
    *,
    student: Mapping[str, Any],
    metrics: Sequence[str],
    progress: Progress,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Score every candidate of a run. The scores of other students in the run stay.

    Args:
        root: The run folder.
        student: Settings of the student.
        metrics: Names of per-candidate metrics.
        progress: Notified of the progress.
        doors: How the student is reached.

    Returns:
        The tally of statuses, and what the student is. It is the one whose scores decide until
        another is named.

    Raises:
        RunError: The run has no candidates.
    """
    run = RunFolder(root=root).existing()
    run.need(run.candidates)
    settings = checked(StudentSettings, student, place="student")
    wanted = checked(ScoreSettings, {"metrics": tuple(metrics)}, place="score")
    with run.locked(), opened_student(settings, doors) as reader:
        note(run, student=dict(reader.describe()))
        tally = stages.score(
            run, student=reader, reading=settings, settings=wanted, progress=progress
        )
        note(run, student=dict(reader.describe()))
        need_some(
            tally["scores_by_status"],
            ("ok",),
            problem="none of the candidates could be scored",
            out=run.scores,
        )
        older = older_contract_note(run)
        notes = [*tally.get("notes", ()), *([older] if older else [])]
        more = {"notes": notes} if notes else {}
        return {**tally, "student": dict(reader.describe()), "out": str(run.scores), **more}


def load_data(*, data: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """Read rows and the candidates that come with them into a run folder.

    Args:
        data: Settings of the data, with `path`.
        out: The run folder.
        progress: Notified of each row.

    Returns:
        The tally of the stage.

    Raises:
        RunError: The folder holds candidates that a teacher wrote.
    """
    settings = checked(DataSettings, data, place="data")
    run = RunFolder(root=out).create()
    with run.locked():
        if run.candidates.exists() and "refine" not in run.read_manifest().get("stages", {}):
            raise RunError(
                f"{run.candidates}: loading would drop candidates that a teacher wrote",
                hint="give another --out",
            )
        inputs = stages.input_checksums(settings)
        begin(run, settings={"data": settings.model_dump(mode="json")}, inputs=inputs, seed=0)
        tally = stages.load_once(run, settings=settings, inputs=inputs, progress=progress)
        stages.take_once(run)
    return {"load": tally, "run": str(out)}


def with_responses(found: Rows) -> Iterator[Row]:
    """Same rows; raises an error instead of writing an empty table.

    Raises:
        DataError: There are examples, and not one of them has a response.
    """
    examples = answered = 0
    for row in found:
        examples += row.example is not None
        answered += bool(row.candidates or row.repeated)
        yield row
    if examples and not answered:
        raise DataError(
            " ".join(found.notes), hint="`tutelage sample` lets a teacher answer instructions"
        )


def select_again(
    root: Path,
    *,
    given: Mapping[str, Any],
    student: str | None,
    progress: Progress,
    afresh: bool = False,
    name: str | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Select again from stored scores; the student is needed only to fit a quality gate.

    Args:
        root: The run folder.
        given: Settings of the selection that differ from those of the last one.
        student: Fingerprint of the student whose scores decide; None takes the run's own.
        progress: Notified of the progress.
        afresh: Whether what is not given is the default, and not what it was last time.
        name: Write it to `selections/NAME/` and leave the other selections as they are; None or
            `main` is the run's own selection.
        doors: How the student is reached, where a quality gate has to be fitted.

    Returns:
        The tally of the selection.

    Raises:
        SettingsError: A setting is wrong, or there are no scores of that student.
    """
    run = RunFolder(root=root).existing().with_selection(name)
    settings = selection_settings(run, given=given, afresh=afresh)
    before = last_settings(run)
    manifest = run.read_manifest()
    fingerprint = student or manifest.get("student", {}).get("fingerprint")
    _need_scores_of(run, student)
    with run.locked():
        if settings.quality_gate == "calibrated":
            ensure_calibrated(
                run, settings, fingerprint=fingerprint, progress=progress, doors=doors
            )
        tally = stages.select_once(run, settings=settings, student=fingerprint, progress=progress)
        if settings.quality_gate == "calibrated" and (why := why_not_fitted(run)):
            tally = {**tally, "quality_gate_note": why}
        if older := [one.text for one in stale_outputs(run)]:
            tally = {**tally, "out_of_date": older}
        if surprises := [
            *([] if afresh else reset_notes(before, settings, given)),
            *shortfall_notes(tally, settings),
        ]:
            tally = {**tally, "select_notes": surprises}
        if run.selection is not None:
            return {**tally, "selection": run.selection, "out": str(run.decided_in)}
        # Only now: settings that raised an error must not be what the next call starts from.
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


TEACHER = "qwen2.5-coder-1.5b"
"""Model that wrote the recorded replies: Qwen2.5-Coder-1.5B-Instruct (Q4_K_M) with llama.cpp."""

REFINE = RefineSettings(prompt_version="v1", max_tokens=512)
"""Request settings of the recorded replies; other settings would be other requests."""


def demo_settings(out: Path, *, student: Mapping[str, Any]) -> RunSettings:
    """Settings of the demo's run, which also serve as an example."""
    here = resources.files("tutelage.demo_data")
    values = {
        "data": {"path": str(here / "examples.jsonl")},
        "teacher": {
            "kind": "replay",
            "model": TEACHER,
            "journal": str(here / "journal.sqlite"),
        },
        "refine": REFINE,
        "student": student,
        "out": str(out),
    }
    return checked(RunSettings, values, place="demo")


def run_demo(
    out: Path,
    *,
    student: Mapping[str, Any],
    progress: Progress,
    say: Callable[[str], None],
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Run the demo offline.

    Args:
        out: The run folder.
        student: Settings of the student.
        progress: Notified of the progress of each stage.
        say: Receives a sentence on what happens next.
        doors: How student and teacher are reached.

    Returns:
        What `run_all` returns.
    """
    settings = demo_settings(out, student=student)
    say(
        f"Replaying recorded replies of the teacher {TEACHER}. "
        f"The student {settings.student.model} scores every version."
    )
    return run_all(settings, progress=progress, doors=doors)
