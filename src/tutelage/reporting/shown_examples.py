"""Choice of the rewrites that show most clearly what was accepted and rejected."""

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.data.example import turn_text
from tutelage.data.schemas import messages_from_arrow
from tutelage.metrics import METRICS
from tutelage.reporting.queries import Database, quoted
from tutelage.reporting.run_summary import Refinement, Text

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
