"""Rankings of teachers or sources for a student.

Standings with intervals over questions, significant differences, sequential stopping, agreement
between students, and the corrected gain of a winner.
"""

from tutelage.experiments.rank.predictors import PREDICTORS, predictors_for
from tutelage.experiments.rank.proxy_training import rungs_of
from tutelage.experiments.rank.run import rank_sources, rank_teachers
from tutelage.experiments.rank.standings import (
    WatchSettings,
    asking_order,
    first_place_by_questions,
    rank,
    still_running,
)
from tutelage.experiments.rank.student_agreement import (
    choice_agreement,
    joined,
    overlap,
    rank_agreement,
    within_agreement,
)

__all__ = [
    "PREDICTORS",
    "WatchSettings",
    "asking_order",
    "choice_agreement",
    "first_place_by_questions",
    "joined",
    "overlap",
    "predictors_for",
    "rank",
    "rank_agreement",
    "rank_sources",
    "rank_teachers",
    "rungs_of",
    "still_running",
    "within_agreement",
]
