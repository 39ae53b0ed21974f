"""Functions of the Python API to start with: audit, doctor, init."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import pyarrow as pa

from tutelage.api.inputs import Data, data_values, is_path, scratch_folder
from tutelage.api.options import TemplateOptions, grouped
from tutelage.api.progress import ShownProgress, told
from tutelage.api.results import Estimate, Findings, estimate_of
from tutelage.data.schemas import FAULT_SHARES
from tutelage.errors import SettingsError

_UNKNOWN = {"share": None, "low": None, "high": None}


@overload
def audit(
    data: Data,
    student: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **settings: Any,
) -> Findings: ...


@overload
def audit(
    data: Data,
    student: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **settings: Any,
) -> Estimate: ...


@overload
def audit(
    data: Data,
    student: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    **settings: Any,
) -> Findings | Estimate: ...


def audit(
    data: Data,
    student: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    **settings: Any,
) -> Findings | Estimate:
    """The estimated share of faulty rows, and whether choosing is likely to pay.

    The student is not trained.

    Args:
        data: A path or rows in memory (see `read`).
        student: The model that will be trained: a folder, a hub id or an alias, or settings.
        out: The folder for audit.html, audit.json and gate.json; by default `audit-NAME`.
        dry_run: Only estimate tokens and time; the student scores for some seconds.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        **settings: `examples`, `planted`, `max_false_refusals` (a fraction, 0 to 0.5) and `seed`.

    Returns:
        One row for each side of the data and kind of fault, with the estimated `share` (0 to 1)
        and its 95 % interval `low` to `high`; `summary` is what audit.json holds, with `in_words`.
        Or the estimate.

    Raises:
        SettingsError: A setting is wrong.
        DataError: The data cannot be read.

    Examples:
        >>> import tutelage as tt
        >>> found = tt.audit("pairs.jsonl", "smollm2-135m")  # doctest: +SKIP
        >>> print(found.summary["in_words"])                 # doctest: +SKIP
    """
    from tutelage.experiments.audit import audit as work
    from tutelage.experiments.audit import audit_settings
    from tutelage.experiments.audit.dry_run import estimate_audit

    model = str(student) if isinstance(student, str | Path) else dict(student)
    with scratch_folder() as scratch, told(progress) as shown:
        path = data_values(data, {}, folder=Path(scratch))["path"]
        where = out if out is not None or is_path(data) else "audit-rows"
        if dry_run:
            wanted = audit_settings(path, student=model, out=where, **settings)
            return estimate_of(
                estimate_audit(wanted, progress=shown, measure_seconds=measure_seconds)
            )
        found = work(path, student=model, out=where, progress=shown, **settings)
    rows = [
        {"side": side["side"], "kind": kind["kind"], **(kind["estimate"] or _UNKNOWN)}
        for side in found.get("sides", ())
        for kind in side.get("kinds", ())
    ]
    return Findings(table=pa.Table.from_pylist(rows, schema=FAULT_SHARES), summary=found)


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
    from tutelage.pipeline.config_file import write_config

    return write_config(Path(file), force=force, data=data, student=student, out=out)


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
        from tutelage.pipeline.device_check import device_report

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
