"""Plans: components of variance, the detectable difference, and what to increase."""

import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.stats.paired_design import paired_interval
from tutelage.stats.power import Components, components_of, design, what_to_increase


def draw(components: Components, *, seeds: int, items: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn: np.ndarray = (
        rng.normal(0, components.seed, (seeds, 1))
        + rng.normal(0, components.item, (1, items))
        + rng.normal(0, components.rest, (seeds, items))
    )
    return drawn


def test_components_are_found_again() -> None:
    true = Components(seed=0.5, item=1.0, rest=0.8)
    found = components_of(draw(true, seeds=60, items=300, seed=1))
    assert found.seed == pytest.approx(0.5, rel=0.2)
    assert found.item == pytest.approx(1.0, rel=0.1)
    assert found.rest == pytest.approx(0.8, rel=0.05)


def test_the_plan_agrees_with_the_analysis_of_drawn_results() -> None:
    true = Components(seed=0.1, item=0.6, rest=0.9)
    planned = design(true, seeds=8, items=100, comparisons=1)
    drawn = [
        paired_interval(draw(true, seeds=8, items=100, seed=n), draws=50).detectable
        for n in range(40)
    ]
    assert float(np.median(drawn)) == pytest.approx(planned.detectable, rel=0.15)


def test_four_of_five_repetitions_find_the_planned_difference() -> None:
    true = Components(seed=0.2, item=0.5, rest=0.5)
    effect = design(true, seeds=6, items=80, comparisons=1).detectable
    found = [
        paired_interval(effect + draw(true, seeds=6, items=80, seed=n), draws=50).p_value < 0.05
        for n in range(100)
    ]
    assert 0.7 <= np.mean(found) <= 0.9


def test_what_varies_more_is_increased() -> None:
    def advice(components: Components) -> str:
        made = [
            design(components, seeds=s, items=i, comparisons=3)
            for s, i in ((4, 100), (8, 100), (4, 200))
        ]
        return what_to_increase(made[0], more_seeds=made[1], more_items=made[2])

    assert advice(Components(seed=0.5, item=0.1, rest=0.1)) == "seeds"
    assert advice(Components(seed=0.0, item=1.0, rest=0.1)) == "items"


def test_one_seed_can_neither_be_planned_nor_be_a_pilot() -> None:
    with pytest.raises(DataError, match="seeds: 1, items: 10"):
        design(Components(seed=1, item=1, rest=1), seeds=1, items=10, comparisons=1)
    with pytest.raises(DataError, match="two of each"):
        components_of(np.zeros((1, 10)))
