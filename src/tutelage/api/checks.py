"""Functions of the Python API for checking candidates: verify, filter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Unpack

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values
from tutelage.api.options import (
    DataOptions,
    FilterCallOptions,
    ShownProgress,
    TeacherOptions,
    VerifyCallOptions,
    VerifyOptions,
    grouped,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Estimate, FilterComparison, Filtered, Verdicts, estimate_of
from tutelage.api.table_result import BY_DECISION, BY_VERDICT
from tutelage.api.workspace import (
    Workspace,
    no_reading,
    opened,
    optional,
    run_of,
    teacher_of,
    workspace,
)
from tutelage.errors import spelled_in_python
from tutelage.pipeline.resources import Doors

_FIELDS = ("instruction", "response", "reference", "candidate_id", "choices", "tests")


@overload
def verify(
    data: Data,
    check: str = ...,
    *,
    teacher: str | Mapping[str, Any] | BaseModel | None = ...,
    instruction: str = ...,
    response: str = ...,
    reference: str = ...,
    candidate_id: str | None = ...,
    choices: str = ...,
    tests: str = ...,
    minimum_share: float = ...,
    name: str | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[VerifyCallOptions],
) -> Verdicts: ...


@overload
def verify(
    data: Data,
    check: str = ...,
    *,
    teacher: str | Mapping[str, Any] | BaseModel | None = ...,
    instruction: str = ...,
    response: str = ...,
    reference: str = ...,
    candidate_id: str | None = ...,
    choices: str = ...,
    tests: str = ...,
    minimum_share: float = ...,
    name: str | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[VerifyCallOptions],
) -> Estimate: ...


@overload
def verify(
    data: Data,
    check: str = ...,
    *,
    teacher: str | Mapping[str, Any] | BaseModel | None = ...,
    instruction: str = ...,
    response: str = ...,
    reference: str = ...,
    candidate_id: str | None = ...,
    choices: str = ...,
    tests: str = ...,
    minimum_share: float = ...,
    name: str | None = ...,
    out: str | Path | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[VerifyCallOptions],
) -> Verdicts | Estimate: ...


@spelled_in_python
def verify(
    data: Data,
    check: str = "maths",
    *,
    teacher: str | Mapping[str, Any] | BaseModel | None = None,
    instruction: str = "instruction",
    response: str = "response",
    reference: str = "reference",
    candidate_id: str | None = None,
    choices: str = "choices",
    tests: str = "tests",
    minimum_share: float = 0.0,
    name: str | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[VerifyCallOptions],
) -> Verdicts | Estimate:
    """A verdict on every response: right, wrong, no_answer or cannot_check, with the evidence.

    Args:
        data: A path or rows in memory (see `read`), or a run: then its candidates are checked, and
            the verdicts of other checks are kept.
        check: `maths`, `number`, `choice`, `exact`, `code`, `constraints`, `judge`, or `agreement`
            with the majority of an example's answers (of a run only).
        teacher: For `judge`: the model that judges, by name or with settings.
        instruction: The field of the rows that holds the instruction.
        response: The field with the response.
        reference: The field with the right answer.
        candidate_id: A field with an id that the verdict carries too.
        choices: For `choice`: the field with the choices.
        tests: For `code`: the field with the tests.
        minimum_share: For `agreement`: the minimum share of answers that a majority needs, in [0,
            1].
        name: For a run: what the verdicts are called; by default the check.
        out: A Parquet file to write as well.
        dry_run: Only estimate: the calls of a judge and their cost, or the time of another check.
        measure_seconds: With `dry_run`: approximate duration of the speed measurement, in seconds;
            0 uses the
            last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the judge is opened; tests use it to pass a fake.
        **options: How data is read (see `read`), how responses are checked (`processes`,
            `time_limit_seconds`, ...) and how the judge is asked (`base_url`, ...).

    Returns:
        One row for each input row, in order, or for each candidate of a run. Or the estimate.

    Raises:
        DataError: The data cannot be read, or a field does not exist.
        SettingsError: A setting is wrong.

    Examples:
        >>> import tutelage as tt
        >>> rows = [{"response": "So it is 12.", "reference": "12"},
        ...         {"response": "So it is 13.", "reference": "12"}]
        >>> tt.verify(rows, "number")
        Verdicts: 2 rows, 1 kept, 1 dropped (wrong 1)
    """
    from tutelage.pipeline import (
        estimate_verify_file,
        estimate_verify_run,
        verify_file,
        verify_run,
    )

    reading, asking, checking = grouped(
        options, DataOptions, TeacherOptions, VerifyOptions, function="verify"
    )
    settings: dict[str, Any] = {"check": check, **checking}
    if check == "agreement":
        settings["minimum_share"] = minimum_share
    run = opened(data)
    place = Workspace(path=run.path) if run is not None and not run.is_temporary else None
    with TemporaryDirectory(prefix="tutelage-") as scratch, told(progress) as shown:
        folder = Path(scratch)
        # Replies are kept next to the verdicts, or in the user's cache where those go away.
        place = place or (Workspace(path=Path(out)) if out is not None else workspace(None))
        judge = optional(teacher, lambda given: teacher_of(given, asking, place=place))
        job: dict[str, Any] = {"check": settings, "teacher": judge, "progress": shown}
        fields = (instruction, response, reference, candidate_id, choices, tests)
        given = zip(_FIELDS, fields, strict=True)
        file = Path(out) if out is not None else folder / "verdicts.parquet"
        if run is not None:
            no_reading(reading, function="verify")
        of_file: dict[str, Any] = (
            {}
            if run is not None
            else {
                "data": data_values(data, reading, folder=folder),
                "fields": {field: there for field, there in given if there is not None},
                "out": file,
            }
        )
        if dry_run:
            job["measure_seconds"] = measure_seconds
            if run is not None:
                return estimate_of(estimate_verify_run(run.path, **job))
            return estimate_of(estimate_verify_file(**of_file, **job))
        job["doors"] = doors
        if run is not None:
            tally = verify_run(run.path, name=name, **job)
            table = _verdicts_of(run.verdicts.table, tally["check"])
            if out is not None:
                _write(Path(out), table)
            return Verdicts(table=table, summary=tally, outcome=BY_VERDICT, run=run)
        tally = verify_file(**of_file, **job)
        table = pq.read_table(file)
    summary = tally if out is not None else {k: v for k, v in tally.items() if k != "out"}
    return Verdicts(table=table, summary=summary, outcome=BY_VERDICT)


def _verdicts_of(table: Any, check: str) -> Any:
    return table.filter(pc.equal(table["check"], pa.scalar(check)))


def _write(file: Path, table: Any) -> None:
    from tutelage.data import write_table

    write_table(file, table)


@overload
def filter(  # noqa: A001
    data: Data,
    config: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any] | BaseModel,
    *,
    compare: bool = ...,
    teacher: str | Mapping[str, Any] | BaseModel | None = ...,
    dry_run: Literal[False] = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[FilterCallOptions],
) -> Filtered | FilterComparison: ...


@overload
def filter(  # noqa: A001
    data: Data,
    config: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any] | BaseModel,
    *,
    compare: bool = ...,
    teacher: str | Mapping[str, Any] | BaseModel | None = ...,
    dry_run: Literal[True],
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[FilterCallOptions],
) -> Estimate: ...


@overload
def filter(  # noqa: A001
    data: Data,
    config: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any] | BaseModel,
    *,
    compare: bool = ...,
    teacher: str | Mapping[str, Any] | BaseModel | None = ...,
    dry_run: bool,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[FilterCallOptions],
) -> Filtered | FilterComparison | Estimate: ...


@spelled_in_python
def filter(  # noqa: A001  (the name of the command)
    data: Data,
    config: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any] | BaseModel,
    *,
    compare: bool = False,
    teacher: str | Mapping[str, Any] | BaseModel | None = None,
    dry_run: bool = False,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[FilterCallOptions],
) -> Filtered | FilterComparison | Estimate:
    """The decision of filters on every candidate: length, duplicates, contamination and the like.

    Args:
        data: A run, or a path or rows in memory (see `read`), from which a temporary run is made.
        config: A list of filters, each with its `kind` and settings, or a YAML file with a list
            `filters`; see docs/filters.md.
        compare: Apply each filter separately and compare them; nothing is written.
        teacher: For filters that ask a teacher: its name or settings.
        dry_run: Only estimate the calls of filters that ask a teacher, and their cost.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the teacher is opened; tests use it to pass a fake.
        **options: How data is read (see `read`) and how the teacher is asked (`base_url`, ...).

    Returns:
        One row for each candidate: whether it is kept, the reason, what was measured and which
        filter dropped it. Or the comparison, or the estimate. `run` is the run: pass it on to
        `select`.

    Raises:
        SettingsError: A filter or a setting is wrong.
        DataError: The data cannot be read.

    Examples:
        >>> import tutelage as tt
        >>> rows = [{"instruction": "Name a colour.", "output": "Blue."},
        ...         {"instruction": "Write a long list of words.", "output": "word " * 50}]
        >>> tt.filter(rows, [{"kind": "length", "maximum": 10}])
        Filtered: 2 rows, 1 kept, 1 dropped (above_maximum 1)
    """
    from tutelage.pipeline import compare_filters, estimate_filter, filter_run

    reading, asking = grouped(options, DataOptions, TeacherOptions, function="filter")
    settings = _filters(config)
    with told(progress) as shown:
        run = run_of(data, reading, function="filter", progress=shown)
        place = workspace(None) if run.is_temporary else Workspace(path=run.path)
        job: dict[str, Any] = {
            "config": settings,
            "teacher": optional(teacher, lambda given: teacher_of(given, asking, place=place)),
            "progress": shown,
        }
        if dry_run:
            return estimate_of(estimate_filter(run.path, compare=compare, **job))
        job["doors"] = doors
        if not compare:
            tally = filter_run(run.path, **job)
            return Filtered(table=run.filters.table, summary=tally, outcome=BY_DECISION, run=run)
        return _compared(compare_filters(run.path, **job), run=run)


def _compared(found: Any, *, run: Any) -> FilterComparison:
    names = ("filters", "overlaps", "reasons")
    return FilterComparison(
        table=found.filters,
        summary={name: getattr(found, name).to_pylist() for name in names},
        overlaps=found.overlaps,
        by_reason=found.reasons,
        run=run,
    )


def _filters(config: Any) -> Any:
    """Filters from a path or from settings, which are validated."""
    from tutelage.filters import FiltersSettings
    from tutelage.pipeline.config import checked

    if isinstance(config, str | Path):
        return Path(config)
    if isinstance(config, FiltersSettings):
        return config
    if isinstance(config, Mapping) and "filters" in config:
        return checked(FiltersSettings, config, place="filter")
    listed = [config] if isinstance(config, Mapping | BaseModel) else list(config)
    return checked(FiltersSettings, {"filters": tuple(listed)}, place="filter")
