"""Fitting a calibrated gate on planted faults, and measuring it on other rows.

    clean rows and planted faults --> features --> a detector for each fault (cross-fitted)
        --> thresholds under the budget --> shares on held-out rows, for seen and left-out faults

Rows are split by example: an example, its clean versions and all its plants are either fit or
held out. Pure: features in, a gate out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, SettingsError
from tutelage.gate.contamination import suspected_rows
from tutelage.gate.detectors import TREES, Bins, Detector, fit_detector
from tutelage.gate.features import NAMES
from tutelage.gate.gate_model import CalibratedGate, FaultResult
from tutelage.gate.planted_faults import Part
from tutelage.gate.thresholds import FOLDS, Scored, choose_thresholds
from tutelage.stats.intervals import Share, share_of
from tutelage.stats.rank_correlation import auc

Numbers = NDArray[np.float64]

MIN_EXAMPLES = 60
"""The fewest examples for which a gate is fitted."""
_MIN_PLANTS = 12
"""The fewest plants in the fit rows for which a fault has a detector."""
_HELD_OUT = 0.4
_ROUNDS = 4
"""How often rows that look faulty are set aside before the detectors are fitted."""
_QUICK_TREES = 20
"""Trees of the detectors by which they are found."""
_WEIGHTS = {"mild": 0.3}
"""How much a plant counts beside a strong one, whose weight is 1."""


class TooFewRowsError(DataError):
    """There are too few rows to fit a gate on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One row that a gate is fitted or measured on.

    Attributes:
        example_id: By which rows are split.
        features_F: As `features_of` gives them.
        fault: The planted fault; None for a clean row.
        dose: `mild`, `strong`, or another word for rows of the user; None for a clean row.
        measured: Whether the row counts where it is held out; false for a further view of a row.
    """

    example_id: str
    features_F: Numbers = field(repr=False)
    fault: str | None = None
    dose: str | None = None
    measured: bool = True


def part_of(example_id: str, *, seed: int) -> Part:
    """Whether an example is fit or held out; it depends on its id and the seed alone.

    Examples:
        >>> sorted({part_of(str(i), seed=0) for i in range(20)})
        ['fit', 'held_out']
    """
    return "held_out" if _fraction("part", seed, example_id) < _HELD_OUT else "fit"


def fit_gate(rows: Sequence[GateRow], *, max_false_refusals: float, seed: int) -> CalibratedGate:
    """Fit a detector for each fault, choose the thresholds, and measure both on held-out rows.

    Args:
        rows: Clean rows and plants, in any order.
        max_false_refusals: The share of clean rows that may be refused, in (0, 0.5].
        seed: Of the split.

    Returns:
        The gate. It does not depend on the order of rows.

    Raises:
        SettingsError: The budget is out of range.
        TooFewRowsError: There are fewer than `MIN_EXAMPLES` clean examples, or no fault has
            enough plants.
    """
    if not 0 < max_false_refusals <= 0.5:  # noqa: PLR2004
        raise SettingsError(
            f"max_false_refusals is {max_false_refusals}; it must be above 0 and at most 0.5",
            hint="0.05 refuses about one clean row in twenty",
        )
    fit, held = _split(rows, seed=seed)
    faults, skipped = _faults_with_plants(fit, held)
    if not faults or not any(r.fault is None for r in held):
        raise TooFewRowsError(
            f"no fault could be planted into {_MIN_PLANTS} rows",
            hint="give more rows or longer responses, or set quality_gate: off",
        )
    fitting, suspected = _without_suspected(fit, faults, seed=seed)
    thresholds = choose_thresholds(fitting.scored(), max_false_refusals=max_false_refusals)
    detectors = fitting.detectors()
    held_clean = [r for r in held if r.fault is None]
    held_faulty = [r for r in held if r.fault in faults]
    clean, aside = _clean_of(held_clean, held_faulty, detectors, seed=seed)
    if not clean:
        raise TooFewRowsError(
            f"all {len(held_clean)} held-out rows look faulty",
            hint="clean the data first (`tutelage filter`), or set quality_gate: off",
        )
    gate = CalibratedGate(
        detectors=detectors,
        thresholds=tuple(thresholds.log_odds_D.tolist()),
        max_false_refusals=max_false_refusals,
        expected_false_refusals=thresholds.expected,
        false_refusals=_refused(clean, detectors, thresholds.log_odds_D),
        results=(),
        skipped=skipped,
        suspected=_counts(faults, suspected + aside),
        fit_examples=len({r.example_id for r in fit if r.fault is None}),
        held_out_examples=len({r.example_id for r in held_clean}),
        seed=seed,
    )
    return _measured(gate, fitting, [*clean, *held_faulty], max_false_refusals=max_false_refusals)


def unsuspected(
    clean: Sequence[GateRow], planted: Sequence[GateRow], gate: CalibratedGate
) -> list[GateRow]:
    """Rows that may count as clean: without those that look like a planted fault to a gate.

    Args:
        clean: The user's rows, none of which the gate was fitted on.
        planted: Plants that it was not fitted on either.
        gate: The gate.
    """
    faults = {detector.fault for detector in gate.detectors}
    faulty = [r for r in planted if r.fault in faults]
    return _clean_of(clean, faulty, gate.detectors, seed=gate.seed)[0]


def _split(rows: Sequence[GateRow], *, seed: int) -> tuple[list[GateRow], list[GateRow]]:
    """Fit rows and held-out rows, each in an order that does not depend on the one given."""
    ordered = sorted(
        rows, key=lambda r: (r.example_id, r.fault or "", r.dose or "", r.features_F.tobytes())
    )
    examples = {r.example_id for r in ordered if r.fault is None}
    if len(examples) < MIN_EXAMPLES:
        raise TooFewRowsError(
            f"{len(examples)} clean examples with scores; a quality gate needs {MIN_EXAMPLES}",
            hint="give more rows, or set quality_gate: off",
        )
    fit = [r for r in ordered if part_of(r.example_id, seed=seed) == "fit"]
    held = [r for r in ordered if r.measured and part_of(r.example_id, seed=seed) == "held_out"]
    return fit, held


def _without_suspected(
    fit: Sequence[GateRow], faults: Sequence[str], *, seed: int
) -> "tuple[_Fitting, list[int]]":
    """The fit rows without those of the user that look faulty, and the faults of these."""
    clean = [r for r in fit if r.fault is None]
    faulty = [r for r in fit if r.fault in faults]
    aside: list[int] = []
    for _ in range(_ROUNDS):
        quick = _Fitting(clean=clean, faulty=faulty, faults=faults, seed=seed, trees=_QUICK_TREES)
        found_N = suspected_rows(quick.scored(), strong_M=quick.strong_M)
        if not (found_N >= 0).any() or (found_N >= 0).sum() > len(clean) - _MIN_PLANTS:
            break
        aside += [int(d) for d in found_N if d >= 0]
        clean = [r for r, d in zip(clean, found_N, strict=True) if d < 0]
    return _Fitting(clean=clean, faulty=faulty, faults=faults, seed=seed), aside


def _clean_of(
    clean: Sequence[GateRow],
    faulty: Sequence[GateRow],
    detectors: Sequence[Detector],
    *,
    seed: int,
) -> tuple[list[GateRow], list[int]]:
    """Held-out rows without those that look faulty to the fitted detectors."""
    faults = [d.fault for d in detectors]
    aside: list[int] = []
    left = list(clean)
    for _ in range(_ROUNDS):
        scored = Scored(
            clean_N_D=_log_odds(left, detectors),
            clean_fold_N=_folds(left, seed),
            faulty_M_D=_log_odds(faulty, detectors),
            fault_M=np.array([faults.index(str(r.fault)) for r in faulty], dtype=np.int64),
            weight_M=np.ones(len(faulty)),
        )
        strong_M = np.array([r.dose not in _WEIGHTS for r in faulty])
        found_N = suspected_rows(scored, strong_M=strong_M)
        if not (found_N >= 0).any():
            break
        aside += [int(d) for d in found_N if d >= 0]
        left = [r for r, d in zip(left, found_N, strict=True) if d < 0]
    return left, aside


def _counts(faults: Sequence[str], suspected: Sequence[int]) -> dict[str, int]:
    return {fault: suspected.count(d) for d, fault in enumerate(faults) if d in suspected}


class _Fitting:
    """Detectors of all faults on the same clean rows, and their cross-fitted log-odds."""

    def __init__(
        self,
        *,
        clean: Sequence[GateRow],
        faulty: Sequence[GateRow],
        faults: Sequence[str],
        seed: int,
        trees: int = TREES,
    ) -> None:
        self.trees = trees
        self.strong_M = np.array([r.dose not in _WEIGHTS for r in faulty])
        self.faults = list(faults)
        self.X_clean = _matrix(clean)
        self.X_faulty = _matrix(faulty)
        self.X_all = np.concatenate([self.X_clean, self.X_faulty])
        self.bins = Bins.of(self.X_all)
        self.fold_clean = _folds(clean, seed)
        self.fold_faulty = _folds(faulty, seed)
        self.fault_M = np.array([self.faults.index(str(r.fault)) for r in faulty], dtype=np.int64)
        self.weight_M = np.array([_WEIGHTS.get(str(r.dose), 1.0) for r in faulty])
        self._scored: Scored | None = None

    def detectors(self) -> tuple[Detector, ...]:
        """Fitted on all rows."""
        everything = np.ones(len(self.X_clean), dtype=np.bool_)
        plants = np.ones(len(self.X_faulty), dtype=np.bool_)
        return tuple(self._detector(d, everything, plants) for d in range(len(self.faults)))

    def scored(self) -> Scored:
        """Log-odds of every row by detectors that did not see its example."""
        if self._scored is None:
            clean = np.zeros((len(self.X_clean), len(self.faults)))
            faulty = np.zeros((len(self.X_faulty), len(self.faults)))
            for fold in range(FOLDS):
                out_clean, out_faulty = self.fold_clean == fold, self.fold_faulty == fold
                for d in range(len(self.faults)):
                    detector = self._detector(d, ~out_clean, ~out_faulty)
                    clean[out_clean, d] = detector.log_odds(self.X_clean[out_clean])
                    faulty[out_faulty, d] = detector.log_odds(self.X_faulty[out_faulty])
            self._scored = Scored(
                clean_N_D=clean,
                clean_fold_N=self.fold_clean,
                faulty_M_D=faulty,
                fault_M=self.fault_M,
                weight_M=self.weight_M,
            )
        return self._scored

    def without(self, left_out: int) -> Scored:
        """The cross-fitted log-odds without one fault: neither its detector nor its plants."""
        scored, others_M = self.scored(), self.fault_M != left_out
        return Scored(
            clean_N_D=np.delete(scored.clean_N_D, left_out, axis=1),
            clean_fold_N=scored.clean_fold_N,
            faulty_M_D=np.delete(scored.faulty_M_D[others_M], left_out, axis=1),
            fault_M=scored.fault_M[others_M],
            weight_M=scored.weight_M[others_M],
        )

    def _detector(self, d: int, clean: NDArray[np.bool_], faulty: NDArray[np.bool_]) -> Detector:
        own = faulty & (self.fault_M == d)
        rows_N = np.flatnonzero(np.concatenate([clean, own]))
        faulty_N = rows_N >= len(clean)
        weight_N = np.concatenate([np.ones(int(clean.sum())), self.weight_M[own]])
        return fit_detector(
            fault=self.faults[d],
            X_N_F=self.X_all[rows_N],
            bins=self.bins.take(rows_N),
            faulty_N=faulty_N,
            weight_N=weight_N,
            trees=self.trees,
        )


def _faults_with_plants(
    fit: Sequence[GateRow], held: Sequence[GateRow]
) -> tuple[list[str], dict[str, str]]:
    """The faults that have enough plants on both sides, and why the others have no detector."""
    faults, skipped = [], {}
    for fault in sorted({r.fault for r in (*fit, *held) if r.fault is not None}):
        plants = len({r.example_id for r in fit if r.fault == fault})
        if plants < _MIN_PLANTS or not any(r.fault == fault for r in held):
            skipped[fault] = f"planted into {plants} fit rows; a detector needs {_MIN_PLANTS}"
        else:
            faults.append(fault)
    return faults, skipped


def _measured(
    gate: CalibratedGate, fitting: _Fitting, held: Sequence[GateRow], *, max_false_refusals: float
) -> CalibratedGate:
    """The gate with its results on held-out rows."""
    thresholds_D = np.array(gate.thresholds)
    clean_excess = gate.excess(_matrix([r for r in held if r.fault is None]))
    results = []
    for d, fault in enumerate(fitting.faults):
        others = [i for i in range(len(fitting.faults)) if i != d]
        other_D = None
        if others:
            other_D = choose_thresholds(
                fitting.without(d), max_false_refusals=max_false_refusals
            ).log_odds_D
        for dose in sorted({str(r.dose) for r in held if r.fault == fault}):
            own = [r for r in held if r.fault == fault and r.dose == dose]
            excess = gate.excess(_matrix(own))
            left_out_refused = left_out_auc = None
            if other_D is not None:
                shift = thresholds_D[others] - other_D
                left, clean = excess[:, others] + shift, clean_excess[:, others] + shift
                left_out_refused = share_of(int((left > 0).any(axis=1).sum()), len(own))
                left_out_auc = auc(left.max(axis=1), clean.max(axis=1))
            results.append(
                FaultResult(
                    fault=fault,
                    dose=dose,
                    refused=share_of(int((excess > 0).any(axis=1).sum()), len(own)),
                    auc=auc(excess.max(axis=1), clean_excess.max(axis=1)) or 0.0,
                    left_out_refused=left_out_refused,
                    left_out_auc=left_out_auc,
                )
            )
    return replace(gate, results=tuple(results))


def _refused(rows: Sequence[GateRow], detectors: Sequence[Detector], at_D: Numbers) -> Share:
    over_N = (_log_odds(rows, detectors) > at_D).any(axis=1)
    return share_of(int(over_N.sum()), len(rows))


def _log_odds(rows: Sequence[GateRow], detectors: Sequence[Detector]) -> Numbers:
    X_N_F = _matrix(rows)
    return np.stack([d.log_odds(X_N_F) for d in detectors], axis=1)


def _matrix(rows: Sequence[GateRow]) -> Numbers:
    return np.stack([r.features_F for r in rows]) if rows else np.zeros((0, len(NAMES)))


def _folds(rows: Sequence[GateRow], seed: int) -> NDArray[np.int64]:
    return np.array(
        [int(_fraction("fold", seed, r.example_id) * FOLDS) for r in rows], dtype=np.int64
    )


def _fraction(purpose: str, seed: int, text: str) -> float:
    """A number in [0, 1) that belongs to a text and a seed."""
    digest = hashlib.blake2b(f"{purpose}:{seed}:{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
