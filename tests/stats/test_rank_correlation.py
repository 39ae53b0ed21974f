"""Rank correlations and their interval, by definition, by hand and beside scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.stats.rank_correlation import auc, kendall, spearman, spearman_interval

patient = settings(deadline=None)  # a busy machine is no failure
few = st.sampled_from([0.1, 0.2, 0.5, 0.9])
pairs = st.lists(st.tuples(few, few), min_size=3, max_size=12)
small = st.lists(st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float)), max_size=10)


@settings(deadline=None, max_examples=50)
@given(small)
def test_spearman_agrees_with_scipy(pairs):
    stats = pytest.importorskip("scipy.stats")
    one, other = (np.array([p[i] for p in pairs]) for i in (0, 1))
    found = spearman(one, other)
    if len(pairs) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(one, other).statistic)


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


def test_the_interval_of_a_rank_correlation_is_that_of_bonett_and_wright():
    # atanh(0.5) = 0.5493; half width 1.96 * sqrt(1.125 / 100) = 0.2079
    assert spearman_interval(0.5, n=103) == pytest.approx(
        (np.tanh(0.5493061 - 0.2078862), np.tanh(0.5493061 + 0.2078862)), abs=1e-6
    )


@patient
@given(st.floats(-1, 1), st.integers(0, 10_000))
def test_an_interval_lies_around_its_correlation_and_never_beyond_1(correlation, examples):
    low, high = spearman_interval(correlation, n=examples)
    assert -1 <= low <= correlation + 1e-9
    assert correlation - 1e-9 <= high <= 1
    narrow = spearman_interval(correlation, n=examples + 50)
    assert high - low >= narrow[1] - narrow[0] - 1e-9


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=8))
def test_kendall_of_a_list_with_itself_is_one_and_with_its_negative_minus_one(values) -> None:  # type: ignore[no-untyped-def]
    numbers = np.array(values)
    if len(set(values)) == 1:
        assert kendall(numbers, numbers) is None
    else:
        assert kendall(numbers, numbers) == pytest.approx(1.0)
        assert kendall(numbers, -numbers) == pytest.approx(-1.0)


def test_the_interval_of_a_correlation_holds_it_and_narrows() -> None:
    few, many = spearman_interval(0.8, n=10), spearman_interval(0.8, n=100)
    assert few[0] < many[0] < 0.8 < few[1]
    assert spearman_interval(0.8, n=3) == (-1.0, 1.0)
    assert spearman_interval(1.0, n=10)[1] == 1.0


def test_the_interval_covers_a_true_rank_correlation() -> None:
    rng = np.random.default_rng(0)
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman of a normal pair with correlation 0.6
    covered = 0
    for _ in range(300):
        x = rng.normal(size=20)
        y = 0.6 * x + 0.8 * rng.normal(size=20)
        ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
        low, high = spearman_interval(float(np.corrcoef(*ranks)[0, 1]), n=20)
        covered += low <= truth <= high
    assert covered >= 275


def test_auc_is_one_half_for_ties_and_none_for_nothing() -> None:
    assert auc([1.0], [1.0]) == 0.5
    assert auc([], [1.0]) is None
