"""Arrow columns as numpy arrays and back. NaN and the index -1 stand for null, and only here."""

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Column: TypeAlias = "pa.Array[Any]"
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Indexes: TypeAlias = NDArray[np.int64]

NONE = -1
"""The index that stands for no candidate."""


def column_of(table: pa.Table, name: str) -> Column:
    """A column of a table as one array."""
    return table[name].combine_chunks()


def filled(column: Column, value: object) -> Column:
    """A column with a value in place of its nulls."""
    fill: Any = pc.fill_null
    without_nulls: Column = fill(column, value)
    return without_nulls


def to_numpy(column: Column) -> NDArray[Any]:
    """A column without nulls as a numpy array."""
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def to_floats(column: Column) -> Floats:
    """A float64 column, NaN where it is null."""
    return to_numpy(filled(column, np.nan)).astype(np.float64, copy=False)


def from_floats(values: Floats) -> Column:
    """A float64 column, null where there is NaN."""
    column: Column = pa.array(values, pa.float64(), mask=np.isnan(values))
    return column


def equals(column: Column, value: str) -> Bools:
    """Where a column has this text; false where it is null."""
    return to_numpy(filled(pc.equal(column, pa.scalar(value)), False)).astype(np.bool_)


def follows_equal(column: Column) -> Bools:
    """Where a value is the same as the one before it; false for the first, and for nulls."""
    if len(column) == 0:
        return np.zeros(0, dtype=np.bool_)
    same = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
    rest = to_numpy(filled(same, False)).astype(np.bool_)
    return np.concatenate([np.zeros(1, dtype=np.bool_), rest])


def encode(column: Column) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The distinct texts of a column, and for each row which one it has; -1 where it is null."""
    encoded: Any = pc.dictionary_encode(column)
    codes = to_numpy(filled(encoded.indices, NONE)).astype(np.int64)
    return tuple(str(word) for word in encoded.dictionary.to_pylist()), codes


def take(column: Column, index: NDArray[np.int64]) -> Column:
    """The values at these rows; null at -1."""
    rows: Any = pa.array(index, pa.int64(), mask=index == NONE)
    taken: Column = column.take(rows)
    return taken


def constant(value: str, rows: int) -> Column:
    """A text column with one value throughout."""
    return take(pa.array([value], pa.string()), np.zeros(rows, dtype=np.int64))


def count_values(column: Column) -> dict[str, int]:
    """How often each text occurs, most frequent first, then by text."""
    counted: Any = pc.value_counts(column)
    pairs = [(str(pair["values"]), int(pair["counts"])) for pair in counted.to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
