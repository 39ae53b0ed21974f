"""The Python API: each command as one function of the same name with the same arguments."""

from tutelage.api.checks import filter, verify  # noqa: A004  (the name of the command)
from tutelage.api.decisions import explain, export, report, select, view
from tutelage.api.experiments import drift, frontier, rounds
from tutelage.api.pipeline import load, read, refine, sample
from tutelage.api.proof import evaluate, prove, train
from tutelage.api.rankings import agreement, rank_sources, rank_teachers
from tutelage.api.results import (
    Agreement,
    Candidates,
    Estimate,
    Evaluated,
    Exported,
    FilterComparison,
    Filtered,
    Findings,
    Frontier,
    Loaded,
    Proof,
    Ranking,
    Report,
    Rounds,
    Run,
    Scores,
    Selection,
    Trained,
    Verdicts,
)
from tutelage.api.scores import delta, list_metrics, recompute, score
from tutelage.api.start import audit, demo, doctor, init, run
from tutelage.api.table_result import Result

__all__ = [
    "Agreement",
    "Candidates",
    "Estimate",
    "Evaluated",
    "Exported",
    "FilterComparison",
    "Filtered",
    "Findings",
    "Frontier",
    "Loaded",
    "Proof",
    "Ranking",
    "Report",
    "Result",
    "Rounds",
    "Run",
    "Scores",
    "Selection",
    "Trained",
    "Verdicts",
    "agreement",
    "audit",
    "delta",
    "demo",
    "doctor",
    "drift",
    "evaluate",
    "explain",
    "export",
    "filter",
    "frontier",
    "init",
    "list_metrics",
    "load",
    "prove",
    "rank_sources",
    "rank_teachers",
    "read",
    "recompute",
    "refine",
    "report",
    "rounds",
    "run",
    "sample",
    "score",
    "select",
    "train",
    "verify",
    "view",
]
