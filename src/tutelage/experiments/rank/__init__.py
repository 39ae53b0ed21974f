"""Rankings of teachers or sources for a student.

Standings with intervals over questions, significant differences, sequential stopping, agreement
between students, and the corrected gain of a winner.
"""

from tutelage.experiments.rank.answer_features import style_distances
from tutelage.experiments.rank.answer_pool import Ranked
from tutelage.experiments.rank.predictors import PREDICTORS, Predictor, predictors_for
from tutelage.experiments.rank.proxy_training import Rung, rungs_of
from tutelage.experiments.rank.run import rank_sources, rank_teachers
from tutelage.experiments.rank.standings import (
    Standings,
    WatchSettings,
    asking_order,
    first_place_by_questions,
    rank,
    still_running,
)
from tutelage.experiments.rank.student_agreement import (
    SHARES,
    choice_agreement,
    joined,
    overlap,
    rank_agreement,
    within_agreement,
)

__all__ = [
    "PREDICTORS",
    "SHARES",
    "Predictor",
    "Ranked",
    "Rung",
    "Standings",
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
    "style_distances",
    "within_agreement",
]
