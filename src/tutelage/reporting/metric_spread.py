"""How the metrics are spread, how they hang together, and how they follow length."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from tutelage.metrics import METRICS, agreement
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
)

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
    """One axis a metric, from the 0.5th to the 99.5th percentile and over the metric's ceiling."""
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
    """Every metric over originals, refinements and chosen candidates."""
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
    """Candidates by group and bin; a bin of None lies beyond the axis."""
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
    """The plane of ifd and r_ifd; None where one of the two was not asked for."""
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
    """Every metric over the length of the response: bins with equally many candidates."""
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
    """The correlation of two columns in either order, or None."""
    pairs = chain.from_iterable(((c.a, c.b, c), (c.b, c.a, c)) for c in correlations)
    return next((c.spearman for x, y, c in pairs if (x, y) == (a, b)), None)
