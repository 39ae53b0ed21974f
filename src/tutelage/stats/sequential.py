"""Confidence sequence of a mean: an interval that is valid at every look.

An ordinary interval is right for one look; who looks after every question and stops at the first
interval that excludes 0 is wrong far more often than stated. The asymptotic confidence sequence
(Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic
confidence sequences, Annals of Statistics 2024, theorem 2.2) holds at all looks:

    mean of t terms +- s_t * sqrt((2 (t rho^2 + 1) / (t^2 rho^2)) * log(sqrt(t rho^2 + 1) / alpha))
"""

import math

from tutelage.stats.intervals import Numbers


def half_width(spread: float, *, terms: int, alpha: float, tuned_for: int) -> float:
    """Half the width of the confidence sequence after some terms.

    Args:
        spread: Standard deviation of the terms, at least 0.
        terms: Number of terms, at least 1.
        alpha: Significance level of the whole sequence, two-sided.
        tuned_for: Where it is tightest.
    """
    twice = -2 * math.log(alpha)
    rho2 = (twice + math.log(twice) + 1) / tuned_for if twice > 0 else 1 / tuned_for
    reach = terms * rho2 + 1
    return spread * math.sqrt(2 * reach / (terms**2 * rho2) * math.log(math.sqrt(reach) / alpha))


def surely_above_zero(terms_T: Numbers, *, alpha: float, fewest: int, tuned_for: int) -> bool:
    """Whether the confidence sequence of a mean lies above 0.

    Args:
        terms_T: Finite, in the order in which they came.
        alpha: Significance level of the whole sequence, two-sided.
        fewest: No claim before so many terms: the sequence is asymptotic.
        tuned_for: How many terms it is tightest at.
    """
    if len(terms_T) < fewest:
        return False
    width = half_width(
        float(terms_T.std(ddof=1)), terms=len(terms_T), alpha=alpha, tuned_for=tuned_for
    )
    return bool(terms_T.mean() > width) and width > 0
