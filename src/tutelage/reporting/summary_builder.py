"""Construction of a report's summary from the tables of a run, with the rewrites to show."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tutelage.data import ORIGINAL
from tutelage.data.example import turn_text
from tutelage.data.schemas import messages_from_arrow
from tutelage.metrics import METRICS
from tutelage.reporting.metric_section import (
    measure_agreement,
    measure_axes,
    measure_lengths,
    measure_plane,
    measure_spreads,
)
from tutelage.reporting.queries import (
    Database,
    ReportTables,
    flatten,
    mode_of,
    opened,
    quoted,
    read_account,
)
from tutelage.reporting.run_summary import (
    CHOSEN,
    Flow,
    FlowPath,
    Kind,
    Mean,
    Refinement,
    SetTally,
    SourceTally,
    Summary,
    TeacherTally,
    Text,
    Trouble,
)

# ----------------------------------------------------------------------------------------------
# Sources, teachers, and the baselines of the choice.
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


SHOWN = 10

_CLEARNESS = """
CREATE TEMP TABLE clear AS
SELECT c.candidate_id, c.example_id, c.chosen, {clearness} AS clearness,
    p.candidate_id IS NULL AS alone
FROM judged AS c
LEFT JOIN (
    SELECT candidate_id, example_id {needed} FROM judged WHERE score_status = 'ok' AND {which}
) AS p ON {condition}
WHERE c.step != 'original' AND c.score_status = 'ok'
"""
_CLEAREST = """
WITH first AS (
    SELECT * FROM clear WHERE clearness IS NOT NULL AND {where}
    ORDER BY alone, clearness {direction}, candidate_id LIMIT {many}
),
one_an_example AS (
    SELECT * FROM first QUALIFY row_number() OVER (
        PARTITION BY example_id ORDER BY alone, clearness {direction}, candidate_id) = 1
)
SELECT candidate_id, clearness FROM one_an_example
ORDER BY alone, clearness {direction}, candidate_id LIMIT {limit}
"""
_BOTH = """
SELECT c.candidate_id, c.example_id, c.step, c.teacher, o.candidate_id {numbers}
FROM judged AS c
LEFT JOIN (
    SELECT * FROM judged WHERE step = 'original' AND example_id IN (
        SELECT example_id FROM judged WHERE candidate_id IN (SELECT unnest($ids)))
    QUALIFY row_number() OVER (PARTITION BY example_id ORDER BY candidate_id) = 1
) AS o ON o.example_id = c.example_id
WHERE c.candidate_id IN (SELECT unnest($ids))
"""
_TO_THE_LINES = """least(1 - c.ifd, 1 - c.r_ifd, CASE c.step
    WHEN 'response_reflection' THEN p.r_ifd - c.r_ifd
    WHEN 'instruction_reflection' THEN c.ifd - p.ifd END)"""
_MANY = 2000
"""Candidates examined before reducing them to one per example; an example rarely has more."""


def clearness_of(metrics: Sequence[str]) -> tuple[str, str] | None:
    """SQL of the margin by which a rewrite `c` passes compared with another version `p`.

    With ifd and r_ifd it is the smallest distance to the limits of the srt rule, including the
    comparison with the version it was made from. Otherwise it is the gain over the original in the
    first metric that has a direction. None where no metric has one.
    """
    if {"ifd", "r_ifd"} <= set(metrics):
        # least() passes over null, so a parent without numbers takes no part.
        return _TO_THE_LINES, "p.candidate_id = c.parent_id"
    for metric in metrics:
        better = METRICS[metric].better if metric in METRICS else "neither"
        column = quoted(metric)
        if better != "neither":
            gain = f"c.{column} - p.{column}" if better == "higher" else f"p.{column} - c.{column}"
            return gain, "p.example_id = c.example_id"
    return None


def clearest(database: Database) -> tuple[tuple[Refinement, ...], tuple[Refinement, ...]]:
    """Accepted and rejected rewrites with the widest margin, one per example."""
    clearness = clearness_of(database.metrics)
    if clearness is None or not database.decided:
        return (), ()
    database.ask(
        _CLEARNESS,
        clearness=clearness[0],
        needed="".join(f", {quoted(m)}" for m in database.metrics),
        which="true" if "parent_id" in clearness[1] else "step = 'original'",
        condition=clearness[1],
    )
    accepted = _ranked(database, where="chosen", direction="DESC")
    refused = _ranked(database, where="NOT chosen AND clearness < 0", direction="ASC")
    return _refinements(database, accepted), _refinements(database, refused)


def _ranked(database: Database, *, where: str, direction: str) -> dict[str, float]:
    found = database.ask(
        _CLEAREST, where=where, direction=direction, many=str(_MANY), limit=str(SHOWN)
    )
    return dict(found)


def _refinements(database: Database, clearness: Mapping[str, float]) -> tuple[Refinement, ...]:
    numbers = "".join(f", o.{quoted(m)}, c.{quoted(m)}" for m in database.metrics)
    both = database.ask(_BOTH, {"ids": list(clearness)}, numbers=numbers)
    texts = _texts(database, [i for row in both for i in (row[0], row[4]) if i])
    about = _about(database, [row[1] for row in both])
    rows = {row[0]: row for row in both}
    return tuple(
        _refinement(rows[i], distance, metrics=database.metrics, texts=texts, about=about)
        for i, distance in clearness.items()
    )


def _refinement(
    row: tuple[Any, ...],
    clearness: float,
    *,
    metrics: Sequence[str],
    texts: Mapping[str, Text],
    about: Mapping[str, tuple[Any, ...]],
) -> Refinement:
    candidate_id, example_id, step, teacher, original_id, *numbers = row
    input_row, source, reason = about.get(example_id, (None, None, None))
    return Refinement(
        example_id=example_id,
        row=input_row,
        source=source,
        step=step,
        teacher=teacher,
        reason=reason,
        clearness=clearness,
        before=texts.get(original_id) if original_id else None,
        after=texts.get(candidate_id, Text(instruction="", response="")),
        numbers=tuple(
            (metric, numbers[2 * i], numbers[2 * i + 1]) for i, metric in enumerate(metrics)
        ),
    )


_TEXTS = "SELECT candidate_id, messages FROM candidates WHERE candidate_id IN (SELECT unnest($ids))"
_ABOUT = """
SELECT e.example_id, e."row", e.source, d.reason FROM
    (SELECT example_id, "row", source FROM examples
     WHERE example_id IN (SELECT unnest($ids))) AS e
LEFT JOIN decided AS d USING (example_id)
"""


def _texts(database: Database, ids: list[str]) -> dict[str, Text]:
    return {
        candidate_id: _text(messages)
        for candidate_id, messages in database.ask(_TEXTS, {"ids": ids})
    }


def _text(messages: list[dict[str, str]] | None) -> Text:
    turns = messages_from_arrow(messages)
    users = [turn.content for turn in turns if turn.role == "user"]
    return Text(
        instruction=users[-1] if users else "",
        response=turn_text(turns[-1]) if turns and turns[-1].role == "assistant" else "",
    )


def _about(database: Database, ids: list[str]) -> dict[str, tuple[Any, ...]]:
    return {row[0]: tuple(row[1:]) for row in database.ask(_ABOUT, {"ids": ids})}
