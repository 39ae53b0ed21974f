"""Shares of faulty rows from what an imperfect gate refuses."""

import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.stats.prevalence import break_even_share, prevalences


@pytest.mark.parametrize(
    ("refused", "hits", "false"), [(20, 90, 5), (50, 80, 10), (98, 90, 5), (3, 90, 5)]
)
def test_with_one_kind_it_is_the_clipped_estimator_of_rogan_and_gladen(
    refused: int, hits: int, false: int
) -> None:
    known = [[100 - false, false], [100 - hits, hits]]
    found = prevalences([100 - refused, refused], known_C_O=known, seed=0)
    plain = (refused / 100 - false / 100) / (hits / 100 - false / 100)
    assert found[0].share == pytest.approx(min(1.0, max(0.0, plain)), abs=2e-3)
    assert found[0].low <= found[0].share <= found[0].high


def test_confusion_between_kinds_is_taken_out() -> None:
    # Kind 1 is named as kind 2 in three of ten rows; no row has kind 2.
    known = [[100, 0, 0], [0, 70, 30], [0, 0, 100]]
    one, two, both = prevalences([600, 280, 120], known_C_O=known, seed=0)
    assert one.share == pytest.approx(0.4, abs=0.01)
    assert two.share == pytest.approx(0.0, abs=0.01)
    assert both.share == pytest.approx(0.4, abs=0.01)


def test_the_interval_holds_the_true_share_as_often_as_it_says() -> None:
    drawing, inside = np.random.default_rng(5), 0
    truth = np.array([0.85, 0.1, 0.05])
    rates = np.array([[0.95, 0.02, 0.03], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]])
    for trial in range(60):
        known = [drawing.multinomial(n, row) for n, row in zip((150, 40, 40), rates, strict=True)]
        observed = drawing.multinomial(250, truth @ rates)
        found = prevalences(list(observed), known_C_O=[list(k) for k in known], seed=trial)[-1]
        inside += found.low <= 0.15 <= found.high
    assert inside >= 55


def test_few_refusals_of_few_rows_leave_room_for_more() -> None:
    found = prevalences([40, 0], known_C_O=[[38, 2], [2, 30]], seed=0)[-1]
    assert found.share == 0.0 or found.share < 1e-6
    assert found.high > 0.02


def test_an_empty_class_is_refused() -> None:
    with pytest.raises(DataError, match="rows of every class"):
        prevalences([10, 2], known_C_O=[[9, 1], [0, 0]], seed=0)
    with pytest.raises(DataError, match="observed rows"):
        prevalences([0, 0], known_C_O=[[9, 1], [1, 9]], seed=0)


def test_choosing_pays_above_the_break_even_share() -> None:
    # At the break-even share the harm that is refused equals the benefit that is lost.
    hit, false, benefit, harm = 0.8, 0.04, 0.03, 0.06
    share = break_even_share(hit_rate=hit, false_refusals=false, benefit_to_harm=benefit / harm)
    assert share is not None
    assert share * hit * harm == pytest.approx((1 - share) * false * benefit)
    assert break_even_share(hit_rate=0.0, false_refusals=0.0, benefit_to_harm=1.0) is None
    assert break_even_share(hit_rate=1.0, false_refusals=0.0, benefit_to_harm=1.0) == 0.0
