"""Sankey diagram of rows: the width of each band is a number of rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

from tutelage.reporting.sanitize import one_line
from tutelage.reporting.theme import colour

_GAP = 12.0
_BAR = 9.0
_LINE = 13.0
_TOP = 24.0
_MIN_HEIGHT = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Node of the diagram: a name in a column, and the colour of its bar."""

    column: int
    name: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Rows with the same nodes from left to right; a path may end before the last column."""

    stops: tuple[Stop, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Position of a node, and the number of rows that pass it."""

    stop: Stop
    rows: int
    x: float
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Rows from one node to another."""

    start: Box
    end: Box
    rows: int
    y_start: float
    y_end: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Positions of everything that is drawn, in one unit of length."""

    boxes: tuple[Box, ...]
    bands: tuple[Band, ...]
    height: float


def lay_out(
    ways: Sequence[Way], *, width: float, labels: float, height: float, lines: int = 2
) -> Layout:
    """Compute the positions of nodes and bands.

    Args:
        ways: Whose rows add up to the whole; the order of stops in a column is their order here.
        width: Width of the picture.
        labels: Width that is left free on the right for the names of the last column.
        height: What all rows together are high; gaps come on top.
        lines: How many lines of text each stop has room for.

    Returns:
        Boxes whose rows are the sums of their bands, wherever a way does not begin or end.
    """
    total = sum(way.rows for way in ways) or 1
    columns = 1 + max((stop.column for way in ways for stop in way.stops), default=0)
    scale = height / total
    passing: dict[Stop, int] = defaultdict(int)
    for way in ways:
        for stop in way.stops:
            passing[stop] += way.rows
    step = (width - labels - _BAR) / max(columns - 1, 1)
    boxes: dict[Stop, Box] = {}
    bottom = _TOP
    for column in range(columns):
        y = _TOP
        for stop in (s for s in passing if s.column == column):
            high = max(passing[stop] * scale, _MIN_HEIGHT)
            boxes[stop] = Box(stop=stop, rows=passing[stop], x=column * step, y=y, height=high)
            y += max(high, lines * _LINE) + _GAP
        bottom = max(bottom, y)
    return Layout(boxes=tuple(boxes.values()), bands=_bands(ways, boxes, scale), height=bottom)


def _bands(ways: Sequence[Way], boxes: Mapping[Stop, Box], scale: float) -> tuple[Band, ...]:
    flows: dict[tuple[Stop, Stop], int] = defaultdict(int)
    for way in ways:
        for start, end in pairwise(way.stops):
            flows[start, end] += way.rows
    order = {stop: index for index, stop in enumerate(boxes)}
    left: dict[Stop, float] = {stop: box.y for stop, box in boxes.items()}
    y_start: dict[tuple[Stop, Stop], float] = {}
    for pair in sorted(flows, key=lambda p: (order[p[0]], order[p[1]])):
        y_start[pair] = left[pair[0]]
        left[pair[0]] += flows[pair] * scale
    into: dict[Stop, float] = {stop: box.y for stop, box in boxes.items()}
    bands = []
    for pair in sorted(flows, key=lambda p: (order[p[1]], order[p[0]])):
        start_box, end_box = boxes[pair[0]], boxes[pair[1]]
        high = flows[pair] * scale
        bands.append(
            Band(
                start=start_box,
                end=end_box,
                rows=flows[pair],
                y_start=y_start[pair],
                y_end=into[pair[1]],
                height=max(high, 0.6),
            )
        )
        into[pair[1]] += high
    return tuple(bands)


def draw(ways: Sequence[Way], *, heads: Sequence[str]) -> str:
    """SVG for a wide screen.

    Args:
        ways: What to draw.
        heads: A head for each column.
    """
    width = 1040.0
    layout = lay_out(ways, width=width, labels=300.0, height=300.0)
    columns = sorted({box.x for box in layout.boxes})
    spaces = dict(zip(columns, [*columns[1:], width], strict=True))
    labels = [_label(box, space=spaces[box.x] - box.x - _BAR - 10, lines=3) for box in layout.boxes]
    titles = [
        f'<text x="{x:.1f}" y="12" font-size="12" fill="{colour("quiet")}">{escape(head)}</text>'
        for x, head in zip(columns, heads, strict=False)
    ]
    return _svg(layout, [*labels, *titles], width=width)


def draw_narrow(ways: Sequence[Way]) -> str:
    """SVG for a narrow screen, with only the first and the last column."""
    ends: dict[Stop, int] = defaultdict(int)
    for way in ways:
        ends[way.stops[-1]] += way.rows
    short = [
        Way(stops=(way.stops[0], replace(end, column=1)), rows=rows)
        for end, rows in ends.items()
        for way in ways[:1]
    ]
    width = 340.0
    layout = lay_out(short, width=width, labels=200.0, height=230.0, lines=3)
    labels = [_label(box, space=190.0, lines=3) for box in layout.boxes if box.stop.column]
    start = (
        f'<text x="0" y="14" font-size="12" fill="{colour("ink")}">'
        f"{sum(ends.values()):,} {escape(short[0].stops[0].name)}</text>"
        if short
        else ""
    )
    return _svg(layout, [*labels, start], width=width)


def _svg(layout: Layout, texts: Sequence[str], *, width: float) -> str:
    parts = [_band(band) for band in layout.bands]
    parts += [_bar(box) for box in layout.boxes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {layout.height:.0f}"'
        f' width="{width:g}" height="{layout.height:.0f}">{"".join([*parts, *texts])}</svg>'
    )


def _band(band: Band) -> str:
    x, x_end = band.start.x + _BAR, band.end.x
    middle = (x + x_end) / 2
    low, low_end = band.y_start + band.height, band.y_end + band.height
    path = (
        f"M{x:.1f},{band.y_start:.1f}C{middle:.1f},{band.y_start:.1f} {middle:.1f},{band.y_end:.1f}"
        f" {x_end:.1f},{band.y_end:.1f}V{low_end:.1f}C{middle:.1f},{low_end:.1f}"
        f" {middle:.1f},{low:.1f} {x:.1f},{low:.1f}Z"
    )
    return f'<path d="{path}" fill="{colour(band.end.stop.colour)}" opacity="0.28"/>'


def _bar(box: Box) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{_BAR:g}" height="{box.height:.1f}"'
        f' fill="{colour(box.stop.colour)}"/>'
    )


def _label(box: Box, *, space: float, lines: int) -> str:
    characters = max(int(space / 6.4), 8)
    shown = _wrapped(f"{box.rows:,} {box.stop.name}", characters=characters, lines=lines)
    y = box.y + min(box.height / 2, _LINE) + (0 if box.height < _LINE else 2)
    x = box.x + _BAR + 5
    spans = "".join(
        f'<tspan x="{x:.1f}" dy="{0 if index == 0 else _LINE:g}">{escape(line)}</tspan>'
        for index, line in enumerate(shown)
    )
    # The halo keeps the name readable where a band passes behind it.
    halo = f'stroke="{colour("panel")}" stroke-width="3" stroke-opacity="0.8" paint-order="stroke"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{colour("ink")}" {halo}>{spans}</text>'
    )


def _wrapped(text: str, *, characters: int, lines: int) -> list[str]:
    words = one_line(text, characters=characters * lines).split()
    out = [""]
    for word in words:
        if out[-1] and len(out[-1]) + 1 + len(word) > characters and len(out) < lines:
            out.append(word)
        else:
            out[-1] = f"{out[-1]} {word}".strip()
    return [line if len(line) <= characters + 3 else line[:characters] + "…" for line in out]
