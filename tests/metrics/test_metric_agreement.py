"""Rank correlations of the columns of a table."""

import pyarrow as pa
import pytest

from tutelage.errors import DataError
from tutelage.metrics import agreement


def test_agreement_counts_only_rows_where_both_have_a_number():
    table = pa.table(
        {
            "ifd": [0.1, 0.2, 0.3, None, 0.5],
            "rsr": [4.0, 3.0, 2.0, 1.0, float("nan")],
            "response_tokens": pa.array([1, 2, 3, 4, 5], pa.int32()),
        }
    )
    rows = agreement(table, ["ifd", "rsr"]).select(["a", "b", "spearman", "n"]).to_pylist()
    assert rows == [
        {"a": "ifd", "b": "rsr", "spearman": -1.0, "n": 3},
        {"a": "ifd", "b": "response_tokens", "spearman": 1.0, "n": 4},
        {"a": "rsr", "b": "response_tokens", "spearman": -1.0, "n": 4},
    ]


def test_agreement_has_nothing_to_say_about_two_rows_or_a_constant():
    table = pa.table({"a": [1.0, 2.0, None], "b": [1.0, 2.0, 3.0], "c": [7.0, 7.0, 7.0]})
    found = agreement(table, ["a", "b", "c"]).to_pylist()
    assert [(row["spearman"], row["n"]) for row in found] == [(None, 2), (None, 2), (None, 3)]


def test_agreement_of_a_missing_column_is_an_error():
    with pytest.raises(DataError, match="no column 'x'"):
        agreement(pa.table({"a": [1.0]}), ["x"])


def test_candidates_of_one_example_do_not_narrow_the_interval():
    values = {"ifd": [0.1, 0.4, 0.2, 0.5] * 4, "rsr": [1.0, 2.0, 3.0, 4.0] * 4}
    (many,) = agreement(pa.table(values), ["ifd", "rsr"]).to_pylist()
    owned = pa.table({**values, "example_id": ["a", "b", "c", "d"] * 4})
    (few_examples,) = agreement(owned, ["ifd", "rsr"]).to_pylist()
    assert (few_examples["n"], few_examples["examples"]) == (16, 4)
    assert few_examples["spearman"] == many["spearman"]
    assert few_examples["high"] - few_examples["low"] > many["high"] - many["low"]
