"""Progress of long work: the protocol, live progress bars, and a silent version.

Packages never print; the command line and the Python API decide what is shown.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_PACE_SECONDS = 900.0
"""Seconds over which the remaining time is estimated: one training alone may take minutes."""


class Progress(Protocol):
    """Protocol of progress reports: stages that begin, advance and end."""

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Start a stage; `total` is None where it is unknown.

        Args:
            stage: Its name.
            total: How many units it has.
            unit: What is counted.
        """
        ...

    def tell(self, text: str) -> None:
        """Show one line of text now: what is about to happen, or what went wrong."""
        ...

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Report `count` more finished units; `note` is a short fact such as the cost so far."""
        ...

    def end(self, *, note: str | None = None) -> None:
        """End the stage that began last."""
        ...


class Silent:
    """Progress that shows nothing."""

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Show nothing to the user."""

    def tell(self, text: str) -> None:
        """Show nothing to the user."""

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Show nothing to the user."""

    def end(self, *, note: str | None = None) -> None:
        """Show nothing to the user."""


class LiveBars:
    """Progress with one live bar for each stage, its speed and the remaining time.

    Args:
        bars: Bars of `live_bars`; already started.
    """

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._preparing: TaskID | None = None
        self._stage = ""
        self._beats: int | None = 0  # since a stage ended; None while one is at work

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Add a bar; it moves to and fro where the total is not known."""
        self.rest()
        self._beats = None
        self._stage = stage
        self._task = self._bars.add_task(
            _printable(stage), total=total, unit=_printable(unit), rate="", note=""
        )

    def tell(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(_printable(text), markup=False, highlight=False)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Advance the bar of the stage that began last."""
        if self._task is None:
            return
        self._bars.update(self._task, advance=count)
        task = next(one for one in self._bars.tasks if one.id == self._task)
        self._bars.update(self._task, rate=pace_text(task.speed) if task.speed else "")
        if note is not None:
            self._bars.update(self._task, note=_printable(note))

    def end(self, *, note: str | None = None) -> None:
        """Fill the bar of the stage that began last."""
        self._beats = 0
        if self._task is None:
            return
        task = next(one for one in self._bars.tasks if one.id == self._task)
        self._bars.update(self._task, total=task.completed)
        if note is not None:
            self._bars.update(self._task, note=_printable(note))

    def beat(self) -> None:
        """Show a separate bar while no stage is running, from the second beat on."""
        if self._beats is None:
            return
        self._beats += 1
        if self._beats > 1 and self._preparing is None:
            text = _printable(preparing_in_words(self._stage, None))
            self._preparing = self._bars.add_task(text, total=None, unit="", rate="", note="")

    def rest(self) -> None:
        """Remove the bar of `beat`."""
        if self._preparing is not None:
            self._bars.remove_task(self._preparing)
            self._preparing = None


def preparing_in_words(stage: str, seconds: float | None) -> str:
    """Display while no stage is running, for example while a model is loaded.

    Args:
        stage: The one that ended last; empty before the first.
        seconds: Since then; None where they are shown elsewhere.

    Examples:
        >>> preparing_in_words("load", 12.3), preparing_in_words("", None)
        ('load finished, preparing the next step, 12 s', 'starting')
    """
    text = f"{stage} finished, preparing the next step" if stage else "starting"
    return text if seconds is None else f"{text}, {seconds:,.0f} s"


def live_bars(*, stderr: bool) -> "Bars":
    """Context manager that starts and stops the bars of `LiveBars`.

    Args:
        stderr: Draw on stderr, as in a terminal; in a notebook that would be a red box.
    """
    from rich.console import Console  # noqa: PLC0415  (a tenth of a second, where bars are drawn)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    return Bars(
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=stderr),
        transient=False,
        speed_estimate_period=_PACE_SECONDS,
    )


def pace_text(pace: float) -> str:
    """Speed as units per second, or seconds per unit where that is above 1.

    Examples:
        >>> pace_text(2.5), pace_text(0.25)
        ('2.5/s', '4.0 s each')
    """
    return f"{pace:,.1f}/s" if pace >= 1 else f"{1 / pace:,.1f} s each"


def _printable(text: str) -> str:
    r"""Text with everything that cannot be printed replaced by an escape.

    Examples:
        >>> _printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
