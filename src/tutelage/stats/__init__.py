"""Statistics: how sure a number is.

Rank correlations, bootstrap intervals, paired designs and regressions, over numpy arrays alone.
"""

from tutelage.stats.bootstrap import Estimate, Resampling, wilson
from tutelage.stats.rank_correlation import average_ranks, kendall, spearman, spearman_interval
from tutelage.stats.regression import MIN_EXAMPLES, Fit, fit, predict_out_of_fold

__all__ = [
    "MIN_EXAMPLES",
    "Estimate",
    "Fit",
    "Resampling",
    "average_ranks",
    "fit",
    "kendall",
    "predict_out_of_fold",
    "spearman",
    "spearman_interval",
    "wilson",
]
