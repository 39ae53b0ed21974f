"""Functions of the Python API that make or begin a run: read, load, sample, refine."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values, in_memory, names_files
from tutelage.api.options import (
    DataOptions,
    RefineCallOptions,
    RefineOptions,
    SampleCallOptions,
    SampleOptions,
    ShownProgress,
    TeacherOptions,
    grouped,
    names_in,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Candidates, Estimate, Loaded, estimate_of
from tutelage.api.table_result import BY_ROW_STATUS, BY_STATUS
from tutelage.api.workspace import (
    Workspace,
    loaded_run,
    optional,
    reading_options,
    student_of,
    teacher_of,
    tell_notes,
    workspace,
)
from tutelage.data import ReadSettings, Row, Rows
from tutelage.data import read as read_source
from tutelage.errors import (
    SettingsError,
    TutelageError,
    in_python,
    respell,
    spelled_in_python,
)
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.teacher_outage import raise_if_stopped

Settings = str | Mapping[str, Any] | BaseModel


@spelled_in_python
def read(
    source: Data, settings: ReadSettings | None = None, **options: Unpack[DataOptions]
) -> Rows:
    """Rows of a dataset, each as an example or with the reason why it could not be read.

    Args:
        source: A path, a folder, a pattern, the id of a hub dataset, or a list of these; a list
            of dicts; a pyarrow table; a `datasets.Dataset`; a pandas or polars frame.
        settings: How to read it; by default everything is detected from the content.
        **options: The same settings as keywords: `format`, `shape`, `fields`, `source_name`,
            `teacher_name`, `limit`, `split`, `subset`.

    Returns:
        An iterable with one `Row` for each row of the input, in order. Each iteration reads the
        source again. Every function that takes data takes it, too.

    Raises:
        DataError: There is no such source, or its format is not supported.
        SettingsError: A setting is wrong.

    Examples:
        >>> import tutelage as tt
        >>> rows = tt.read([{"question": "2 + 2?", "answer": "4"}, {"question": "2 + 3?"}])
        >>> [(row.status, len(row.candidates)) for row in rows]
        [('ok', 1), ('ok', 0)]
    """
    from tutelage.pipeline.config import checked

    given = reading_options(options, function="read")
    if isinstance(source, Mapping) and "path" in source:
        within = {name: value for name, value in source.items() if name != "path"}
        source, given = source["path"], {**within, **given}
    if isinstance(source, Rows):
        source, settings = source.source, settings or source.settings
    if given:
        before = {} if settings is None else settings.model_dump(exclude_unset=True)
        settings = checked(ReadSettings, {**before, **given}, place="read")
    if not names_files(source) and not isinstance(source, list):
        split = None if settings is None else settings.split
        source = source if _reads_itself(source) else in_memory(source, split=split)
    found = read_source(source, settings)
    return _ReadRows(found)


class _ReadRows(Rows):
    """Rows whose errors and notes name arguments of the Python API."""

    def __init__(self, rows: Rows) -> None:
        vars(self).update(vars(rows))

    def __iter__(self) -> Iterator[Row]:
        try:
            yield from super().__iter__()
        except TutelageError as error:
            respell(error)
            raise
        self.notes = [in_python(note) for note in self.notes]


def _reads_itself(source: Any) -> bool:
    """Whether the reader takes the data directly: an iterator is read as it comes."""
    return type(source).__module__ in ("builtins", "itertools") and not isinstance(source, Mapping)


@spelled_in_python
def load(
    data: Data,
    *,
    out: str | Path | None = None,
    progress: ShownProgress = None,
    **options: Unpack[DataOptions],
) -> Loaded:
    """Run folder with the rows of a dataset; needs neither a teacher nor a student.

    Args:
        data: A path or rows in memory; see `read`.
        out: The run folder; None creates a temporary one, which is deleted with the result.
        progress: None shows bars in a terminal or notebook; True, False, or your own progress
            object.
        **options: How data is read; see `read`.

    Returns:
        The input rows, each with its example or the reason why it is none. `run` is the run:
        pass it on to `verify`, `filter`, `score` and `select`.

    Raises:
        DataError: The data cannot be read.
        RunError: The folder is not a run, or a teacher wrote some of its candidates.

    Examples:
        >>> import tutelage as tt
        >>> loaded = tt.load([{"instruction": "Name a colour.", "output": "Blue."}, {"x": 1}])
        >>> loaded
        Loaded: 2 rows, 1 kept, 1 dropped (missing_fields 1)
        >>> loaded.run.candidates["step"].to_pylist()
        ['original']
    """
    reading = reading_options(options, function="load")
    place = workspace(out)
    with told(progress) as shown:
        run = loaded_run(data, reading, place=place, progress=shown)
    return Loaded(
        table=run.rows.table,
        summary=summary_of({"load": run.manifest["stages"]["load"]["tally"]}, place),
        outcome=BY_ROW_STATUS,
        run=run,
    )


@overload
def sample(
    data: Data,
    teacher: Settings | None = ...,
    *,
    teachers: Sequence[Settings] | str | Path | None = ...,
    n: int = ...,
    accept: str | Mapping[str, Any] | BaseModel | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[SampleCallOptions],
) -> Candidates: ...


@overload
def sample(
    data: Data,
    teacher: Settings | None = ...,
    *,
    teachers: Sequence[Settings] | str | Path | None = ...,
    n: int = ...,
    accept: str | Mapping[str, Any] | BaseModel | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[SampleCallOptions],
) -> Estimate: ...


@overload
def sample(
    data: Data,
    teacher: Settings | None = ...,
    *,
    teachers: Sequence[Settings] | str | Path | None = ...,
    n: int = ...,
    accept: str | Mapping[str, Any] | BaseModel | None = ...,
    out: str | Path | None = ...,
    dry_run: bool,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[SampleCallOptions],
) -> Candidates | Estimate: ...


@spelled_in_python
def sample(
    data: Data,
    teacher: Settings | None = None,
    *,
    teachers: Sequence[Settings] | str | Path | None = None,
    n: int = 16,
    accept: str | Mapping[str, Any] | BaseModel | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[SampleCallOptions],
) -> Candidates | Estimate:
    """Responses to each instruction, written by teachers, in a run folder.

    Args:
        data: A path or rows in memory; see `read`.
        teacher: The name of the teacher as its server knows it, or settings.
        teachers: Instead of `teacher`: several, each with settings and a `share`, or a YAML file.
        n: Responses for each instruction, at least 1; with `accepted`, at most this many are
            requested.
        accept: With `accepted`: the check that a response has to pass, such as `maths`.
        out: The run folder; None creates a temporary one; replies are then kept in the user's
            cache.
        dry_run: Only estimate the cost; no request is sent.
        engine: `local`, or `ray`: a pool of Ray workers for a local teacher.
        ray: Settings of the pool.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How teachers are opened; tests use it to pass fakes.
        **options: How data is read (see `read`), how the teacher is asked (`base_url`,
            `concurrency`, `max_cost`, ...) and how it samples (`temperature`, `max_tokens`, ...).

    Returns:
        All candidates of the run; failed ones have a status and no text. Or the estimate.

    Raises:
        SettingsError: A setting is wrong.
        TeacherStoppedError: The teacher did not answer everything; replies so far are kept.

    Examples:
        >>> import tutelage as tt
        >>> samples = tt.sample(rows, "qwen", n=4, out="runs/samples",    # doctest: +SKIP
        ...                     base_url="http://127.0.0.1:8081/v1")
    """
    from tutelage.pipeline import estimate_sample, sample_data

    reading, asking, sampling = grouped(
        options, DataOptions, TeacherOptions, SampleOptions, function="sample"
    )
    place = workspace(out)
    # A dry run leaves the folder alone.
    given = workspace(None) if dry_run else place
    several = _several(teacher, teachers)
    with told(progress) as shown:
        job: dict[str, Any] = {
            "data": data_values(data, reading, folder=given.path),
            "teachers": [teacher_of(one, asking, place=place) for one in several],
            "sample": {"n": n, **sampling},
            "accept": optional(accept, _check),
            "out": place.path,
            "progress": shown,
        }
        if dry_run:
            return estimate_of(estimate_sample(**job))
        tally = sample_data(**job, engine=engine, ray=ray, doors=doors)
        tell_notes(tally, shown)
    raise_if_stopped(tally["sample"])
    return _candidates(place, tally)


def _check(given: str | Mapping[str, Any] | BaseModel) -> dict[str, Any]:
    if isinstance(given, BaseModel):
        return given.model_dump()
    return dict(given) if isinstance(given, Mapping) else {"check": given}


def _several(
    teacher: Settings | None, teachers: Sequence[Settings] | str | Path | None
) -> list[Settings]:
    from tutelage.pipeline import yaml_file

    if (teacher is None) == (teachers is None):
        raise SettingsError("give either teacher or teachers", hint="see docs/teachers.md")
    if teacher is not None:
        return [teacher]
    if isinstance(teachers, str | Path):
        teachers = yaml_file(Path(teachers))
    if not isinstance(teachers, Sequence):
        raise SettingsError(
            "teachers: expected a list of teachers", hint="each with settings and a `share`"
        )
    return list(teachers)


@overload
def refine(
    data: Data,
    teacher: Settings,
    *,
    student: Any = ...,
    steps: str | Sequence[str] | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[RefineCallOptions],
) -> Candidates: ...


@overload
def refine(
    data: Data,
    teacher: Settings,
    *,
    student: Any = ...,
    steps: str | Sequence[str] | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[RefineCallOptions],
) -> Estimate: ...


@overload
def refine(
    data: Data,
    teacher: Settings,
    *,
    student: Any = ...,
    steps: str | Sequence[str] | None = ...,
    out: str | Path | None = ...,
    dry_run: bool,
    engine: str = ...,
    ray: Mapping[str, Any] | None = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[RefineCallOptions],
) -> Candidates | Estimate: ...


@spelled_in_python
def refine(
    data: Data,
    teacher: Settings,
    *,
    student: Any = None,
    steps: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[RefineCallOptions],
) -> Candidates | Estimate:
    """Rewritten instructions and responses by a teacher, in a run folder.

    Args:
        data: A path or rows in memory; see `read`.
        teacher: The name of the teacher as its server knows it, or settings.
        student: A model that chooses between the steps, so that each example takes two calls. None
            rewrites every version: three calls per example.
        steps: What the teacher rewrites: `instruction`, `response` or (default) both; with
            `source="student"`, which rewrites the student's own answers, only `response`.
        out: The run folder; None creates a temporary one; replies are then kept in the user's
            cache.
        dry_run: Only estimate the cost; no request is sent.
        engine: `local`, or `ray`: a pool of Ray workers for a local teacher.
        ray: Settings of the pool.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How student and teacher are opened; tests use it to pass fakes.
        **options: How data is read (see `read`), how the teacher is asked (`base_url`, ...) and
            what it writes (`max_tokens`, `prompt_version`, ...).

    Returns:
        All candidates of the run, or the estimate.

    Raises:
        SettingsError: A setting is wrong.
        TeacherStoppedError: The teacher did not answer everything; replies so far are kept.

    Examples:
        >>> import tutelage as tt
        >>> rewritten = tt.refine("data.jsonl", "qwen", out="runs/first",   # doctest: +SKIP
        ...                       base_url="http://127.0.0.1:8081/v1")
    """
    from tutelage.pipeline import estimate_refine, refine_data

    reading, asking, writing = grouped(
        options, DataOptions, TeacherOptions, RefineOptions, function="refine"
    )
    place = workspace(out)
    chooser, doors = (None, doors) if student is None else student_of(student, {}, doors=doors)
    # A dry run leaves the folder alone.
    given = workspace(None) if dry_run else place
    with told(progress) as shown:
        job: dict[str, Any] = {
            "data": data_values(data, reading, folder=given.path),
            "teacher": teacher_of(teacher, asking, place=place),
            "refine": {
                **({} if steps is None else {"steps": names_in(_listed(steps))}),
                **writing,
            },
            "student": chooser,
            "out": place.path,
            "progress": shown,
        }
        if dry_run:
            return estimate_of(estimate_refine(**job))
        tally = refine_data(**job, engine=engine, ray=ray, doors=doors)
        tell_notes(tally, shown)
    raise_if_stopped(tally["refine"])
    return _candidates(place, tally)


def _listed(names: str | Sequence[str]) -> str | tuple[str, ...]:
    return names if isinstance(names, str) else tuple(names)


def _candidates(place: Workspace, tally: Mapping[str, Any]) -> Candidates:
    made = place.run()
    return Candidates(
        table=made.candidates.table, summary=summary_of(tally, place), outcome=BY_STATUS, run=made
    )


def summary_of(tally: Mapping[str, Any], place: Workspace) -> dict[str, Any]:
    """Tallies of the stages, with the folder of the run."""
    return {**tally, "run": str(place.path)}
