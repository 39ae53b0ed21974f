"""A small table of text, as a terminal shows it."""

from dataclasses import dataclass
from io import StringIO
from shutil import get_terminal_size

from tutelage.cli.terminal import on_one_line

MAX_WIDTH = 120
"""In characters: longer lines are hard to follow. Files and pipes get lines of this length too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of values under named columns.

    Attributes:
        title: What the rows are; an empty text is left out.
        columns: Their names.
        rows: One value a column; None is shown as a dash.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def rendered(table: Table) -> str:
    """The table as lines of text; numbers are aligned right.

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
    """One value as a cell shows it.

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
