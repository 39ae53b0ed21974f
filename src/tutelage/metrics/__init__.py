"""Metrics: how well a version of an example suits the student.

Pure formulas over what the student read (`tutelage.data.Reading`), a registry that says what each
means and which way is better, and the rows of the scores table. A metric that has no finite value
is None and its candidate `nonfinite`: a failure is never a number.
"""

from tutelage.metrics.corpus import CaslFit, car, casl, delta_loss, fit_casl, rsr_of_set, with_casl
from tutelage.metrics.group import lark, lark_weights, with_lark
from tutelage.metrics.metric_agreement import agreement
from tutelage.metrics.registry import (
    METRICS,
    Better,
    Level,
    Material,
    MetricSpec,
    Statistics,
    beyond,
    most_of,
    needs_steps,
    needs_text,
    specs_for,
    statistics_for,
    table_metrics,
    views_for,
)
from tutelage.metrics.response import (
    brier,
    grape,
    high_entropy_sum,
    ifd,
    ifd_loss,
    mean_rank,
    mean_surprisal,
    ppl,
    r_ifd,
    rsr,
    upd,
)
from tutelage.metrics.score_rows import NONFINITE, compute, finish_scores, score_row, scores_schema
from tutelage.metrics.steps import (
    LALP_WINDOW_STEPS,
    StepView,
    aslec_drop,
    first_token_indexes,
    first_token_logprob,
    first_token_share,
    lalp,
    step_spans,
    step_views,
)

__all__ = [
    "LALP_WINDOW_STEPS",
    "METRICS",
    "NONFINITE",
    "Better",
    "CaslFit",
    "Level",
    "Material",
    "MetricSpec",
    "Statistics",
    "StepView",
    "agreement",
    "aslec_drop",
    "beyond",
    "brier",
    "car",
    "casl",
    "compute",
    "delta_loss",
    "finish_scores",
    "first_token_indexes",
    "first_token_logprob",
    "first_token_share",
    "fit_casl",
    "grape",
    "high_entropy_sum",
    "ifd",
    "ifd_loss",
    "lalp",
    "lark",
    "lark_weights",
    "mean_rank",
    "mean_surprisal",
    "most_of",
    "needs_steps",
    "needs_text",
    "ppl",
    "r_ifd",
    "rsr",
    "rsr_of_set",
    "score_row",
    "scores_schema",
    "specs_for",
    "statistics_for",
    "step_spans",
    "step_views",
    "table_metrics",
    "upd",
    "views_for",
    "with_casl",
    "with_lark",
]
