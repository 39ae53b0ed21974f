"""The drift account: how far a set, and the student trained on it, have moved."""

from tutelage.experiments.drift.drift_table import (
    UNITS,
    Line,
    line_to_row,
    lines_from_table,
    lines_to_table,
)
from tutelage.experiments.drift.measure import OWN_TEXT, account, divergence_line, number_lines
from tutelage.experiments.drift.measures import (
    compression_ratio,
    distinct,
    jensen_shannon,
    log_ratio,
    share_by_teacher,
    spread,
)
from tutelage.experiments.drift.ngram_sets import TextSet, grams_of, words_of
from tutelage.experiments.drift.run import drift_files

__all__ = [
    "OWN_TEXT",
    "UNITS",
    "Line",
    "TextSet",
    "account",
    "compression_ratio",
    "distinct",
    "divergence_line",
    "drift_files",
    "grams_of",
    "jensen_shannon",
    "line_to_row",
    "lines_from_table",
    "lines_to_table",
    "log_ratio",
    "number_lines",
    "share_by_teacher",
    "spread",
    "words_of",
]
