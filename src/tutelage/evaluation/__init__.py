"""Evaluation of a student on tasks, with one row and status per item.

    items --> likelihoods of answers   (choice, held_out: the student reads)
          --> answers it writes        (exact_match, ifeval, steps: verified)
          --> the lm-evaluation-harness

Higher is better in every task. `statistics` says whether two evaluations differ.
"""

from tutelage.evaluation.config import EvaluateSettings, TaskKind, TaskSettings
from tutelage.evaluation.evaluate import evaluate_student, summary_of, task_means, tasks_left
from tutelage.evaluation.items import UNITS, ItemResult, results_table

__all__ = [
    "UNITS",
    "EvaluateSettings",
    "ItemResult",
    "TaskKind",
    "TaskSettings",
    "evaluate_student",
    "results_table",
    "summary_of",
    "task_means",
    "tasks_left",
]
