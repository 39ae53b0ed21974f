"""Calibrated gate: detectors, thresholds and held-out results.

A gate is a JSON document. Reading and applying one needs numpy alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.gate.detectors import Detector
from tutelage.gate.features import NAMES
from tutelage.gate.text_signs import sign_of
from tutelage.stats.intervals import Share, share_of

Numbers = NDArray[np.float64]

VERSION = 8
"""Version of the file and of the features; a run fits a gate of another version again."""
_READABLE = (2, 3, 4, 5, 6, 7, VERSION)
"""Versions whose gates can be read: version 3 adds features, version 4 counts more text signs,
version 5 looks for frequent faults only among rows as long as the planted ones, version 6 weighs
plants without the numbers of their original less, version 7 averages trees with a linear model,
version 8 takes no English word for one of another language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultResult:
    """Results of a gate on one fault and dose, on held-out rows.

    Attributes:
        fault: The fault.
        dose: Its dose.
        refused: The share of rows that the gate refuses.
        auc: Between these rows and clean ones, of the highest excess over a threshold.
        left_out_refused: The same share by the detectors of the other faults alone, with
            thresholds of their own: an estimate for faults that were not planted.
        left_out_auc: The same AUC by the other detectors.
    """

    fault: str
    dose: str
    refused: Share
    auc: float
    left_out_refused: Share | None
    left_out_auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Judgement of a gate on one version.

    Attributes:
        passed: Whether no detector is above its threshold.
        fault: The most likely fault, also where it passed.
        excess: Log-odds above the threshold of that fault's detector; at most 0 if it passed.
        evidence: The features that spoke most for the fault: name to value and log-odds.
    """

    passed: bool
    fault: str
    excess: float
    evidence: Mapping[str, tuple[float | None, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedGate:
    """Detectors with thresholds and their results on held-out rows.

    Attributes:
        detectors: One for each fault.
        thresholds: Log-odds above which each refuses.
        max_false_refusals: The share of clean rows that was allowed.
        expected_false_refusals: The share in cross-validation on fit rows.
        false_refusals: The share on held-out clean rows.
        results: By fault and dose, on held-out rows.
        skipped: Faults without a detector, and why.
        suspected: How many of the user's rows looked like which fault, and so did not count as
            clean.
        fit_examples: How many examples the detectors saw.
        held_out_examples: How many measured them.
        seed: Seed of the split.
    """

    detectors: tuple[Detector, ...]
    thresholds: tuple[float, ...]
    max_false_refusals: float
    expected_false_refusals: float
    false_refusals: Share
    results: tuple[FaultResult, ...]
    skipped: Mapping[str, str]
    suspected: Mapping[str, int]
    fit_examples: int
    held_out_examples: int
    seed: int

    def excess(self, X_N_F: Numbers) -> Numbers:
        """Log-odds above the threshold, one column per detector.

        Thresholds keep false refusals few, so they are high. A text that has a sign of the very
        fault is refused where its detector finds the fault more likely than not.
        """
        odds_N_D = np.stack([d.log_odds(X_N_F) for d in self.detectors], axis=1)
        limits_N_D = np.tile(np.array(self.thresholds), (len(X_N_F), 1))
        faults = [d.fault for d in self.detectors]
        for n, x_F in enumerate(X_N_F):
            sign = sign_of(dict(zip(NAMES, x_F.tolist(), strict=True)))
            if sign in faults:
                d = faults.index(sign)
                limits_N_D[n, d] = min(0.0, limits_N_D[n, d])
        excess: Numbers = odds_N_D - limits_N_D
        return excess

    def judge(self, X_N_F: Numbers) -> list[Judgement]:
        """Whether each row passes, and its most likely fault."""
        if not len(X_N_F):
            return []
        excess_N_D = self.excess(X_N_F)
        found = []
        for x_F, excess_D in zip(X_N_F, excess_N_D, strict=True):
            most = int(excess_D.argmax())
            detector, over = self.detectors[most], float(excess_D[most])
            parts = list(detector.evidence(x_F, names=NAMES).items())[:3]
            values = {name: float(x_F[NAMES.index(name)]) for name, _ in parts}
            found.append(
                Judgement(
                    passed=over <= 0,
                    fault=detector.fault,
                    excess=over,
                    evidence={
                        name: (None if math.isnan(values[name]) else values[name], part)
                        for name, part in parts
                    },
                )
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """JSON form of the gate."""
        return {
            "version": VERSION,
            "max_false_refusals": self.max_false_refusals,
            "expected_false_refusals": self.expected_false_refusals,
            "false_refusals": _share_json(self.false_refusals),
            "fit_examples": self.fit_examples,
            "held_out_examples": self.held_out_examples,
            "seed": self.seed,
            "results": [
                {
                    "fault": r.fault,
                    "dose": r.dose,
                    "refused": _share_json(r.refused),
                    "auc": r.auc,
                    "left_out_refused": _share_json(r.left_out_refused),
                    "left_out_auc": r.left_out_auc,
                }
                for r in self.results
            ],
            "skipped": dict(self.skipped),
            "suspected": dict(self.suspected),
            "detectors": [
                {"threshold": t, **d.as_json(names=NAMES)}
                for d, t in zip(self.detectors, self.thresholds, strict=True)
            ],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Gate from the JSON that `as_json` gives.

        Raises:
            DataError: It is not a gate, or one of another version.
        """
        if stored.get("version") not in _READABLE:
            raise DataError(
                f"a quality gate of version {stored.get('version')!r}; this tutelage reads "
                f"{VERSION}",
                hint="fit it again: delete quality_gate.json and run once more",
            )
        try:
            return cls(
                detectors=tuple(Detector.from_json(d, names=NAMES) for d in stored["detectors"]),
                thresholds=tuple(float(d["threshold"]) for d in stored["detectors"]),
                max_false_refusals=float(stored["max_false_refusals"]),
                expected_false_refusals=float(stored["expected_false_refusals"]),
                false_refusals=_share_from(stored["false_refusals"]),
                results=tuple(_result_from(r) for r in stored["results"]),
                skipped=dict(stored["skipped"]),
                suspected={str(k): int(n) for k, n in stored["suspected"].items()},
                fit_examples=int(stored["fit_examples"]),
                held_out_examples=int(stored["held_out_examples"]),
                seed=int(stored["seed"]),
            )
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                f"not a quality gate of this version: {type(error).__name__}: {error}",
                hint="fit it again: delete quality_gate.json and run once more",
            ) from error


def pooled_results(gates: Sequence[CalibratedGate]) -> tuple[FaultResult, ...]:
    """Pooled results of gates on separate rows: counts added, AUCs averaged.

    Args:
        gates: Such as two of which each was measured on what the other was fitted on.
    """
    by_name: dict[tuple[str, str], list[FaultResult]] = {}
    for gate in gates:
        for result in gate.results:
            by_name.setdefault((result.fault, result.dose), []).append(result)
    return tuple(
        FaultResult(
            fault=fault,
            dose=dose,
            refused=_added([r.refused for r in own]),
            auc=fmean(r.auc for r in own),
            left_out_refused=_added(left) if len(left) == len(own) else None,
            left_out_auc=fmean(aucs) if len(aucs) == len(own) else None,
        )
        for (fault, dose), own in sorted(by_name.items())
        for left in [[r.left_out_refused for r in own if r.left_out_refused is not None]]
        for aucs in [[r.left_out_auc for r in own if r.left_out_auc is not None]]
    )


def _added(shares: Sequence[Share]) -> Share:
    return share_of(sum(s.count for s in shares), sum(s.rows for s in shares))


def _share_json(share: Share | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {"count": share.count, "rows": share.rows, "low": share.low, "high": share.high}


def _share_from(stored: Mapping[str, Any]) -> Share:
    return Share(
        count=int(stored["count"]), rows=int(stored["rows"]),
        low=float(stored["low"]), high=float(stored["high"]),
    )  # fmt: skip


def _result_from(stored: Mapping[str, Any]) -> FaultResult:
    left_out = stored["left_out_refused"]
    return FaultResult(
        fault=str(stored["fault"]),
        dose=str(stored["dose"]),
        refused=_share_from(stored["refused"]),
        auc=float(stored["auc"]),
        left_out_refused=None if left_out is None else _share_from(left_out),
        left_out_auc=stored["left_out_auc"],
    )
