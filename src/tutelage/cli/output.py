"""Output of commands: flags (`--json`, `-v`, `-q`), results, and progress on stderr.

People get text: sentences, small tables, and a last line that says where to look. Programs get the
same facts as JSON with `--json`, which every command takes. Progress is live bars on a terminal and
lines in a log file.
"""

import json
import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from shutil import get_terminal_size
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Any, TypeAlias

import click

from tutelage.progress import (
    LiveBars,
    Progress,
    Silent,
    live_bars,
    pace_text,
    preparing_in_words,
)

# ----------------------------------------------------------------------------------------------
# Text that is safe to print: control characters are shown as escapes.
#
# Rows, sources, names of teachers and the words of servers may hold characters that move the
# cursor,
# change the title of a window or turn text around. Everything that a command prints goes through
# here; a test sees to it that no command prints in another way.
# ----------------------------------------------------------------------------------------------


_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and line feed
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, fillers, marks
    "\u200b\u200e\u200f\u2028-\u202e"  # zero width, lines, direction
    "\u2060-\u206f\ufeff\ufff9-\ufffb\u3164\uffa0"  # joiners, isolates, annotation
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # what no file may hold
    "\U000e0000-\U000e0fff"  # tags and variation selectors that spell hidden text
    "]"
)
_BREAKS = re.compile("[\t\n]")


def escaped(text: str) -> str:
    r"""Text with every control character but tab and line feed escaped.

    Examples:
        >>> escaped("\x1b[2J\u202eevil")
        '\\x1b[2J\\u202eevil'
    """
    return _HIDDEN.sub(_escape, text)


def on_one_line(text: str) -> str:
    r"""Text with tab and line feed escaped too, for use inside a line.

    Examples:
        >>> on_one_line("a\nhint: b")
        'a\\nhint: b'
    """
    return _BREAKS.sub(lambda found: "\\t" if found[0] == "\t" else "\\n", escaped(text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0x0D:  # noqa: PLR2004  (carriage return)
        return "\\r"
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def _escape_in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def show(text: str) -> None:
    """Print a result for people on stdout."""
    click.echo(escaped(text))


def say(text: str) -> None:
    """Print a line for people on stderr."""
    click.echo(escaped(text), err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Print JSON on stdout, with control characters as JSON escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(_HIDDEN.sub(_escape_in_json, text))


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug; a hook for `sys.excepthook`.

    Args:
        kind: Class of the exception.
        error: The exception.
        trace: Its traceback.
    """
    sys.stderr.write(escaped("".join(traceback.format_exception(kind, error, trace))))


# ----------------------------------------------------------------------------------------------
# Output.
# ----------------------------------------------------------------------------------------------


# ----------------------------------------------------------------------------------------------
# A small table of text, as a terminal shows it.
# ----------------------------------------------------------------------------------------------


MAX_WIDTH = 120
"""Line width in characters, for terminals and for files and pipes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Table with named columns.

    Attributes:
        title: What the rows are; an empty text is left out.
        columns: Their names.
        rows: One value a column; None is shown as a dash.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def rendered(table: Table) -> str:
    """Lines of the table as text; numbers are aligned right.

    Nothing is left out: text that does not fit its column goes on in the next line.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, name in enumerate(table.columns):
        numbers = all(_is_number(row[index]) for row in table.rows)
        shown.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell_text(value)) for value in row))
    width = min(get_terminal_size((MAX_WIDTH, 24)).columns, MAX_WIDTH)
    target = StringIO()
    # Text of rows and servers is data: neither markup nor emoji codes nor links in it count.
    console = Console(
        file=target, width=width, force_terminal=False, color_system=None,
        markup=False, emoji=False, highlight=False, legacy_windows=False,
    )  # fmt: skip
    console.print(shown)
    lines = [line.rstrip() for line in target.getvalue().splitlines() if line.strip()]
    return "\n".join([*([on_one_line(table.title)] if table.title else []), *lines])


def cell_text(value: object) -> str:
    """Text of one cell.

    Examples:
        >>> [cell_text(value) for value in (None, True, 1234, 0.12345678, "a\\nb")]
        ['-', 'yes', '1,234', '0.1235', 'a\\\\nb']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return on_one_line(str(value))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# ----------------------------------------------------------------------------------------------
# Output.
# ----------------------------------------------------------------------------------------------


Block: TypeAlias = str | Table
Text: TypeAlias = Callable[[Any], Iterable[Block]]

_JSON, _VERBOSE, _QUIET = (f"tutelage.{name}" for name in ("json", "verbose", "quiet"))


def add_output_flags(command: click.Command) -> None:
    """Add the flags of this module to a command, or to every command of a group."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_output_flags(inner)
    else:
        command.params.extend(output_flags())


def output_flags() -> tuple[click.Option, ...]:
    """Flags for one command."""
    return (
        _flag("--json", key=_JSON, help="Print the result as JSON, for programs."),
        _flag("-v", "--verbose", key=_VERBOSE, help="Print more detail."),
        _flag("-q", "--quiet", key=_QUIET, help="Print only the result and errors."),
    )


def _flag(*names: str, key: str, help: str) -> click.Option:  # noqa: A002  (click's own word)
    def store(context: click.Context, _option: click.Parameter, given: bool) -> None:  # noqa: FBT001
        if not given or context.meta.get(key):
            return
        context.meta[key] = True
        if context.meta.get(_VERBOSE) and context.meta.get(_QUIET):
            raise click.UsageError("give -v or -q, not both")
        if key != _JSON:
            context.find_root().call_on_close(_set_up_logging(context.meta))

    return click.Option(names, is_flag=True, expose_value=False, callback=store, help=help)


def _is_set(key: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(key))


def wants_json() -> bool:
    """Whether the current command was called with `--json`."""
    return _is_set(_JSON)


def is_verbose() -> bool:
    """Whether the current command was called with `-v`."""
    return _is_set(_VERBOSE)


def is_quiet() -> bool:
    """Whether the current command was called with `-q`."""
    return _is_set(_QUIET)


def inform(text: str) -> None:
    """Print a line on stderr, except with `-q`."""
    if not is_quiet():
        say(text)


def show_result(found: Mapping[str, Any], *, text: Text) -> None:
    """Print the result of a command: as text, or as JSON with `--json`.

    Args:
        found: The facts, as programs get them.
        text: Makes sentences and tables of them; the last line says where to look.
    """
    if wants_json():
        print_json(found)
        return
    blocks = list(text(found))
    if is_verbose():
        # The last line stays the last: it says where to look.
        blocks[-1:] = [_details(found), *blocks[-1:]]
    show(joined(blocks))


def joined(blocks: Iterable[Block]) -> str:
    """Text of sentences, one per line, with empty lines around tables."""
    text, after_table = "", True
    for block in blocks:
        if not isinstance(block, Table):
            text += f"{block}\n"
        else:
            text += f"{'' if after_table else chr(10)}{rendered(block)}\n\n"
        after_table = isinstance(block, Table)
    return text.rstrip("\n")


def _details(found: Mapping[str, Any]) -> Table:
    return Table(title="All values", columns=("name", "value"), rows=tuple(_flat(found)))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    """Values by dotted name; a list of plain values is one value."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping | list) for v in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{index}")
    elif isinstance(value, list | tuple):
        yield path, ", ".join(map(str, value))
    elif isinstance(value, Mapping):
        yield path, "none"
    else:
        yield path, value


class _LogLines(logging.Handler):
    """Log handler that prints this package's records on stderr, escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


def _set_up_logging(meta: Mapping[str, Any]) -> Callable[[], None]:
    """Set the log level for `-v` and `-q`; returns a function that restores it."""
    logger = logging.getLogger("tutelage")
    level, handler = logger.level, _LogLines()
    if meta.get(_VERBOSE):
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    else:
        logger.setLevel(logging.ERROR)

    def undo() -> None:
        logger.setLevel(level)
        logger.removeHandler(handler)

    return undo


def explain_error(error: BaseException) -> None:
    """Print the place in the code where an error was raised, with `-v`."""
    if is_verbose():
        say("".join(traceback.format_exception(error)).rstrip())


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
