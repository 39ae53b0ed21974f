"""Pick the refinements that show most clearly what was accepted and what was refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.data.tables import messages_from_arrow
from tutelage.metrics import METRICS
from tutelage.report.database import Database, quoted
from tutelage.report.summary import Refinement, Text

SHOWN = 10

_CLEAREST = """
WITH pairs AS (
    SELECT c.candidate_id, c.example_id, c.step, c.teacher, c.chosen,
        o.candidate_id AS original_id, {clearness} AS clearness,
        p.candidate_id IS NULL AS alone {numbers}
    FROM judged AS c
    LEFT JOIN judged AS p ON p.candidate_id = c.parent_id AND p.score_status = 'ok'
    LEFT JOIN (
        SELECT * FROM judged WHERE step = 'original'
        QUALIFY row_number() OVER (PARTITION BY example_id ORDER BY candidate_id) = 1
    ) AS o ON o.example_id = c.example_id
    WHERE c.step != 'original' AND c.score_status = 'ok'
)
SELECT * FROM pairs WHERE clearness IS NOT NULL AND {where}
QUALIFY row_number() OVER (
    PARTITION BY example_id ORDER BY alone, clearness {direction}, candidate_id) = 1
ORDER BY alone, clearness {direction}, candidate_id LIMIT {limit}
"""


def clearness_of(metrics: Sequence[str]) -> str | None:
    """How clearly a refinement `c` passes beside its parent `p` and the original `o`, as SQL.

    With ifd and r_ifd it is the smallest distance to the lines that the srt rule draws. Otherwise
    it is the gain over the original in the first metric that has a direction. None where no
    metric has one.
    """
    if {"ifd", "r_ifd"} <= set(metrics):
        # least() passes over null, so a parent without numbers takes no part.
        return (
            "least(1 - c.ifd, 1 - c.r_ifd, CASE c.step"
            " WHEN 'response_reflection' THEN p.r_ifd - c.r_ifd"
            " WHEN 'instruction_reflection' THEN c.ifd - p.ifd END)"
        )
    for metric in metrics:
        better = METRICS[metric].better if metric in METRICS else "neither"
        column = quoted(metric)
        if better == "higher":
            return f"c.{column} - o.{column}"
        if better == "lower":
            return f"o.{column} - c.{column}"
    return None


def clearest(database: Database, *, accepted: bool) -> tuple[Refinement, ...]:
    """The refinements that were taken, or not taken, by the widest distance; one an example."""
    clearness = clearness_of(database.metrics)
    if clearness is None or not database.decided:
        return ()
    numbers = "".join(
        f", o.{quoted(m)} AS {quoted(f'o:{m}')}, c.{quoted(m)} AS {quoted(f'c:{m}')}"
        for m in database.metrics
    )
    found = database.ask(
        _CLEAREST,
        clearness=clearness,
        numbers=numbers,
        where="chosen" if accepted else "NOT chosen AND clearness < 0",
        direction="DESC" if accepted else "ASC",
        limit=str(SHOWN),
    )
    texts = _texts(database, [i for row in found for i in (row[0], row[5]) if i])
    about = _about(database, [row[1] for row in found])
    return tuple(
        _refinement(row, metrics=database.metrics, texts=texts, about=about) for row in found
    )


def _refinement(
    row: tuple[Any, ...],
    *,
    metrics: Sequence[str],
    texts: Mapping[str, Text],
    about: Mapping[str, tuple[Any, ...]],
) -> Refinement:
    candidate_id, example_id, step, teacher, _, original_id, clearness, _, *numbers = row
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


_TEXTS = "SELECT candidate_id, messages FROM candidates WHERE candidate_id IN (SELECT unnest(?))"
_ABOUT = """
SELECT e.example_id, e."row", e.source, d.reason FROM
    (SELECT example_id, "row", source FROM examples
     WHERE example_id IN (SELECT unnest(?))) AS e
LEFT JOIN (SELECT example_id, reason FROM decisions) AS d USING (example_id)
"""


def _texts(database: Database, ids: list[str]) -> dict[str, Text]:
    return {candidate_id: _text(messages) for candidate_id, messages in database.ask(_TEXTS, [ids])}


def _text(messages: list[dict[str, str]] | None) -> Text:
    turns = messages_from_arrow(messages)
    users = [turn.content for turn in turns if turn.role == "user"]
    return Text(
        instruction=users[-1] if users else "",
        response=turns[-1].content if turns and turns[-1].role == "assistant" else "",
    )


def _about(database: Database, ids: list[str]) -> dict[str, tuple[Any, ...]]:
    return {row[0]: tuple(row[1:]) for row in database.ask(_ABOUT, [ids])}
