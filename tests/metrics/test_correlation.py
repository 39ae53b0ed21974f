"""Rank correlations."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.metrics import agreement, spearman
from tutelage.metrics.correlation import interval

patient = settings(deadline=None)  # a busy machine is no failure
few = st.sampled_from([0.1, 0.2, 0.5, 0.9])
pairs = st.lists(st.tuples(few, few), min_size=3, max_size=12)


@patient
@given(pairs)
def test_ranks_and_their_mean_under_ties_are_what_the_definition_says(rows):
    a, b = (np.array(column) for column in zip(*rows, strict=True))

    def ranks(values):
        below = [sum(other < value for other in values) for value in values]
        same = [sum(other == value for other in values) for value in values]
        return [low + (ties + 1) / 2 for low, ties in zip(below, same, strict=True)]

    ra, rb = np.array(ranks(a)), np.array(ranks(b))
    if np.ptp(ra) == 0 or np.ptp(rb) == 0:
        assert spearman(a, b) is None
    else:
        assert spearman(a, b) == pytest.approx(np.corrcoef(ra, rb)[0, 1])


@patient
@given(pairs)
def test_turning_one_metric_around_turns_the_correlation_around(rows):
    a, b = (np.array(column) for column in zip(*rows, strict=True))
    found, turned = spearman(a, b), spearman(a, -b)
    assert (found is None) == (turned is None)
    if found is not None:
        assert found == pytest.approx(-turned)


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


def test_the_interval_of_a_rank_correlation_is_that_of_bonett_and_wright():
    # atanh(0.5) = 0.5493; half width 1.96 * sqrt(1.125 / 100) = 0.2079
    assert interval(0.5, examples=103) == pytest.approx(
        (np.tanh(0.5493061 - 0.2078862), np.tanh(0.5493061 + 0.2078862)), abs=1e-6
    )


@patient
@given(st.floats(-1, 1), st.integers(0, 10_000))
def test_an_interval_lies_around_its_correlation_and_never_beyond_1(correlation, examples):
    low, high = interval(correlation, examples=examples)
    assert -1 <= low <= correlation + 1e-9
    assert correlation - 1e-9 <= high <= 1
    narrow = interval(correlation, examples=examples + 50)
    assert high - low >= narrow[1] - narrow[0] - 1e-9


def test_candidates_of_one_example_do_not_narrow_the_interval():
    values = {"ifd": [0.1, 0.4, 0.2, 0.5] * 4, "rsr": [1.0, 2.0, 3.0, 4.0] * 4}
    (many,) = agreement(pa.table(values), ["ifd", "rsr"]).to_pylist()
    owned = pa.table({**values, "example_id": ["a", "b", "c", "d"] * 4})
    (few_examples,) = agreement(owned, ["ifd", "rsr"]).to_pylist()
    assert (few_examples["n"], few_examples["examples"]) == (16, 4)
    assert few_examples["spearman"] == many["spearman"]
    assert few_examples["high"] - few_examples["low"] > many["high"] - many["low"]
