"""Charts of rounds: drift with its limits, and pass rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.experiments.drift import UNITS
from tutelage.reporting.charts import CHART_WIDTH, chart_data, import_altair
from tutelage.reporting.svg import LIGHT, svg_of

LOOP_WORDS: Mapping[str, str] = {
    "gate": "with the gate",
    "no_gate": "without the gate",
    "random": "random choice",
    "self_teaching": "its own teacher",
}
"""Name of each loop in a report."""

_TINTS = {
    "gate": "chosen",
    "no_gate": "refinement",
    "random": "quiet",
    "self_teaching": "lost",
}
_SUBJECTS = {"data": "chosen data", "student": "the student's answers", "held_out": "held out"}
_MEASURES = {
    "accuracy": "accuracy",
    "nll_human": "loss on human text",
    "divergence": "divergence from the untrained student",
    "words": "length",
    "distinct_2": "different word pairs",
    "compression_ratio": "compression ratio",
    "spread": "spread of meaning",
    "js_words": "distance of the word distribution",
    "nll_untrained": "loss under the untrained student",
    "nll_current": "loss under the judging student",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPoint:
    """One measure of one loop after one round; round 0 is the baseline."""

    seed: int
    loop: str
    round: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLine:
    """One limit: its position and the allowed side (`at least`, `at most`)."""

    at: float
    word: str


def measure_words(subject: str, measure: str) -> tuple[str, str]:
    """Name and unit of a measure."""
    said = _MEASURES.get(measure, measure.replace("_", " "))
    return f"{_SUBJECTS.get(subject, subject)}: {said}", UNITS.get(measure) or "value"


def drift_chart(points: Sequence[DriftPoint], guard: Sequence[GuardLine], *, unit: str) -> str:
    """Line chart of each loop and seed with intervals, and the limits as dashed lines.

    Args:
        points: The measures.
        guard: The limits.
        unit: Title of the axis.
    """
    alt = import_altair()
    rows = [
        {
            "loop": LOOP_WORDS.get(p.loop, p.loop),
            "line": f"{p.loop} {p.seed}",
            "round": p.round,
            "value": p.value,
            "low": p.value if p.low is None else p.low,
            "high": p.value if p.high is None else p.high,
        }
        for p in points
    ]
    loops = list(dict.fromkeys(p.loop for p in points))
    tint = alt.Color(
        "loop:N",
        scale=alt.Scale(
            domain=[LOOP_WORDS.get(loop, loop) for loop in loops],
            range=[LIGHT[_TINTS.get(loop, "original")] for loop in loops],
        ),
        legend=alt.Legend(columns=2),
    )
    last = max(p.round for p in points)
    x = alt.X(
        "round:Q",
        title="after round",
        scale=alt.Scale(domain=[-0.15, last + 0.15], nice=False),
        axis=alt.Axis(values=list(range(last + 1)), format="d", grid=False),
    )
    y = alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False))
    base = alt.Chart(chart_data(rows)).encode(x=x, color=tint)
    layers: list[Any] = [
        base.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q", title=unit), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y, detail="line:N"),
        base.mark_point(filled=True, size=34).encode(y=y),
    ]
    layers += [
        alt.Chart(chart_data([{"at": line.at}]))
        .mark_rule(color=LIGHT["ink"], strokeDash=[4, 3], strokeWidth=1.3)
        .encode(y=alt.Y("at:Q"))
        for line in guard
    ]
    return svg_of(alt.layer(*layers).properties(width=CHART_WIDTH, height=170))
