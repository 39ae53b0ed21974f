"""Winning by luck is taken off; a real winner keeps what it is worth."""

import numpy as np
import pytest

from tutelage.errors import DataError, SettingsError
from tutelage.experiments.rank import rungs_of, shrink, split_winner


def test_rounds_end_with_one_that_goes_on() -> None:
    found = rungs_of(8, examples=10, keep_fraction=0.25, growth=3.0, rungs=5)
    assert [(r.entrants, r.examples, r.keeps) for r in found] == [
        (8, 10, 2),
        (2, 30, 1),
        (1, 90, 1),
    ]


@pytest.mark.parametrize("wrong", [{"entrants": 0}, {"keep_fraction": 1.0}, {"growth": 0.5}])
def test_rounds_that_cannot_be_are_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    values = {"entrants": 4, "examples": 8, "keep_fraction": 0.5, "growth": 2.0, "rungs": 2} | wrong
    with pytest.raises(SettingsError):
        rungs_of(values.pop("entrants"), **values)


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
