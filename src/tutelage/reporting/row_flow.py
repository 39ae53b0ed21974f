"""Count the ways from the input rows to the outcome; every row is on exactly one."""

from collections import Counter

from tutelage.data import ORIGINAL
from tutelage.reporting.queries import Database
from tutelage.reporting.run_summary import Flow, FlowPath, Kind, Trouble

EXAMPLE = "example"
REPEATED = "same_example"
"""A row that is another version of an example that an earlier row began."""

WRITTEN = "written"
"""The example has at least one version beside its original that could be read."""

ALONE = "alone"
"""Nobody wrote another version of the example."""

SCORED = "scored"
UNDECIDED = "no_decision"
"""There are decisions, but none about this example."""

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
    """Every way that rows took, those that became examples first.

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
    """Why rows could not be read, candidates not be written, or texts not be scored."""
    # Without any scores nothing failed to be scored: nobody tried.
    found = database.ask(_TROUBLES, scored="true" if database.student else "false")
    return tuple(
        Trouble(stage=stage, step=step, reason=reason, count=count, detail=detail)
        for stage, step, reason, count, detail in found
    )
