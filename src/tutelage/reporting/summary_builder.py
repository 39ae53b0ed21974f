"""Construction of a report's summary from the tables of a run."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tutelage.data import ORIGINAL
from tutelage.reporting.manifest_facts import flatten, mode_of, read_account
from tutelage.reporting.metric_section import (
    measure_agreement,
    measure_axes,
    measure_lengths,
    measure_plane,
    measure_spreads,
)
from tutelage.reporting.queries import Database, ReportTables, opened, quoted
from tutelage.reporting.run_summary import (
    CHOSEN,
    Flow,
    FlowPath,
    Kind,
    Mean,
    SetTally,
    SourceTally,
    Summary,
    TeacherTally,
    Trouble,
)
from tutelage.reporting.shown_examples import clearest

# ----------------------------------------------------------------------------------------------
# Sources, teachers, and the sets that stand beside the choice.
# ----------------------------------------------------------------------------------------------


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
    """Outcome of each source, the largest first. The means are over originals with a number."""
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
    """Outcome of each teacher and step."""
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
    """Means of the selection, then of each baseline by name; empty without decisions."""
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


# ----------------------------------------------------------------------------------------------
# Summary builder.
# ----------------------------------------------------------------------------------------------


# ----------------------------------------------------------------------------------------------
# Count the ways from the input rows to the outcome; every row is on exactly one.
# ----------------------------------------------------------------------------------------------


EXAMPLE = "example"
REPEATED = "same_example"
"""Outcome: the row is another version of an example of an earlier row."""

ALONE = "alone"
"""Outcome: the example has no other version."""

SCORED = "scored"
UNDECIDED = "no_decision"
"""Outcome: there are decisions, but none about this example."""

UNSCORED = "not_scored"

_FLOW = """
WITH begun AS (
    SELECT example_id, count(*) AS n FROM {rows}
    WHERE coalesce(status, 'ok') = 'ok' AND example_id IS NOT NULL GROUP BY example_id
),
versions AS (
    SELECT example_id,
        count(*) FILTER (step != 'original') AS others,
        count(*) FILTER (step != 'original' AND status = 'ok') AS written,
        min(status) FILTER (step != 'original' AND status != 'ok') AS failed,
        count(*) FILTER (score_status = 'ok') AS scored,
        min(coalesce(score_status, status)) FILTER (coalesce(score_status, status) != 'ok')
            AS unscored
    FROM judged GROUP BY example_id
)
SELECT
    CASE WHEN coalesce(v.others, 0) = 0 THEN 'alone'
        WHEN v.written > 0 THEN 'written' ELSE v.failed END AS writing,
    d.example_id IS NOT NULL AS decided,
    coalesce(d.kept, false) AS kept, d.step, d.reason,
    coalesce(v.scored, 0) > 0 AS scored, v.unscored,
    count(*) AS n, sum(b.n - 1)::BIGINT AS again
FROM begun AS b
LEFT JOIN versions AS v ON v.example_id = b.example_id
LEFT JOIN decided AS d ON d.example_id = b.example_id
GROUP BY ALL ORDER BY n DESC, writing, kept, step, reason, scored, unscored
"""


_ENDED = """
SELECT CASE WHEN coalesce(status, 'ok') = 'ok' THEN 'unreadable' ELSE status END AS reading,
    count(*) AS n
FROM {rows} WHERE coalesce(status, 'ok') != 'ok' OR example_id IS NULL
GROUP BY reading ORDER BY n DESC, reading
"""
_EXAMPLES_AS_ROWS = "(SELECT example_id, 'ok' AS status FROM examples)"


def count_flow(database: Database, *, from_examples: bool) -> Flow:
    """Paths of rows, those that became examples first.

    Args:
        database: The joined tables.
        from_examples: There is no rows table, so the examples are the input.
    """
    rows = _EXAMPLES_AS_ROWS if from_examples else "rows"
    counted: Counter[tuple[str, str | None, str | None, Kind]] = Counter()
    for writing, decided, kept, step, reason, scored, unscored, n, again in database.ask(
        _FLOW, rows=rows
    ):
        deciding, kind = _outcome(
            database, decided=decided, kept=kept, step=step, reason=reason, scored=scored
        )
        counted[EXAMPLE, writing, deciding or unscored or UNSCORED, kind] += n
        if again:
            counted[REPEATED, None, None, "lost"] += again
    for reading, n in database.ask(_ENDED, rows=rows):
        counted[reading, None, None, "lost"] += n
    return Flow(
        paths=tuple(
            FlowPath(reading=reading, writing=writing, deciding=deciding, kind=kind, rows=n)
            for (reading, writing, deciding, kind), n in counted.items()
        )
    )


def _outcome(
    database: Database,
    *,
    decided: bool,
    kept: bool,
    step: str | None,
    reason: str | None,
    scored: bool,
) -> tuple[str | None, Kind]:
    if kept:
        step = step or ORIGINAL
        return step, "kept_original" if step == ORIGINAL else "kept_refined"
    if decided:
        return reason or "no_reason", "refused"
    if database.decided:
        return UNDECIDED, "lost"
    return (SCORED, "scored") if scored else (None, "lost")


_TROUBLES = """
SELECT 'read' AS stage, NULL AS step, status AS reason, count(*) AS n, min(detail) AS detail
FROM rows WHERE coalesce(status, 'ok') NOT IN ('ok', 'duplicate') GROUP BY ALL
UNION ALL
-- An original without text came so with the data.
SELECT CASE WHEN step = 'original' THEN 'read' ELSE 'refine' END, step, status, count(*),
    min(detail)
FROM candidates WHERE coalesce(status, 'ok') != 'ok' GROUP BY ALL
UNION ALL
SELECT 'score', step, coalesce(score_status, 'not_scored'), count(*), min(score_detail)
FROM judged WHERE status = 'ok' AND {scored} AND score_status IS DISTINCT FROM 'ok' GROUP BY ALL
ORDER BY n DESC, stage, reason, step
"""


def count_troubles(database: Database) -> tuple[Trouble, ...]:
    """Reasons for rows that could not be read, candidates without text and texts without scores."""
    # Without any scores nothing failed to be scored: nothing was tried.
    found = database.ask(_TROUBLES, scored="true" if database.student else "false")
    return tuple(
        Trouble(stage=stage, step=step, reason=reason, count=count, detail=detail)
        for stage, step, reason, count, detail in found
    )


# ----------------------------------------------------------------------------------------------
# Summary builder.
# ----------------------------------------------------------------------------------------------


def summarise(tables: ReportTables) -> Summary:
    """Compute the summary of a run.

    It does not depend on the order of any table. Whatever table is absent, the report is about the
    others: without decisions it says what was scored, without scores what was read.

    Args:
        tables: Arrow tables or Parquet files; the latter are never held in memory whole.

    Returns:
        Numbers and the few texts that are shown.
    """
    with opened(tables) as database:
        axes = measure_axes(database)
        sampled, scored = _counts(database)
        accepted, refused = clearest(database)
        return Summary(
            title=tables.title,
            student=_student_name(tables, database),
            fingerprint=database.student,
            other_students=database.other_students,
            teachers=_teachers(database),
            rule=_rule(database, mode_of(tables.manifest)),
            metrics=database.metrics,
            scored=scored,
            sampled=sampled,
            flow=count_flow(database, from_examples=tables.rows is None),
            axes=axes,
            spreads=measure_spreads(database, axes),
            plane=measure_plane(database),
            lengths=measure_lengths(database),
            correlations=measure_agreement(database),
            sources=tally_sources(database),
            written=tally_teachers(database),
            sets=tally_sets(database),
            troubles=count_troubles(database),
            accepted=accepted,
            refused=refused,
            account=read_account(tables.manifest),
            provenance=flatten(tables.manifest),
        )


def _student_name(tables: ReportTables, database: Database) -> str | None:
    noted = tables.manifest.get("student")
    if isinstance(noted, Mapping):
        if noted.get("fingerprint") in (None, database.student) and noted.get("model"):
            return str(noted["model"])
    elif noted:
        return str(noted)
    return database.student


def _teachers(database: Database) -> tuple[str, ...]:
    found = database.ask(
        "SELECT DISTINCT teacher FROM judged WHERE teacher IS NOT NULL ORDER BY teacher"
    )
    return tuple(name for (name,) in found)


def _rule(database: Database, mode: str | None) -> str | None:
    found = database.ask(
        "SELECT rule FROM decided WHERE rule IS NOT NULL"
        " GROUP BY rule ORDER BY count(*) DESC, rule LIMIT 1"
    )
    if not found:
        return None
    rule: str = found[0][0]
    return f"{rule}, {mode} mode" if rule == "srt" and mode else rule


def _counts(database: Database) -> tuple[int, int]:
    return (
        database.ask("SELECT count(*) FROM sampled")[0][0],
        database.ask("SELECT count(*) FROM judged WHERE score_status = 'ok'")[0][0],
    )
