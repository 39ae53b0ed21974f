"""Efficiency: the part of the possible gain that a choice reaches."""

import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.stats.paired_design import efficiency


def values(mean: float, rng: np.random.Generator, shared: np.ndarray) -> np.ndarray:
    return mean + shared + 0.05 * rng.normal(size=shared.shape)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        shared = rng.normal(size=(6, 1)) * 0.05 + rng.normal(size=(1, 40)) * 0.3
        found = efficiency(
            choice_S_I=values(0.07, rng, shared),
            oracle_S_I=values(0.10, rng, shared),
            ungated_S_I=values(0.0, rng, shared),
        )
        assert found is not None
        hits += found.low <= 0.7 <= found.high
    assert 180 <= hits <= 200


def test_without_room_there_is_no_ratio() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(4, 30))
    arms = [values(0.0, rng, shared) for _ in range(3)]
    found = efficiency(choice_S_I=arms[0], oracle_S_I=arms[1], ungated_S_I=arms[2])
    assert found is None


def test_the_oracle_itself_has_efficiency_one() -> None:
    rng = np.random.default_rng(2)
    ungated, oracle = rng.normal(size=(3, 20)) * 0.1, 1 + rng.normal(size=(3, 20)) * 0.1
    found = efficiency(choice_S_I=oracle, oracle_S_I=oracle, ungated_S_I=ungated)
    assert found is not None
    assert (found.ratio, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_arms_of_other_seeds_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="cannot be paired"):
        efficiency(
            choice_S_I=np.zeros((2, 3)), oracle_S_I=np.zeros((3, 3)), ungated_S_I=np.zeros((2, 3))
        )
