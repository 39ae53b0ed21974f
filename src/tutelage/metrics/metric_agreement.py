"""Rank correlations between metrics, or between students, over the same candidates."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import METRIC_AGREEMENT
from tutelage.errors import DataError
from tutelage.stats.rank_correlation import spearman, spearman_interval


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
