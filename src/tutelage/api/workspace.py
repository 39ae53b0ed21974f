"""Output folders of functions: the requested one, or a temporary one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values
from tutelage.api.options import DataOptions, grouped, model_values
from tutelage.api.results import Run, RunResult, Scores, ScratchFolder, Trained
from tutelage.errors import SettingsError, in_python
from tutelage.pipeline import Student
from tutelage.pipeline.resources import Doors, Reader
from tutelage.pipeline.summary_text import notes_in
from tutelage.progress import Progress
from tutelage.student import StudentSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A folder to write to.

    Attributes:
        path: The folder; it need not exist yet.
        scratch: The temporary folder around it, which is removed with this object; None where
            the folder was asked for.
    """

    path: Path
    scratch: ScratchFolder | None = None

    @property
    def asked_for(self) -> Path | None:
        """Requested folder; None for a temporary one."""
        return self.path if self.scratch is None else None

    def run(self, *, selection: str | None = None) -> Run:
        """Run in the folder."""
        return Run(self.path, selection=selection, _scratch=self.scratch)


def workspace(out: str | Path | None, *, name: str = "run") -> Workspace:
    """Requested folder, or a temporary one.

    Args:
        out: The folder, or None.
        name: Name of a temporary folder, as reports show it.
    """
    if out is not None:
        return Workspace(path=Path(out))
    scratch = ScratchFolder()
    return Workspace(path=scratch.path / name, scratch=scratch)


def opened(source: Any) -> Run | None:
    """Run of an argument that is or belongs to one; None for data.

    Args:
        source: A run, a result of a run, the folder of a run, or data.
    """
    if isinstance(source, Run):
        return source
    if isinstance(source, RunResult):
        return source.run
    if isinstance(source, str | Path) and (Path(source) / "manifest.json").is_file():
        return Run(source)
    return None


def needed_run(source: Any, *, selection: str | None = None) -> Run:
    """Run of an argument, or an error for data.

    Args:
        source: A run, a result of a run, or the folder of a run.
        selection: The named selection to show instead of its own.

    Raises:
        RunError: There is no run in the folder.
        SettingsError: It is data, of which no run has been made, or there is no such selection.
    """
    run = opened(source)
    if run is None and isinstance(source, str | Path):
        run = Run(source)
    if run is None:
        raise SettingsError(
            f"expected a run, found {type(source).__name__}",
            hint="tutelage.load(data) makes a run of data; tutelage.Run(folder) opens one",
        )
    return run if selection is None else another_selection(run, selection)


def another_selection(run: Run, selection: str | None) -> Run:
    """Same run with another of its selections."""
    return Run(run.path, selection=selection, _scratch=run._scratch)  # noqa: SLF001  (its owner)


def run_of(source: Any, options: Mapping[str, Any], *, function: str, progress: Progress) -> Run:
    """Run of an argument; data becomes a temporary run.

    Args:
        source: A run, a result of a run, the folder of a run, or data.
        options: How data is read.
        function: Whose keywords they are, for a message.
        progress: Notified of each row that is read.

    Raises:
        SettingsError: A run is not read, so that options of reading have no effect on it.
    """
    run = opened(source)
    if run is not None:
        no_reading(options, function=function)
        return run
    source, options = rows_of(source, options)
    return loaded_run(source, options, place=workspace(None), progress=progress)


def rows_of(source: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Data and options of reading; for the result of `score`, of the rows that were scored.

    Args:
        source: Data, or scores.
        options: Options of the reader; they win.
    """
    if not isinstance(source, Scores) or source.data is None:
        return source, dict(options)
    data, before = source.data
    return data, {**before, **options}


def loaded_run(
    data: Data, options: Mapping[str, Any], *, place: Workspace, progress: Progress
) -> Run:
    """Run that holds some data and nothing else.

    Args:
        data: The data.
        options: Options of the reader.
        place: The folder.
        progress: Gets the progress.
    """
    from tutelage.pipeline import load_data

    values = data_values(data, options, folder=place.path)
    tally = load_data(data=values, out=place.path, progress=progress)
    tell_notes(tally, progress)
    return place.run()


def no_reading(options: Mapping[str, Any], *, function: str) -> None:
    """Raise an error for reader options where nothing is read.

    Raises:
        SettingsError: Some are.
    """
    if options:
        raise SettingsError(
            f"{function}(): {', '.join(options)} say how data is read, but a run is given",
            hint="leave them out, or give the data itself",
        )


def tell_notes(tally: Mapping[str, Any], progress: Progress) -> None:
    """Report notes about the data that was read."""
    for note in notes_in(tally):
        progress.tell(f"note: {in_python(note)}")


def reading_options(options: Mapping[str, Any], *, function: str) -> dict[str, Any]:
    """Options of a function that takes only those of the reader."""
    (reading,) = grouped(options, DataOptions, function=function)
    return reading


def student_of(
    given: Any, options: Mapping[str, Any], *, doors: Doors | None
) -> tuple[dict[str, Any], Doors]:
    """Settings of a student, and the factory that opens it.

    Args:
        given: The name of a model, its folder, settings, a trained student, or an open `Student`,
            which is used as it is and stays open.
        options: Settings of the student as keywords.
        doors: How students and teachers are reached; None is the usual way.

    Raises:
        SettingsError: Options are given with a student that is open already.
    """
    doors = doors or Doors()
    if isinstance(given, Trained):
        return model_values(given.model, options), doors
    if not isinstance(given, Student):
        return model_values(given, options), doors
    if options:
        raise SettingsError(
            f"{', '.join(options)}: the student is already open and has its own settings",
            hint="give them to tutelage.Student, or give the name of the model here",
        )

    def open_student(_: StudentSettings) -> Reader:
        return cast("Reader", _StaysOpen(given.model))

    return given.settings.model_dump(exclude_unset=True), replace(doors, open_student=open_student)


class _StaysOpen:
    """Student that its owner closes."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def close(self) -> None:
        """Do nothing: the owner closes the student."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def teacher_of(
    given: str | Mapping[str, Any] | BaseModel, options: Mapping[str, Any], *, place: Workspace
) -> dict[str, Any]:
    """Settings of a teacher, whose replies outlive a temporary folder.

    Args:
        given: Its name, or settings.
        options: Settings of the teacher as keywords.
        place: Where the job writes. In a temporary folder paid replies would be lost, so they are
            kept in the user's cache unless the settings say where.
    """
    values = model_values(given, options)
    if place.scratch is not None and values.get("journal") is None:
        values["journal"] = reply_cache()
    return values


def reply_cache() -> Path:
    """Teacher cache of jobs without a folder of their own."""
    from tutelage.models.config import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "replies.sqlite"


def optional(given: Any, into: Callable[[Any], Any]) -> Any:
    """Apply a function, except to None."""
    return None if given is None else into(given)
