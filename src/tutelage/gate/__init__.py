"""The calibrated quality gate: known faults are planted, detectors learn to tell them.

    the user's rows --> plants --> (the student reads them) --> features --> detectors
        --> thresholds for a given share of false refusals --> a judgement on every version

Pure: texts and token statistics in, a gate or a judgement out.
"""

from tutelage.gate.detectors import Detector, fit_detector
from tutelage.gate.features import (
    DIFFERENCES,
    FEATURES,
    NAMES,
    ScoredText,
    features_of,
    plain_features,
)
from tutelage.gate.gate_fit import (
    MIN_EXAMPLES,
    GateRow,
    TooFewRowsError,
    fit_gate,
    part_of,
    unsuspected,
)
from tutelage.gate.gate_model import VERSION, CalibratedGate, FaultResult, Judgement
from tutelage.gate.planted_faults import CORRUPTIONS, DOSES, FAULTS, Dose, Plant, PlantRow, plant
from tutelage.stats.intervals import Share, share_of
from tutelage.stats.prevalence import Prevalence, break_even_share, prevalences
from tutelage.stats.rank_correlation import auc

__all__ = [
    "CORRUPTIONS",
    "DIFFERENCES",
    "DOSES",
    "FAULTS",
    "FEATURES",
    "MIN_EXAMPLES",
    "NAMES",
    "VERSION",
    "CalibratedGate",
    "Detector",
    "Dose",
    "FaultResult",
    "GateRow",
    "Judgement",
    "Plant",
    "PlantRow",
    "Prevalence",
    "ScoredText",
    "Share",
    "TooFewRowsError",
    "auc",
    "break_even_share",
    "features_of",
    "fit_detector",
    "fit_gate",
    "part_of",
    "plain_features",
    "plant",
    "prevalences",
    "share_of",
    "unsuspected",
]
