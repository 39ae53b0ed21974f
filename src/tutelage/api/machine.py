"""Function of the Python API that checks the machine: doctor."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import pyarrow as pa

from tutelage.api.inputs import Data, data_values
from tutelage.api.options import TemplateOptions, grouped
from tutelage.api.progress import ShownProgress, told
from tutelage.api.results import Findings
from tutelage.errors import SettingsError


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
        One row for each finding; `healthy` says whether everything is as it should be.

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
                "device tests with models of its own", hint="leave student and trainer_truth out"
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
    with TemporaryDirectory(prefix="tutelage-") as scratch, told(progress) as shown:
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
