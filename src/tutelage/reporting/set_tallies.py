"""Sources, teachers, and the sets that stand beside the choice."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tutelage.reporting.queries import Database, quoted
from tutelage.reporting.run_summary import CHOSEN, Mean, SetTally, SourceTally, TeacherTally

Z_95 = 1.959964
"""Half the width of a 95 % interval, in standard errors of a normal mean."""


def _averages(metrics: Sequence[str]) -> str:
    return "".join(f", avg({quoted(metric)})" for metric in metrics)


_SOURCES = """
SELECT e.source, count(*) AS n,
    count(*) FILTER (d.kept AND d.step = 'original'),
    count(*) FILTER (d.kept AND d.step != 'original')
FROM examples AS e LEFT JOIN decided AS d USING (example_id)
GROUP BY e.source ORDER BY n DESC, e.source
"""
_SOURCE_MEANS = """
SELECT source {averages} FROM judged WHERE {where} GROUP BY source
"""


def tally_sources(database: Database) -> tuple[SourceTally, ...]:
    """One tally a source, the largest first. The means are of originals with a number."""
    means = {
        row[0]: tuple(row[1:])
        for row in database.ask(
            _SOURCE_MEANS, averages=_averages(database.metrics), where="grp = 'original'"
        )
    }
    blank = (None,) * len(database.metrics)
    return tuple(
        SourceTally(
            source=source,
            examples=examples,
            kept_original=original,
            kept_refined=refined,
            means=means.get(source, blank),
        )
        for source, examples, original, refined in database.ask(_SOURCES)
    )


_TEACHERS = """
SELECT teacher, step, count(*) AS n, count(*) FILTER (status = 'ok'),
    count(*) FILTER (score_status = 'ok'), count(*) FILTER (chosen) {averages}
FROM judged WHERE step != 'original' OR teacher IS NOT NULL
GROUP BY teacher, step ORDER BY teacher, step
"""


def tally_teachers(database: Database) -> tuple[TeacherTally, ...]:
    """One tally for each teacher and step."""
    return tuple(
        TeacherTally(
            teacher=row[0],
            step=row[1],
            candidates=row[2],
            written=row[3],
            scored=row[4],
            chosen=row[5],
            means=tuple(row[6:]),
        )
        for row in database.ask(_TEACHERS, averages=_averages(database.metrics))
    )


_SETS = """
WITH members AS (
    SELECT 'chosen' AS name, 0 AS seed, candidate_id FROM judged WHERE chosen
    UNION ALL
    SELECT "null", coalesce(seed, 0), candidate_id FROM nulls
)
SELECT m.name, m.seed, count(*), count(j.step) FILTER (j.step != 'original') / count(j.step),
    count(*) FILTER (j.score_status IS DISTINCT FROM 'ok')
    {moments}
FROM members AS m LEFT JOIN judged AS j USING (candidate_id)
GROUP BY m.name, m.seed ORDER BY m.name, m.seed
"""


def tally_sets(database: Database) -> tuple[SetTally, ...]:
    """The choice first, then each null by name; empty where nothing was decided."""
    if not database.decided:
        return ()
    columns = ["response_tokens", *database.metrics]
    moments = "".join(
        f", count(j.{c}), avg(j.{c}), stddev_samp(j.{c})" for c in map(quoted, columns)
    )
    by_name: dict[str, list[tuple[Any, ...]]] = {CHOSEN: []}
    for name, *rest in database.ask(_SETS, moments=moments):
        by_name.setdefault(name, []).append(tuple(rest))
    return tuple(
        _set(name, sets, columns=len(columns))
        for name, sets in by_name.items()
        if name != CHOSEN or sets
    )


def _set(name: str, sets: list[tuple[Any, ...]], *, columns: int) -> SetTally:
    means = [
        _mean([(s[4 + 3 * i], s[5 + 3 * i], s[6 + 3 * i]) for s in sets]) for i in range(columns)
    ]
    shares = [s[2] for s in sets if s[2] is not None]
    return SetTally(
        name=name,
        seeds=len(sets),
        size=fmean(s[1] for s in sets),
        refined_fraction=fmean(shares) if shares else None,
        tokens=means[0],
        means=tuple(means[1:]),
        unscored=fmean(s[3] for s in sets),
    )


def _mean(parts: Sequence[tuple[int, float | None, float | None]]) -> Mean | None:
    known = [(count, mean, spread) for count, mean, spread in parts if mean is not None]
    if not known:
        return None
    errors = [(spread or 0.0) / math.sqrt(count) for count, _, spread in known]
    value = fmean(mean for _, mean, _ in known)
    # Sets of other seeds overlap, so averaging over them is not credited with less error.
    half = Z_95 * fmean(errors)
    return Mean(value=value, low=value - half, high=value + half)
