"""SVG rendering of charts, offline, for use inside a page."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from tutelage.errors import MissingExtraError
from tutelage.reporting.theme import LIGHT, colour

if TYPE_CHECKING:
    import altair as alt

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
