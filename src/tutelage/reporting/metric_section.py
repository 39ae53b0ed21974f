"""Sections about metrics: distribution, plane, length and agreement."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

from tutelage.data.schemas import METRIC_AGREEMENT
from tutelage.metrics import METRICS, agreement
from tutelage.reporting import charts
from tutelage.reporting.blocks import Cell, Column, Figure, Section, Table, schema_columns
from tutelage.reporting.charts import GROUP_WORDS
from tutelage.reporting.number_format import count, number, share
from tutelage.reporting.queries import Database, quoted
from tutelage.reporting.run_summary import (
    GROUPS,
    Axis,
    Correlation,
    Group,
    LengthBin,
    Plane,
    Point,
    Region,
    Spread,
    Summary,
)

# ----------------------------------------------------------------------------------------------
# How the metrics are spread, how they hang together, and how they follow length.
# ----------------------------------------------------------------------------------------------


BINS = 30
POINTS_PER_GROUP = 800
LENGTH_BINS = 10
LENGTHS = ("response_tokens", "instruction_tokens")
_AXIS_QUANTILES = "[0.005, 0.995]"
_SHOWN_QUANTILES = "[0.05, 0.25, 0.5, 0.75, 0.95]"

_WHERE = {
    "original": "grp = 'original'",
    "refinement": "grp = 'refinement'",
    "chosen": "chosen",
}

_EDGES = "SELECT quantile_cont({metric}, {quantiles}) FROM sampled WHERE {metric} IS NOT NULL"
_NUMBERS = """
SELECT {numbers} FROM judged WHERE {metric} IS NOT NULL
"""
_NUMBERS_OF_GROUP = """
    count(*) FILTER ({where}), avg({metric}) FILTER ({where}),
    quantile_cont({metric}, {quantiles}) FILTER ({where})
"""
_COUNTS = """
SELECT grp, chosen, CASE WHEN {metric} BETWEEN {low} AND {high} THEN
    least(floor(({metric} - {low}) / ({high} - {low}) * {bins})::INT, {bins} - 1) END AS bin,
    count(*)
FROM judged WHERE {metric} IS NOT NULL GROUP BY ALL
"""


def measure_axes(database: Database) -> tuple[Axis, ...]:
    """Axis of each metric, from the 0.5th to the 99.5th percentile and past the metric's cap."""
    return tuple(_axis(database, metric) for metric in database.metrics)


def _axis(database: Database, metric: str) -> Axis:
    edges = database.ask(_EDGES, metric=quoted(metric), quantiles=_AXIS_QUANTILES)[0][0]
    low, high = edges or (0.0, 1.0)
    spec = METRICS.get(metric)
    if spec is not None and spec.ceiling is not None:
        low, high = min(low, spec.ceiling), max(high, spec.ceiling)
    room = (high - low) * 0.02 or abs(low) * 0.05 or 0.5
    return Axis(metric=metric, low=low - room, high=high + room, bins=BINS)


def measure_spreads(database: Database, axes: tuple[Axis, ...]) -> tuple[Spread, ...]:
    """Distribution of every metric for originals, rewrites and chosen candidates."""
    return tuple(spread for axis in axes for spread in _spreads(database, axis))


def _spreads(database: Database, axis: Axis) -> Iterator[Spread]:
    metric = quoted(axis.metric)
    numbers = ", ".join(
        _NUMBERS_OF_GROUP.format(metric=metric, quantiles=_SHOWN_QUANTILES, where=_WHERE[group])
        for group in GROUPS
    )
    (found,) = database.ask(_NUMBERS, numbers=numbers, metric=metric)
    counts = _counts(database, axis)
    for index, group in enumerate(GROUPS):
        candidates, mean, quantiles = found[3 * index : 3 * index + 3]
        yield Spread(
            metric=axis.metric,
            group=group,
            candidates=candidates,
            mean=mean,
            quantiles=tuple(quantiles or ()) if candidates else (),
            counts=tuple(counts[group, place] for place in range(axis.bins)),
            beyond=counts[group, None],
        )


def _counts(database: Database, axis: Axis) -> Counter[tuple[Group, int | None]]:
    """Count of candidates by group and bin; a bin of None lies outside the axis."""
    counts: Counter[tuple[Group, int | None]] = Counter()
    for group, chosen, place, candidates in database.ask(
        _COUNTS,
        metric=quoted(axis.metric),
        low=repr(axis.low),
        high=repr(axis.high),
        bins=str(axis.bins),
    ):
        counts[group, place] += candidates
        if chosen:
            counts["chosen", place] += candidates
    return counts


_POINTS = """
SELECT ifd, r_ifd, grp, chosen FROM sampled
WHERE ifd IS NOT NULL AND r_ifd IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY grp ORDER BY place, candidate_id) <= {limit}
ORDER BY place, candidate_id
"""
_REGIONS = """
SELECT grp, ifd < 1 AS ifd_below, r_ifd < 1 AS r_ifd_below, count(*),
    count(*) FILTER (chosen)
FROM judged WHERE ifd IS NOT NULL AND r_ifd IS NOT NULL
GROUP BY ALL ORDER BY grp, ifd_below DESC, r_ifd_below DESC
"""


def measure_plane(database: Database) -> Plane | None:
    """Plane of ifd and r_ifd; None unless both were computed."""
    if not {"ifd", "r_ifd"} <= set(database.metrics):
        return None
    points = database.ask(_POINTS, limit=str(POINTS_PER_GROUP))
    return Plane(
        points=tuple(Point(ifd=x, r_ifd=y, group=g, chosen=c) for x, y, g, c in points),
        regions=tuple(
            Region(group=g, ifd_below=i, r_ifd_below=r, candidates=n, chosen=c)
            for g, i, r, n, c in database.ask(_REGIONS)
        ),
    )


_LENGTHS = """
WITH binned AS (
    SELECT grp, {metric} AS value, response_tokens,
        ntile({bins}) OVER (PARTITION BY grp ORDER BY response_tokens, place, candidate_id) AS bin
    FROM sampled WHERE {metric} IS NOT NULL AND response_tokens IS NOT NULL
)
SELECT grp, median(response_tokens), quantile_cont(value, [0.25, 0.5, 0.75]), count(*)
FROM binned GROUP BY grp, bin ORDER BY grp, bin
"""


def measure_lengths(database: Database) -> tuple[tuple[str, tuple[LengthBin, ...]], ...]:
    """Every metric by response length, in bins with equally many candidates."""
    return tuple((metric, _lengths(database, metric)) for metric in database.metrics)


def _lengths(database: Database, metric: str) -> tuple[LengthBin, ...]:
    found = database.ask(_LENGTHS, metric=quoted(metric), bins=str(LENGTH_BINS))
    return tuple(
        LengthBin(
            group=group,
            tokens=tokens,
            low=quartiles[0],
            middle=quartiles[1],
            high=quartiles[2],
            candidates=candidates,
        )
        for group, tokens, quartiles, candidates in found
    )


def measure_agreement(database: Database) -> tuple[Correlation, ...]:
    """Rank correlations of the metrics with each other and with both lengths."""
    names = (*database.metrics, *LENGTHS)
    columns = ", ".join(quoted(name) for name in names)
    table = database.table("SELECT {columns} FROM sampled", columns=columns)
    found = agreement(table, names).to_pylist()
    return tuple(
        Correlation(a=c["a"], b=c["b"], spearman=c["spearman"], candidates=c["n"]) for c in found
    )


def correlation_of(correlations: tuple[Correlation, ...], a: str, b: str) -> float | None:
    """Correlation of two columns in either order, or None.

    Args:
        correlations: All correlations.
        a: A column.
        b: Another column.
    """
    pairs = chain.from_iterable(((c.a, c.b, c), (c.b, c.a, c)) for c in correlations)
    return next((c.spearman for x, y, c in pairs if (x, y) == (a, b)), None)


# ----------------------------------------------------------------------------------------------
# Metric section.
# ----------------------------------------------------------------------------------------------


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
    "rewrites, and over what was chosen. The solid line is the median; a dashed line is the "
    "value that no chosen pair should reach."
)
_PLANE_TEXT = (
    "A pair fits together when the instruction helps with the response (ifd below 1) and the "
    "response points back to the instruction (r_ifd below 1). The shaded corner is where both "
    "hold; the rule srt chooses nothing outside it."
)
_AGREEMENT_TEXT = (
    "Spearman's rank correlation over all candidates with numbers: 1 puts them in the same "
    "order, -1 in the opposite order, 0 says nothing. Two metrics that agree closely carry "
    "the same information."
)


def with_unit(metric: str) -> str:
    """Name of a metric with its unit, for an axis."""
    return f"{metric} ({_UNITS[metric]})" if metric in _UNITS else metric


def about(metric: str) -> str:
    """Meaning of a metric, in one line."""
    spec = METRICS.get(metric)
    if spec is None:
        return "A column of the scores table that this version does not know."
    ceiling = f", below {number(spec.ceiling)}" if spec.ceiling is not None else ""
    return f"{spec.summary} {spec.formula}; {_BETTER[spec.better]}{ceiling}."


def spread_section(summary: Summary) -> Sequence[Section]:
    """Distribution of each metric for originals, rewrites and chosen candidates."""
    if not summary.metrics:
        return ()
    return (
        Section(
            key="metrics",
            title="Metrics of the student",
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
            return f"Median {metric}: {number(before)} for originals and rewrites alike"
        return f"Median {metric}: {number(before)} for originals, {number(after)} for rewrites"
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
    """Plane of ifd and r_ifd with the two caps."""
    if summary.plane is None or not summary.plane.regions:
        return ()
    groups: tuple[Group, ...] = ("original", "refinement")
    present = [g for g in groups if any(r.group == g for r in summary.plane.regions)]
    return (
        Section(
            key="plane",
            title="ifd and r_ifd of each version",
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
        caption=f"All {words} by ifd and r_ifd, below 1 or not",
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
    """Every metric by the length of the response."""
    if not any(bins for _, bins in summary.lengths):
        return ()
    sampled = summary.sampled < summary.scored
    return (
        Section(
            key="length",
            title="Metrics and response length",
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
            in_text=False,  # the correlations with length are in the next section
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
    if len(names) < 3 or not known:  # noqa: PLR2004  (one metric has no other to agree with)
        return ()
    values = {(c.a, c.b): c.spearman for c in known}
    among = [c for c in known if LENGTHS[0] not in (c.a, c.b)] or known
    far = max(among, key=lambda c: abs(c.spearman or 0))
    return (
        Section(
            key="agreement",
            title="Agreement of the metrics",
            paragraphs=(_AGREEMENT_TEXT,),
            figures=(
                Figure(
                    title=f"{far.a} and {far.b} are closest ({_signed(far.spearman)})",
                    alt="Rank correlations of the metrics with each other and with length.",
                    draw=partial(charts.heat_chart, names, values),
                    table=Table(
                        caption="Rank correlations (Spearman, -1 to 1)",
                        columns=schema_columns(METRIC_AGREEMENT, ("a", "b", "spearman", "n")),
                        rows=tuple((c.a, c.b, c.spearman, c.candidates) for c in pairs),
                    ),
                    layout="wide",
                ),
            ),
        ),
    )
