"""Functions of the Python API for students and data over time: rounds, drift, frontier."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values, is_path, is_settings, scratch_folder
from tutelage.api.options import (
    AttemptOptions,
    BandOptions,
    DataOptions,
    DriftCallOptions,
    FrontierCallOptions,
    ShownProgress,
    StudentOptions,
    TemplateOptions,
    grouped,
    model_values,
    renamed_keyword,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Estimate, FolderResult, Frontier, Rounds, estimate_of
from tutelage.api.table_result import BY_DECISION, Result
from tutelage.api.workspace import opened, optional, student_of, workspace
from tutelage.errors import SettingsError, spelled_in_python
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.teacher_outage import raise_if_stopped


@overload
def rounds(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Any = ...,
) -> Rounds: ...


@overload
def rounds(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Any = ...,
) -> Estimate: ...


@overload
def rounds(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Any = ...,
) -> Rounds | Estimate: ...


@spelled_in_python
def rounds(
    config: str | Path | Mapping[str, Any] | BaseModel,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Any = None,
) -> Rounds | Estimate:
    """Rounds of selection and training with limits on drift; resumes interrupted rounds.

    In each round the current student selects data and is trained on its selection.

    Args:
        config: A YAML file, or its content as a mapping; see docs/rounds.md.
        out: Folder to use instead of the one that `config` names; None creates a temporary one if
            it names none.
        overrides: Settings by dotted name, such as `{"rounds": 3}`.
        dry_run: Only estimate calls, tokens, cost and time; the teacher is not asked.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How models are opened; tests use it to pass fakes.

    Returns:
        One row for each round, loop and seed; `tables` has `drift`, `flips`, `loops` and
        `rewrites`. Or the estimate.

    Raises:
        SettingsError: Some settings are wrong: all of them are named.

    Examples:
        >>> import tutelage as tt
        >>> tt.rounds("rounds.yaml", overrides={"rounds": 3})               # doctest: +SKIP
    """
    from tutelage.experiments.rounds import RoundsSettings, run_rounds
    from tutelage.experiments.rounds.loop import estimate_rounds
    from tutelage.pipeline.config import checked, file_values, with_overrides

    if is_path(config):
        values = file_values(Path(str(config)), overrides=overrides)
        named = str(config)
    else:
        given: Any = config
        values, named = with_overrides(model_values(given, {}), overrides or {}), "rounds"
    place = workspace(out if out is not None else values.get("out"), name="rounds")
    source = values.get("data")
    if source is not None and not is_settings(source):
        given = workspace(None) if dry_run else place
        values["data"] = data_values(source, {}, folder=given.path)
    settings = checked(RoundsSettings, {**values, "out": str(place.path)}, place=named)
    with told(progress) as shown:
        if dry_run:
            return estimate_of(
                estimate_rounds(
                    settings, progress=shown, doors=doors, measure_seconds=measure_seconds
                )
            )
        summary = run_rounds(settings, progress=shown, doors=doors)
    names = ("rounds", "drift", "flips", "loops", "rewrites")
    tables = _tables_in(place.path, names)
    return Rounds(
        table=tables.pop("rounds"),
        summary=summary,
        out=place.path,
        scratch=place.scratch,
        tables=tables,
    )


def _tables_in(folder: Path, names: Sequence[str]) -> dict[str, pa.Table]:
    files = {name: folder / f"{name}.parquet" for name in names}
    return {name: pq.read_table(file) for name, file in files.items() if file.exists()}


@spelled_in_python
def drift(
    *data: Data,
    student: Any = None,
    current: Any = None,
    check: str | Mapping[str, Any] | None = None,
    embedder: str | Mapping[str, Any] | None = None,
    versions: Literal["all", "original", "refined"] = "all",
    seed: int = 0,
    out: str | Path | None = None,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[DriftCallOptions],
) -> Result:
    """How far the texts of each dataset have changed from those of the first.

    Args:
        *data: Paths or rows in memory (see `read`), or runs, of which the chosen sets are read;
            one run alone is compared with its own originals.
        student: Measure the likelihood of each text under this student: its name or settings.
        current: Measure it under this student, too, such as the trained one.
        check: Check responses against references: `maths`, `number`, `choice`, ...
        embedder: Measure the spread of the texts: `words`, the folder of a model2vec model, or
            settings.
        versions: Versions to use of rows that have several.
        seed: Seed of the resampling that gives the intervals.
        out: A Parquet file to write as well.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How students are opened; tests use it to pass fakes.
        **options: How data is read (see `read`) and how templates are rendered.

    Returns:
        One row for each measure and data set, with its 95 % interval.

    Raises:
        SettingsError: There is only one set, and it is not a run.
        DataError: A set has no text.

    Examples:
        >>> import tutelage as tt
        >>> tt.drift("round-0.jsonl", "round-1.jsonl").to_pandas()          # doctest: +SKIP
    """
    from tutelage.experiments.drift import drift_files

    reading, template = grouped(options, DataOptions, TemplateOptions, function="drift")
    if isinstance(embedder, str):
        named = {"kind": "model2vec", "model": embedder}
        embedder = {"kind": "words"} if embedder == "words" else named
    job: dict[str, Any] = {"reading": reading, "versions": versions, "seed": seed}
    for name, given in (("student", student), ("current", current)):
        if given is not None:
            job[name] = model_values(given, template)
    if check is not None:
        job["check"] = {"check": check} if isinstance(check, str) else check
    if embedder is not None:
        job["embedder"] = embedder
    with scratch_folder() as scratch, told(progress) as shown:
        folder = Path(scratch)
        paths = [_named_set(one, number, folder) for number, one in enumerate(data, start=1)]
        file = Path(out) if out is not None else folder / "drift.parquet"
        summary = drift_files(paths, job=job, out=file, progress=shown, doors=doors)
        table = pq.read_table(file)
    if out is None:
        del summary["out"]
    return Result(table=table, summary=summary)


def _named_set(data: Data, number: int, folder: Path) -> Path:
    """Path of a set, and the name under which results list it."""
    run = opened(data)
    if run is not None:
        return run.path
    if is_path(data):
        return Path(data)
    values = data_values(data, {}, folder=folder / "given")
    if set(values) != {"path"} or not isinstance(values["path"], str):
        raise SettingsError(
            f"dataset {number}: expected one file, rows in memory, or a run",
            hint="options of the reader are keywords of this function",
        )
    path = Path(values["path"])
    if path.is_relative_to(folder):
        path = path.rename(folder / f"data-{number}{path.suffix}")
    return path


@overload
def frontier(
    data: Data,
    student: Any,
    *,
    asked_through: Mapping[str, Any] | BaseModel | None = ...,
    batch: int = ...,
    attempted: int | None = ...,
    check: str | Mapping[str, Any] = ...,
    compare_with: Sequence[Any] = ...,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[FrontierCallOptions],
) -> Frontier: ...


@overload
def frontier(
    data: Data,
    student: Any,
    *,
    asked_through: Mapping[str, Any] | BaseModel | None = ...,
    batch: int = ...,
    attempted: int | None = ...,
    check: str | Mapping[str, Any] = ...,
    compare_with: Sequence[Any] = ...,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[FrontierCallOptions],
) -> Estimate: ...


@overload
def frontier(
    data: Data,
    student: Any,
    *,
    asked_through: Mapping[str, Any] | BaseModel | None = ...,
    batch: int = ...,
    attempted: int | None = ...,
    check: str | Mapping[str, Any] = ...,
    compare_with: Sequence[Any] = ...,
    out: str | Path | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[FrontierCallOptions],
) -> Frontier | Estimate: ...


@spelled_in_python
@renamed_keyword(old="beside", new="compare_with")
def frontier(
    data: Data,
    student: Any,
    *,
    asked_through: Mapping[str, Any] | BaseModel | None = None,
    batch: int = 16,
    attempted: int | None = None,
    check: str | Mapping[str, Any] = "maths",
    compare_with: Sequence[Any] = (),
    out: str | Path | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[FrontierCallOptions],
) -> Frontier | Estimate:
    """What the student knows of some data, and what it can learn from now.

    The student answers each checkable example a few times. Each is known, maybe known, weakly known
    or unknown; a band of pass rates is kept.

    Args:
        data: Rows with references, as a path or in memory (see `read`).
        student: The model: its name or settings.
        asked_through: Settings of an endpoint that serves it; by default it answers in this
            process.
        batch: Answers generated at once in this process.
        attempted: Attempt only this many examples, and classify the others by prediction.
        check: How answers are checked.
        compare_with: Results or folders of earlier frontiers, which the report compares.
        out: The run folder; None creates a temporary one.
        dry_run: Only estimate the answers, the scoring and their time; with `asked_through` the
            calls and their cost.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses
            the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the student is opened; tests use it to pass a fake.
        **options: How data is read (see `read`), how the student reads, how it answers (`sampled`,
            `greedy`, `temperature`, `max_tokens`, ...) and what is kept (`keep_fraction`, `low`,
            `high`, `order`, ...).

    Returns:
        One row for each example, with its class and pass rate in [0, 1]; `summary["warning"]` warns
        if most of the data is unknown. Or the estimate.

    Raises:
        SettingsError: Some settings are wrong.
        TeacherStoppedError: The endpoint did not answer everything; what is finished is kept.

    Examples:
        >>> import tutelage as tt
        >>> found = tt.frontier("problems.jsonl", "smollm2-135m", sampled=4)   # doctest: +SKIP
        >>> found.kept                                                       # doctest: +SKIP
    """
    from tutelage.experiments.frontier import find_frontier
    from tutelage.experiments.frontier.run import estimate_frontier

    reading, seeing, attempts, band = grouped(
        options, DataOptions, StudentOptions, AttemptOptions, BandOptions, function="frontier"
    )
    place = workspace(out, name="frontier")
    values, doors = student_of(student, seeing, doors=doors)
    given = workspace(None) if dry_run else place
    job = {
        "data": data_values(data, reading, folder=given.path),
        "student": values,
        "asked_through": optional(
            asked_through, lambda given: {"model": values["model"], **model_values(given, {})}
        ),
        "batch": batch,
        "attempts": attempts,
        "attempted": attempted,
        "check": {"check": check} if isinstance(check, str) else check,
        "band": band,
        "compare_with": tuple(
            str(one.out if isinstance(one, FolderResult) else one) for one in compare_with
        ),
        "out": str(place.path),
    }
    with told(progress) as shown:
        if dry_run:
            return estimate_of(
                estimate_frontier(job, progress=shown, doors=doors, measure_seconds=measure_seconds)
            )
        summary = find_frontier(job, progress=shown, doors=doors)
        if summary["warning"]:
            shown.tell(f"Warning: {summary['warning']}.")
    raise_if_stopped(summary["answers"])
    tables = _tables_in(place.path, ("frontier", "attempts"))
    table = tables.pop("frontier")
    return Frontier(
        table=table,
        summary=summary,
        outcome=BY_DECISION,
        out=place.path,
        scratch=place.scratch,
        tables=tables,
    )
