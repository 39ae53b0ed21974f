"""Calls whose types mypy checks: a dry run is an estimate, another call a result.

Nothing here is run. `make check` runs mypy over this file with the package.
"""

from typing import assert_type

import tutelage as tt
from tutelage.api import (
    Audit,
    Candidates,
    Estimate,
    Evaluated,
    FilterComparison,
    Filtered,
    Frontier,
    Proof,
    Ranking,
    Rounds,
    Scores,
    Selection,
    Trained,
    Verdicts,
)

ROWS = [{"instruction": "Name a colour.", "output": "Blue."}]
FILTERS = [{"kind": "length", "maximum": 10}]


def results() -> None:
    """What a call returns without `dry_run`."""
    assert_type(tt.audit(ROWS, "s"), Audit)
    assert_type(tt.evaluate("s", {"choice": ROWS}), Evaluated)
    assert_type(tt.filter(ROWS, FILTERS), Filtered | FilterComparison)
    assert_type(tt.frontier(ROWS, "s"), Frontier)
    assert_type(tt.prove("experiment.yaml"), Proof)
    assert_type(tt.rank_sources(ROWS, "s"), Ranking)
    assert_type(tt.rank_teachers(ROWS, "s"), Ranking)
    assert_type(tt.refine(ROWS, "t"), Candidates)
    assert_type(tt.rounds("rounds.yaml"), Rounds)
    assert_type(tt.run("config.yaml"), Selection)
    assert_type(tt.sample(ROWS, "t"), Candidates)
    assert_type(tt.score(ROWS, "s", dry_run=False), Scores)
    assert_type(tt.select("runs/demo"), Selection)
    assert_type(tt.train(ROWS, "s"), Trained)
    assert_type(tt.verify(ROWS), Verdicts)


def estimates() -> None:
    """What a dry run returns."""
    assert_type(tt.audit(ROWS, "s", dry_run=True), Estimate)
    assert_type(tt.evaluate("s", {"choice": ROWS}, dry_run=True), Estimate)
    assert_type(tt.filter(ROWS, FILTERS, dry_run=True), Estimate)
    assert_type(tt.frontier(ROWS, "s", dry_run=True, measure_seconds=0), Estimate)
    assert_type(tt.prove("experiment.yaml", dry_run=True), Estimate)
    assert_type(tt.rank_sources(ROWS, "s", dry_run=True), Estimate)
    assert_type(tt.rank_teachers(ROWS, "s", dry_run=True), Estimate)
    assert_type(tt.refine(ROWS, "t", dry_run=True), Estimate)
    assert_type(tt.rounds("rounds.yaml", dry_run=True), Estimate)
    assert_type(tt.run("config.yaml", dry_run=True), Estimate)
    assert_type(tt.sample(ROWS, "t", dry_run=True, max_tokens=9), Estimate)
    assert_type(tt.score(ROWS, "s", dry_run=True, template="alpaca"), Estimate)
    assert_type(tt.select("runs/demo", dry_run=True), Estimate)
    assert_type(tt.train(ROWS, "s", dry_run=True), Estimate)
    assert_type(tt.verify(ROWS, "judge", teacher="t", dry_run=True), Estimate)


def either(*, dry_run: bool) -> None:
    """What is returned where only the call decides."""
    assert_type(tt.audit(ROWS, "s", dry_run=dry_run), Audit | Estimate)
    assert_type(tt.evaluate("s", {"choice": ROWS}, dry_run=dry_run), Evaluated | Estimate)
    assert_type(tt.filter(ROWS, FILTERS, dry_run=dry_run), Filtered | FilterComparison | Estimate)
    assert_type(tt.frontier(ROWS, "s", dry_run=dry_run), Frontier | Estimate)
    assert_type(tt.prove("experiment.yaml", dry_run=dry_run), Proof | Estimate)
    assert_type(tt.rank_sources(ROWS, "s", dry_run=dry_run), Ranking | Estimate)
    assert_type(tt.rank_teachers(ROWS, "s", dry_run=dry_run), Ranking | Estimate)
    assert_type(tt.refine(ROWS, "t", dry_run=dry_run), Candidates | Estimate)
    assert_type(tt.rounds("rounds.yaml", dry_run=dry_run), Rounds | Estimate)
    assert_type(tt.run("config.yaml", dry_run=dry_run), Selection | Estimate)
    assert_type(tt.sample(ROWS, "t", dry_run=dry_run), Candidates | Estimate)
    assert_type(tt.score(ROWS, "s", dry_run=dry_run), Scores | Estimate)
    assert_type(tt.select("runs/demo", dry_run=dry_run), Selection | Estimate)
    assert_type(tt.train(ROWS, "s", dry_run=dry_run), Trained | Estimate)
    assert_type(tt.verify(ROWS, dry_run=dry_run), Verdicts | Estimate)
