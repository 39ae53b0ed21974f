"""Charts of rankings: who stands where, how a number settles, two numbers against each other."""

from collections.abc import Sequence

from tutelage.reporting.charts import CHART_WIDTH, _altair, _data, _labels
from tutelage.reporting.svg import missing_pictures, svg_of
from tutelage.reporting.theme import LIGHT

LINES = ("original", "refinement", "chosen", "quiet")
"""Colours of lines, in order; more lines than these share the last one."""
_WIDE = 420


def line_chart(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, x: str, y: str
) -> str:
    """Lines over a count."""
    alt = _altair()
    names = _labels([name for name, _ in lines])
    data = [
        {"line": key, "x": at, "y": value}
        for key, (_, points) in zip(names, lines, strict=True)
        for at, value in points
    ]
    tints = [LIGHT[LINES[min(i, len(LINES) - 1)]] for i in range(len(names))]
    chart = (
        alt.Chart(_data(data))
        .mark_line(strokeWidth=2, point=True)
        .encode(
            x=alt.X("x:Q", title=x, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=y),
            color=alt.Color("line:N", scale=alt.Scale(domain=names, range=tints)),
            strokeDash=alt.StrokeDash("line:N", sort=names, legend=None),
        )
        .properties(width=_WIDE, height=190)
    )
    return svg_of(chart)


def scatter_chart(points: Sequence[tuple[str, float, float]], *, x: str, y: str) -> str:
    """One point a name, with the names where they are few."""
    alt = _altair()
    names = _labels([name for name, _, _ in points])
    data = [{"name": key, "x": a, "y": b} for key, (_, a, b) in zip(names, points, strict=True)]
    base = alt.Chart(_data(data)).encode(
        x=alt.X("x:Q", title=x, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
    )
    layers = [base.mark_point(filled=True, size=55, color=LIGHT["chosen"])]
    if len(points) <= 12:  # noqa: PLR2004  (more names cover each other)
        layers.append(base.mark_text(align="left", dx=7, fontSize=10).encode(text="name:N"))
    return svg_of(alt.layer(*layers).properties(width=CHART_WIDTH, height=240))


def as_picture(svg: str) -> str:
    """The same drawing with a white ground, to stand outside of a page."""
    start = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:start]}<rect width="100%" height="100%" fill="white"/>{svg[start:]}'


def png_of(svg: str, *, scale: float = 2.0) -> bytes:
    """A drawing as PNG.

    Raises:
        MissingExtraError: vl-convert is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise missing_pictures() from error
    png: bytes = vl_convert.svg_to_png(as_picture(svg), scale=scale)
    return png
