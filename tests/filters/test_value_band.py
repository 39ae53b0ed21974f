import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.filters.candidates import pool_of
from tutelage.filters.config import ColumnSettings, IfdSettings
from tutelage.filters.numeric import keep_band, numbers

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
