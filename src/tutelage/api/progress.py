"""Progress of the Python API: live bars in a terminal and in a notebook."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from tutelage.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

ShownProgress: TypeAlias = Progress | bool | None
"""None shows bars in a terminal or a notebook and nothing elsewhere, such as in a script whose
output goes to a file. True always shows them, False never. Anything with the methods of
`tutelage.Progress` is told directly."""


@contextmanager
def told(progress: ShownProgress) -> Iterator[Progress]:
    """The progress that a function tells: the one given, bars, or a silent one."""
    if progress is None:
        progress = _is_watched()
    if isinstance(progress, bool):
        if not progress:
            yield Silent()
            return
        with _bars() as bars:
            yield LiveBars(bars)
        return
    yield progress


def _is_watched() -> bool:
    """Whether a person sees what is printed now."""
    return in_notebook() or bool(getattr(sys.stderr, "isatty", bool)())


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, which shows HTML but is no terminal."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    found = shell.get_ipython()
    return type(found).__name__ == "ZMQInteractiveShell"


def _bars() -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    # In a notebook rich draws into the cell by itself; stderr would be a red box there.
    console = Console() if in_notebook() else Console(stderr=True)
    return Bars(
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=False,
    )


class LiveBars:
    """A progress that draws one bar a stage.

    Args:
        bars: Of rich; already started.
    """

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Add a bar; it moves to and fro where the total is not known."""
        self._task = self._bars.add_task(_on_one_line(stage), total=total, unit=unit, note="")

    def tell(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(_on_one_line(text), markup=False, highlight=False)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Move the bar of the stage that began last."""
        if self._task is not None:
            self._bars.update(self._task, advance=count)
        if self._task is not None and note is not None:
            self._bars.update(self._task, note=_on_one_line(note))

    def end(self, *, note: str | None = None) -> None:
        """Fill the bar of the stage that began last."""
        if self._task is None:
            return
        self.advance(0, note=note)
        task = next(one for one in self._bars.tasks if one.id == self._task)
        self._bars.update(self._task, total=task.completed)


def _on_one_line(text: str) -> str:
    r"""The text with everything that cannot be printed as an escape.

    Examples:
        >>> _on_one_line("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
