"""Output flags of every command (`--json`, `-v`, `-q`), and printing of results.

People get text: sentences, small tables, and a last line that says where to look. Programs get the
same facts as JSON with `--json`, which every command takes.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from shutil import get_terminal_size
from types import TracebackType
from typing import Any, TypeAlias

import click

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
