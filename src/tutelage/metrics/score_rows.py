"""Rows of the scores table, computed from token statistics."""

import math
from collections.abc import Iterable, Sequence

import pyarrow as pa

from tutelage.data import (
    OK,
    SCORING_CONTRACT,
    VIEW_NAMES,
    Reading,
    ReadingOutcome,
    TokenStats,
    Unscored,
)
from tutelage.data.schemas import SCORES, columns_of, table_schema
from tutelage.metrics.corpus import with_casl
from tutelage.metrics.group import with_lark
from tutelage.metrics.registry import Material, specs_for

NONFINITE = "nonfinite"
"""Status of a candidate for which a requested metric has no finite value."""


def compute(
    reading: Reading,
    names: Iterable[str],
    *,
    response: str | None = None,
    steps: Sequence[TokenStats] | None = None,
) -> dict[str, float | None]:
    """Metrics of one candidate that depend on that candidate alone.

    Args:
        reading: With the views and statistics that `views_for` and `statistics_for` name.
        names: As in `--metrics`. `lark` and `casl` are replaced by what they are made of.
        response: The response's text, where `needs_text` says so.
        steps: One reading for each view of `step_views`, where `needs_steps` says so.

    Returns:
        Each metric once. None where it has no finite value: an exponential that overflows, a
        division by a loss of 0, a mean over no token.

    Raises:
        SettingsError: A name is unknown.
        DataError: A view, a statistic or the text that a metric needs is not there.
        SpanMismatchError: The two sides of a ratio count different tokens.
    """
    material = Material(reading=reading, response=response, steps=steps)
    numbers: dict[str, float | None] = {}
    for spec in specs_for(names):
        if spec.compute is not None:
            value = spec.compute(material)
            numbers[spec.name] = value if value is not None and math.isfinite(value) else None
    return numbers


def score_row(
    outcome: ReadingOutcome,
    *,
    metrics: Sequence[str],
    response: str | None = None,
    steps: Sequence[TokenStats] | None = None,
) -> dict[str, object]:
    """Row of the scores table, without `example_id` and `student`, which the caller adds.

    A row is `ok` only if every requested metric has a number. Otherwise its status gives the reason
    and it has no numbers at all, so no row is chosen by incomplete scores.

    Args:
        outcome: What the student made of the candidate.
        metrics: As in `--metrics`.
        response: The response's text, where `needs_text` says so.
        steps: One reading for each view of `step_views`, where `needs_steps` says so.

    Returns:
        The columns of `scores_schema`; those of views that were not read, and of metrics that need
        all candidates (`lark`, `casl`: see `finish_scores`), are None.

    Raises:
        SettingsError: A name is unknown.
        DataError: A view, a statistic or the text that a metric needs is not there.
        SpanMismatchError: The two sides of a ratio count different tokens.
    """
    row: dict[str, object] = dict.fromkeys(scores_schema(metrics).names)
    row["candidate_id"] = outcome.candidate_id
    row["contract"] = SCORING_CONTRACT
    if isinstance(outcome, Unscored):
        return row | {"status": outcome.reason, "detail": outcome.detail}
    numbers = compute(outcome, metrics, response=response, steps=steps)
    missing = [name for name, value in numbers.items() if value is None]
    if missing:
        return row | {"status": NONFINITE, "detail": f"no finite value: {', '.join(missing)}"}
    views = outcome.views
    instruction = views.get("instruction") or views.get("instruction_given_response")
    answer = views.get("response_given_instruction") or views.get("response")
    row |= {
        "status": OK,
        "straddles": outcome.straddles,
        "truncated": outcome.truncated,
        "stripped": outcome.stripped,
        "control_tokens_in_data": outcome.control_tokens_in_data,
        "response_tokens": answer.tokens if answer else None,
        "instruction_tokens": instruction.tokens if instruction else None,
    }
    row |= {f"nll_{name}": views[name].mean_nll for name in VIEW_NAMES if name in views}
    return row | dict(numbers)


def scores_schema(metrics: Iterable[str]) -> pa.Schema:
    """SCORES schema with one float64 column for each metric and its inputs.

    Raises:
        SettingsError: A name is unknown.
    """
    names = [spec.name for spec in specs_for(metrics)]
    return table_schema(SCORES, columns_of(names, pa.float64()))


def finish_scores(table: pa.Table, *, metrics: Sequence[str]) -> pa.Table:
    """Add the metrics that depend on several candidates, once all rows exist.

    Args:
        table: In the schema of `scores_schema`, one row a candidate.
        metrics: As in `--metrics`. `lark` adds `lark` and `lark_weight`, `casl` adds `casl`.

    Returns:
        The same rows in the same order; the same table where nothing of this kind was asked for.

    Raises:
        DataError: `casl` was asked for over a set it cannot be fitted on.
    """
    if "lark" in metrics:
        table = with_lark(table)
    if "casl" in metrics:
        table, _ = with_casl(table)
    return table
