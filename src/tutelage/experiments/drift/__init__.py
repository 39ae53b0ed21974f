"""Drift: how far a dataset, and the student trained on it, have changed."""

from tutelage.experiments.drift.measure import (
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
    spread,
)
from tutelage.experiments.drift.run import drift_files

__all__ = [
    "UNITS",
    "Line",
    "TextSet",
    "account",
    "compression_ratio",
    "distinct",
    "divergence_line",
    "drift_files",
    "line_to_row",
    "lines_from_table",
    "lines_to_table",
    "number_lines",
    "spread",
]
