"""Faults already present in the user's rows, which must not count as clean rows.

A gate is fitted with the user's own rows as the clean side. If half of them are mismatched, a
budget of 5 % false refusals would forbid to refuse any. So rows that look like a planted fault are
set aside before the detectors are fitted, and again with the new detectors, until nothing changes.

How many rows have a fault shows in how the user's rows lie among the plants. Order the plants by a
detector of the fault and divide them into bins of equal share. Rows that have the fault fall into
these bins as the plants do. Clean rows that reach so far become more frequent from bin to bin,
and are most frequent just below the lowest plants. So the counts are fitted as a mixture,

    count of bin b  =  n (share * planted_b  +  rest * planted_b * exp(slope * b)),   slope >= 0.7

and a share counts as found where the mixture explains the counts better than clean rows alone.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.stats.rank_correlation import auc

Numbers = NDArray[np.float64]

_CAUGHT = (0.2, 0.4, 0.6, 0.8, 0.95)
"""Shares of the plants above each edge of the bins."""
_BELOW = 0.2
"""Weight of the bin below the lowest plants, as a share of all plants."""
_SLOPES = (0.7, 1.0, 1.5, 2.2, 3.5)
"""Growth of the number of clean rows from bin to bin: they at least double."""
_LEAST_GAIN = 2.0
"""Least gain in log-likelihood of the mixture over clean rows alone."""
_LEAST_ROWS = 3
"""Least number of rows among the plants."""
_MOST_SHARE = 0.75
"""AUC below which the detector cannot tell plants from the user's rows."""
_LEAST_AUC = 0.88
"""AUC limit where the AUC of plants and clean rows may be lower than the first one."""
_MORE = 1.4
"""Most rows set aside, as a multiple of the estimated share."""
_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """Estimated number of the user's rows with a fault, and the log-odds from which they lie.

    Attributes:
        fraction: The share of the rows, in [0, 1]; 0 where none shows.
        cut: Log-odds from which a row has the fault more likely than not; infinite for none.
        auc: AUC of plants and the rows that do not have the fault, if the share is right; 0 for
            none.
        gain: Log-likelihood that the mixture gains over clean rows alone; 0 for none.
    """

    fraction: float
    cut: float
    auc: float = 0.0
    gain: float = 0.0


_NONE = Contamination(fraction=0.0, cut=math.inf)


def contamination_of(user_N: Numbers, planted_M: Numbers) -> Contamination:
    """Estimated share of the user's rows with a fault, and where they lie.

    Args:
        user_N: Log-odds of the user's rows by the detector of the fault.
        planted_M: Those of rows into which it was planted.

    Examples:
        >>> rows = np.concatenate([np.zeros(100), np.linspace(8.0, 9.0, 100)])
        >>> round(contamination_of(rows, np.linspace(8.0, 9.0, 50)).fraction, 1)
        0.5
        >>> contamination_of(np.zeros(100), np.linspace(8.0, 9.0, 50)).fraction
        0.0
    """
    if not len(user_N) or not len(planted_M):
        return _NONE
    edges_B = _edges(planted_M, lower=float(np.quantile(user_N, 0.25)))
    planted_B = _counts(planted_M, edges_B)[:-1] / len(planted_M)
    places_B = np.cumsum(planted_B) - planted_B / 2  # the rank in the middle of the bin
    planted_B = np.append(planted_B[:-1], _BELOW)
    places_B = np.append(places_B[:-1], 1.0 + _BELOW / 2) * len(_CAUGHT)
    user_B = _counts(user_N, edges_B)[:-1].astype(np.float64)
    if user_B[:-1].sum() < _LEAST_ROWS:
        return _NONE
    faulty_B, tail_B, gain = _mixture(user_B, planted_B, places_B)
    fraction = float(faulty_B.sum() * user_B.sum()) / float(planted_B[:-1].sum()) / len(user_N)
    # Faulty rows are as many among the most telling plants as anywhere.
    above_B = (np.cumsum(user_B[:-1]) + 1) / np.cumsum(planted_B[:-1]) / len(user_N)
    fraction = min(fraction, float(above_B[min(1, len(above_B) - 1) :].min()))
    few = round(fraction * len(user_N)) < _LEAST_ROWS
    if gain < _LEAST_GAIN or few or fraction > _MOST_SHARE:
        return _NONE
    # Against the user's rows a faulty one counts half, so this is the AUC against clean rows.
    against_clean = ((auc(planted_M, user_N) or 0.0) - fraction / 2) / (1 - fraction)
    error = math.sqrt(
        max(0.0, against_clean * (1 - against_clean)) / min(len(user_N), len(planted_M))
    )
    if against_clean - error < _LEAST_AUC:
        return _NONE
    likely_B = (faulty_B > tail_B)[:-1]
    reached = int(np.argmin(likely_B)) if not likely_B.all() else len(likely_B)
    ordered = np.sort(user_N)[::-1]
    most = ordered[min(len(ordered) - 1, round(_MORE * fraction * len(ordered)) + 1)]
    cut = float(edges_B[reached - 1]) if reached else math.inf
    return Contamination(fraction=fraction, cut=max(cut, float(most)), auc=against_clean, gain=gain)


def _mixture(
    user_B: Numbers, planted_B: Numbers, places_B: Numbers
) -> tuple[Numbers, Numbers, float]:
    """Maximum-likelihood mixture of faulty and clean rows."""
    like_planted_B = planted_B.copy()
    like_planted_B[-1] = 1e-6
    like_planted_B /= like_planted_B.sum()
    best, alone = -math.inf, -math.inf
    parts = (np.zeros_like(user_B), user_B / user_B.sum())
    for slope in _SLOPES:
        tail_B = planted_B * np.exp(slope * places_B)
        tail_B /= tail_B.sum()
        share = _share(user_B, like_planted_B, tail_B)
        fit = _log_likelihood(user_B, share * like_planted_B + (1 - share) * tail_B)
        alone = max(alone, _log_likelihood(user_B, tail_B))
        if fit > best:
            best, parts = fit, (share * like_planted_B, (1 - share) * tail_B)
    return *parts, best - alone


def _edges(planted_M: Numbers, *, lower: float) -> Numbers:
    """Lower edges of the bins, the highest first; the last lies halfway to `lower`."""
    ordered = np.sort(planted_M)[::-1]
    at = [min(len(ordered), max(1, math.ceil(c * len(ordered)))) - 1 for c in _CAUGHT]
    edges = np.unique(ordered[at])[::-1]
    reach = max(0.3, float(edges[-1] - lower) / 2)
    found: Numbers = np.append(edges, edges[-1] - reach)
    return found


def _counts(values_N: Numbers, edges_B: Numbers) -> NDArray[np.int64]:
    """Number of values in each bin, and last the number below all bins."""
    bins_N = (values_N[:, None] < edges_B[None, :]).sum(axis=1)
    return np.bincount(bins_N, minlength=len(edges_B) + 1)


def _share(counts_B: Numbers, first_B: Numbers, second_B: Numbers) -> float:
    """Maximum-likelihood weight of the first of two distributions."""
    share = 0.5
    for _ in range(_STEPS):
        part_B = share * first_B
        share = float(
            (counts_B * part_B / (part_B + (1 - share) * second_B)).sum() / counts_B.sum()
        )
    return share


def _log_likelihood(counts_B: Numbers, chances_B: Numbers) -> float:
    return float((counts_B * np.log(chances_B)).sum())


def suspected_rows(
    *,
    user_N_D: Numbers,
    planted_M_D: Numbers,
    fault_M: NDArray[np.int64],
    strong_M: NDArray[np.bool_],
    sign_N: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Index of the fault for which each of the user's rows is set aside, or -1.

    Args:
        user_N_D: Log-odds by detectors that did not see the row; detector d belongs to fault d.
        planted_M_D: The same of plants.
        fault_M: Which fault was planted.
        strong_M: Which plants have the strong dose.
        sign_N: The index of the fault of which the text has a sign, or -1. Such a row is set aside
            for that fault, and does not count where another one is looked for.
    """
    found_N = sign_N.copy()
    margin_N = np.where(sign_N >= 0, math.inf, -math.inf)
    for d in range(user_N_D.shape[1]):
        own_M = fault_M == d
        own_M = own_M & strong_M if (own_M & strong_M).any() else own_M
        user_N, planted_M = user_N_D[:, d], planted_M_D[own_M, d]
        over_N = user_N - float(np.median(planted_M)) if own_M.any() else user_N
        counts_N = (sign_N < 0) | (sign_N == d)
        cut = contamination_of(user_N[counts_N], planted_M).cut
        better_N = counts_N & (user_N >= cut) & (over_N > margin_N)
        found_N[better_N], margin_N[better_N] = d, over_N[better_N]
    return found_N
