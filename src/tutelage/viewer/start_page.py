"""What the page needs at its start: the run in one line, and the names that it offers."""

from typing import Any

from tutelage.metrics import METRICS
from tutelage.reporting.number_format import reason_words
from tutelage.viewer.query import FACETS
from tutelage.viewer.row_map import NO_MODEL, NO_MODEL_HINT
from tutelage.viewer.run_store import Shelf

RATIOS = ("ifd", "r_ifd", "ifd_loss")
"""Metrics with a line at 1."""


def about(shelf: Shelf) -> dict[str, Any]:
    """The run in one line, and the names that the page offers."""
    meta, manifest = shelf.meta, shelf.manifest
    student = manifest.get("student", {})
    rule = manifest.get("stages", {}).get("select", {}).get("tally", {}).get("rule", {})
    return {
        "title": shelf.run.root.resolve().name,
        "examples": meta.examples,
        "candidates": meta.candidates,
        "kept": shelf.ask("select count(*) from e where kept")[0][0],
        "overruled": len(shelf.overrides),
        "decided": shelf.run.decisions.exists(),
        "student": student.get("model"),
        "dtype": student.get("dtype"),
        "rule": rule.get("rule"),
        "mode": rule.get("mode") if rule.get("rule") == "srt" else None,
        "margin": rule.get("margin", 0.0),
        "lost": [[s, reason_words(s), n] for s, n in meta.lost.items()],
        "metrics": [_metric(name) for name in meta.metrics],
        "ranges": meta.ranges,
        "facets": [
            facet
            for facet in FACETS
            if (facet != "beside" or shelf.second) and (facet != "fault" or meta.faults)
        ],
        "by_meaning": None if shelf.embedder is None else shelf.embedder.name,
        "no_model": [NO_MODEL, NO_MODEL_HINT],
        "gate": rule.get("quality_gate") == "calibrated",
        "second": None if shelf.second is None else shelf.second.name,
        "version": shelf.version,
        "has_report": shelf.run.report.exists(),
    }


def _metric(name: str) -> dict[str, Any]:
    known = METRICS.get(name)
    return {
        "name": name,
        "better": None if known is None else known.better,
        "ratio": name in RATIOS,
    }
