"""Thresholds of several detectors under one joint budget of false refusals.

A row is refused if any detector is above its threshold, so the false refusals of all detectors add
up. Thresholds start above every clean row and are then lowered one clean row at a time, each time
for the detector that wins most faulty rows by it, with a preference for faults of which little is
refused yet. Where one threshold for all detectors refuses more, as with few rows, that is taken.
How many clean rows may be spent is itself chosen by cross-validation, since thresholds that are
chosen on some rows refuse fewer of these than of others.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indexes = NDArray[np.int64]

FOLDS = 5
_MARGINS = (4.0, 3.0, 2.0, 1.5, 1.0, 0.75, 0.5, 0.25)
"""Offsets above the log-odds of the highest clean row, strictest first, for samples too small to
refuse a clean row.
"""
_NEED = 0.03
"""Added to a refused share before its logarithm; small values favour neglected faults."""
_LOOK_AHEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Cross-fitted log-odds of clean and faulty rows by D detectors.

    Attributes:
        clean_N_D: Log-odds of clean rows.
        clean_fold_N: The fold of each; rows of one example are in one fold.
        faulty_M_D: Log-odds of faulty rows.
        fault_M: The index of the fault of each, in [0, number of faults).
        weight_M: How much each counts.
    """

    clean_N_D: Numbers
    clean_fold_N: Indexes
    faulty_M_D: Numbers
    fault_M: Indexes
    weight_M: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """A threshold for each detector.

    Attributes:
        log_odds_D: A row is refused where a detector is above it.
        expected: The share of clean rows refused in cross-validation.
    """

    log_odds_D: Numbers
    expected: float


def choose_thresholds(scored: Scored, *, max_false_refusals: float) -> Thresholds:
    """Loosest thresholds whose cross-validated false refusals stay within the budget.

    Args:
        scored: Cross-fitted log-odds.
        max_false_refusals: The share of clean rows that may be rejected, in (0, 1).

    Returns:
        Thresholds from all rows. Where even the strictest refuse more in cross-validation, these
        are returned, and `expected` says so.
    """
    clean = len(scored.clean_N_D)
    most = math.floor(max_false_refusals * clean)
    ladder = [(0, margin) for margin in _MARGINS] + [(spent, 0.0) for spent in range(most + 1)]
    folds = sorted(set(scored.clean_fold_N.tolist()))
    refused = np.zeros(len(ladder))
    for fold in folds:
        inside_N = scored.clean_fold_N == fold
        rest_N_D, own_N_D = scored.clean_N_D[~inside_N], scored.clean_N_D[inside_N]
        scale = len(rest_N_D) / clean
        path = _lowering(rest_N_D, scored, most=math.ceil(most * scale))
        for step, (spent, margin) in enumerate(ladder):
            found_D = path[min(len(path) - 1, round(spent * scale))] + margin
            refused[step] += int((own_N_D > found_D).any(axis=1).sum())
    shares = refused / clean
    allowed = [step for step, share in enumerate(shares) if share <= max_false_refusals]
    best = max(allowed, default=0)
    spent, margin = ladder[best]
    path = _lowering(scored.clean_N_D, scored, most=most)
    single = Thresholds(
        log_odds_D=path[min(len(path) - 1, spent)] + margin, expected=float(shares[best])
    )
    shared = _shared(scored, max_false_refusals=max_false_refusals)
    gains = [
        _utility(np.any(scored.faulty_M_D > found.log_odds_D, axis=1), scored)
        for found in (single, shared)
    ]
    if shared.expected <= max_false_refusals and (
        gains[1] > gains[0] or single.expected > max_false_refusals
    ):
        return shared
    return single


def _shared(scored: Scored, *, max_false_refusals: float) -> Thresholds:
    """One threshold for all detectors: a quantile of the highest log-odds of clean rows.

    A single number is estimated well from few rows, where one for each detector must stay far
    above all of them.
    """
    highest_N = np.sort(scored.clean_N_D.max(axis=1))[::-1]
    rows, detectors = scored.clean_N_D.shape
    spent = math.floor(max_false_refusals * (rows + 1)) - 1  # a new row ranks anywhere among them
    at = highest_N[min(max(spent, 0), rows - 1)]
    return Thresholds(
        log_odds_D=np.full(detectors, float(at)), expected=(max(spent, 0) + 1) / (rows + 1)
    )


def _lowering(clean_N_D: Numbers, scored: Scored, *, most: int) -> list[Numbers]:
    """Thresholds that refuse 0, 1, ... clean rows, up to the given number."""
    detectors = clean_N_D.shape[1]
    at_D = np.array(
        [_between(clean_N_D[:, d].max(), scored.faulty_M_D[:, d]) for d in range(detectors)]
    )
    path, open_N = [at_D.copy()], np.ones(len(clean_N_D), dtype=np.bool_)
    while len(path) <= most:
        best: tuple[float, int, int, float] | None = None
        refused_M: NDArray[np.bool_] = np.any(scored.faulty_M_D > at_D, axis=1)
        now = _utility(refused_M, scored)
        for d in range(detectors):
            left = np.sort(clean_N_D[open_N, d])[::-1]
            for cost in range(1, min(_LOOK_AHEAD, len(left) - 1, most + 1 - len(path)) + 1):
                lower = _between(left[cost], scored.faulty_M_D[:, d], below=left[cost - 1])
                more_M = np.logical_or(refused_M, scored.faulty_M_D[:, d] > lower)
                gain = _utility(more_M, scored) - now
                if best is None or gain / cost > best[0] + 1e-12:
                    best = (gain / cost, d, cost, lower)
        if best is None or best[0] <= 0:
            break
        _, d, cost, lower = best
        at_D[d] = lower
        open_N &= ~(clean_N_D[:, d] > lower)
        path += [at_D.copy()] * cost
    return path


def _between(highest: float, faulty_M: Numbers, *, below: float = math.inf) -> float:
    """Threshold in the gap above a clean row: halfway to the next faulty row, at most 1 above."""
    above = faulty_M[(faulty_M > highest) & (faulty_M < below)]
    nearest = float(above.min()) if len(above) else min(below, highest + 1.0)
    return float(highest + min(1.0, (nearest - highest) / 2))


def _utility(refused_M: NDArray[np.bool_], scored: Scored) -> float:
    total = np.bincount(scored.fault_M, weights=scored.weight_M)
    caught = np.bincount(scored.fault_M, weights=scored.weight_M * refused_M, minlength=len(total))
    there = total > 0
    return float(np.log(caught[there] / total[there] + _NEED).sum())
