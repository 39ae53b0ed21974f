"""Chapters about the metrics: their spread, the plane, length, and agreement."""

from collections.abc import Sequence
from functools import partial

from tutelage.metrics import METRICS
from tutelage.reporting import charts
from tutelage.reporting.blocks import Cell, Column, Figure, Section, Table
from tutelage.reporting.charts import GROUP_WORDS
from tutelage.reporting.metric_spread import LENGTHS, correlation_of
from tutelage.reporting.number_format import count, number, share
from tutelage.reporting.run_summary import Axis, Group, LengthBin, Plane, Region, Spread, Summary

_UNITS = {
    "ppl": "equally likely tokens",
    "grape": "nats per token",
    "mean_surprisal": "nats per token",
    "rsr": "ranks per nat",
    "mean_rank": "rank",
    "lalp": "nats per token",
    "aslec_drop": "nats per token",
    "casl": "nats per token",
    "first_token_logprob": "nats per token",
    "ifd": "ratio",
    "ifd_loss": "ratio",
    "r_ifd": "ratio",
    "response_tokens": "tokens",
    "instruction_tokens": "tokens",
}
_BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "no direction"}
_FAR, _NEAR = 0.7, 0.3

_METRICS_TEXT = (
    "Each picture shows one metric three times on the same axis: over the originals, over the "
    "refinements, and over what was chosen. The solid line is the median; a dashed line is the "
    "value that no chosen pair should reach."
)
_PLANE_TEXT = (
    "A pair fits together when the instruction helps with the response (ifd below 1) and the "
    "response points back to the instruction (r_ifd below 1). The shaded corner is where both "
    "hold; the rule srt takes nothing from outside it."
)
_AGREEMENT_TEXT = (
    "Spearman's rank correlation over all candidates with numbers: 1 puts them in the same "
    "order, -1 in the opposite order, 0 says nothing. Two metrics that agree closely are one "
    "vote, not two."
)


def with_unit(metric: str) -> str:
    """A metric's name with its unit, for an axis."""
    return f"{metric} ({_UNITS[metric]})" if metric in _UNITS else metric


def about(metric: str) -> str:
    """What a metric means, in one line."""
    spec = METRICS.get(metric)
    if spec is None:
        return "A column of the scores table that this version does not know."
    ceiling = f", below {number(spec.ceiling)}" if spec.ceiling is not None else ""
    return f"{spec.summary} {spec.formula}; {_BETTER[spec.better]}{ceiling}."


def spread_section(summary: Summary) -> Sequence[Section]:
    """The distribution of each metric for originals, refinements and chosen candidates."""
    if not summary.metrics:
        return ()
    return (
        Section(
            key="metrics",
            title="What the student measured",
            paragraphs=(_METRICS_TEXT,),
            figures=tuple(_spread_figure(summary, axis) for axis in summary.axes),
        ),
    )


def _spread_figure(summary: Summary, axis: Axis) -> Figure:
    spreads = [s for s in summary.spreads if s.metric == axis.metric]
    present = [s for s in spreads if s.candidates]
    beyond = sum(s.beyond for s in spreads)
    spec = METRICS.get(axis.metric)
    medians = "; ".join(f"{GROUP_WORDS[s.group]} {number(s.quantiles[2])}" for s in present)
    return Figure(
        title=_spread_title(axis.metric, present),
        alt=f"Histograms of {axis.metric}. Medians: {medians}.",
        draw=partial(
            charts.spread_chart,
            axis,
            spreads,
            unit=with_unit(axis.metric),
            ceiling=spec.ceiling if spec else None,
        ),
        table=_spread_table(axis.metric, spreads),
        note=about(axis.metric)
        + (f" {count(beyond, 'value lies', 'values lie')} beyond the axis." if beyond else ""),
    )


def _spread_title(metric: str, present: Sequence[Spread]) -> str:
    medians = {s.group: s.quantiles[2] for s in present}
    if "original" in medians and "refinement" in medians:
        before, after = medians["original"], medians["refinement"]
        if number(before) == number(after):
            return f"Median {metric}: {number(before)} for originals and refinements alike"
        return f"Median {metric}: {number(before)} for originals, {number(after)} for refinements"
    group, median = next(iter(medians.items()))
    return f"The median {metric} of {GROUP_WORDS[group]} is {number(median)}"


def _spread_table(metric: str, spreads: Sequence[Spread]) -> Table:
    names = ("mean", "5 %", "25 %", "median", "75 %", "95 %")
    rows: list[tuple[Cell, ...]] = [
        (GROUP_WORDS[s.group], s.candidates, s.mean, *(s.quantiles or (None,) * 5)) for s in spreads
    ]
    return Table(
        caption=f"{with_unit(metric)}: quantiles by group",
        columns=(
            Column(name="group"),
            Column(name="candidates", style="count"),
            *(Column(name=name, style="number") for name in names),
        ),
        rows=tuple(rows),
    )


def plane_section(summary: Summary) -> Sequence[Section]:
    """The plane of ifd and r_ifd with the two gates."""
    if summary.plane is None or not summary.plane.regions:
        return ()
    groups: tuple[Group, ...] = ("original", "refinement")
    present = [g for g in groups if any(r.group == g for r in summary.plane.regions)]
    return (
        Section(
            key="plane",
            title="Two gates: ifd and r_ifd",
            paragraphs=(_PLANE_TEXT,),
            figures=tuple(_plane_figure(summary.plane, group) for group in present),
        ),
    )


def _plane_figure(plane: Plane, group: Group) -> Figure:
    regions = [r for r in plane.regions if r.group == group]
    total = sum(r.candidates for r in regions)
    inside = sum(r.candidates for r in regions if r.ifd_below and r.r_ifd_below)
    points = [p for p in plane.points if p.group == group]
    limits = tuple(
        _limit(sorted(getattr(p, axis) for p in plane.points)) for axis in ("ifd", "r_ifd")
    )
    outside = sum(p.ifd > limits[0] or p.r_ifd > limits[1] for p in points)
    words = GROUP_WORDS[group]
    notes = [f"A sample of {len(points):,} of {total:,}."] if len(points) < total else []
    notes += [f"{count(outside, 'point lies', 'points lie')} beyond the axes."] if outside else []
    return Figure(
        title=f"{share(inside / (total or 1))} of the {words} pass both gates",
        alt=f"{words} by ifd and r_ifd; {inside} of {total} have both below 1.",
        draw=partial(charts.plane_chart, plane, group=group, limits=(limits[0], limits[1])),
        table=_plane_table(words, regions),
        note=" ".join(notes),
    )


def _limit(values: Sequence[float]) -> float:
    at = values[min(int(len(values) * 0.99), len(values) - 1)] if values else 1.0
    return min(max(1.3, at * 1.05), 4.0)


def _plane_table(words: str, regions: Sequence[Region]) -> Table:
    side = {True: "below 1", False: "1 or more"}
    return Table(
        caption=f"All {words} by quarter of the plane",
        columns=(
            Column(name="ifd"),
            Column(name="r_ifd"),
            Column(name="candidates", style="count"),
            Column(name="chosen", style="count"),
        ),
        rows=tuple(
            (side[r.ifd_below], side[r.r_ifd_below], r.candidates, r.chosen) for r in regions
        ),
    )


def length_section(summary: Summary) -> Sequence[Section]:
    """Every metric over the length of the response."""
    if not any(bins for _, bins in summary.lengths):
        return ()
    sampled = summary.sampled < summary.scored
    return (
        Section(
            key="length",
            title="Do the metrics only measure length?",
            paragraphs=(
                "Many scores rise or fall with the length of a response, so that choosing by the "
                "score is choosing by length. The line is the median, the band the middle half of "
                "candidates of about the same length. Rank correlations lie between -1 and 1; near "
                "either end the metric mostly sorts by length."
                + (f" Measured on a sample of {summary.sampled:,} candidates." if sampled else ""),
            ),
            figures=tuple(
                _length_figure(summary, metric, bins) for metric, bins in summary.lengths if bins
            ),
            in_text=False,  # the correlations with length stand in the next section
        ),
    )


def _length_figure(summary: Summary, metric: str, bins: Sequence[LengthBin]) -> Figure:
    response, instruction = (correlation_of(summary.correlations, metric, x) for x in LENGTHS)
    rows: list[tuple[Cell, ...]] = [
        (GROUP_WORDS[b.group], b.tokens, b.low, b.middle, b.high, b.candidates) for b in bins
    ]
    return Figure(
        title=f"{metric} {_follows(response)} (rank correlation {_signed(response)})",
        alt=f"{metric} over the length of the response, in tokens.",
        draw=partial(charts.length_chart, bins, unit=with_unit(metric)),
        table=Table(
            caption=f"{with_unit(metric)} by length of the response",
            columns=(
                Column(name="group"),
                Column(name="median tokens", style="number"),
                *(Column(name=n, style="number") for n in ("25 %", "median", "75 %")),
                Column(name="candidates", style="count"),
            ),
            rows=tuple(rows),
        ),
        note=f"Rank correlation with the length of the instruction: {_signed(instruction)}.",
    )


def _follows(correlation: float | None) -> str:
    if correlation is None:
        return "cannot be compared with length"
    if abs(correlation) >= _FAR:
        return "mostly follows length"
    return "follows length in part" if abs(correlation) >= _NEAR else "hardly follows length"


def _signed(correlation: float | None) -> str:
    return "not known" if correlation is None else f"{correlation:+.2f}"


def agreement_section(summary: Summary) -> Sequence[Section]:
    """Rank correlations of the metrics with each other."""
    names = (*summary.metrics, LENGTHS[0])
    pairs = [c for c in summary.correlations if c.a in names and c.b in names]
    known = [c for c in pairs if c.spearman is not None]
    if len(names) < 3 or not known:  # noqa: PLR2004  (one metric agrees with nobody)
        return ()
    values = {(c.a, c.b): c.spearman for c in known}
    among = [c for c in known if LENGTHS[0] not in (c.a, c.b)] or known
    far = max(among, key=lambda c: abs(c.spearman or 0))
    return (
        Section(
            key="agreement",
            title="Do the metrics agree?",
            paragraphs=(_AGREEMENT_TEXT,),
            figures=(
                Figure(
                    title=f"{far.a} and {far.b} are closest ({_signed(far.spearman)})",
                    alt="Rank correlations of the metrics with each other and with length.",
                    draw=partial(charts.heat_chart, names, values),
                    table=Table(
                        caption="Rank correlations (Spearman, -1 to 1)",
                        columns=(
                            Column(name="metric"),
                            Column(name="with"),
                            Column(name="correlation", style="number"),
                            Column(name="candidates", style="count"),
                        ),
                        rows=tuple((c.a, c.b, c.spearman, c.candidates) for c in pairs),
                    ),
                    layout="wide",
                ),
            ),
        ),
    )
