"""GRACE against what it must be for gradients whose distribution is known."""

import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.experiments.rank.answer_features import SPLITS, grace


def test_alike_directions_give_the_dimensions_times_the_squared_length() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(4000, 8)) * 3.0
    found = grace(gradients, np.arange(4000))
    squared = (gradients**2).sum(axis=1).mean()
    assert len(found) == SPLITS
    assert found.mean() == pytest.approx(8 * squared, rel=0.05)


def test_a_direction_that_training_hardly_saw_is_held_against_the_teacher() -> None:
    rng = np.random.default_rng(1)
    one_way = np.array([1.0] + [0.0] * 7) + 0.05 * rng.normal(size=(200, 8))
    rare = one_way.copy()
    rare[::20] = np.roll(3 * one_way[::20], 3, axis=1)
    questions = np.arange(200)
    assert grace(rare, questions).mean() > grace(one_way, questions).mean()


def test_larger_gradients_are_worse_by_the_square() -> None:
    rng = np.random.default_rng(2)
    gradients, questions = rng.normal(size=(100, 4)), np.arange(100)
    ratio = grace(2 * gradients, questions) / grace(gradients, questions)
    assert ratio == pytest.approx(4.0)


def test_the_order_of_gradients_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    gradients, questions = rng.normal(size=(60, 4)), np.repeat(np.arange(30), 2)
    places = rng.permutation(60)
    assert grace(gradients, questions) == pytest.approx(grace(gradients[places], questions[places]))


def test_what_has_no_score_is_refused() -> None:
    with pytest.raises(DataError, match="10 questions"):
        grace(np.ones((9, 2)), np.arange(9))
    with pytest.raises(DataError, match="zero"):
        grace(np.zeros((20, 2)), np.arange(20))
