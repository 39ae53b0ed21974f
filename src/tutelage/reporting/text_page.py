"""Text and Markdown renderers of reports, with the same facts as the page."""

import re
from collections.abc import Iterator, Sequence
from textwrap import fill

from tutelage.reporting.blocks import Section, Table
from tutelage.reporting.headline import Fact, facts, opening
from tutelage.reporting.number_format import cell
from tutelage.reporting.run_page import sections_of
from tutelage.reporting.run_summary import Summary
from tutelage.reporting.sanitize import one_line, visible

WIDTH = 96
MOST_ROWS = 12
_CELL_CHARACTERS = 40
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def render_text(summary: Summary, *, more: Sequence[Section] = ()) -> str:
    """Report for a terminal: the headline, then the tables, with at most 12 rows each.

    Control characters of the data are shown and never sent to the terminal.
    """
    title = visible(f"{summary.title}: what the student chose")
    lines = [title, "=" * len(title), ""]
    for paragraph in opening(summary):
        lines += [fill(visible(paragraph), WIDTH), ""]
    width = max(len(visible(f.label)) for f in facts(summary))
    lines += [f"  {visible(f.label):<{width}}  {visible(f.value)}" for f in facts(summary)]
    for section in _in_text(summary, more):
        lines += ["", section.title, "-" * len(section.title)]
        for table in _tables(section):
            lines += ["", *_aligned(table)]
        if not _tables(section):
            lines += [fill(visible(p), WIDTH) for p in section.paragraphs]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def render_markdown(summary: Summary, *, more: Sequence[Section] = ()) -> str:
    """The report as Markdown, for a pull request or a model card."""
    return render_markdown_page(
        title=f"{summary.title}: what the student chose",
        opening=opening(summary),
        facts=facts(summary),
        sections=tuple(_in_text(summary, more)),
    )


def render_markdown_page(
    *,
    title: str,
    opening: Sequence[str],
    facts: Sequence[Fact],
    sections: Sequence[Section],
) -> str:
    """Markdown of a page that `render_page` shows.

    Args:
        title: The title.
        opening: The first sentences.
        facts: Headline numbers.
        sections: The sections.
    """
    lines = [f"# {_escaped(title)}", ""]
    for paragraph in opening:
        lines += [_escaped(paragraph), ""]
    lines += [f"- {_escaped(f.label)}: **{_escaped(f.value)}**" for f in facts]
    for section in sections:
        lines += ["", f"## {_escaped(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [_escaped(paragraph), ""]
        for table in _tables(section):
            lines += _piped(table)
    return "\n".join(lines).rstrip() + "\n"


def _in_text(summary: Summary, more: Sequence[Section]) -> Iterator[Section]:
    return (s for s in sections_of(summary, more=more) if s.in_text)


def _tables(section: Section) -> list[Table]:
    return [*section.tables, *(figure.table for figure in section.figures if figure.in_text)]


def _cells(table: Table) -> tuple[list[list[str]], int]:
    shown = [
        [cell(value, column.style) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows[:MOST_ROWS]
    ]
    return shown, len(table.rows) - len(shown)


def _aligned(table: Table) -> Iterator[str]:
    rows, left = _cells(table)
    grid = [[c.name for c in table.columns], *rows]
    grid = [[one_line(text, characters=_CELL_CHARACTERS) for text in row] for row in grid]
    widths = [max(len(row[index]) for row in grid) for index in range(len(table.columns))]
    yield f"{visible(table.caption)}:"
    for row in grid:
        yield "  " + "  ".join(
            text.ljust(width) if column.style == "text" else text.rjust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
    if left:
        yield f"  ... and {left:,} more"


def _piped(table: Table) -> Iterator[str]:
    rows, left = _cells(table)
    yield f"{_escaped(table.caption)}:"
    yield ""
    yield "| " + " | ".join(_escaped(c.name) for c in table.columns) + " |"
    yield "|" + "|".join(" :-- " if c.style == "text" else " --: " for c in table.columns) + "|"
    for row in rows:
        yield "| " + " | ".join(_escaped(one_line(text, characters=120)) for text in row) + " |"
    yield ""
    if left:
        yield f"... and {left:,} more."
        yield ""


def _escaped(text: str) -> str:
    """Text with Markdown's special characters escaped."""
    return _MARKUP.sub(r"\\\1", " ".join(visible(text).split()))
