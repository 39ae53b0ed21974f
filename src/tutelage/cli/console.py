"""Progress and notes on stderr: live bars on a terminal, lines in a log file."""

import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from tutelage.cli.output import inform, is_quiet, on_one_line, say
from tutelage.progress import (
    LiveBars,
    Progress,
    Silent,
    live_bars,
    pace_text,
    preparing_in_words,
)

PLAIN_EVERY_SECONDS = 10.0
"""Longest silence of a log file while a stage works, in seconds."""

BEAT_SECONDS = 5.0
"""Interval at which the log thread checks for silence: a line at least every ten seconds."""

_PACE_SECONDS = 900.0
"""Seconds over which the remaining time is estimated: one training alone may take minutes."""

_PACE_MARKS = 64
_PACE_LEAST_MARKS = 3


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress for stderr: live bars on a terminal, occasional lines in a log file, or none."""
    if is_quiet():
        yield Silent()
    elif sys.stderr.isatty():
        with live_bars(stderr=True) as bars:
            shown = LiveBars(bars)
            try:
                with _heart(shown):
                    yield shown
            finally:
                shown.rest()
    else:
        lines = _Lines()
        with _heart(lines):
            yield lines


@contextmanager
def _heart(shown: "_Lines | LiveBars") -> Iterator[None]:
    """Beats while a command works, so that neither a long batch nor a long start is a silence."""
    stopped = Event()

    def beat() -> None:
        while not stopped.wait(BEAT_SECONDS):
            shown.beat()

    thread = Thread(target=beat, name="tutelage-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class _Lines:
    def __init__(self) -> None:
        self._stage, self._unit, self._note = "", "", ""
        self._total: int | None = None
        self._done = 0
        self._started = self._said = monotonic()
        self._marks: deque[tuple[float, int]] = deque(maxlen=_PACE_MARKS)
        self._working = False
        self._rested = self._started
        self._lock = Lock()

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        with self._lock:
            self._stage, self._total, self._unit, self._done, self._note = stage, total, unit, 0, ""
            self._started = self._said = monotonic()
            self._marks = deque([(self._started, 0)], maxlen=_PACE_MARKS)
            self._working = True
        amount = f"{total:,} {_noun(unit, total)}" if total is not None else f"reading {unit}"
        say(on_one_line(f"{stage}: {amount}"))

    def tell(self, text: str) -> None:
        say(on_one_line(text))

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        with self._lock:
            self._done += count
            self._note = note if note is not None else self._note
            now = monotonic()
            # What an earlier start finished is there within the first second: it is no pace.
            if now - self._marks[-1][0] >= 1:
                self._marks.append((now, self._done))
            elif len(self._marks) == 1:
                self._marks[0] = (self._started, self._done)
            if now - self._said >= PLAIN_EVERY_SECONDS:
                self._said = now
                self._say(self._pace(now), left=True)

    def beat(self) -> None:
        """Say where the stage is, or that none has begun, where nothing was said for a while."""
        with self._lock:
            now = monotonic()
            if now - self._said < PLAIN_EVERY_SECONDS - BEAT_SECONDS:
                return
            self._said = now
            if self._working:
                self._say(self._pace(now), left=True)
            else:
                say(on_one_line(preparing_in_words(self._stage, now - self._rested)))

    def end(self, *, note: str | None = None) -> None:
        with self._lock:
            self._working = False
            self._said = self._rested = monotonic()
            self._note = note if note is not None else self._note
            seconds = monotonic() - self._started
            self._say(self._done / seconds if seconds else 0.0, left=False)

    def _pace(self, now: float) -> float:
        """Recent units per second; 0 while it is unknown, as during a first batch."""
        if len(self._marks) < _PACE_LEAST_MARKS:
            return 0.0
        while len(self._marks) > _PACE_LEAST_MARKS and now - self._marks[0][0] > _PACE_SECONDS:
            self._marks.popleft()
        since, done = self._marks[0]
        return (self._done - done) / (now - since)

    def _say(self, pace: float, *, left: bool) -> None:
        of = f" of {self._total:,}" if self._total is not None else ""
        rate = f", {pace_text(pace)}" if pace else ""
        remaining = ""
        if left and self._total and pace and self._done < self._total:
            remaining = f", {(self._total - self._done) / pace:,.0f} s left"
        note = f", {self._note}" if self._note else ""
        unit = _noun(self._unit, self._done if self._total is None else self._total)
        say(
            on_one_line(
                f"{self._stage}: {self._done:,}{of} {unit}{rate}, "
                f"{monotonic() - self._started:,.1f} s{remaining}{note}"
            )
        )


def _noun(unit: str, number: int) -> str:
    """Noun of a unit for a count.

    Examples:
        >>> _noun("rows", 1), _noun("rows", 2), _noun("replies", 1), _noun("rows or versions", 1)
        ('row', 'rows', 'reply', 'row or version')
    """
    if number != 1:
        return unit
    return re.sub(r"s\b", "", re.sub(r"ies\b", "y", unit)) if unit.endswith("s") else unit


def say_notes(tally: Mapping[str, Any]) -> None:
    """Print notes about the data, line by line on stderr.

    Args:
        tally: Tally of the stage that read it, or of several stages by name.
    """
    from tutelage.pipeline.summary_text import notes_in

    for note in notes_in(tally):
        inform(f"Note: {note}")


def fail_if_away(tally: Mapping[str, Any]) -> None:
    """Exit with 1, after everything else, where the teacher did not answer all requests.

    Args:
        tally: Tally of the stage that asked the teacher.

    Raises:
        TeacherStoppedError: It went away, the limit on cost was reached, or no reply could be used.
    """
    from tutelage.pipeline.teacher_outage import raise_if_stopped

    raise_if_stopped(tally)
