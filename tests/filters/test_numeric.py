"""Filters by a number: a column, a length, a band of values, and repeated instructions."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.errors import DataError, SettingsError
from tutelage.filters import EchoSettings, apply_filters
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import ColumnSettings, IfdSettings, LengthSettings
from tutelage.filters.numeric import (
    column_numbers,
    drop_echoes,
    keep_band,
    measure_length,
    numbers,
    repeated_share,
)


@pytest.fixture
def pool(make_candidates):
    return pool_of(make_candidates([("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]))


def _scores(**columns):
    return pa.table(columns)


def test_scores_are_joined_by_id_and_never_by_position(pool):
    scores = _scores(candidate_id=["c002", "c000"], ifd=[0.2, 0.1])
    measured = column_numbers(pool, "ifd", scores=scores)
    assert measured.values_N[measured.known_N].tolist() == [0.1, 0.2]
    assert measured.known_N.tolist() == [True, False, True, False]
    assert measured.reasons_N == ["", "not_scored", "", "not_scored"]


def test_an_unscored_candidate_has_its_status_as_the_reason(pool):
    scores = _scores(
        candidate_id=["c000", "c001", "c002", "c003"],
        status=["ok", "too_long", "ok", "nonfinite"],
        ifd=pa.array([0.1, None, float("nan"), None]),
    )
    measured = column_numbers(pool, "ifd", scores=scores)
    assert measured.reasons_N == ["", "too_long", "no_number", "nonfinite"]


def test_scores_of_two_students_need_a_name(pool):
    scores = _scores(candidate_id=["c000", "c000"], student=["big", "small"], ifd=[0.1, 0.9])
    with pytest.raises(SettingsError, match="several students: big, small"):
        column_numbers(pool, "ifd", scores=scores)
    with pytest.raises(SettingsError, match="has no 'tiny'"):
        column_numbers(pool, "ifd", scores=scores, student="tiny")
    measured = column_numbers(pool, "ifd", scores=scores, student="small")
    assert measured.values_N[0] == 0.9


def test_two_scores_of_one_candidate_are_refused(pool):
    scores = _scores(candidate_id=["c000", "c000"], ifd=[0.1, 0.9])
    with pytest.raises(DataError, match="two rows for one candidate"):
        column_numbers(pool, "ifd", scores=scores)


def test_a_column_of_the_candidates_table_will_do(make_candidates):
    table = make_candidates([("a", "1"), ("b", "2")]).append_column("reward", pa.array([1, None]))
    measured = column_numbers(pool_of(table), "reward", scores=None)
    assert measured.known_N.tolist() == [True, False]


def test_a_column_that_is_nowhere_is_named(pool):
    with pytest.raises(SettingsError, match="no column 'rsr'") as caught:
        column_numbers(pool, "rsr", scores=None)
    assert "score the candidates" in caught.value.hint


def test_a_column_of_text_is_refused(pool):
    with pytest.raises(SettingsError, match="holds string, not numbers"):
        column_numbers(pool, "step", scores=None)


@pytest.fixture
def three(make_candidates):
    return pool_of(make_candidates([("One two?", "é𝄞!"), ("x", "")]))


def test_characters_are_code_points(three):
    assert measure_length(three, LengthSettings()).values_N.tolist() == [3.0, 0.0]


def test_words_are_counted_without_punctuation(three):
    measured = measure_length(three, LengthSettings(of="instruction", unit="words"))
    assert measured.values_N.tolist() == [2.0, 1.0]


def test_both_counts_the_newline_between(three):
    assert measure_length(three, LengthSettings(of="both")).values_N.tolist() == [
        12.0,
        2.0,
    ]


def test_tokens_are_counted_by_the_tokenizer_where_there_is_one(three):
    scores = pa.table({"candidate_id": ["c000"], "response_tokens": [7]})
    measured = measure_length(
        three,
        LengthSettings(unit="tokens"),
        scores=scores,
        count_tokens=lambda texts: [len(text) * 2 for text in texts],
    )
    assert measured.values_N.tolist() == [6.0, 0.0]


def test_tokens_come_from_the_scores_otherwise(three):
    scores = pa.table({"candidate_id": ["c000"], "response_tokens": [7]})
    measured = measure_length(three, LengthSettings(unit="tokens"), scores=scores)
    assert measured.known_N.tolist() == [True, False]
    assert measured.values_N[0] == 7.0
    assert measured.reasons_N[1] == "not_scored"


def test_tokens_without_anything_to_count_them_are_refused(three):
    with pytest.raises(SettingsError, match="needs a tokenizer or scores"):
        measure_length(three, LengthSettings(unit="tokens"))


def test_tokens_of_both_are_not_in_the_scores(three):
    scores = pa.table({"candidate_id": ["c000"], "response_tokens": [7]})
    with pytest.raises(SettingsError, match="separately"):
        measure_length(three, LengthSettings(unit="tokens", of="both"), scores=scores)


def test_a_missing_response_has_no_length():
    row = {"example_id": "e", "messages": [{"role": "user", "content": "hello"}]}
    three = pool_of(pa.Table.from_pylist([row]))
    for unit in ("characters", "words"):
        assert measure_length(three, LengthSettings(unit=unit)).reasons_N == ["no_response"]


values = st.lists(st.sampled_from([None, 0.0, 0.5, 1.0, 1.5]), max_size=8)


def _pool(count, make_candidates, ids=None):
    return pool_of(make_candidates([(f"i{n}", "r") for n in range(count)], ids=ids))


@settings(deadline=None, max_examples=50)
@given(
    values=values,
    fraction=st.sampled_from([0.1, 0.5, 1.0]),
    prefer=st.sampled_from(["high", "low"]),
)
def test_a_share_keeps_the_best_known_and_never_more(make_candidates, values, fraction, prefer):
    pool = _pool(len(values), make_candidates)
    settings = ColumnSettings(column="x", keep_fraction=fraction, prefer=prefer)
    verdicts = keep_band(pool, numbers(values), settings)
    kept = [v for v, k in zip(values, verdicts.kept_N, strict=True) if k]
    dropped = [v for v, k in zip(values, verdicts.kept_N, strict=True) if not k and v is not None]
    known = [v for v in values if v is not None]
    assert None not in kept
    assert len(kept) == min(len(known), -int(-fraction * len(values) // 1))
    if kept and dropped:
        assert min(kept) >= max(dropped) if prefer == "high" else max(kept) <= min(dropped)


@settings(deadline=None, max_examples=50)
@given(values=values, data=st.data())
def test_the_result_does_not_depend_on_the_order(make_candidates, values, data):
    ids = [f"c{n}" for n in range(len(values))]
    order = data.draw(st.permutations(range(len(values))))
    settings = ColumnSettings(column="x", keep_fraction=0.5)
    plain = keep_band(_pool(len(values), make_candidates), numbers(values), settings)
    shuffled_pool = _pool(len(values), make_candidates, ids=[f"c{n:03}" for n in order])
    shuffled = keep_band(shuffled_pool, numbers([values[n] for n in order]), settings)
    kept = {n for n in range(len(ids)) if plain.kept_N[n]}
    assert kept == {order[n] for n in range(len(ids)) if shuffled.kept_N[n]}


def test_limits_are_included_and_a_missing_number_is_never_kept(make_candidates):
    pool = _pool(5, make_candidates)
    settings = ColumnSettings(column="x", minimum=0.5, maximum=1.0)
    verdicts = keep_band(pool, numbers([0.4, 0.5, 1.0, 1.1, None]), settings)
    assert verdicts.reasons_N == [
        "below_minimum",
        "in_band",
        "in_band",
        "above_maximum",
        "no_number",
    ]
    assert verdicts.kept_N.tolist() == [False, True, True, False, False]


def test_a_missing_number_is_not_kept_by_a_band_around_zero(make_candidates):
    verdicts = keep_band(
        _pool(1, make_candidates), numbers([None]), ColumnSettings(column="x", maximum=1.0)
    )
    assert verdicts.kept_N.tolist() == [False]


def test_an_ifd_of_exactly_one_is_out(make_candidates):
    verdicts = keep_band(_pool(2, make_candidates), numbers([0.999, 1.0]), IfdSettings())
    assert verdicts.kept_N.tolist() == [True, False]


def test_a_share_counts_all_candidates_and_chooses_within_the_limits(make_candidates):
    settings = ColumnSettings(column="x", maximum=3.0, keep_fraction=0.5)
    verdicts = keep_band(_pool(4, make_candidates), numbers([1.0, 2.0, 3.0, 4.0]), settings)
    assert verdicts.reasons_N == ["outside_share", "in_share", "in_share", "above_maximum"]


def test_a_minimum_above_the_maximum_is_refused():
    with pytest.raises(ValidationError, match="is above maximum"):
        ColumnSettings(column="x", minimum=2.0, maximum=1.0)


def test_infinities_are_missing_numbers():
    assert numbers([float("inf"), float("-inf"), float("nan")]).known_N.tolist() == [False] * 3


ASKED = "Name two red fruits that grow in gardens."
PAIRS = [
    (ASKED, "Cherries and strawberries."),
    (ASKED, "Two red fruits that grow in gardens are cherries and strawberries."),
    (ASKED, f"{ASKED} Cherries and strawberries."),
    (ASKED, "NAME TWO RED FRUITS, THAT GROW IN GARDENS! Cherries."),
    ("?!", "What do you mean?"),
]


def test_a_response_that_repeats_all_of_its_instruction_is_dropped_with_its_own_reason(
    make_candidates,
):
    found = apply_filters(make_candidates(PAIRS), filters=[EchoSettings()]).final.to_pylist()
    assert [row["kept"] for row in found] == [True, True, False, False, True]
    assert {row["reason"] for row in found if not row["kept"]} == {"echoes_instruction"}
    alone = drop_echoes(pool_of(make_candidates(PAIRS)), EchoSettings()).values_N
    assert alone.tolist() == pytest.approx([0, 5 / 6, 1, 1, 0])


def test_what_may_be_repeated_can_be_set(make_candidates):
    pool = pool_of(make_candidates(PAIRS))
    assert drop_echoes(pool, EchoSettings(maximum=0.8)).kept_N.tolist() == [
        *[True, False, False, False],
        True,
    ]
    assert drop_echoes(pool, EchoSettings(maximum=1.0)).kept_N.all()


WORDS = st.lists(st.sampled_from(["name", "red", "fruits", "und", "\u00e9"]), max_size=9)


@given(WORDS, WORDS, WORDS, st.integers(1, 4))
def test_a_repeated_instruction_is_found_wherever_it_stands(asked, before, after, size):
    said = " ".join([*before, *asked, *after])
    share = repeated_share(instruction=" ".join(asked), response=said, ngram_words=size)
    assert share == (1.0 if asked else None)


@given(WORDS, WORDS, st.integers(1, 4))
def test_a_share_is_between_0_and_1(asked, said, size):
    share = repeated_share(instruction=" ".join(asked), response=" ".join(said), ngram_words=size)
    assert share is None or 0 <= share <= 1


def test_an_instruction_shorter_than_an_n_gram_is_looked_for_whole():
    share = repeated_share(instruction="Red fruits?", response="red, green fruits", ngram_words=3)
    assert share == 0
