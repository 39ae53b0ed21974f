import pyarrow as pa
import pytest

from tutelage.errors import DataError, SettingsError
from tutelage.filters.candidates import pool_of
from tutelage.filters.numeric import column_numbers


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
