"""SVG pictures: colours of all figures, charts rendered offline, and the Sankey diagram of rows.

The palette is light and dark and can be told apart by colour-blind readers. Blue, orange and green
are those of Okabe and Ito, darkened or lightened until they stand out from the page by 3 to 1;
texts by 4.5 to 1. A picture is drawn in the light hexadecimal colours; on the page each becomes a
CSS variable that follows the reader's light or dark setting.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from tutelage.errors import MissingExtraError
from tutelage.reporting.blocks import one_line

if TYPE_CHECKING:
    import altair as alt

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "page": "#ffffff",
        "panel": "#f5f6f8",
        "ink": "#1b1f24",
        "quiet": "#565e69",
        "line": "#c9ced6",
        "grid": "#e6e8ec",
        "original": "#0b6aa8",
        "refinement": "#c05800",
        "chosen": "#00805c",
        "refused": "#7b828c",
        "lost": "#a8368a",
        "region": "#d9efe6",
        "minus3": "#b35806",
        "minus2": "#f1a340",
        "minus1": "#fee0b6",
        "zero": "#f2f2f5",
        "plus1": "#d8daeb",
        "plus2": "#998ec3",
        "plus3": "#542788",
        "on_strong": "#fffffe",
    }
)
DARK: Mapping[str, str] = MappingProxyType(
    {
        "page": "#14171b",
        "panel": "#1d2127",
        "ink": "#e8eaed",
        "quiet": "#a6adb8",
        "line": "#4a515c",
        "grid": "#2b3038",
        "original": "#5bb4ee",
        "refinement": "#f39a3f",
        "chosen": "#2fc796",
        "refused": "#8b929d",
        "lost": "#e07cc4",
        "region": "#173d31",
        "minus3": "#d97a1a",
        "minus2": "#935412",
        "minus1": "#5a3a17",
        "zero": "#2a2e35",
        "plus1": "#3a3557",
        "plus2": "#6458a0",
        "plus3": "#9d8fdc",
        "on_strong": "#101317",
    }
)


def colour(name: str) -> str:
    """Colour of the palette as CSS, falling back to the light one without CSS variables."""
    return f"var(--{name.replace('_', '-')}, {LIGHT[name]})"


def css_variables(palette: Mapping[str, str]) -> str:
    """CSS declarations of the palette."""
    return "".join(f"--{name.replace('_', '-')}:{value};" for name, value in palette.items())


_SVG = "{http://www.w3.org/2000/svg}"
_NOISE = ("role", "class", "pointer-events", "cursor")
_SHAPES = frozenset(
    f"{_SVG}{name}"
    for name in ("svg", "g", "path", "rect", "line", "text", "tspan", "circle", "defs", "clipPath")
)
_COLOUR_OF = {value: colour(name) for name, value in LIGHT.items()}
_ID = re.compile(r"url\(#([^)]+)\)")
_BOX = re.compile(r"(-?[\d.]+)[\s,]+(-?[\d.]+)[\s,]+([\d.]+)[\s,]+([\d.]+)")
_TRANSFORM = re.compile(r"(translate|rotate)\(([^)]*)\)")
_SIZE = re.compile(r"[^\d.].*")
_ANCHORS = {"middle": 0.5, "end": 1.0}
_UPRIGHT = 1e-9
_WIDE_FROM = 0x1100
"""From here on characters, such as those of Chinese, are as wide as they are tall."""
_LONG = re.compile(r"-?\d+\.\d{3,}")

FONT = "system-ui, sans-serif"


def config() -> dict[str, Any]:
    """Style of all charts: palette, one font, few lines."""
    text = {"labelColor": LIGHT["quiet"], "titleColor": LIGHT["ink"], "titleFontWeight": "normal"}
    return {
        "background": None,
        "font": FONT,
        "padding": {"left": 16, "right": 6, "top": 4, "bottom": 4},
        "axis": {
            **text,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "domainColor": LIGHT["line"],
            "tickColor": LIGHT["line"],
            "gridColor": LIGHT["grid"],
        },
        "header": {"labelColor": LIGHT["ink"], "labelFontSize": 12, "title": None},
        "legend": {
            **text,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "orient": "top",
            "title": None,
            "columnPadding": 22,
        },
        "text": {"color": LIGHT["ink"], "fontSize": 11},
        "view": {"stroke": None},
    }


def svg_of(chart: "alt.TopLevelMixin") -> str:
    """SVG of a chart.

    Raises:
        MissingExtraError: vl-convert is not installed.
    """
    try:
        import vl_convert  # noqa: PLC0415  (a page without pictures needs no picture library)
    except ImportError as error:
        raise missing_pictures() from error
    specification = {**chart.to_dict(validate=False), "config": config()}
    return vl_convert.vegalite_to_svg(specification)


def missing_pictures() -> MissingExtraError:
    """Error for a page with figures where no drawing library is installed."""
    return MissingExtraError(
        "the report's pictures need altair and vl-convert-python, which are not installed",
        hint="pip install 'tutelage[report]', or ask for the report as text",
    )


def fit_for_page(svg: str, *, key: str, label: str) -> str:
    """SVG made safe and self-contained for a page.

    Colours of the palette become CSS variables, ids become unique, sizes follow the page, and
    whatever is neither shape nor text is left out.

    Args:
        svg: As drawn.
        key: Unique in the page; goes before every id.
        label: What screen readers say instead of the picture.
    """
    root = ET.fromstring(svg)  # noqa: S314  (our own drawing; entities cannot come from data)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag not in _SHAPES or _is_empty(child):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        kept = {
            name: _value(name, value, key=key)
            for name, value in element.attrib.items()
            if name not in _NOISE and not name.startswith(("aria-", "on", "{"))
        }
        element.attrib.clear()
        element.attrib.update(kept)
    _frame(root, label=label)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _texts(element: ET.Element, at: tuple[float, float, float]) -> Iterator[tuple[float, float]]:
    """Left and right end of every text, in the picture's units, if the reader's font is wide.

    Args:
        element: Where to look.
        at: How far one step to the right and one down of the element move to the right in the
            picture, and where its origin lies.
    """
    at = _moved(at, element.get("transform", ""))
    if element.tag.removeprefix(_SVG) == "text" and at[0]:  # a turned text needs no width
        size = float(_SIZE.sub("", element.get("font-size", "12")) or 12)
        lines = ["".join(line.itertext()) for line in element] or [element.text or ""]
        wide = at[0] * size * max(sum(map(_advance, line)) for line in lines)
        start = at[2] + at[0] * float(element.get("x", "0"))
        start -= _ANCHORS.get(element.get("text-anchor", "start"), 0.0) * wide
        yield start, start + wide
    for child in element:
        yield from _texts(child, at)


def _moved(at: tuple[float, float, float], transform: str) -> tuple[float, float, float]:
    right, down, origin = at
    for name, values in _TRANSFORM.findall(transform):
        numbers = [float(number) for number in re.split(r"[\s,]+", values.strip())]
        if name == "translate":
            x, y = (*numbers, 0.0)[:2]
            origin += right * x + down * y
        else:
            turn = math.radians(numbers[0])
            right, down = (
                right * math.cos(turn) + down * math.sin(turn),
                down * math.cos(turn) - right * math.sin(turn),
            )
            right = 0.0 if abs(right) < _UPRIGHT else right
    return right, down, origin


def _advance(character: str) -> float:
    """Width of a character in a wide font, in font sizes."""
    if character in "iljI.,:;|'![]()/ft ":
        return 0.4
    if character in "mwMW@%" or ord(character) >= _WIDE_FROM:
        return 1.0
    return 0.77 if character.isupper() else 0.64


def _is_empty(element: ET.Element) -> bool:
    return element.get("display") == "none" or (
        element.tag == f"{_SVG}path" and element.get("d", "") in ("", "M0,0h0v0h0Z")
    )


def _value(name: str, value: str, *, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name in ("fill", "stroke"):
        return _COLOUR_OF.get(value.lower(), value)
    if name in ("d", "transform", "points"):
        return _LONG.sub(lambda match: f"{float(match[0]):.2f}", value)
    return _ID.sub(rf"url(#{key}-\1)", value)


def _frame(root: ET.Element, *, label: str) -> None:
    width = root.get("width", "0")
    view = root.get("viewBox", "")
    box = _BOX.fullmatch(view.strip())
    if box is not None:
        left, top, wide, tall = (float(part) for part in box.groups())
        ends = [end for text in _texts(root, (1.0, 0.0, 0.0)) for end in text]
        low = min(left, *ends) if ends else left
        high = max(left + wide, *ends) if ends else left + wide
        width = str(float(width) * (high - low) / wide) if wide else width
        view = f"{low:.4g} {top:g} {high - low:.6g} {tall:g}"
    root.attrib.clear()
    root.set("viewBox", view)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("style", f"--w:{float(width):.0f}px")
    root.set("font-family", FONT)


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


def lay_out_sankey(
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


def draw_sankey(ways: Sequence[Way], *, heads: Sequence[str]) -> str:
    """SVG for a wide screen.

    Args:
        ways: What to draw.
        heads: A head for each column.
    """
    width = 1040.0
    layout = lay_out_sankey(ways, width=width, labels=300.0, height=300.0)
    columns = sorted({box.x for box in layout.boxes})
    spaces = dict(zip(columns, [*columns[1:], width], strict=True))
    labels = [_label(box, space=spaces[box.x] - box.x - _BAR - 10, lines=3) for box in layout.boxes]
    titles = [
        f'<text x="{x:.1f}" y="12" font-size="12" fill="{colour("quiet")}">{escape(head)}</text>'
        for x, head in zip(columns, heads, strict=False)
    ]
    return _svg(layout, [*labels, *titles], width=width)


def draw_narrow_sankey(ways: Sequence[Way]) -> str:
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
    layout = lay_out_sankey(short, width=width, labels=200.0, height=230.0, lines=3)
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
