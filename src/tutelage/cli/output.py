"""The output flags of every command (`--json`, `-v`, `-q`) and how a result is printed.

People get text: sentences, small tables, and a last line that says where to look. Programs get the
same facts as JSON with `--json`, which every command takes.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import click

from tutelage.cli.terminal import print_json, say, show
from tutelage.cli.text_table import Table, rendered

Block: TypeAlias = str | Table
Text: TypeAlias = Callable[[Any], Iterable[Block]]

_JSON, _VERBOSE, _QUIET = (f"tutelage.{name}" for name in ("json", "verbose", "quiet"))
_NOTE = "Note: results are printed as text since version 0.2; for JSON add --json."


def add_output_flags(command: click.Command) -> None:
    """Give a command, and every command of a group, the flags of this module."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_output_flags(inner)
    else:
        command.params.extend(output_flags())


def output_flags() -> tuple[click.Option, ...]:
    """The flags, for one command."""
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
    """Whether the command that runs was called with `--json`."""
    return _is_set(_JSON)


def is_verbose() -> bool:
    """Whether the command that runs was called with `-v`."""
    return _is_set(_VERBOSE)


def is_quiet() -> bool:
    """Whether the command that runs was called with `-q`."""
    return _is_set(_QUIET)


def inform(text: str) -> None:
    """A line on stderr that `-q` leaves out."""
    if not is_quiet():
        say(text)


def show_result(found: Mapping[str, Any], *, text: Text, was_json: bool = True) -> None:
    """Print what a command found: as text, or as JSON with `--json`.

    Args:
        found: The facts, as programs get them.
        text: Makes sentences and tables of them; the last line says where to look.
        was_json: Whether the command printed JSON before version 0.2. For one release a line on
            stderr says so, where stdout is not a terminal.
    """
    if wants_json():
        print_json(found)
        return
    if was_json and not sys.stdout.isatty():
        inform(_NOTE)
    blocks = list(text(found))
    if is_verbose():
        # The last line stays the last: it says where to look.
        blocks[-1:] = [_details(found), *blocks[-1:]]
    show(joined(blocks))


def joined(blocks: Iterable[Block]) -> str:
    """Sentences in lines of their own, and an empty line between a table and what is around it."""
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
    """The values by dotted name; a list of plain values is one value."""
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
    """Prints log records of this package on stderr, escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


def _set_up_logging(meta: Mapping[str, Any]) -> Callable[[], None]:
    """Let `-v` print the log of this package, and `-q` only its errors; returns what undoes it."""
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
    """With `-v`, where in the code an error was raised, on stderr."""
    if is_verbose():
        say("".join(traceback.format_exception(error)).rstrip())
