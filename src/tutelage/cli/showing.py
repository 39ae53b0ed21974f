"""What a person sees on stderr while a stage works, and on stdout when it is done."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tutelage.errors import TeacherStoppedError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from tutelage.runs.progress import Progress

PLAIN_EVERY_SECONDS = 15.0


@contextmanager
def shown_progress() -> "Iterator[Progress]":
    """A progress on stderr: live bars on a terminal, a line now and then in a log file."""
    if sys.stderr.isatty():
        with _bars() as bars:
            yield _Live(bars)
    else:
        yield _Lines()


def _bars() -> "RichProgress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=False,
    )


class _Live:
    def __init__(self, bars: "RichProgress") -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        self._task = self._bars.add_task(stage, total=total, unit=unit, rate="", note="")

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        if self._task is None:
            return
        self._bars.update(self._task, advance=count)
        task = next(t for t in self._bars.tasks if t.id == self._task)
        rate = f"{task.speed:,.1f}/s" if task.speed else ""
        if note is None:
            self._bars.update(self._task, rate=rate)
        else:
            self._bars.update(self._task, rate=rate, note=note)

    def end(self, *, note: str | None = None) -> None:
        if self._task is None:
            return
        task = next(t for t in self._bars.tasks if t.id == self._task)
        self._bars.update(self._task, total=task.completed)
        if note is not None:
            self._bars.update(self._task, note=note)


class _Lines:
    def __init__(self) -> None:
        self._stage, self._unit, self._note = "", "", ""
        self._total: int | None = None
        self._done = 0
        self._started = self._said = 0.0

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        from time import monotonic

        self._stage, self._total, self._unit, self._done, self._note = stage, total, unit, 0, ""
        self._started = self._said = monotonic()

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        from time import monotonic

        self._done += count
        self._note = note if note is not None else self._note
        if monotonic() - self._said >= PLAIN_EVERY_SECONDS:
            self._said = monotonic()
            self._say()

    def end(self, *, note: str | None = None) -> None:
        self._note = note if note is not None else self._note
        self._say()

    def _say(self) -> None:
        from time import monotonic

        seconds = monotonic() - self._started
        rate = self._done / seconds if seconds else 0.0
        of = f" of {self._total:,}" if self._total is not None else ""
        left = ""
        if self._total and rate and self._done < self._total:
            left = f", {(self._total - self._done) / rate:,.0f} s left"
        note = f", {self._note}" if self._note else ""
        click.echo(
            f"{self._stage}: {self._done:,}{of} {self._unit}, {rate:,.1f}/s, "
            f"{seconds:,.1f} s{left}{note}",
            err=True,
        )


def print_json(value: Mapping[str, Any]) -> None:
    """Data on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """A line for people on stderr."""
    click.echo(text, err=True)


def fail_if_away(tally: Mapping[str, Any]) -> None:
    """Exit with 1 after all else was done where the teacher went away on the way.

    Args:
        tally: Of the stage that asked the teacher.

    Raises:
        TeacherStoppedError: It did.
    """
    if tally.get("away"):
        raise TeacherStoppedError(
            str(tally["away"]), hint="the same command asks again, and only for what failed"
        )
