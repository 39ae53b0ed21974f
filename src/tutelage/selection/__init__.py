"""Which version stays?

Exactly one decision an example, with its reason and the numbers it rested on, and beside it the
nulls: sets of the same size chosen without the student. Columnar and pure: tables in, tables out.
"""

from tutelage.selection.coverage import Coverage
from tutelage.selection.diversity import cover
from tutelage.selection.explain import explain
from tutelage.selection.gates import GATES, gate
from tutelage.selection.null_sets import NULL_NAMES
from tutelage.selection.parents import choose_parents
from tutelage.selection.pool import TableSource
from tutelage.selection.reasons import OVERRULED, REASONS, meaning_of
from tutelage.selection.select import Selected, compared_columns, needed_metrics, nulls, select
from tutelage.selection.settings import MixSettings, RuleName, SelectSettings

__all__ = [
    "GATES",
    "NULL_NAMES",
    "OVERRULED",
    "REASONS",
    "Coverage",
    "MixSettings",
    "RuleName",
    "SelectSettings",
    "Selected",
    "TableSource",
    "choose_parents",
    "compared_columns",
    "cover",
    "explain",
    "gate",
    "meaning_of",
    "needed_metrics",
    "nulls",
    "select",
]
