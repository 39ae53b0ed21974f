"""Functions of the Python API for scores: score, recompute, delta, list_metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.api.inputs import (
    Data,
    data_values,
    in_memory,
    in_words_of_memory,
    is_path,
    names_files,
    scratch_folder,
)
from tutelage.api.options import (
    DataOptions,
    ScoreCallOptions,
    ShownProgress,
    StudentOptions,
    grouped,
    names_in,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Estimate, Run, Scores, estimate_of
from tutelage.api.table_result import BY_STATUS, Result
from tutelage.api.workspace import no_reading, opened, rows_of, student_of, tell_notes
from tutelage.data import Rows, write_table
from tutelage.errors import DataError, SettingsError, spelled_in_python
from tutelage.pipeline.config import DEFAULT_METRICS
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress


@overload
def score(
    data: Data,
    student: Any,
    *,
    metrics: str | Sequence[str] = ...,
    out: str | Path | None = ...,
    statistics: bool | str | Path = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Scores: ...


@overload
def score(
    data: Data,
    student: Any,
    *,
    metrics: str | Sequence[str] = ...,
    out: str | Path | None = ...,
    statistics: bool | str | Path = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Estimate: ...


@overload
def score(
    data: Data,
    student: Any,
    *,
    metrics: str | Sequence[str] = ...,
    out: str | Path | None = ...,
    statistics: bool | str | Path = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Scores | Estimate: ...


@spelled_in_python
def score(
    data: Data,
    student: Any,
    *,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    out: str | Path | None = None,
    statistics: bool | str | Path = False,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[ScoreCallOptions],
) -> Scores | Estimate:
    """The student's scores for a dataset, or for the candidates of a run.

    Args:
        data: A path or rows in memory (see `read`), the result of another `score`, or a run, whose
            scores by other students are kept.
        student: The model that will be trained: a folder, a hub id or an alias, settings, or an
            open `Student`.
        metrics: Names of metrics, or one text with commas; `list_metrics` lists them.
        out: A Parquet file to write as well.
        statistics: Keep the statistics of every token too; a path writes them to that file.
        engine: `local`, or `ray`: a pool of Ray workers.
        ray: Settings of the pool.
        dry_run: Only estimate tokens and time; the student scores for some seconds.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the student is opened; tests use it to pass a fake.
        **options: How data is read (see `read`) and how the student reads (`template`, `dtype`,
            `device`, `max_length`, `turns`, ...).

    Returns:
        For data one row for each input row, in order, and more where a row has several versions;
        for a run one row for each candidate. What could not be computed is null, with a status
        that says why. Or the estimate.

    Raises:
        SettingsError: A setting is wrong, or a metric is unknown.
        DataError: The data cannot be read, or none of its rows has a response.
        StudentError: The student cannot be opened.

    Examples:
        >>> import tutelage as tt
        >>> scores = tt.score("data.jsonl", "smollm2-135m", metrics="ifd,r_ifd")  # doctest: +SKIP
        >>> scores.kept.to_pandas().sort_values("ifd")                          # doctest: +SKIP
    """
    reading, seeing = grouped(options, DataOptions, StudentOptions, function="score")
    values, doors = student_of(student, seeing, doors=doors)
    names = names_in(metrics if isinstance(metrics, str) else tuple(metrics))
    data, reading = rows_of(data, reading)
    run = opened(data)
    with told(progress) as shown:
        if run is not None:
            no_reading(reading, function="score")
        if dry_run:
            how = {"student": values, "metrics": names, "measure_seconds": measure_seconds}
            return _estimated(run, data, reading, job={**how, "progress": shown, "doors": doors})
        if run is None:
            return _of_data(
                data,
                reading,
                student=values,
                job={"metrics": names, "engine": engine, "ray": ray, "doors": doors},
                out=out,
                statistics=statistics,
                progress=shown,
            )
        if statistics is not False or engine != "local":
            raise SettingsError(
                "a run's candidates are scored in this process, without statistics",
                hint="give the data itself, or set score.statistics and score.engine in `run`",
            )
        found = _of_run(run, values, metrics=names, progress=shown, doors=doors)
    if out is not None:
        write_table(Path(out), found.table)
    return found


def _estimated(
    run: Run | None, data: Data, reading: Mapping[str, Any], *, job: Mapping[str, Any]
) -> Estimate:
    from tutelage.pipeline import estimate_score

    if run is not None:
        return estimate_of(estimate_score(run=run.path, **job))
    with scratch_folder() as scratch:
        values = data_values(data, reading, folder=Path(scratch))
        return estimate_of(estimate_score(data=values, **job))


def _of_data(
    data: Data,
    reading: Mapping[str, Any],
    *,
    student: dict[str, Any],
    job: Mapping[str, Any],
    out: str | Path | None,
    statistics: bool | str | Path,
    progress: Progress,
) -> Scores:
    from tutelage.pipeline import score_data

    kept = _kept(data, reading)
    with scratch_folder() as scratch:
        folder = Path(scratch)
        file = Path(out) if out is not None else folder / "scores.parquet"
        tokens = None
        if statistics is not False:
            tokens = folder / "statistics.parquet" if statistics is True else Path(statistics)
        tally = score_data(
            data=data_values(kept, reading, folder=folder),
            student=student,
            out=file,
            statistics=tokens,
            progress=progress,
            **job,
        )
        tell_notes(tally, progress)
        table = in_words_of_memory(pq.read_table(file), folder)
        found = None if tokens is None else pq.read_table(tokens)
    if tally.get("unanswered"):
        raise DataError(
            f"{', '.join(tally['unanswered'])}: no row has a response, so none was scored",
            hint="name the column with fields={'response': NAME}",
        )
    return Scores(
        table=table,
        summary=_without_scratch(tally, scratch),
        outcome=BY_STATUS,
        statistics=found,
        data=(kept, dict(reading)),
        student=student,
    )


def _kept(data: Data, reading: Mapping[str, Any]) -> Data:
    """Data that can be read twice: rows of an iterator are stored."""
    if isinstance(data, Rows | Mapping) or names_files(data):
        return data
    return in_memory(data, split=reading.get("split"))


def _without_scratch(tally: Mapping[str, Any], scratch: str) -> dict[str, Any]:
    """Tally without the paths of temporary files."""
    return {k: v for k, v in tally.items() if not (isinstance(v, str) and v.startswith(scratch))}


def _of_run(
    run: Run,
    student: Mapping[str, Any],
    *,
    metrics: tuple[str, ...],
    progress: Progress,
    doors: Doors,
) -> Scores:
    from tutelage.pipeline import score_run

    tally = score_run(run.path, student=student, metrics=metrics, progress=progress, doors=doors)
    every = run.scores.table
    own = every.filter(pc.equal(every["student"], tally["student"]["fingerprint"]))
    return Scores(table=own, summary=tally, outcome=BY_STATUS, run=run, student=dict(student))


@spelled_in_python
def recompute(
    statistics: Any,
    metrics: str | Sequence[str],
    *,
    out: str | Path | None = None,
    progress: ShownProgress = None,
) -> Scores:
    """Metrics from stored token statistics, without a model.

    Args:
        statistics: The file or the table that `score(..., statistics=...)` has made, or its result.
        metrics: Names of metrics, or one text with commas.
        out: A Parquet file to write as well.
        progress: None, True, False, or your own progress object; see `load`.

    Returns:
        The scores, in the order of the statistics.

    Raises:
        DataError: There are no token statistics, or not those that a metric needs.

    Examples:
        >>> import tutelage as tt
        >>> scores = tt.score(rows, "smollm2-135m", statistics=True)        # doctest: +SKIP
        >>> tt.recompute(scores, "upd,high_entropy_sum")                    # doctest: +SKIP
    """
    from tutelage.pipeline import recompute as computed

    if isinstance(statistics, Scores):
        if statistics.statistics is None:
            raise DataError(
                "these scores have no token statistics", hint="score with statistics=True"
            )
        statistics = statistics.statistics
    names = names_in(metrics if isinstance(metrics, str) else tuple(metrics))
    with scratch_folder() as scratch, told(progress) as shown:
        source = _on_disk(statistics, Path(scratch) / "statistics.parquet")
        file = Path(out) if out is not None else Path(scratch) / "scores.parquet"
        tally = computed(source, metrics=names, out=file, progress=shown)
        table = pq.read_table(file)
    return Scores(table=table, summary=_without_scratch(tally, scratch), outcome=BY_STATUS)


def _on_disk(source: Any, file: Path) -> Path:
    """Path of a table: the given one, or a file written from it."""
    run = opened(source)
    if run is not None:
        return run.path
    if is_path(source):
        return Path(source)
    table = source.table if isinstance(source, Result) else in_memory(source)
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pylist(table)
    write_table(file, table)
    return file


@spelled_in_python
def delta(
    base: Any,
    current: Any,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    by: Literal["source", "step", "teacher"] | None = None,
    data: Data = None,
) -> Result:
    """Effect of training: the loss under one student minus that under another.

    Args:
        base: Scores by the student before training: a result, a table, a file or a run.
        current: Scores of the same candidates by the student after training.
        out: A Parquet file to write as well.
        seed: Seed of the resampling that gives the interval.
        by: Also each group by itself: `summary["by_source"]`, and a column of that name.
        data: With `by`: the rows that were scored, where neither of the two is a run or the result
            of `score`.

    Returns:
        One row for each candidate of either. `delta_loss` is in nats per token; above 0, the
        response has become more likely. `summary` has the mean with its 95 % interval over
        examples.

    Raises:
        DataError: One is not the scores of one student, or they share no candidate.

    Examples:
        >>> import tutelage as tt
        >>> change = tt.delta("before.parquet", "after.parquet")            # doctest: +SKIP
        >>> change.summary["mean_delta_loss"]                               # doctest: +SKIP
        0.21
    """
    from tutelage.pipeline import delta_losses

    if by is not None and data is None:
        data = next((s for s in (base, current) if isinstance(s, Scores) and s.data), None)
    rows, reading = rows_of(data, {})
    with scratch_folder() as scratch:
        folder = Path(scratch)
        file = Path(out) if out is not None else folder / "deltas.parquet"
        tally = delta_losses(
            _on_disk(base, folder / "base.parquet"),
            _on_disk(current, folder / "current.parquet"),
            out=file,
            seed=seed,
            by=by,
            data=None if rows is None else Path(data_values(rows, reading, folder=folder)["path"]),
        )
        table = pq.read_table(file)
    return Result(table=table, summary=_without_scratch(tally, scratch), outcome=BY_STATUS)


@spelled_in_python
def list_metrics(*, agreement: Any = None, metrics: str | Sequence[str] = ()) -> Result:
    """Every metric: what it measures, which direction is better, and where it comes from.

    Args:
        agreement: Scores: a result, a table, a file or a run. Then the result is how its metrics
            agree with each other and with the length of the response.
        metrics: Metrics of the agreement: names of metrics, or one text with commas; by default
            all.

    Returns:
        One row for each metric; or one for each pair of metrics, with Spearman's rank correlation
        in [-1, 1] and its 95 % interval over examples.

    Examples:
        >>> import tutelage as tt
        >>> table = tt.list_metrics().table
        >>> "r_ifd" in table["name"].to_pylist()
        True
    """
    from tutelage.metrics import METRICS
    from tutelage.pipeline import metric_agreement

    if agreement is not None:
        names = names_in(metrics if isinstance(metrics, str) else tuple(metrics))
        with scratch_folder() as scratch:
            source = _on_disk(agreement, Path(scratch) / "scores.parquet")
            rows = metric_agreement(source, metrics=names)
        return Result(table=pa.Table.from_pylist(rows), summary={"agreement": rows})
    shown = ("name", "summary", "formula", "better", "level", "statistics", "needs", "source")
    rows = [{key: getattr(spec, key) for key in shown} for spec in METRICS.values()]
    return Result(table=pa.Table.from_pylist(rows), summary={"metrics": rows})
