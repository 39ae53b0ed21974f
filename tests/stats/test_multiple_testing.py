"""Corrected p-values by hand, properties of the corrections, and the winner's curse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.stats.multiple_testing import fixed_sequence, holm, shrink, split_winner


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


def test_values_that_differ_by_noise_alone_are_pulled_to_their_mean() -> None:
    found = shrink([0.0, 1.0, 2.0], [5.0, 5.0, 5.0])
    assert found.values.tolist() == [1.0, 1.0, 1.0]
    assert found.spread == 0.0


def test_exact_values_stay_where_they_are() -> None:
    assert shrink([0.0, 1.0, 2.0], [0.0, 0.0, 0.0]).values.tolist() == [0.0, 1.0, 2.0]
    assert shrink([1.0, 1.0], [0.0, 0.0]).values.tolist() == [1.0, 1.0]


def test_equal_entrants_have_a_lucky_winner_and_both_corrections_say_so() -> None:
    rng = np.random.default_rng(0)
    measured, split, shrunk = [], [], []
    for trial in range(80):
        noise = rng.normal(size=(8, 4, 1)) * 0.3 + rng.normal(size=(8, 4, 30))
        winner = split_winner(noise, seed=trial, splits=40)
        measured.append(winner.measured)
        split.append(winner.split)
        means = noise.mean(axis=2)
        errors = means.std(axis=1, ddof=1) / 2
        pulled = shrink(means.mean(axis=1), errors).values
        shrunk.append(pulled[winner.place] - pulled.mean())
    assert np.mean(measured) > 0.2
    assert abs(np.mean(split)) < 0.05
    assert np.mean(shrunk) < 0.5 * np.mean(measured)


def test_a_real_winner_keeps_its_gain() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 4, 50)) * 0.2
    values[2] += 1.0
    winner = split_winner(values)
    assert winner.place == 2
    assert winner.split == pytest.approx(0.75, abs=0.05)  # less the mean of all four
    assert winner.again_fraction == 1.0


def test_what_has_no_winner_is_refused() -> None:
    with pytest.raises(DataError):
        split_winner(np.zeros((1, 2, 5)))
    with pytest.raises(DataError):
        split_winner(np.full((2, 2, 5), np.nan))
    with pytest.raises(DataError):
        shrink([1.0], [1.0])
