"""Building blocks of reports, independent of how they are rendered, and safe display of texts."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

import pyarrow as pa

from tutelage.data.schemas import column_facts

_CONTROL_PICTURES = 0x2400
_DELETE = 0x7F
_DELETE_PICTURE = "\u2421"

# Tabs and line feeds stay. Zero-width joiners stay too: emoji and several scripts need them.
_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters of ASCII and Latin-1
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, fillers, marks
    "\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"  # zero width, line and direction
    "\u2060-\u206f\ufeff\ufff9-\ufffb\u3164\uffa0"  # joiners, isolates, annotation
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # what no file may hold
    "\U000e0000-\U000e0fff"  # tags and variation selectors that spell hidden text
    "]"
)


def visible(text: str) -> str:
    r"""Text with invisible and direction-changing characters replaced by visible ones.

    ASCII controls become their pictures; everything else that cannot be seen becomes its code
    point in white brackets. The result holds no markup and still has to be escaped.

    Examples:
        >>> visible("a\x00b\u202ec")
        'a␀b⟦U+202E⟧c'
        >>> visible("line\r\nline\tend")
        'line\nline\tend'
    """
    return _HIDDEN.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:  # noqa: PLR2004  (the ASCII controls)
        return chr(_CONTROL_PICTURES + code)
    return _DELETE_PICTURE if code == _DELETE else f"⟦U+{code:04X}⟧"


def one_line(text: str, *, characters: int) -> str:
    r"""Visible text on one line, truncated to a number of characters.

    Examples:
        >>> one_line("two\nlines", characters=20)
        'two lines'
        >>> one_line("a long name", characters=7)
        'a long…'
    """
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= characters else flat[: characters - 1].rstrip() + "…"


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


MAX_CHARACTERS = 3000
"""Longest part of a text that is shown."""

_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def difference(
    before: str, after: str, *, characters: int = MAX_CHARACTERS
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Compare two texts word by word.

    Args:
        before: A text of any length.
        after: The text that was made from it.
        characters: What of either text is beyond this is left out, and said so.

    Returns:
        The spans of either side, in order. The spans that are `same` hold the same words.

    Examples:
        >>> left, right = difference("a red fox", "a brown fox")
        >>> [s.text for s in left if s.kind == "only_before"]
        ['red']
        >>> "".join(s.text for s in right)
        'a brown fox'
    """
    shown_before, rest_before = _cut(before, characters)
    shown_after, rest_after = _cut(after, characters)
    words_before, words_after = _WORD.findall(shown_before), _WORD.findall(shown_after)
    matcher = SequenceMatcher(a=words_before, b=words_after, autojunk=False)
    left: list[Span] = []
    right: list[Span] = []
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        gone, come = "".join(words_before[a:a_end]), "".join(words_after[b:b_end])
        if kind == "equal":
            left.append(Span(text=gone))
            right.append(Span(text=come))
        else:
            left += [Span(text=gone, kind="only_before")] if gone else []
            right += [Span(text=come, kind="only_after")] if come else []
    return (*left, *rest_before), (*right, *rest_after)


def whole(text: str) -> tuple[Span, ...]:
    """Text without a comparison."""
    shown, rest = _cut(text, MAX_CHARACTERS)
    return (Span(text=shown), *rest)


def _cut(text: str, characters: int) -> tuple[str, tuple[Span, ...]]:
    if len(text) <= characters:
        return text, ()
    left = len(text) - characters
    return text[:characters], (Span(text=f"\n… {left:,} more characters are not shown"),)
