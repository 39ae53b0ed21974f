"""Which teacher and which sources teach this student?

Pure statistics over Arrow tables: standings with intervals over questions, who cannot be told
apart, when one may stop asking, how far students agree, and what becomes of a winner.
"""

from tutelage.ranking.agreement import (
    AGREEMENT,
    SHARES,
    choice_agreement,
    joined,
    overlap,
    within_agreement,
)
from tutelage.ranking.halving import Rung, Shrunk, Winner, rungs_of, shrink, split_winner
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
    "AGREEMENT",
    "PAIRS",
    "PREDICTORS",
    "SETTLING",
    "SHARES",
    "STANDINGS",
    "Predictor",
    "Rung",
    "Shrunk",
    "Standings",
    "WatchSettings",
    "Winner",
    "asking_order",
    "choice_agreement",
    "joined",
    "overlap",
    "predictors_for",
    "rank",
    "rungs_of",
    "settling",
    "shrink",
    "split_winner",
    "still_running",
    "style_distances",
    "within_agreement",
]
