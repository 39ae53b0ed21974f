"""Selection: the rule's decision on every example, and the baselines to compare it with.

Exactly one decision an example, with its reason and the numbers it rested on, and the baselines:
sets of the same size chosen without the student. Columnar and pure: tables in, tables out.
"""

from tutelage.selection.baselines import NULL_NAMES
from tutelage.selection.budget import cover
from tutelage.selection.config import SelectSettings
from tutelage.selection.decide import (
    Coverage,
    Selected,
    choose_parents,
    compared_columns,
    needed_metrics,
    select,
)
from tutelage.selection.explanation import explain
from tutelage.selection.gates import gate
from tutelage.selection.reasons import OVERRULED, REASONS, meaning_of
from tutelage.selection.rules import DEVIATION, FAULTY, band_deviations

__all__ = [
    "DEVIATION",
    "FAULTY",
    "NULL_NAMES",
    "OVERRULED",
    "REASONS",
    "Coverage",
    "SelectSettings",
    "Selected",
    "band_deviations",
    "choose_parents",
    "compared_columns",
    "cover",
    "explain",
    "gate",
    "meaning_of",
    "needed_metrics",
    "select",
]
