"""Decide on every example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data import STEPS
from tutelage.data.tables import DECISIONS
from tutelage.errors import DataError
from tutelage.selection.best import (
    decide_all_original,
    decide_all_refined,
    decide_grape,
    decide_ifd_top,
    decide_longest,
    decide_random,
    decide_rsr,
)
from tutelage.selection.columns import (
    NONE,
    Bools,
    column_of,
    constant,
    count_values,
    from_floats,
    take,
    to_numpy,
)
from tutelage.selection.null_sets import draw_nulls
from tutelage.selection.pool import NOT_SCORED, Pool, TableSource, load_pool
from tutelage.selection.settings import RuleName, SelectSettings
from tutelage.selection.srt import decide_paper, decide_safe
from tutelage.selection.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the data a selection could judge.

    Attributes:
        examples: How many examples there are; each has one decision.
        kept: How many of them keep a candidate.
        candidates: How many candidates there are, with or without text.
        written: How many have text.
        scored: How many of these have every number that the rule needs.
        unwritten: How many have no text, by status.
        unscored: How many have text but not the numbers, by status.
    """

    examples: int
    kept: int
    candidates: int
    written: int
    scored: int
    unwritten: Mapping[str, int]
    unscored: Mapping[str, int]

    @property
    def unscored_fraction(self) -> float:
        """The share of candidates with text that could not be scored, in [0, 1]."""
        return (self.written - self.scored) / self.written if self.written else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """One decision an example, and the nulls beside it.

    Attributes:
        decisions: The DECISIONS schema and the rule's evidence, ascending by example id.
        nulls: The NULLS schema; see `tutelage.selection.null_sets.draw_nulls`.
        tally: How many examples were given each reason, most frequent first.
        coverage: How much of the data could be judged.
    """

    decisions: pa.Table
    nulls: pa.Table
    tally: Mapping[str, int]
    coverage: Coverage


def select(
    *,
    candidates: TableSource,
    scores: TableSource,
    settings: SelectSettings,
    examples: TableSource | None = None,
    student: str | None = None,
) -> Selected:
    """Decide on every example, and draw the nulls of the decision.

    Args:
        candidates: A table of the CANDIDATES schema, or a path; texts are not read.
        scores: A table of the SCORES schema with the metrics that the rule needs, or a path.
        settings: The rule and how strict it is.
        examples: Every example that must have a decision; None takes those with candidates.
        student: The fingerprint of the student whose scores decide, where there are several.

    Returns:
        Exactly one decision an example. It depends on the ids, the scores and the seed, not on the
        order of rows.

    Raises:
        DataError: Tables that do not belong together, a metric that was not computed, or more
            candidates without a score than the settings allow.
    """
    pool = load_pool(
        candidates=candidates,
        scores=scores,
        metrics=(*needed_metrics(settings.rule), "response_tokens"),
        examples=examples,
        student=student,
    )
    verdict = decide(pool, settings)
    coverage = _coverage(pool, verdict, settings)
    _check_coverage(coverage, settings)
    return Selected(
        decisions=_decisions(pool, verdict, settings.rule),
        nulls=draw_nulls(pool, kept_E=verdict.chosen_E != NONE, seed=settings.seed),
        tally=count_values(pa.array(verdict.reason_E, pa.string())),
        coverage=coverage,
    )


def nulls(
    *,
    candidates: TableSource,
    scores: TableSource,
    decisions: pa.Table,
    settings: SelectSettings,
    student: str | None = None,
) -> pa.Table:
    """Draw the nulls of decisions that were made before, for example with another seed.

    Args:
        candidates: As in `select`.
        scores: As in `select`.
        decisions: A table of the DECISIONS schema.
        settings: The seed is read.
        student: As in `select`.

    Returns:
        A table of the NULLS schema; with the settings of the decisions, the same as
        `Selected.nulls`.

    Raises:
        DataError: Tables that do not belong together.
    """
    pool = load_pool(
        candidates=candidates,
        scores=scores,
        metrics=("response_tokens",),
        examples=decisions.select(["example_id"]),
        student=student,
    )
    kept = column_of(decisions.filter(decisions["kept"]), "example_id")
    kept_E = to_numpy(pc.is_in(pool.example_ids, value_set=kept))
    return draw_nulls(pool, kept_E=kept_E, seed=settings.seed)


def needed_metrics(rule: RuleName) -> tuple[str, ...]:
    """The metrics that a rule compares; the others need only that a candidate was scored."""
    match rule:
        case "srt":
            return ("ifd", "r_ifd")
        case "ifd_top":
            return ("ifd",)
        case "grape" | "rsr":
            return (rule,)
        case "random" | "longest" | "all_original" | "all_refined":
            return ()
        case _:
            assert_never(rule)


def decide(pool: Pool, settings: SelectSettings) -> Verdict:
    """Apply the rule that the settings name."""
    match settings.rule:
        case "srt" if settings.mode == "paper":
            verdict = decide_paper(pool)
        case "srt":
            verdict = decide_safe(pool, margin=settings.margin)
        case "grape":
            verdict = decide_grape(pool)
        case "rsr":
            verdict = decide_rsr(pool)
        case "ifd_top":
            verdict = decide_ifd_top(pool, settings)
        case "random":
            verdict = decide_random(pool, settings)
        case "longest":
            verdict = decide_longest(pool, settings)
        case "all_original":
            verdict = decide_all_original(pool)
        case "all_refined":
            verdict = decide_all_refined(pool)
        case _:
            assert_never(settings.rule)
    return verdict


def _decisions(pool: Pool, verdict: Verdict, rule: RuleName) -> pa.Table:
    kept_E = verdict.chosen_E != NONE
    step_E = np.where(kept_E, pool.step_N[verdict.chosen_E], NONE)
    fields = [*DECISIONS, *(pa.field(name, pa.float64()) for name in verdict.evidence)]
    return pa.table(
        [
            pool.example_ids,
            take(pool.candidate_ids, verdict.chosen_E),
            take(pa.array(STEPS, pa.string()), step_E),
            pa.array(kept_E),
            pa.array(verdict.reason_E, pa.string()),
            constant(rule, pool.examples),
            *(from_floats(values) for values in verdict.evidence.values()),
        ],
        schema=pa.schema(fields),
    )


def _coverage(pool: Pool, verdict: Verdict, settings: SelectSettings) -> Coverage:
    scored_N = pool.usable_N.copy()
    for name in needed_metrics(settings.rule):
        scored_N &= ~np.isnan(pool.numbers[name])
    there_N = pool.step_N >= 0
    return Coverage(
        examples=pool.examples,
        kept=int((verdict.chosen_E != NONE).sum()),
        candidates=int(there_N.sum()),
        written=int(pool.written_N.sum()),
        scored=int(scored_N.sum()),
        unwritten=_statuses(pool, there_N & ~pool.written_N),
        unscored=_statuses(pool, pool.written_N & ~scored_N),
    )


def _statuses(pool: Pool, among_N: Bools) -> dict[str, int]:
    words = pa.array([NOT_SCORED if s == "ok" else s for s in pool.statuses], pa.string())
    return count_values(take(words, pool.status_N[among_N]))


def _check_coverage(coverage: Coverage, settings: SelectSettings) -> None:
    if coverage.unscored_fraction <= settings.max_unscored_fraction:
        return
    reasons = ", ".join(
        f"{status} {count}" for status, count in list(coverage.unscored.items())[:3]
    )
    raise DataError(
        f"{coverage.written - coverage.scored} of {coverage.written} candidates could not be "
        f"scored ({coverage.unscored_fraction:.2f}, at most "
        f"{settings.max_unscored_fraction:.2f} allowed): {reasons}",
        hint="look at these candidates in scores.parquet, or raise max_unscored_fraction",
    )
