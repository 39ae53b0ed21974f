import pyarrow as pa
import pytest

from tutelage.errors import SettingsError
from tutelage.filters.candidate_texts import pool_of
from tutelage.filters.config import LengthSettings
from tutelage.filters.numeric import measure_length


@pytest.fixture
def pool(make_candidates):
    return pool_of(make_candidates([("One two?", "é𝄞!"), ("x", "")]))


def test_characters_are_code_points(pool):
    assert measure_length(pool, LengthSettings()).values_N.tolist() == [3.0, 0.0]


def test_words_are_counted_without_punctuation(pool):
    measured = measure_length(pool, LengthSettings(of="instruction", unit="words"))
    assert measured.values_N.tolist() == [2.0, 1.0]


def test_both_counts_the_newline_between(pool):
    assert measure_length(pool, LengthSettings(of="both")).values_N.tolist() == [12.0, 2.0]


def test_tokens_are_counted_by_the_tokenizer_where_there_is_one(pool):
    scores = pa.table({"candidate_id": ["c000"], "response_tokens": [7]})
    measured = measure_length(
        pool,
        LengthSettings(unit="tokens"),
        scores=scores,
        count_tokens=lambda texts: [len(text) * 2 for text in texts],
    )
    assert measured.values_N.tolist() == [6.0, 0.0]


def test_tokens_come_from_the_scores_otherwise(pool):
    scores = pa.table({"candidate_id": ["c000"], "response_tokens": [7]})
    measured = measure_length(pool, LengthSettings(unit="tokens"), scores=scores)
    assert measured.known_N.tolist() == [True, False]
    assert measured.values_N[0] == 7.0
    assert measured.reasons_N[1] == "not_scored"


def test_tokens_without_anything_to_count_them_are_refused(pool):
    with pytest.raises(SettingsError, match="needs a tokenizer or scores"):
        measure_length(pool, LengthSettings(unit="tokens"))


def test_tokens_of_both_are_not_in_the_scores(pool):
    scores = pa.table({"candidate_id": ["c000"], "response_tokens": [7]})
    with pytest.raises(SettingsError, match="separately"):
        measure_length(pool, LengthSettings(unit="tokens", of="both"), scores=scores)


def test_a_missing_response_has_no_length():
    row = {"example_id": "e", "messages": [{"role": "user", "content": "hello"}]}
    pool = pool_of(pa.Table.from_pylist([row]))
    for unit in ("characters", "words"):
        assert measure_length(pool, LengthSettings(unit=unit)).reasons_N == ["no_response"]
