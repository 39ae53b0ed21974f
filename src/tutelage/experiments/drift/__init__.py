"""Drift: how far a dataset, and the student trained on it, have changed."""

from tutelage.experiments.drift.measure import (
    OWN_TEXT,
    UNITS,
    Line,
    account,
    divergence_line,
    line_to_row,
    lines_from_table,
    lines_to_table,
    number_lines,
)
from tutelage.experiments.drift.measures import (
    TextSet,
    compression_ratio,
    distinct,
    grams_of,
    jensen_shannon,
    log_ratio,
    share_by_teacher,
    spread,
    words_of,
)
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
