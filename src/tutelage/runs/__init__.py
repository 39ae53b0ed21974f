"""What was done, from what, with which settings?"""

from tutelage.runs.demonstrating import run_demo
from tutelage.runs.drifting import drift_files
from tutelage.runs.estimating import estimate_refine, estimate_run
from tutelage.runs.examining import examine
from tutelage.runs.explaining import explain_example
from tutelage.runs.exporting import TARGETS, export
from tutelage.runs.folder import RunFolder
from tutelage.runs.frontier import find_frontier
from tutelage.runs.gating import compare_filters, filter_run, verify_file, verify_run
from tutelage.runs.jobs import refine_data, run_all, score_data
from tutelage.runs.loading import load_data
from tutelage.runs.progress import Progress, Silent
from tutelage.runs.proving_job import prove
from tutelage.runs.proving_settings import ProveSettings, load_prove_settings
from tutelage.runs.ranking import Ranked, rank_sources, rank_teachers
from tutelage.runs.ranking_agreement import rank_agreement
from tutelage.runs.recomputing import delta_losses, metric_agreement, recompute
from tutelage.runs.reporting import report_text, write_report
from tutelage.runs.rescoring import score_run
from tutelage.runs.reselection import select_again
from tutelage.runs.rounds import run_rounds
from tutelage.runs.rounds_settings import RoundsSettings, load_rounds_settings
from tutelage.runs.sampling import sample_data
from tutelage.runs.scoring import Student
from tutelage.runs.settings import RunSettings, load_settings, yaml_value
from tutelage.runs.training import evaluate, train, trainer_truth

__all__ = [
    "TARGETS",
    "Progress",
    "ProveSettings",
    "Ranked",
    "RoundsSettings",
    "RunFolder",
    "RunSettings",
    "Silent",
    "Student",
    "compare_filters",
    "delta_losses",
    "drift_files",
    "estimate_refine",
    "estimate_run",
    "evaluate",
    "examine",
    "explain_example",
    "export",
    "filter_run",
    "find_frontier",
    "load_data",
    "load_prove_settings",
    "load_rounds_settings",
    "load_settings",
    "metric_agreement",
    "prove",
    "rank_agreement",
    "rank_sources",
    "rank_teachers",
    "recompute",
    "refine_data",
    "report_text",
    "run_all",
    "run_demo",
    "run_rounds",
    "sample_data",
    "score_data",
    "score_run",
    "select_again",
    "train",
    "trainer_truth",
    "verify_file",
    "verify_run",
    "write_report",
    "yaml_value",
]
