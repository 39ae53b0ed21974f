"""Charts of a report, drawn with altair and Vega-Lite.

Fields have our own names; the text of users is only ever data.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tutelage.reporting.blocks import one_line
from tutelage.reporting.number_format import number
from tutelage.reporting.run_summary import Axis, Group, LengthBin, Plane, Spread
from tutelage.reporting.svg import LIGHT, missing_pictures, svg_of

GROUP_WORDS: Mapping[Group, str] = {
    "original": "originals",
    "refinement": "rewrites",
    "chosen": "chosen",
}
CHART_WIDTH = 296
WIDE_CHART_WIDTH = 420
NAME_CHARACTERS = 26
LONG_NAME_CHARACTERS = 40
BAR_WIDTH = 190


def import_altair() -> Any:
    """Module altair, imported where a figure is drawn.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import altair as alt  # noqa: PLC0415  (a page without pictures needs no picture library)
    except ImportError as error:
        raise missing_pictures() from error
    return alt


def chart_data(rows: Sequence[Mapping[str, object]]) -> Any:
    """Inline data of a chart."""
    return import_altair().Data(values=list(rows))


def spread_chart(axis: Axis, spreads: Sequence[Spread], *, unit: str, ceiling: float | None) -> str:
    """Three histograms on one axis, each with its median.

    Args:
        axis: Range and bins.
        spreads: Values by group.
        unit: Label of the axis.
        ceiling: The metric's cap, drawn as a line, or None.
    """
    alt = import_altair()
    present = [s for s in spreads if s.candidates]
    rows = [
        _histogram(axis, spread, unit=unit if spread is present[-1] else None, ceiling=ceiling)
        for spread in present
    ]
    return svg_of(alt.vconcat(*rows, spacing=4).resolve_scale(x="shared", y="shared"))


def _histogram(axis: Axis, spread: Spread, *, unit: str | None, ceiling: float | None) -> Any:
    alt = import_altair()
    width = (axis.high - axis.low) / axis.bins
    bars = [
        {
            "low": round(axis.low + index * width, 6),
            "high": round(axis.low + (index + 1) * width, 6),
            "floor": 0,
            "share": 100 * counted / spread.candidates,
        }
        for index, counted in enumerate(spread.counts)
        if counted
    ]
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False, zero=False)
    ticks = alt.Axis(grid=False, tickCount=6, labels=unit is not None, ticks=unit is not None)
    share = alt.Axis(tickCount=2, labelExpr="datum.label + ' %'")
    histogram = (
        alt.Chart(chart_data(bars))
        .mark_rect(clip=True, stroke=LIGHT["panel"], strokeWidth=0.7, color=LIGHT[spread.group])
        .encode(
            x=alt.X("low:Q", scale=scale, title=unit, axis=ticks),
            x2="high:Q",
            y=alt.Y("share:Q", title=None, axis=share),
            y2="floor:Q",
        )
    )
    marks = [(spread.quantiles[2], LIGHT["ink"], [1, 0])]
    marks += [] if ceiling is None else [(ceiling, LIGHT["quiet"], [4, 3])]
    lines = [
        alt.Chart(chart_data([{"at": at}]))
        .mark_rule(color=tint, strokeDash=dash, strokeWidth=1.5)
        .encode(x=alt.X("at:Q", scale=scale))
        for at, tint, dash in marks
    ]
    title = alt.TitleParams(
        f"{GROUP_WORDS[spread.group]}: {spread.candidates:,}, median {number(spread.quantiles[2])}",
        anchor="start",
        fontSize=12,
        fontWeight="normal",
        color=LIGHT["ink"],
        offset=3,
    )
    return alt.layer(histogram, *lines).properties(width=CHART_WIDTH, height=58, title=title)


def plane_chart(plane: Plane, *, group: Group, limits: tuple[float, float]) -> str:
    """Scatter plot of candidates in the plane of ifd and r_ifd, with the chosen ones on top.

    Args:
        plane: The points.
        group: The group of candidates.
        limits: Range of both axes.
    """
    alt = import_altair()
    high_x, high_y = limits
    x = alt.X("ifd:Q", scale=alt.Scale(domain=[0, high_x], nice=False), title="ifd (ratio)")
    y = alt.Y("r_ifd:Q", scale=alt.Scale(domain=[0, high_y], nice=False), title="r_ifd (ratio)")
    box = (
        alt.Chart(chart_data([{"x": 0, "X": 1, "y": 0, "Y": 1}]))
        .mark_rect(color=LIGHT["region"], opacity=1)
        .encode(x=alt.X("x:Q"), x2="X:Q", y=alt.Y("y:Q"), y2="Y:Q")
    )
    gates = [
        alt.Chart(chart_data([{"at": 1}]))
        .mark_rule(color=LIGHT["quiet"], strokeDash=[4, 3])
        .encode(**{channel: "at:Q"})
        for channel in ("x", "y")
    ]
    points = [
        {
            "ifd": round(p.ifd, 4),
            "r_ifd": round(p.r_ifd, 4),
            "fate": "chosen" if p.chosen else "not chosen",
        }
        for p in plane.points
        if p.group == group and p.ifd <= high_x and p.r_ifd <= high_y
    ]
    fates = alt.Scale(domain=["not chosen", "chosen"], range=[LIGHT["refused"], LIGHT["chosen"]])
    dots = [
        alt.Chart(chart_data([p for p in points if p["fate"] == fate]))
        .mark_point(clip=True, size=18, strokeWidth=1.1, opacity=0.8, filled=fate == "chosen")
        .encode(x=x, y=y, color=alt.Color("fate:N", scale=fates))
        for fate in ("not chosen", "chosen")
    ]
    labels = _region_labels(plane, group, limits)
    return svg_of(
        alt.layer(box, *gates, *dots, *labels).properties(
            width=CHART_WIDTH, height=CHART_WIDTH - 30
        )
    )


def _region_labels(plane: Plane, group: Group, limits: tuple[float, float]) -> list[Any]:
    """Count of candidates in each quarter, placed in its outer corner."""
    alt = import_altair()
    high_x, high_y = limits
    labels = []
    for region in plane.regions:
        if region.group != group:
            continue
        left, low = region.ifd_below, region.r_ifd_below
        place = {"x": 0 if left else high_x, "y": 0 if low else high_y}
        said = f"{region.candidates:,}{' pass both' if left and low else ''}"
        labels.append(
            alt.Chart(chart_data([{**place, "said": said}]))
            .mark_text(
                align="left" if left else "right",
                baseline="bottom" if low else "top",
                dx=5 if left else -5,
                dy=-4 if low else 4,
                fontSize=12,
                color=LIGHT["ink"],
            )
            .encode(x=alt.X("x:Q"), y=alt.Y("y:Q"), text="said:N")
        )
    return labels


def length_chart(bins: Sequence[LengthBin], *, unit: str) -> str:
    """Median and interquartile range of a metric by response length."""
    alt = import_altair()
    rows = [
        {
            "group": GROUP_WORDS[b.group],
            "tokens": b.tokens,
            "low": b.low,
            "middle": b.middle,
            "high": b.high,
        }
        for b in bins
    ]
    groups: tuple[Group, ...] = ("original", "refinement")
    names = [GROUP_WORDS[g] for g in groups]
    tints = alt.Scale(domain=names, range=[LIGHT[g] for g in groups])
    longest = max((b.tokens for b in bins), default=1)
    shortest = min((b.tokens for b in bins), default=0)
    kind = "log" if shortest > 0 and longest > 20 * shortest else "linear"
    x = alt.X(
        "tokens:Q",
        scale=alt.Scale(type=kind, zero=False),
        title="length of the response (tokens" + (", log scale)" if kind == "log" else ")"),
        axis=alt.Axis(grid=False, tickCount=5),
    )
    base = alt.Chart(chart_data(rows)).encode(x=x)
    bands = [
        alt.Chart(chart_data([row for row in rows if row["group"] == GROUP_WORDS[group]]))
        .mark_area(color=LIGHT[group], opacity=0.22)
        .encode(x=x, y=alt.Y("low:Q", title=unit, scale=alt.Scale(zero=False)), y2="high:Q")
        for group in groups
    ]
    line = base.mark_line(strokeWidth=2).encode(
        y="middle:Q",
        color=alt.Color("group:N", scale=tints),
        strokeDash=alt.StrokeDash("group:N", sort=names, legend=None),
    )
    dots = base.mark_point(size=26, filled=True).encode(
        y="middle:Q",
        color=alt.Color("group:N", scale=tints),
        shape=alt.Shape("group:N", scale=alt.Scale(domain=names, range=["circle", "square"])),
    )
    return svg_of(alt.layer(*bands, line, dots).properties(width=CHART_WIDTH, height=170))


def stacked_chart(
    rows: Sequence[tuple[str, Mapping[str, float]]], *, tints: Mapping[str, str], unit: str
) -> str:
    """Stacked horizontal bars, one per name, each 100 % long.

    Args:
        rows: Names with the size of each part.
        tints: Colour of each part.
        unit: Label of the axis.
    """
    alt = import_altair()
    names = distinct_labels([name for name, _ in rows], characters=34)
    data = [
        {
            "name": key,
            "part": part,
            "order": order,
            "share": 100 * value / (sum(parts.values()) or 1),
        }
        for key, (_, parts) in zip(names, rows, strict=True)
        for order, (part, value) in enumerate(parts.items())
    ]
    chart = (
        alt.Chart(chart_data(data))
        .mark_bar(stroke=LIGHT["page"], strokeWidth=1)
        .encode(
            x=alt.X(
                "share:Q", title=unit, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5)
            ),
            y=_name_axis(names),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(tints), range=[LIGHT[t] for t in tints.values()]),
                legend=alt.Legend(columns=3),
            ),
            order="order:Q",
        )
        .properties(width=BAR_WIDTH + 60, height=alt.Step(24))
    )
    return svg_of(chart)


def distinct_labels(names: Sequence[str], *, characters: int = NAME_CHARACTERS) -> list[str]:
    """Short labels that remain distinct."""
    labels: list[str] = []
    for name in names:
        label = one_line(name, characters=characters) or "(empty)"
        again = label
        while again in labels:
            again = f"{label} ({len(labels) + 1})"
        labels.append(again)
    return labels


def _name_axis(labels: Sequence[str]) -> Any:
    alt = import_altair()
    axis = alt.Axis(labelLimit=300, ticks=False, domain=False)
    return alt.Y("name:N", sort=list(labels), title=None, axis=axis)


def interval_chart(
    rows: Sequence[tuple[str, float, float | None, float | None]],
    *,
    unit: str,
    first: Sequence[str],
    wide: bool = True,
) -> str:
    """Values with their 95 % intervals, one per name; some in a colour and shape of their own.

    Args:
        rows: Name, value, lower and upper end; None where there is no interval.
        unit: Unit of the values.
        first: Names in their own colour: the selection, or those that may be first.
        wide: Whether it has the width of the page, not of a card.
    """
    alt = import_altair()
    names = distinct_labels([row[0] for row in rows], characters=36 if wide else NAME_CHARACTERS)
    data = [
        {
            "name": key,
            "value": value,
            "low": value if low is None else low,
            "high": value if high is None else high,
            "kind": "first" if name in first else "other",
        }
        for key, (name, value, low, high) in zip(names, rows, strict=True)
    ]
    scale = alt.Scale(zero=False, nice=True)
    kinds = alt.Scale(domain=["first", "other"], range=[LIGHT["chosen"], LIGHT["quiet"]])
    base = alt.Chart(chart_data(data)).encode(
        y=_name_axis(names), color=alt.Color("kind:N", legend=None, scale=kinds)
    )
    axis = alt.Axis(tickCount=5 if wide else 4)
    whisker = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=unit, scale=scale, axis=axis), x2="high:Q"
    )
    shapes = alt.Scale(domain=["first", "other"], range=["circle", "diamond"])
    dot = base.mark_point(filled=True, size=45 if wide else 60, opacity=1).encode(
        x=alt.X("value:Q", scale=scale), shape=alt.Shape("kind:N", legend=None, scale=shapes)
    )
    width, height = (WIDE_CHART_WIDTH, 17) if wide else (CHART_WIDTH - 110, 22)
    return svg_of(alt.layer(whisker, dot).properties(width=width, height=alt.Step(height)))


_STEPS = ("minus3", "minus2", "minus1", "zero", "plus1", "plus2", "plus3")
_EDGES = (-0.7, -0.4, -0.15, 0.15, 0.4, 0.7)


def heat_chart(names: Sequence[str], values: Mapping[tuple[str, str], float | None]) -> str:
    """Heat map of rank correlations with the number in each cell."""
    alt = import_altair()
    cells = []
    for a in names:
        for b in names:
            value = 1.0 if a == b else values.get((a, b), values.get((b, a)))
            if value is not None:
                level = sum(value >= edge for edge in _EDGES)
                cells.append(
                    {
                        "a": a,
                        "b": b,
                        "level": _STEPS[level],
                        "shown": f"{value:.2f}",
                        "strong": level in (0, len(_STEPS) - 1),
                    }
                )
    place = {
        "x": alt.X(
            "b:N", sort=list(names), title=None, axis=alt.Axis(labelAngle=-40, orient="top")
        ),
        "y": alt.Y("a:N", sort=list(names), title=None),
    }
    base = alt.Chart(chart_data(cells)).encode(**place)
    squares = base.mark_rect(stroke=LIGHT["page"], strokeWidth=2).encode(
        color=alt.Color(
            "level:N",
            scale=alt.Scale(domain=list(_STEPS), range=[LIGHT[s] for s in _STEPS]),
            legend=None,
        )
    )
    texts = base.mark_text(fontSize=12).encode(
        text="shown:N",
        color=alt.condition("datum.strong", alt.value(LIGHT["on_strong"]), alt.value(LIGHT["ink"])),
    )
    side = alt.Step(46)
    return svg_of(alt.layer(squares, texts).properties(width=side, height=alt.Step(30)))


def bar_chart(
    rows: Sequence[tuple[str, float]], *, unit: str, tint: str, shown: Callable[[float], str]
) -> str:
    """Horizontal bars, one per name, with the number at the end.

    Args:
        rows: Names and values.
        unit: Label of the axis.
        tint: Colour of the bars.
        shown: Text of a number.
    """
    alt = import_altair()
    names = distinct_labels([row[0] for row in rows], characters=LONG_NAME_CHARACTERS)
    data = [
        {"name": key, "value": value, "shown": shown(value)}
        for key, (_, value) in zip(names, rows, strict=True)
    ]
    most = max((value for _, value in rows), default=1) or 1
    base = alt.Chart(chart_data(data)).encode(
        y=_name_axis(names),
        x=alt.X(
            "value:Q",
            title=unit,
            scale=alt.Scale(domain=[0, 1.25 * most], nice=False),
            axis=alt.Axis(tickCount=4),
        ),
    )
    bars = base.mark_bar(color=LIGHT[tint])
    texts = base.mark_text(align="left", dx=4).encode(text="shown:N")
    return svg_of(alt.layer(bars, texts).properties(width=BAR_WIDTH, height=alt.Step(24)))


_RATE_BINS = 10


def histogram_chart(rates: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Histograms of the pass rates of each student, in tenths."""
    alt = import_altair()
    charts = []
    for name, found in rates:
        counts = [0] * _RATE_BINS
        for rate in found:
            counts[min(int(rate * _RATE_BINS), _RATE_BINS - 1)] += 1
        rows = [
            {"low": i / _RATE_BINS, "high": (i + 1) / _RATE_BINS, "floor": 0, "count": n}
            for i, n in enumerate(counts)
        ]
        charts.append(
            alt.Chart(chart_data(rows))
            .mark_rect(color=LIGHT["original"], stroke=LIGHT["panel"])
            .encode(
                x=alt.X("low:Q", title="pass rate", scale=alt.Scale(domain=[0, 1])),
                x2="high:Q",
                y=alt.Y("count:Q", title="examples"),
                y2="floor:Q",
            )
            .properties(width=CHART_WIDTH, height=80, title=name)
        )
    return svg_of(alt.vconcat(*charts, spacing=6))
