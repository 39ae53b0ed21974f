"""Text that is safe to print: control characters are shown as escapes.

Rows, sources, names of teachers and the words of servers may hold characters that move the cursor,
change the title of a window or turn text around. Everything that a command prints goes through
here; a test sees to it that no command prints in another way.
"""

import json
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import click

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
    r"""The text with an escape in place of every control character but tab and line feed.

    Examples:
        >>> escaped("\x1b[2J\u202eevil")
        '\\x1b[2J\\u202eevil'
    """
    return _HIDDEN.sub(_escape, text)


def on_one_line(text: str) -> str:
    r"""The same with tab and line feed escaped too, for text inside a line of our own.

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
    """A result for people on stdout."""
    click.echo(escaped(text))


def say(text: str) -> None:
    """A line for people on stderr."""
    click.echo(escaped(text), err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Data on stdout: JSON in which control characters are escapes of JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(_HIDDEN.sub(_escape_in_json, text))


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the traceback of a bug; a hook for `sys.excepthook`."""
    sys.stderr.write(escaped("".join(traceback.format_exception(kind, error, trace))))
