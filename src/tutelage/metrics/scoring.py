"""From readings to rows of the scores table."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from tutelage.data import OK, VIEW_NAMES, Reading, ReadingOutcome, TokenStats, Unscored
from tutelage.data.tables import SCORES
from tutelage.metrics.pools import with_lark
from tutelage.metrics.request import specs_for
from tutelage.metrics.sets import with_casl
from tutelage.metrics.spec import Material

NONFINITE = "nonfinite"
"""The status of a candidate for which a metric that was asked for has no finite value."""


def compute(
    reading: Reading,
    names: Iterable[str],
    *,
    response: str | None = None,
    steps: Sequence[TokenStats] | None = None,
) -> dict[str, float | None]:
    """The metrics of one candidate that can be had from that candidate alone.

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


def score(
    outcome: ReadingOutcome,
    names: Sequence[str],
    *,
    example_id: str,
    student: str,
    response: str | None = None,
    steps: Sequence[TokenStats] | None = None,
) -> dict[str, object]:
    """One row of the scores table.

    A row is `ok` exactly when every metric asked for has a number; otherwise its status says why
    and it has no number at all, so that nothing can be chosen by half a row.

    Args:
        outcome: What the student made of the candidate.
        names: As in `--metrics`.
        example_id: The example the candidate is a version of.
        student: The student's fingerprint.
        response: The response's text, where `needs_text` says so.
        steps: One reading for each view of `step_views`, where `needs_steps` says so.

    Returns:
        A row for `scores_table`. Views that were not read have null token counts and losses.

    Raises:
        SettingsError: A name is unknown.
        DataError: A view, a statistic or the text that a metric needs is not there.
        SpanMismatchError: The two sides of a ratio count different tokens.
    """
    row: dict[str, object] = dict.fromkeys(scores_schema(names).names)
    row.update(candidate_id=outcome.candidate_id, example_id=example_id, student=student)
    if isinstance(outcome, Unscored):
        return row | {"status": outcome.reason, "detail": outcome.detail}
    numbers = compute(outcome, names, response=response, steps=steps)
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
        "response_tokens": answer.tokens if answer else None,
        "instruction_tokens": instruction.tokens if instruction else None,
    }
    row |= {f"nll_{name}": views[name].mean_nll for name in VIEW_NAMES if name in views}
    return row | dict(numbers)


def scores_schema(names: Iterable[str]) -> pa.Schema:
    """The SCORES schema with one float64 column for each metric and for what it is made of.

    Raises:
        SettingsError: A name is unknown.
    """
    schema = SCORES
    for spec in specs_for(names):
        schema = schema.append(pa.field(spec.name, pa.float64()))
    return schema


def scores_table(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> pa.Table:
    """The scores table of all candidates, with the metrics that need more than one of them.

    Args:
        rows: From `score`, with the same names.
        names: As in `--metrics`. `lark` adds `lark` and `lark_weight`, `casl` adds `casl`.

    Returns:
        One row a candidate, in the order given, in the schema of `scores_schema`.

    Raises:
        SettingsError: A name is unknown.
        DataError: `casl` was asked for over a set it cannot be fitted on.
    """
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=scores_schema(names))
    if "lark" in names:
        table = with_lark(table)
    if "casl" in names:
        table, _ = with_casl(table)
    return table
