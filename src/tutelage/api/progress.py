"""Progress of the Python API: live bars in a terminal and in a notebook."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tutelage.progress import LiveBars, Progress, Silent, live_bars

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
        # In a notebook rich draws into the cell by itself.
        with live_bars(stderr=not in_notebook()) as bars:
            yield LiveBars(bars)
        return
    yield progress


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
