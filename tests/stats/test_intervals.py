"""Intervals of shares and means, by hand and against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.stats import share_of, wilson
from tutelage.stats.intervals import mean_interval


@given(st.integers(0, 50), st.integers(1, 50))
def test_an_interval_holds_its_share(count: int, more: int) -> None:
    share = share_of(count, count + more)
    assert 0 <= share.low <= share.fraction <= share.high <= 1
    wider = share_of(count, count + more, level=0.99)
    assert wider.low <= share.low
    assert wider.high >= share.high


def test_wilson_by_hand() -> None:
    share = share_of(5, 100)
    assert (round(share.low, 4), round(share.high, 4)) == (0.0215, 0.1118)


@pytest.mark.parametrize(("count", "rows"), [(0, 10), (3, 8), (8, 8), (17, 900)])
def test_wilson_agrees_with_scipy(count: int, rows: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(count, rows).proportion_ci(method="wilson")
    ours = wilson(count, rows)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_interval_of_a_mean_by_hand() -> None:
    found = mean_interval(np.array([1.0, 2.0, 6.0]))  # deviations 2, 1, 3: 14 / 2 / 3
    assert found.value == 3.0
    assert found.high - 3.0 == pytest.approx(1.959964 * (7 / 3) ** 0.5, abs=1e-5)
    assert found.low + found.high == pytest.approx(6.0)
