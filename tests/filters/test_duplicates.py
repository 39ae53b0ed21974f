import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.filters.candidate_texts import pool_of
from tutelage.filters.config import ExactDuplicatesSettings
from tutelage.filters.duplicates import drop_exact_duplicates

rows = st.lists(
    st.tuples(st.sampled_from(["a", "A ", "b", "c"]), st.sampled_from(["e1", "e2", "e3"])),
    max_size=8,
)


def _pool(rows, make_candidates):
    return pool_of(
        make_candidates([(text, "r") for text, _ in rows], examples=[e for _, e in rows])
    )


@settings(deadline=None, max_examples=50)
@given(rows=rows, same_example=st.booleans())
def test_no_two_kept_are_alike_and_each_dropped_one_names_a_kept_one(
    make_candidates, rows, same_example
):
    pool = _pool(rows, make_candidates)
    verdicts = drop_exact_duplicates(pool, ExactDuplicatesSettings(same_example=same_example))
    texts = [text.strip().lower() for text, _ in rows]
    kept = [i for i in range(len(rows)) if verdicts.kept_N[i]]
    for i in range(len(rows)):
        rivals = [
            j
            for j in kept
            if j != i and texts[j] == texts[i] and (same_example or rows[j][1] != rows[i][1])
        ]
        assert bool(rivals) != bool(verdicts.kept_N[i])
        if rivals:
            named = int((verdicts.details_N[i] or "").removeprefix("of c"))
            assert named in rivals


def test_samples_of_one_example_share_their_instruction_and_all_stay(make_candidates):
    rows = [("a", "e1"), ("a", "e1"), ("a", "e2")]
    verdicts = drop_exact_duplicates(_pool(rows, make_candidates), ExactDuplicatesSettings())
    assert verdicts.kept_N.tolist() == [True, True, False]
    assert verdicts.details_N[2] == "of c000"
    assert verdicts.reasons_N == ["kept_of_duplicates", "unique", "exact_duplicate"]


def test_white_space_and_case_do_not_tell_texts_apart_but_signs_do(make_candidates):
    pairs = [("x + 1", "r"), ("X  + 1\n", "r"), ("x - 1", "r")]
    verdicts = drop_exact_duplicates(pool_of(make_candidates(pairs)), ExactDuplicatesSettings())
    assert verdicts.kept_N.tolist() == [True, False, True]


def test_the_longest_response_stays_and_the_id_decides_between_equals(make_candidates):
    pairs = [("a", "1"), ("a", "333"), ("a", "444")]
    pool = pool_of(make_candidates(pairs, ids=["x", "z", "y"]))
    verdicts = drop_exact_duplicates(pool, ExactDuplicatesSettings(keep="longest"))
    assert verdicts.kept_N.tolist() == [False, False, True]
    assert verdicts.details_N == ["of y", "of y", "stands for 2 more"]


@pytest.mark.parametrize(("prefer", "winner"), [("high", 1), ("low", 0)])
def test_the_best_by_a_column_stays_and_one_without_a_number_never_does(
    make_candidates, prefer, winner
):
    pool = pool_of(make_candidates([("a", "1"), ("a", "2"), ("a", "3")]))
    scores = pa.table({"candidate_id": ["c001", "c000"], "ifd": [0.9, 0.5]})
    settings = ExactDuplicatesSettings(keep="best", by="ifd", prefer=prefer)
    verdicts = drop_exact_duplicates(pool, settings, scores=scores)
    assert [i for i in range(3) if verdicts.kept_N[i]] == [winner]


def test_a_missing_response_is_a_reason_and_not_a_duplicate():
    row = {"messages": [{"role": "user", "content": "hello"}]}
    table = pa.Table.from_pylist([{"example_id": "a", **row}, {"example_id": "b", **row}])
    verdicts = drop_exact_duplicates(pool_of(table), ExactDuplicatesSettings(of="response"))
    assert verdicts.reasons_N == ["no_response", "no_response"]
    assert verdicts.kept_N.tolist() == [False, False]


def test_best_needs_a_column_and_the_others_refuse_one():
    with pytest.raises(ValidationError, match="`by` is required"):
        ExactDuplicatesSettings(keep="best")
    with pytest.raises(ValidationError, match="`by` is required"):
        ExactDuplicatesSettings(by="ifd")
