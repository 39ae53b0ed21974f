"""The width of the confidence sequence, by hand."""

import numpy as np
import pytest

from tutelage.stats.intervals import half_width, surely_above_zero


def test_the_width_by_hand() -> None:
    # alpha 0.05, tuned for 100: rho2 = (5.9915 + log 5.9915 + 1) / 100 = 0.087819
    # at t = 100: reach 9.7819; 2 * 9.7819 / 878.19 * log(3.1276 / 0.05) = 0.092156
    assert half_width(1.0, terms=100, alpha=0.05, tuned_for=100) == pytest.approx(0.30357, abs=1e-4)


def test_too_few_terms_claim_nothing() -> None:
    terms = 5.0 + np.random.default_rng(0).normal(size=60)
    assert surely_above_zero(terms, alpha=0.05, fewest=25, tuned_for=100)
    assert not surely_above_zero(terms[:24], alpha=0.05, fewest=25, tuned_for=100)
    assert not surely_above_zero(-terms, alpha=0.05, fewest=25, tuned_for=100)
