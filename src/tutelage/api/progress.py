"""Progress of the Python API: live bars in a terminal and in a notebook."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from time import monotonic
from typing import Any, TypeAlias

from tutelage.progress import LiveBars, Progress, Silent, live_bars, pace_text

_LINE_SECONDS = 0.5

ShownProgress: TypeAlias = Progress | bool | None
"""Progress argument: None shows bars in a terminal or notebook and nothing elsewhere, such as in a
script whose output goes to a file. True always shows them, False never. An object with the methods
of `tutelage.Progress` is called directly.
"""


@contextmanager
def told(progress: ShownProgress) -> Iterator[Progress]:
    """Progress object for a function: the given one, bars, or a silent one."""
    if progress is None:
        progress = _is_watched()
    if isinstance(progress, bool):
        if not progress:
            yield Silent()
            return
        if in_notebook() and find_spec("ipywidgets") is None:
            yield CellLines()  # without the widgets rich draws no bars, and warns again and again
            return
        # In a notebook rich draws into the cell by itself.
        with live_bars(stderr=not in_notebook()) as bars:
            yield LiveBars(bars)
        return
    yield progress


class CellLines:
    """A progress that writes one line a stage into the cell of a notebook, and changes it."""

    def __init__(self) -> None:
        self._show = import_module("IPython.display").display
        self._line: Any = None
        self._stage, self._unit, self._note = "", "", ""
        self._total: int | None = None
        self._done = 0
        self._began = self._shown = 0.0

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Write a line for a stage."""
        self._stage, self._total, self._unit, self._note = stage, total, unit, ""
        self._done, self._began = 0, monotonic()
        self._line = self._show(self._text(), raw=True, display_id=True)

    def tell(self, text: str) -> None:
        """Write a line that stays."""
        self._show(_plain(text), raw=True)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Change the line of the stage that began last, at most twice a second."""
        self._done += count
        self._note = self._note if note is None else note
        if monotonic() - self._shown >= _LINE_SECONDS:
            self._update()

    def end(self, *, note: str | None = None) -> None:
        """Change the line of the stage that began last for the last time."""
        self._total = self._done
        self._note = self._note if note is None else note
        self._update()

    def _update(self) -> None:
        if self._line is not None:
            self._line.update(self._text(), raw=True)
            self._shown = monotonic()

    def _text(self) -> dict[str, str]:
        seconds = monotonic() - self._began
        of = "" if self._total is None else f" of {self._total:,}"
        parts = [f"{self._stage}: {self._done:,}{of} {self._unit}"]
        if self._done and seconds > 0:
            parts.append(pace_text(self._done / seconds))
        return _plain(", ".join([*parts, *filter(None, [self._note])]))


def _plain(text: str) -> dict[str, str]:
    """Text as a cell takes it, with everything that cannot be printed as an escape."""
    return {"text/plain": "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)}


def _is_watched() -> bool:
    """Whether the output is visible to a person now."""
    return in_notebook() or bool(getattr(sys.stderr, "isatty", bool)())


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, which shows HTML but is not a terminal."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    found = shell.get_ipython()
    return type(found).__name__ == "ZMQInteractiveShell"
