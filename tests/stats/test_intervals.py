"""Intervals by hand and against scipy, the distributions behind them, and confidence sequences."""

import builtins
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import MissingExtraError
from tutelage.stats import share_of, wilson
from tutelage.stats.intervals import (
    half_width,
    mean_interval,
    shift_found_with,
    surely_above_zero,
    t_cdf,
    t_quantile,
)


@pytest.mark.parametrize("freedom", [1.0, 2.0, 3.7, 10.0, 250.0])
def test_students_t_agrees_with_scipy(freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for t in (-2.5, 0.0, 0.3, 1.0, 2.5, 12.0):
        assert math.isclose(t_cdf(t, freedom), stats.t.cdf(t, freedom), abs_tol=1e-10)
    for p in (0.2, 0.8, 0.975, 0.999):
        assert math.isclose(t_quantile(p, freedom), stats.t.ppf(p, freedom), rel_tol=1e-8)
    assert math.isclose(t_quantile(0.975, math.inf), 1.959964, abs_tol=1e-6)


@pytest.mark.parametrize("freedom", [1.0, 3.7, 40.0])
def test_the_shift_is_found_as_often_as_stated(freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    bar = t_quantile(0.975, freedom)
    shift = shift_found_with(0.8, bar=bar, freedom=freedom)
    assert math.isclose(stats.nct.sf(bar, freedom, shift), 0.8, rel_tol=1e-6)
    draws = np.random.default_rng(0)
    spread = np.sqrt(draws.chisquare(freedom, 200_000) / freedom)
    found = (draws.normal(shift, 1.0, 200_000) / spread > bar).mean()
    assert found == pytest.approx(0.8, abs=0.005)


def test_with_many_degrees_of_freedom_it_is_the_normal_distribution() -> None:
    assert math.isclose(t_cdf(1.2, 1e5), t_cdf(1.2, math.inf), abs_tol=1e-5)
    assert math.isclose(
        shift_found_with(0.8, bar=1.96, freedom=1e5),
        shift_found_with(0.8, bar=1.96, freedom=math.inf),
        rel_tol=1e-4,
    )


def test_without_scipy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [one for one in sys.modules if one.split(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="scipy") as error:
        t_quantile(0.975, 3.0)
    assert "tutelage[train]" in (error.value.hint or "")
    assert t_quantile(0.975, math.inf) == pytest.approx(1.959964)


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


def test_the_width_by_hand() -> None:
    # alpha 0.05, tuned for 100: rho2 = (5.9915 + log 5.9915 + 1) / 100 = 0.087819
    # at t = 100: reach 9.7819; 2 * 9.7819 / 878.19 * log(3.1276 / 0.05) = 0.092156
    assert half_width(1.0, terms=100, alpha=0.05, tuned_for=100) == pytest.approx(0.30357, abs=1e-4)


def test_too_few_terms_claim_nothing() -> None:
    terms = 5.0 + np.random.default_rng(0).normal(size=60)
    assert surely_above_zero(terms, alpha=0.05, fewest=25, tuned_for=100)
    assert not surely_above_zero(terms[:24], alpha=0.05, fewest=25, tuned_for=100)
    assert not surely_above_zero(-terms, alpha=0.05, fewest=25, tuned_for=100)
