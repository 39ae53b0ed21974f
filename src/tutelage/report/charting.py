"""The charts, as Vega-Lite by way of altair. Fields have our own names; users' text is only data."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.report.colours import LIGHT
from tutelage.report.painting import missing_pictures, svg_of
from tutelage.report.summary import GROUPS, Axis, Group, LengthBin, Plane, Spread
from tutelage.report.visible import one_line
from tutelage.report.wording import number

if TYPE_CHECKING:
    import altair as alt

GROUP_WORDS: Mapping[Group, str] = {
    "original": "originals",
    "refinement": "refinements",
    "chosen": "chosen",
}
CHART_WIDTH = 296
NAME_CHARACTERS = 26


def _altair() -> Any:
    try:
        import altair  # noqa: PLC0415  (a page without pictures needs no picture library)
    except ImportError as error:
        raise missing_pictures() from error
    return altair


def _data(rows: Sequence[Mapping[str, object]]) -> Any:
    return _altair().Data(values=list(rows))


def spread_chart(axis: Axis, spreads: Sequence[Spread], *, unit: str, ceiling: float | None) -> str:
    """Three histograms above each other on one axis, each with its median."""
    alt = _altair()
    width = (axis.high - axis.low) / axis.bins
    present = [s for s in spreads if s.candidates]
    bars = [
        {
            "group": GROUP_WORDS[s.group],
            "low": axis.low + index * width,
            "high": axis.low + (index + 1) * width,
            "share": 100 * counted / s.candidates,
        }
        for s in present
        for index, counted in enumerate(s.counts)
        if counted
    ]
    medians = [{"group": GROUP_WORDS[s.group], "at": s.quantiles[2]} for s in present]
    names = [GROUP_WORDS[g] for g in GROUPS]
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False, zero=False)
    x = alt.X("low:Q", scale=scale, title=unit, axis=alt.Axis(grid=False, tickCount=6))
    base = alt.Chart().encode()
    histogram = base.mark_bar(clip=True, stroke=LIGHT["page"], strokeWidth=0.5).encode(
        x=x,
        x2="high:Q",
        y=alt.Y("share:Q", title=None, axis=alt.Axis(tickCount=2, labelExpr="datum.label + ' %'")),
        color=alt.Color(
            "group:N", scale=alt.Scale(domain=names, range=[LIGHT[g] for g in GROUPS]), legend=None
        ),
    )
    middle = (
        alt.Chart(_data(medians))
        .mark_rule(color=LIGHT["ink"], strokeWidth=1.5)
        .encode(x=alt.X("at:Q", scale=scale))
    )
    lines = [] if ceiling is None else [
        alt.Chart(_data([{"group": GROUP_WORDS[s.group], "at": ceiling} for s in present]))
        .mark_rule(color=LIGHT["quiet"], strokeDash=[4, 3])
        .encode(x=alt.X("at:Q", scale=scale))
    ]
    rows = []
    for spread in present:
        name = GROUP_WORDS[spread.group]
        layered = alt.layer(
            histogram.properties(data=_data([b for b in bars if b["group"] == name])),
            *[line.properties(data=_data([{"at": ceiling}])) for line in lines],
            middle.properties(data=_data([m for m in medians if m["group"] == name])),
        ).properties(
            width=CHART_WIDTH,
            height=58,
            title=alt.TitleParams(
                f"{name}: {spread.candidates:,}, median {number(spread.quantiles[2])}",
                anchor="start",
                fontSize=12,
                fontWeight="normal",
                color=LIGHT["ink"],
                offset=3,
            ),
        )
        rows.append(layered)
    return svg_of(alt.vconcat(*rows, spacing=4).resolve_scale(x="shared", y="shared"))


def plane_chart(plane: Plane, *, group: Group, limits: tuple[float, float]) -> str:
    """Candidates of one group between the two gates, the chosen ones in colour on top."""
    alt = _altair()
    high_x, high_y = limits
    x = alt.X("ifd:Q", scale=alt.Scale(domain=[0, high_x], nice=False), title="ifd (ratio)")
    y = alt.Y("r_ifd:Q", scale=alt.Scale(domain=[0, high_y], nice=False), title="r_ifd (ratio)")
    box = alt.Chart(_data([{"x": 0, "X": 1, "y": 0, "Y": 1}])).mark_rect(
        color=LIGHT["region"], opacity=1
    ).encode(x=alt.X("x:Q"), x2="X:Q", y=alt.Y("y:Q"), y2="Y:Q")
    gates = [
        alt.Chart(_data([{"at": 1}]))
        .mark_rule(color=LIGHT["quiet"], strokeDash=[4, 3])
        .encode(**{channel: f"at:Q"})
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
    shapes = alt.Scale(domain=["not chosen", "chosen"], range=["cross", "circle"])
    dots = [
        alt.Chart(_data([p for p in points if p["fate"] == fate]))
        .mark_point(clip=True, size=16, strokeWidth=1, opacity=0.75, filled=fate == "chosen")
        .encode(
            x=x,
            y=y,
            color=alt.Color("fate:N", scale=fates, legend=alt.Legend()),
            shape=alt.Shape("fate:N", scale=shapes, legend=alt.Legend()),
        )
        for fate in ("not chosen", "chosen")
    ]
    return svg_of(
        alt.layer(box, *gates, *dots).properties(width=CHART_WIDTH, height=CHART_WIDTH - 30)
    )


def length_chart(bins: Sequence[LengthBin], *, unit: str) -> str:
    """Median and middle half of a metric over the length of the response."""
    alt = _altair()
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
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "tokens:Q",
            scale=alt.Scale(type=kind, zero=False),
            title="length of the response (tokens" + (", log scale)" if kind == "log" else ")"),
            axis=alt.Axis(grid=False, tickCount=5),
        ),
        color=alt.Color("group:N", scale=tints),
    )
    band = base.mark_area(opacity=0.22).encode(
        y=alt.Y("low:Q", title=unit, scale=alt.Scale(zero=False)),
        y2="high:Q",
        color=alt.Color("group:N", scale=tints, legend=None),
    )
    line = base.mark_line(strokeWidth=2).encode(
        y="middle:Q", strokeDash=alt.StrokeDash("group:N", legend=None)
    )
    dots = base.mark_point(size=26, filled=True).encode(
        y="middle:Q",
        shape=alt.Shape(
            "group:N", scale=alt.Scale(domain=names, range=["circle", "square"])
        ),
    )
    return svg_of(alt.layer(band, line, dots).properties(width=CHART_WIDTH, height=170))


def stacked_chart(
    rows: Sequence[tuple[str, Mapping[str, float]]], *, tints: Mapping[str, str], unit: str
) -> str:
    """Horizontal bars of parts, one bar a name; every bar is 100 % long."""
    alt = _altair()
    names = _labels([name for name, _ in rows])
    data = [
        {"name": key, "part": part, "order": order, "share": 100 * value / (sum(parts.values()) or 1)}
        for key, (_, parts) in zip(names, rows, strict=True)
        for order, (part, value) in enumerate(parts.items())
    ]
    chart = (
        alt.Chart(_data(data))
        .mark_bar(stroke=LIGHT["page"], strokeWidth=1)
        .encode(
            x=alt.X(
                "share:Q", title=unit, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5)
            ),
            y=_name_axis(names),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(tints), range=[LIGHT[t] for t in tints.values()]),
                legend=alt.Legend(columns=2),
            ),
            order="order:Q",
        )
        .properties(width=CHART_WIDTH - 90, height=alt.Step(24))
    )
    return svg_of(chart)


def _labels(names: Sequence[str]) -> list[str]:
    """Short names that stay different from each other."""
    labels: list[str] = []
    for name in names:
        label = one_line(name, characters=NAME_CHARACTERS) or "(empty)"
        again = label
        while again in labels:
            again = f"{label} ({len(labels) + 1})"
        labels.append(again)
    return labels


def _name_axis(labels: Sequence[str]) -> Any:
    alt = _altair()
    axis = alt.Axis(labelLimit=170, ticks=False, domain=False)
    return alt.Y("name:N", sort=list(labels), title=None, axis=axis)


def interval_chart(
    rows: Sequence[tuple[str, float, float, float]], *, chosen: str, unit: str
) -> str:
    """A mean with its 95 % interval for each set; the choice in its own colour."""
    alt = _altair()
    names = _labels([row[0] for row in rows])
    data = [
        {
            "name": key,
            "mean": mean,
            "low": low,
            "high": high,
            "kind": "chosen" if name == chosen else "null",
        }
        for key, (name, mean, low, high) in zip(names, rows, strict=True)
    ]
    tint = alt.Color(
        "kind:N",
        legend=None,
        scale=alt.Scale(domain=["chosen", "null"], range=[LIGHT["chosen"], LIGHT["quiet"]]),
    )
    base = alt.Chart(_data(data)).encode(
        y=_name_axis(names),
        color=tint,
    )
    scale = alt.Scale(zero=False, nice=True)
    whisker = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=5)), x2="high:Q"
    )
    dot = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("mean:Q", scale=scale),
        shape=alt.Shape(
            "kind:N",
            legend=None,
            scale=alt.Scale(domain=["chosen", "null"], range=["circle", "diamond"]),
        ),
    )
    return svg_of(alt.layer(whisker, dot).properties(width=CHART_WIDTH - 110, height=alt.Step(22)))


_STEPS = ("minus3", "minus2", "minus1", "zero", "plus1", "plus2", "plus3")
_EDGES = (-0.7, -0.4, -0.15, 0.15, 0.4, 0.7)


def heat_chart(names: Sequence[str], values: Mapping[tuple[str, str], float | None]) -> str:
    """A square of rank correlations with the number in every cell."""
    alt = _altair()
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
        "x": alt.X("b:N", sort=list(names), title=None, axis=alt.Axis(labelAngle=-40, orient="top")),
        "y": alt.Y("a:N", sort=list(names), title=None),
    }
    base = alt.Chart(_data(cells)).encode(**place)
    squares = base.mark_rect(stroke=LIGHT["page"], strokeWidth=2).encode(
        color=alt.Color(
            "level:N",
            scale=alt.Scale(domain=list(_STEPS), range=[LIGHT[s] for s in _STEPS]),
            legend=None,
        )
    )
    texts = base.mark_text(fontSize=12).encode(
        text="shown:N",
        color=alt.condition(
            "datum.strong", alt.value(LIGHT["on_strong"]), alt.value(LIGHT["ink"])
        ),
    )
    side = alt.Step(46)
    return svg_of(alt.layer(squares, texts).properties(width=side, height=alt.Step(30)))


def bar_chart(rows: Sequence[tuple[str, float]], *, unit: str, tint: str) -> str:
    """Horizontal bars, one a name, with the number at the end."""
    alt = _altair()
    names = _labels([row[0] for row in rows])
    data = [
        {"name": key, "value": value, "shown": number(value)}
        for key, (_, value) in zip(names, rows, strict=True)
    ]
    base = alt.Chart(_data(data)).encode(
        y=_name_axis(names),
        x=alt.X("value:Q", title=unit, axis=alt.Axis(tickCount=4)),
    )
    bars = base.mark_bar(color=LIGHT[tint])
    texts = base.mark_text(align="left", dx=4).encode(text="shown:N")
    return svg_of(
        alt.layer(bars, texts).properties(width=CHART_WIDTH - 110, height=alt.Step(24))
    )
