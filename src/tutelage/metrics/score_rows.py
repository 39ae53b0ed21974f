"""Rows of the scores table, and rank correlations between the metrics in it."""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
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
from tutelage.data.schemas import METRIC_AGREEMENT, SCORES, columns_of, table_schema
from tutelage.errors import DataError
from tutelage.metrics.group import with_casl, with_lark
from tutelage.metrics.registry import Material, specs_for
from tutelage.stats.rank_correlation import spearman, spearman_interval

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
        DataError: A view, a statistic or the text that a metric needs is missing.
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
        DataError: A view, a statistic or the text that a metric needs is missing.
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


def agreement(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Rank correlations of metrics with each other and with the response length.

    A metric that correlates with `response_tokens` near 1 or -1 mostly measures length.

    Args:
        table: A scores table, or any table with these columns.
        names: Numeric columns. `response_tokens` is added where the table has it.

    Returns:
        A table of the METRIC_AGREEMENT schema, one row a pair of columns. `spearman` lies in
        [-1, 1]: 1 the same order, -1 the opposite order, 0 no monotone relation. Its 95 % interval
        (see `spearman_interval`) counts examples: candidates of one are no independent witnesses.
        Rows where one of the two is null or not finite are left out and `n` says how many remain;
        null where fewer than 3 remain or one of the two is constant. It does not depend on the
        order of rows.

    Raises:
        DataError: The table has no such column.
    """
    columns = list(dict.fromkeys(names))
    if "response_tokens" in table.column_names and "response_tokens" not in columns:
        columns.append("response_tokens")
    for name in columns:
        if name not in table.column_names:
            raise DataError(
                f"no column {name!r} to compare", hint=f"columns: {', '.join(table.column_names)}"
            )
    values = {
        # Arrow turns a null of a float column into NaN.
        name: table[name].cast(pa.float64()).to_numpy()
        for name in columns
    }
    owners = None
    if "example_id" in table.column_names:
        owners = np.asarray(table["example_id"].to_pylist(), dtype=object).astype(str)
    rows = []
    for a, b in combinations(columns, 2):
        both = np.isfinite(values[a]) & np.isfinite(values[b])
        found, count = spearman(values[a][both], values[b][both]), int(both.sum())
        examples = count if owners is None else len(np.unique(owners[both]))
        low, high = (None, None) if found is None else spearman_interval(found, n=examples)
        rows.append(
            {
                "a": a,
                "b": b,
                "spearman": found,
                "low": low,
                "high": high,
                "n": count,
                "examples": examples,
            }
        )
    return pa.Table.from_pylist(rows, schema=METRIC_AGREEMENT)
