"""Intervals by hand, against scipy, and by simulation: how often is nothing taken for something?"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.stats.paired_design import (
    bootstrap_means,
    fixed_sequence,
    holm,
    paired_interval,
    standard_error,
    t_distribution,
    t_quantile,
)

TABLE = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 7.0]])


def test_the_standard_error_by_hand() -> None:
    # mean 3; seeds 2, 4: MS = 3 * 2 / 1 = 6; items 2, 2, 5: MS = 2 * 6 / 2 = 6;
    # rest [[0, 1, -1], [0, -1, 1]]: MS = 4 / 2 = 2; variance (6 + 6 - 2) / 6
    error, freedom = standard_error(TABLE)
    assert math.isclose(error, math.sqrt(10 / 6))
    assert math.isclose(freedom, 100 / (36 / 1 + 36 / 2 + 4 / 2))


def test_one_seed_is_the_usual_standard_error_over_items() -> None:
    error, freedom = standard_error(np.array([[1.0, 2.0, 6.0]]))
    assert math.isclose(error, np.std([1, 2, 6], ddof=1) / math.sqrt(3))
    assert freedom == 2


def test_equal_differences_have_an_interval_of_no_length() -> None:
    found = paired_interval(np.full((3, 4), 0.5))
    assert (found.low, found.mean, found.high) == (0.5, 0.5, 0.5)
    assert found.excludes_zero
    assert paired_interval(np.zeros((3, 4))).p_value == 1.0


def test_too_little_data_is_refused() -> None:
    with pytest.raises(DataError, match="two items"):
        paired_interval(np.ones((3, 1)))
    with pytest.raises(DataError, match="finite"):
        paired_interval(np.array([[1.0, math.nan]]))


@given(st.integers(0, 50))
def test_exchanging_the_arms_turns_the_interval_round(seed: int) -> None:
    table = np.random.default_rng(seed).normal(0.3, 1, size=(3, 8))
    one, other = paired_interval(table), paired_interval(-table)
    assert math.isclose(one.mean, -other.mean)
    assert math.isclose(one.low, -other.high)
    assert math.isclose(one.p_value, other.p_value)


def test_the_bootstrap_resamples_both_seeds_and_items() -> None:
    only_seeds = np.array([[0.0] * 50, [1.0] * 50])
    assert set(np.round(bootstrap_means(only_seeds, seed=0), 9)) == {0.0, 0.5, 1.0}
    only_items = np.array([[0.0, 1.0]] * 5)
    assert set(np.round(bootstrap_means(only_items, seed=0), 9)) == {0.0, 0.5, 1.0}


def test_a_fixed_sequence_stops_at_the_first_that_fails() -> None:
    assert fixed_sequence([0.01, 0.02, 0.3, 0.001]) == [0.01, 0.02, 0.3, 0.3]
    assert fixed_sequence([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_first_of_a_fixed_sequence_is_not_corrected(values: list[float]) -> None:
    corrected = fixed_sequence(values)
    assert corrected[0] == values[0]
    assert corrected == sorted(corrected)
    assert all(a >= b for a, b in zip(corrected, values, strict=True))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(c >= v for c, v in zip(corrected, values, strict=True))
    assert all(c <= 1 for c in corrected)
    pairs = sorted(zip(values, corrected, strict=True))
    assert [c for _, c in pairs] == sorted(corrected)


@pytest.mark.parametrize("freedom", [1.0, 2.0, 3.7, 10.0, 250.0])
def test_students_t_agrees_with_scipy(freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for t in (0.0, 0.3, 1.0, 2.5, 12.0):
        assert math.isclose(t_distribution(t, freedom), stats.t.cdf(t, freedom), abs_tol=1e-10)
    for p in (0.8, 0.975, 0.999):
        assert math.isclose(t_quantile(p, freedom), stats.t.ppf(p, freedom), rel_tol=1e-8)
    assert math.isclose(t_quantile(0.975, math.inf), 1.959964, abs_tol=1e-6)


def false_alarms(*, seed_sd: float, item_sd: float, rest_sd: float, trials: int = 300) -> float:
    """How often the interval of pure noise excludes 0, with 3 seeds and 60 items."""
    drawing = np.random.default_rng(7)
    alarms = 0
    for trial in range(trials):
        table = (
            drawing.normal(0, seed_sd, size=(3, 1))
            + drawing.normal(0, item_sd, size=(1, 60))
            + drawing.normal(0, rest_sd, size=(3, 60))
        )
        alarms += paired_interval(table, seed=trial, draws=300).excludes_zero
    return alarms / trials


@pytest.mark.parametrize(
    ("seed_sd", "item_sd", "rest_sd"),
    [(1.0, 0.1, 0.1), (0.1, 1.0, 1.0), (0.05, 0.3, 1.0), (0.0, 0.0, 1.0)],
)
def test_nothing_is_taken_for_something_about_as_often_as_stated(
    seed_sd: float, item_sd: float, rest_sd: float
) -> None:
    """5 % are stated; 300 trials of 5 % stay below 9 % but for one time in a thousand."""
    assert false_alarms(seed_sd=seed_sd, item_sd=item_sd, rest_sd=rest_sd) <= 0.09


def test_a_plain_bootstrap_over_three_seeds_would_not_hold_its_promise() -> None:
    """Why the interval is stretched."""
    drawing = np.random.default_rng(1)
    alarms = 0
    for trial in range(200):
        table = drawing.normal(0, 1.0, size=(3, 1)) + drawing.normal(0, 0.1, size=(3, 60))
        low, high = np.quantile(bootstrap_means(table, seed=trial, draws=300), [0.025, 0.975])
        alarms += bool(low > 0 or high < 0)
    assert alarms / 200 > 0.15


def test_an_effect_of_the_detectable_size_is_found_about_four_times_in_five() -> None:
    drawing = np.random.default_rng(3)
    noise = [
        drawing.normal(0, 0.3, size=(1, 200)) + drawing.normal(0, 1.0, size=(3, 200))
        for _ in range(200)
    ]
    effect = float(np.mean([paired_interval(table, draws=300).detectable for table in noise]))
    found = sum(paired_interval(table + effect, draws=300).low > 0 for table in noise)
    assert 0.7 <= found / 200 <= 0.95
