"""From a reading to a row of the scores table, and rank correlations of its columns."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Reading, TokenStats, Unscored
from tutelage.data.schemas import SCORES
from tutelage.errors import DataError, SettingsError
from tutelage.metrics import (
    METRICS,
    agreement,
    compute,
    finish_scores,
    needs_steps,
    needs_text,
    score_row,
    scores_schema,
    specs_for,
    statistics_for,
    table_metrics,
    views_for,
)

patient = settings(deadline=None)  # a busy machine is no failure
NUMBERS = [
    *(name for name in SCORES.names if name.startswith("nll_") or name.endswith("_tokens")),
    *table_metrics(),
]
names = st.lists(st.sampled_from(table_metrics()), min_size=1, unique=True)


def view(*surprisals):
    length = len(surprisals)
    return TokenStats(
        logprobs_T=-np.array(surprisals, dtype=np.float32),
        ranks_T=np.full(length, 2, dtype=np.uint8),
        entropies_T=np.ones(length, dtype=np.float32),
        sum_squares_T=np.full(length, 0.5, dtype=np.float32),
    )


def reading(candidate_id="c", given_instruction=(1.0, 2.0), alone=(2.0, 3.0)):
    return Reading(
        candidate_id=candidate_id,
        views={
            "response_given_instruction": view(*given_instruction),
            "response": view(*alone),
            "instruction_given_response": view(1.0),
            "instruction": view(2.0),
        },
        response_starts_T=np.array([0, 1], dtype=np.int32),
        vocabulary_tokens=100,
        truncated=True,
    )


@patient
@given(names)
def test_an_ok_row_has_every_number_that_one_candidate_can_give(metrics):
    row = score_row(reading(), metrics=metrics, response="Yes", steps=[view(1.0)])
    assert row["status"] == "ok"
    for spec in specs_for(metrics):
        assert (row[spec.name] is not None) == (spec.compute is not None)
    assert list(row) == scores_schema(metrics).names


@patient
@given(names)
def test_a_row_that_is_not_ok_has_no_number(metrics):
    unscored = Unscored(candidate_id="c", reason="too_long", detail="9 of 8 tokens")
    row = score_row(unscored, metrics=metrics)
    assert (row["status"], row["detail"]) == ("too_long", "9 of 8 tokens")
    assert all(row.get(name) is None for name in NUMBERS)


def test_a_row_says_what_was_counted():
    row = score_row(reading(), metrics=["ifd", "r_ifd"])
    assert (row["candidate_id"], row["response_tokens"], row["instruction_tokens"]) == ("c", 2, 1)
    assert (row["straddles"], row["truncated"]) == (False, True)
    assert row["nll_response_given_instruction"] == pytest.approx(1.5)
    assert row["nll_response"] == pytest.approx(2.5)
    assert row["nll_instruction_given_response"] == pytest.approx(1.0)
    assert row["nll_instruction"] == pytest.approx(2.0)
    assert row["ifd"] == row["r_ifd"] == pytest.approx(np.exp(-1))


def test_one_number_that_overflows_leaves_the_row_without_any():
    row = score_row(reading(given_instruction=(800.0, 800.0)), metrics=["grape", "ifd"])
    assert row["status"] == "nonfinite"
    assert row["detail"] == "no finite value: ifd"
    assert all(row.get(name) is None for name in NUMBERS)


def test_views_that_were_not_asked_for_are_null():
    only = Reading(candidate_id="c", views={"response_given_instruction": view(1.0)})
    row = score_row(only, metrics=["grape"])
    assert row["status"] == "ok"
    assert row["nll_response"] is None
    assert row["instruction_tokens"] is None


def test_what_is_computed_over_all_candidates_is_filled_in_at_the_end():
    metrics = ["lark"]
    rows = [
        score_row(reading("a"), metrics=metrics) | {"example_id": "1"},
        score_row(reading("b"), metrics=metrics) | {"example_id": "1"},
        score_row(Unscored(candidate_id="c", reason="too_long"), metrics=metrics)
        | {"example_id": "1"},
    ]
    table = finish_scores(
        pa.Table.from_pylist(rows, schema=scores_schema(metrics)), metrics=metrics
    )
    assert table["lark"].null_count == 1
    assert table["lark_weight"].to_pylist() == pytest.approx([0.5, 0.5, None])


def test_nothing_is_filled_in_that_was_not_asked_for():
    table = pa.table({"ifd": [0.5]})
    assert finish_scores(table, metrics=["ifd"]) is table


def test_views_and_statistics_are_only_those_needed():
    assert views_for(["grape"]) == ("response_given_instruction",)
    assert views_for(["r_ifd", "ifd"]) == (
        "response_given_instruction",
        "response",
        "instruction_given_response",
        "instruction",
    )
    assert statistics_for(["ifd", "r_ifd", "ppl"]) == "nll"
    assert statistics_for(["ifd", "rsr"]) == "ranks"
    assert statistics_for(["lark"]) == "full"
    assert needs_text(["casl"])
    assert not needs_text(["ifd"])
    assert needs_steps(["lalp"])
    assert not needs_steps(["aslec_drop"])


def test_a_misspelt_metric_is_named_with_the_one_that_was_meant():
    with pytest.raises(SettingsError, match="unknown metric 'rifd'") as error:
        views_for(["rifd"])
    assert "did you mean 'r_ifd'?" in error.value.hint


@pytest.mark.parametrize("name", ["car", "rsr_of_set", "delta_loss"])
def test_a_metric_of_something_else_cannot_be_a_column(name):
    with pytest.raises(SettingsError, match="not a score of one candidate"):
        scores_schema([name])


def test_a_metric_of_steps_without_the_text_is_an_error():
    with pytest.raises(DataError, match="needs the response"):
        compute(reading(), ["aslec_drop"])
    with pytest.raises(DataError, match="readings of its steps"):
        compute(reading(), ["lalp"])


def test_every_metric_names_its_source_and_its_range():
    for name, spec in METRICS.items():
        assert spec.name == name
        assert spec.source
        assert spec.summary.endswith(".")
        assert spec.valid_range[0] < spec.valid_range[1]
        assert set(spec.made_of) <= set(METRICS)


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
