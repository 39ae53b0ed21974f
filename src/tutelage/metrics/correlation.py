"""Do two metrics, or two students, put the candidates in the same order?"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import DataError

_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("a", pa.string()),
    ("b", pa.string()),
    ("spearman", pa.float64()),  # null where there is no order to compare
    ("low", pa.float64()),  # of the 95 % interval; null where there is no correlation
    ("high", pa.float64()),
    ("n", pa.int64()),  # rows where both have a number
    ("examples", pa.int64()),  # distinct examples among them; n where the table does not say
)
AGREEMENT = pa.schema([pa.field(name, kind) for name, kind in _COLUMNS])

_Z95 = 1.959964
_NEARLY_1 = 1 - 1e-12
MIN_ROWS = 3
"""Two rows always agree or disagree perfectly: below three there is nothing to say."""


def agreement(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Rank correlations of metrics with each other and with the length of the response.

    A metric that correlates with `response_tokens` near 1 or -1 mostly measures length.

    Args:
        table: A scores table, or any table with these columns.
        names: Numeric columns. `response_tokens` is added where the table has it.

    Returns:
        A table of the AGREEMENT schema, one row a pair of columns. `spearman` lies in [-1, 1]:
        1 the same order, -1 the opposite order, 0 no monotone relation. Its 95 % interval (see
        `interval`) counts examples: candidates of one are no independent witnesses. Rows where one
        of the two is null or not finite are left out and `n` says how many remain; null where
        fewer than 3 remain or one of the two is constant. It does not depend on the order of rows.

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
        low, high = (None, None) if found is None else interval(found, examples=examples)
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
    return pa.Table.from_pylist(rows, schema=AGREEMENT)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        a: Finite numbers.
        b: As many.

    Returns:
        In [-1, 1], or None where there are fewer than 3 or one of the two is constant.

    Examples:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
        0.5
    """
    if len(a) < MIN_ROWS:
        return None
    ranks_a, ranks_b = average_ranks(a), average_ranks(b)
    ranks_a -= ranks_a.mean()
    ranks_b -= ranks_b.mean()
    spread = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    if spread == 0:
        return None
    return float(np.clip((ranks_a @ ranks_b) / spread, -1.0, 1.0))


def interval(correlation: float, *, examples: int) -> tuple[float, float]:
    """The 95 % interval of a rank correlation: Fisher's z with the spread of Bonett and Wright.

    z +- 1.96 sqrt((1 + r^2 / 2) / (n - 3)), turned back (Psychometrika 65, 2000, eq. 8). It is an
    approximation that widens with the correlation; with 3 examples or fewer it is [-1, 1].

    Args:
        correlation: In [-1, 1].
        examples: How many independent pairs of numbers it rests on.

    Examples:
        >>> [round(end, 3) for end in interval(0.5, examples=103)]
        [0.329, 0.639]
    """
    if examples <= MIN_ROWS:
        return -1.0, 1.0
    # A perfect correlation has no finite z.
    z = math.atanh(max(-_NEARLY_1, min(_NEARLY_1, correlation)))
    half = _Z95 * math.sqrt((1 + correlation**2 / 2) / (examples - MIN_ROWS))
    return min(math.tanh(z - half), correlation), max(math.tanh(z + half), correlation)


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ascending; equal values share the mean of the ranks they cover.

    Examples:
        >>> average_ranks(np.array([10.0, 20.0, 10.0])).tolist()
        [1.5, 3.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
