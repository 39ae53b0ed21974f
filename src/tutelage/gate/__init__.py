"""Calibrated quality gate: detectors that are fitted on faults planted into the user's rows.

    the user's rows --> plants --> (the student reads them) --> features --> detectors
        --> thresholds for a given share of false refusals --> a judgement on every version

Pure: texts and token statistics in, a gate or a judgement out.
"""

from tutelage.gate.contamination import contamination_of, suspected_rows
from tutelage.gate.detectors import Detector, Linear, fit_detector
from tutelage.gate.features import (
    DIFFERENCES,
    FEATURES,
    NAMES,
    ScoredText,
    features_of,
    plain_features,
)
from tutelage.gate.gate_fit import (
    HELD_OUT,
    MIN_EXAMPLES,
    GateRow,
    TooFewRowsError,
    fit_gate,
    part_of,
    places_of,
    signs_of,
    with_suspected,
    without_other_signs,
)
from tutelage.gate.gate_model import (
    VERSION,
    CalibratedGate,
    FaultResult,
    Judgement,
    pooled_results,
)
from tutelage.gate.planted_faults import (
    CORRUPTIONS,
    DOSES,
    FAULTS,
    Dose,
    Part,
    Plant,
    PlantRow,
    plant,
)
from tutelage.stats.intervals import Share, share_of
from tutelage.stats.prevalence import Prevalence, break_even_share, prevalences
from tutelage.stats.rank_correlation import auc

__all__ = [
    "CORRUPTIONS",
    "DIFFERENCES",
    "DOSES",
    "FAULTS",
    "FEATURES",
    "HELD_OUT",
    "MIN_EXAMPLES",
    "NAMES",
    "VERSION",
    "CalibratedGate",
    "Detector",
    "Dose",
    "FaultResult",
    "GateRow",
    "Judgement",
    "Linear",
    "Part",
    "Plant",
    "PlantRow",
    "Prevalence",
    "ScoredText",
    "Share",
    "TooFewRowsError",
    "auc",
    "break_even_share",
    "contamination_of",
    "features_of",
    "fit_detector",
    "fit_gate",
    "part_of",
    "places_of",
    "plain_features",
    "plant",
    "pooled_results",
    "prevalences",
    "share_of",
    "signs_of",
    "suspected_rows",
    "with_suspected",
    "without_other_signs",
]
