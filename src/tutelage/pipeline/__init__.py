"""Pipeline: the run folder and its stages, from reading the data to the report."""

from tutelage.pipeline.check_estimate import (
    estimate_filter,
    estimate_select,
    estimate_verify_file,
    estimate_verify_run,
)
from tutelage.pipeline.check_stages import compare_filters, filter_run, verify_file, verify_run
from tutelage.pipeline.config import RunSettings, load_settings, yaml_file, yaml_value
from tutelage.pipeline.cost_estimate import (
    estimate_evaluation,
    estimate_run,
    estimate_score,
    estimate_training,
)
from tutelage.pipeline.environment_check import examine
from tutelage.pipeline.explanation import explain_example
from tutelage.pipeline.export_stage import export
from tutelage.pipeline.jobs import (
    load_data,
    refine_data,
    run_all,
    run_demo,
    score_data,
    score_run,
    select_again,
)
from tutelage.pipeline.recompute_metrics import delta_losses, metric_agreement, recompute
from tutelage.pipeline.report_stage import report_text, write_report
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sample_stage import sample_data
from tutelage.pipeline.score_stage import Student
from tutelage.pipeline.teacher_estimate import estimate_refine, estimate_sample

__all__ = [
    "RunFolder",
    "RunSettings",
    "Student",
    "compare_filters",
    "delta_losses",
    "estimate_evaluation",
    "estimate_filter",
    "estimate_refine",
    "estimate_run",
    "estimate_sample",
    "estimate_score",
    "estimate_select",
    "estimate_training",
    "estimate_verify_file",
    "estimate_verify_run",
    "examine",
    "explain_example",
    "export",
    "filter_run",
    "load_data",
    "load_settings",
    "metric_agreement",
    "recompute",
    "refine_data",
    "report_text",
    "run_all",
    "run_demo",
    "sample_data",
    "score_data",
    "score_run",
    "select_again",
    "verify_file",
    "verify_run",
    "write_report",
    "yaml_file",
    "yaml_value",
]
