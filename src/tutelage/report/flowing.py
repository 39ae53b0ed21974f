"""Count the ways from the input rows to the outcome; every row is on exactly one."""

from tutelage.report.database import Database
from tutelage.report.summary import Flow, FlowPath, Kind, Trouble

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
WITH reading AS (
    SELECT example_id, coalesce(status, 'ok') AS status,
        row_number() OVER (PARTITION BY example_id, coalesce(status, 'ok') ORDER BY "row") AS nth
    FROM {rows}
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
),
decided AS (
    SELECT example_id, any_value(kept) AS kept, any_value(step) AS step,
        any_value(reason) AS reason
    FROM decisions GROUP BY example_id
)
SELECT
    CASE WHEN r.status != 'ok' THEN r.status
        WHEN r.example_id IS NULL THEN 'unreadable'
        WHEN r.nth > 1 THEN 'same_example' ELSE 'example' END AS reading,
    CASE WHEN coalesce(v.others, 0) = 0 THEN 'alone'
        WHEN v.written > 0 THEN 'written' ELSE v.failed END AS writing,
    d.example_id IS NOT NULL AS decided,
    coalesce(d.kept, false) AS kept, d.step, d.reason,
    coalesce(v.scored, 0) > 0 AS scored, v.unscored, count(*) AS n
FROM reading AS r
LEFT JOIN versions AS v ON v.example_id = r.example_id
LEFT JOIN decided AS d ON d.example_id = r.example_id
GROUP BY ALL ORDER BY n DESC, reading, writing, kept, step, reason, scored, unscored
"""


def count_flow(database: Database, *, from_examples: bool) -> Flow:
    """Every way that rows took, the widest first.

    Args:
        database: The joined tables.
        from_examples: There is no rows table, so the examples are the input.
    """
    rows = (
        "rows"
        if not from_examples
        else "(SELECT example_id, \"row\", 'ok' AS status FROM examples)"
    )
    found = database.ask(_FLOW, rows=rows)
    counted: dict[tuple[str, str | None, str | None, Kind], int] = {}
    for reading, writing, decided, kept, step, reason, scored, unscored, rows_here in found:
        if reading != EXAMPLE:
            path: tuple[str, str | None, str | None, Kind] = (reading, None, None, "lost")
        elif kept:
            kind: Kind = "kept_original" if step == "original" else "kept_refined"
            path = (reading, writing, step or "original", kind)
        elif decided:
            path = (reading, writing, reason or "no_reason", "refused")
        elif database.decided:
            path = (reading, writing, UNDECIDED, "lost")
        elif scored:
            path = (reading, writing, SCORED, "scored")
        else:
            path = (reading, writing, unscored or UNSCORED, "lost")
        counted[path] = counted.get(path, 0) + rows_here
    return Flow(
        paths=tuple(
            FlowPath(reading=path[0], writing=path[1], deciding=path[2], kind=path[3], rows=rows)
            for path, rows in counted.items()
        )
    )


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
