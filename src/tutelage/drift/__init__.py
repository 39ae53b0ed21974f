"""How far have a set, and the student trained on it, moved?

Pure statistics: texts and numbers in, accounts with intervals out.

    account        length, word distribution, diversity, likelihood, accuracy, teachers
    check_guard    the account against bounds that were set before
    flips          which decisions changed between two rounds
    draw_frontier  what the student knows, and what it can learn from now
"""

from tutelage.drift.account import OWN_TEXT, account, divergence_line, number_lines
from tutelage.drift.flips import CHANGED, FLIPS, Direction, FlipTally, flips, tally_flips
from tutelage.drift.frontier import FRONTIER, BandSettings, Frontier, Placing, draw_frontier
from tutelage.drift.guard import (
    DEFAULT_LIMITS,
    GUARD_BROKEN,
    NO_FLIPS,
    NO_GAIN,
    NOTHING_CHOSEN,
    ROUNDS_DONE,
    Checked,
    Limit,
    RoundOutcome,
    StopSettings,
    check_guard,
    stop_reason,
)
from tutelage.drift.knowledge import KNOWLEDGE, Attempts, Knowledge, place
from tutelage.drift.lines import (
    DRIFT,
    UNITS,
    Line,
    line_to_row,
    lines_from_table,
    lines_to_table,
)
from tutelage.drift.measures import (
    compression_ratio,
    distinct,
    jensen_shannon,
    log_ratio,
    share_by_teacher,
    spread,
)
from tutelage.drift.predicting import MIN_EXAMPLES, Fit, fit, predict_out_of_fold
from tutelage.drift.resampling import Estimate, Resampling, wilson
from tutelage.drift.texts import TextSet, grams_of, words_of

__all__ = [
    "CHANGED",
    "DEFAULT_LIMITS",
    "DRIFT",
    "FLIPS",
    "FRONTIER",
    "GUARD_BROKEN",
    "KNOWLEDGE",
    "MIN_EXAMPLES",
    "NOTHING_CHOSEN",
    "NO_FLIPS",
    "NO_GAIN",
    "OWN_TEXT",
    "ROUNDS_DONE",
    "UNITS",
    "Attempts",
    "BandSettings",
    "Checked",
    "Direction",
    "Estimate",
    "Fit",
    "FlipTally",
    "Frontier",
    "Knowledge",
    "Limit",
    "Line",
    "Placing",
    "Resampling",
    "RoundOutcome",
    "StopSettings",
    "TextSet",
    "account",
    "check_guard",
    "compression_ratio",
    "distinct",
    "divergence_line",
    "draw_frontier",
    "fit",
    "flips",
    "grams_of",
    "jensen_shannon",
    "line_to_row",
    "lines_from_table",
    "lines_to_table",
    "log_ratio",
    "number_lines",
    "place",
    "predict_out_of_fold",
    "share_by_teacher",
    "spread",
    "stop_reason",
    "tally_flips",
    "wilson",
    "words_of",
]
