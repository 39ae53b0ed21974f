"""Student's t, central and noncentral, against scipy's distributions and by simulation."""

import builtins
import math
import sys
from typing import Any

import numpy as np
import pytest

from tutelage.errors import MissingExtraError
from tutelage.stats.intervals import shift_found_with, t_cdf, t_quantile


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
