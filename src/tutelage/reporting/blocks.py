"""Building blocks of reports, independent of how they are rendered."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa

from tutelage.data.schemas import column_facts

Cell: TypeAlias = str | int | float | None
Style: TypeAlias = Literal["text", "count", "number", "share"]
Layout: TypeAlias = Literal["card", "wide", "beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Heading and unit of a table's column.

    Attributes:
        name: Its head, with the unit where there is one.
        style: How its cells are written: a share is in [0, 1] and shown as a percentage.
    """

    name: str
    style: Style = "text"


def schema_columns(
    schema: pa.Schema, names: Iterable[str], *, style: Style | None = None
) -> tuple[Column, ...]:
    """Columns with the titles and units of a stored schema.

    Args:
        schema: Schema of the stored table.
        names: Names of the columns that are shown, in order.
        style: How their cells are written; by default as their types say.
    """
    return tuple(
        Column(name=column_facts(field).heading, style=style or _style_of(field.type))
        for field in map(schema.field, names)
    )


def _style_of(kind: pa.DataType) -> Style:
    if pa.types.is_integer(kind):
        return "count"
    return "number" if pa.types.is_floating(kind) else "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Table of a report; a cell that is None is shown as unknown."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Figure with the table of its numbers.

    Attributes:
        title: What to see in it, as a sentence.
        alt: Description for people who do not see it.
        draw: Gives the SVG; called only by a renderer that shows pictures.
        table: The data behind it.
        note: What was left out or sampled.
        layout: `card` for a picture in a row of several, `wide` for the width of the page,
            `beside` for the picture next to its open table.
        draw_narrow: Gives another SVG for telephones, where one picture does not fit both.
        in_text: Whether a text report shows its table.
    """

    title: str
    alt: str
    draw: Callable[[], str]
    table: Table
    note: str = ""
    layout: Layout = "card"
    draw_narrow: Callable[[], str] | None = None
    in_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Span of text that both sides share, or that only one side has."""

    text: str
    kind: Literal["same", "only_before", "only_after"] = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One version in a comparison of texts."""

    title: str
    instruction: tuple[Span, ...]
    response: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two versions of one example side by side."""

    title: str
    about: str
    before: Side | None
    after: Side
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Section of a report.

    Attributes:
        key: Short and unique; the anchor on the page.
        title: Its heading.
        paragraphs: Text of the section.
        figures: Pictures; a text report shows the tables of some.
        tables: Tables that are always shown.
        comparisons: Versions side by side; only a page shows them.
        folded: Whether a page shows the tables only when asked.
        in_text: Whether a text report shows the section.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    folded: bool = False
    in_text: bool = True
