"""Statistics: confidence intervals, tests, power, correlations and regressions.

Intervals of shares and means, rank correlations, bootstrap intervals, paired designs and their
power, corrections for many comparisons, confidence sequences and regressions, over numpy arrays
alone. Student's t comes from scipy, where it is needed.
"""

from tutelage.stats.bootstrap import Resampling
from tutelage.stats.intervals import Estimate, Share, share_of, wilson
from tutelage.stats.rank_correlation import auc, average_ranks, kendall, spearman, spearman_interval
from tutelage.stats.regression import MIN_EXAMPLES, Fit, fit, predict_out_of_fold

__all__ = [
    "MIN_EXAMPLES",
    "Estimate",
    "Fit",
    "Resampling",
    "Share",
    "auc",
    "average_ranks",
    "fit",
    "kendall",
    "predict_out_of_fold",
    "share_of",
    "spearman",
    "spearman_interval",
    "wilson",
]
