"""Keep what lies in a band of one number, or the best share of it."""

import math

import numpy as np
from numpy.typing import NDArray

from tutelage.filters.candidate_texts import Pool
from tutelage.filters.config import BandSettings, IfdSettings
from tutelage.filters.decisions import Verdicts
from tutelage.filters.numeric import Numbers

IN_BAND = "in_band"
BELOW_MINIMUM = "below_minimum"
ABOVE_MAXIMUM = "above_maximum"
IN_SHARE = "in_share"
OUTSIDE_SHARE = "outside_share"


def keep_band(pool: Pool, measured: Numbers, settings: BandSettings) -> Verdicts:
    """Decide by one number.

    A candidate without a number is dropped, with the reason why it has none. `keep_fraction`
    chooses among those within the limits; between equal numbers the id decides, so the result
    does not depend on the order of the candidates.

    Args:
        pool: The candidates.
        measured: Their numbers.
        settings: The limits.

    Returns:
        Verdicts with one of `in_band`, `below_minimum`, `above_maximum`, `in_share`,
        `outside_share`, or the reason why there is no number.
    """
    values = measured.values_N
    reasons = np.full(len(pool), IN_BAND, dtype=object)
    if settings.minimum is not None:
        reasons[values < settings.minimum] = BELOW_MINIMUM
    if settings.maximum is not None:
        reasons[values > settings.maximum] = ABOVE_MAXIMUM
    if isinstance(settings, IfdSettings) and settings.below is not None:
        reasons[values >= settings.below] = ABOVE_MAXIMUM
    kept = measured.known_N & (reasons == IN_BAND)
    if settings.keep_fraction is not None:
        budget = math.ceil(settings.keep_fraction * len(pool))
        chosen = _best(pool, values, kept, budget, highest=settings.prefer == "high")
        reasons[kept] = OUTSIDE_SHARE
        reasons[chosen] = IN_SHARE
        kept = chosen
    words = [
        str(reason) if known else missing
        for reason, known, missing in zip(
            reasons, measured.known_N.tolist(), measured.reasons_N, strict=True
        )
    ]
    return Verdicts(
        kept_N=kept,
        reasons_N=words,
        values_N=values,
        known_N=measured.known_N,
        details_N=measured.details_N,
    )


def _best(
    pool: Pool,
    values_N: NDArray[np.float64],
    eligible_N: NDArray[np.bool_],
    budget: int,
    *,
    highest: bool,
) -> NDArray[np.bool_]:
    signed = -values_N if highest else values_N
    rows = sorted(
        np.flatnonzero(eligible_N).tolist(), key=lambda i: (signed[i], pool.candidate_ids[i])
    )
    chosen = np.zeros(len(pool), dtype=bool)
    chosen[rows[:budget]] = True
    return chosen
