"""Chart of values with their confidence intervals, one per name."""

from collections.abc import Sequence

from tutelage.reporting.charts import _altair, _data, _labels, _name_axis
from tutelage.reporting.svg import svg_of
from tutelage.reporting.theme import LIGHT

_WIDE = 420


def interval_chart(
    rows: Sequence[tuple[str, float, float | None, float | None]],
    *,
    unit: str,
    first: Sequence[str],
) -> str:
    """Values with their intervals, one per entrant; possible winners in their own colour.

    Args:
        rows: Name, value, lower and upper end; None where there is no interval.
        unit: Unit of the values.
        first: Names of those that cannot be told apart from the first.
    """
    alt = _altair()
    names = _labels([row[0] for row in rows], characters=36)
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
    base = alt.Chart(_data(data)).encode(
        y=_name_axis(names), color=alt.Color("kind:N", legend=None, scale=kinds)
    )
    whisker = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=5)), x2="high:Q"
    )
    shapes = alt.Scale(domain=["first", "other"], range=["circle", "diamond"])
    dot = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=alt.X("value:Q", scale=scale), shape=alt.Shape("kind:N", legend=None, scale=shapes)
    )
    return svg_of(alt.layer(whisker, dot).properties(width=_WIDE, height=alt.Step(17)))
