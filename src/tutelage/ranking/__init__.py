"""Which teacher and which sources teach this student?

Pure statistics over Arrow tables: standings with intervals over questions, who cannot be told
apart, when one may stop asking, how far students agree, and what becomes of a winner.
"""

from tutelage.ranking.predictors import PREDICTORS, Predictor, predictors_for
from tutelage.ranking.settling import (
    SETTLING,
    WatchSettings,
    asking_order,
    settling,
    still_running,
)
from tutelage.ranking.standing import PAIRS, STANDINGS, Standings, rank
from tutelage.ranking.style import style_distances

__all__ = [
    "PAIRS",
    "PREDICTORS",
    "SETTLING",
    "STANDINGS",
    "Predictor",
    "Standings",
    "WatchSettings",
    "asking_order",
    "predictors_for",
    "rank",
    "settling",
    "still_running",
    "style_distances",
]
