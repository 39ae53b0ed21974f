"""Decision of a selection rule on every example, and the share of the data that it could use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

import numpy as np
import pyarrow as pa

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL, STEPS
from tutelage.data.extensions import extension_named
from tutelage.data.schemas import CHOSEN, DECISIONS, GATES, columns_of, table_schema
from tutelage.errors import DataError
from tutelage.selection.baselines import (
    decide_chosen_version,
    decide_length_matched,
    decide_permuted,
    decide_refused_version,
    draw_nulls,
)
from tutelage.selection.budget import cut, mixed
from tutelage.selection.candidate_table import (
    NONE,
    NOT_SCORED,
    Bools,
    Indexes,
    Pool,
    TableSource,
    constant,
    count_values,
    from_floats,
    load_pool,
    take,
    with_columns,
)
from tutelage.selection.config import BASELINES, RuleName, SelectSettings
from tutelage.selection.gates import rejected_late, shut_out
from tutelage.selection.reasons import (
    CHOSEN_BY_EXTENSION,
    DROPPED_BY_EXTENSION,
    NO_CANDIDATES,
    OUTSIDE_MIX,
    SHUT_OUT,
    Verdict,
    Words,
    rejection_reason,
    words,
)
from tutelage.selection.rules import (
    decide_all_original,
    decide_all_refined,
    decide_best_of_n,
    decide_cheap,
    decide_grape,
    decide_ifd_top,
    decide_keep_all,
    decide_lark,
    decide_longest,
    decide_oracle,
    decide_random,
    decide_rsr,
    decide_srt_pairwise,
)
from tutelage.selection.srt import compare_paper, compare_safe, decide_srt


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Counts of examples that a selection could compare.

    Attributes:
        examples: How many examples there are; each has one decision.
        kept: How many of them keep a candidate.
        candidates: How many candidates there are, with or without text.
        written: Number with text.
        scored: How many of these have every number that the rule needs.
        unwritten: How many have no text, by status.
        unscored: How many have text but not the numbers, by status.
        gated: How many have text but were shut out before they were compared, by reason.
    """

    examples: int
    kept: int
    candidates: int
    written: int
    scored: int
    unwritten: Mapping[str, int]
    unscored: Mapping[str, int]
    gated: Mapping[str, int] = field(default_factory=dict)

    @property
    def compared(self) -> int:
        """Examples with text that passed the gates."""
        return self.written - sum(self.gated.values())

    @property
    def unscored_fraction(self) -> float:
        """Share of the examples past the gates that could not be scored, in [0, 1]."""
        return (self.compared - self.scored) / self.compared if self.compared else 0.0


def coverage_of(pool: Pool, *, kept: int, needed: Sequence[str]) -> Coverage:
    """Coverage of a pool after its gates.

    Args:
        pool: The pool.
        kept: How many examples keep a candidate.
        needed: The numbers that the rule compares.
    """
    scored_N = pool.usable_N.copy()
    for name in needed:
        scored_N &= ~np.isnan(pool.numbers[name])
    there_N = pool.step_N >= 0
    words = np.array([*(status in SHUT_OUT for status in pool.statuses), False])
    gated_N = pool.written_N & words[pool.status_N]
    return Coverage(
        examples=pool.examples,
        kept=kept,
        candidates=int(there_N.sum()),
        written=int(pool.written_N.sum()),
        scored=int(scored_N.sum()),
        unwritten=_statuses(pool, there_N & ~pool.written_N),
        unscored=_statuses(pool, pool.written_N & ~gated_N & ~scored_N),
        gated=_statuses(pool, gated_N),
    )


def _statuses(pool: Pool, among_N: Bools) -> dict[str, int]:
    words = pa.array([NOT_SCORED if s == "ok" else s for s in pool.statuses], pa.string())
    return count_values(take(words, pool.status_N[among_N]))


def check_coverage(coverage: Coverage, settings: SelectSettings) -> None:
    """Raise an error where too few examples could be scored for a selection.

    Raises:
        DataError: More candidates than `max_unscored_fraction` have no number.
    """
    if coverage.unscored_fraction <= settings.max_unscored_fraction:
        return
    reasons = ", ".join(
        f"{status} {count}" for status, count in list(coverage.unscored.items())[:3]
    )
    raise DataError(
        f"{coverage.compared - coverage.scored} of {coverage.compared} candidates could not be "
        f"scored ({coverage.unscored_fraction:.2f}, at most "
        f"{settings.max_unscored_fraction:.2f} allowed): {reasons}",
        hint="look at these candidates in scores.parquet, or raise max_unscored_fraction",
    )


# ----------------------------------------------------------------------------------------------
# The rule of an extension: a user's function decides on the versions of each example.
# ----------------------------------------------------------------------------------------------


def decide_extension(pool: Pool, settings: SelectSettings) -> Verdict:
    """Decide with a user's function, once per example; it gets only versions that may be chosen.

    Raises:
        DataError: It failed, or named a version that it was not given.
    """
    rule = extension_named("rule", settings.function)
    metrics = tuple(rule.options.get("metrics", ()))
    chosen_E: Indexes = np.full(pool.examples, NONE, dtype=np.int64)
    reason_E = words(pool, NO_CANDIDATES)
    ids = pool.candidate_ids.to_pylist()
    examples = pool.example_ids.to_pylist()
    ends = [*pool.starts_E[1:].tolist(), len(ids)]
    for example, (start, end) in enumerate(zip(pool.starts_E.tolist(), ends, strict=True)):
        rows = [row for row in range(start, end) if pool.usable_N[row]]
        if not rows:
            continue
        about = f"example {examples[example]}"
        wanted = rule.call([_version(pool, row, ids, metrics) for row in rows], about=about)
        by_id = {ids[row]: row for row in rows}
        if wanted is None:
            reason_E[example] = DROPPED_BY_EXTENSION
        elif wanted in by_id:
            chosen_E[example], reason_E[example] = by_id[wanted], CHOSEN_BY_EXTENSION
        else:
            raise DataError(
                f"extension rule {rule.name}: chose {wanted!r} for {about}",
                hint="give the candidate_id of one of the versions, or None",
            )
    evidence = {f"{name}_chosen": pool.at(name, chosen_E) for name in metrics}
    return Verdict(chosen_E=chosen_E, reason_E=reason_E, evidence=evidence)


def _version(pool: Pool, row: int, ids: list[Any], metrics: tuple[str, ...]) -> dict[str, Any]:
    """Version in the form that a user's function gets."""
    teacher = pool.teacher_N[row]
    numbers = {name: float(pool.numbers[name][row]) for name in metrics}
    return {
        "candidate_id": ids[row],
        "step": STEPS[pool.step_N[row]],
        "teacher": None if teacher == NONE else pool.teachers[teacher],
        **{name: None if np.isnan(value) else value for name, value in numbers.items()},
    }


# ----------------------------------------------------------------------------------------------
# Decide.
# ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """Decisions on all examples, with their baselines (nulls).

    Attributes:
        decisions: The DECISIONS schema and the rule's evidence, ascending by example id.
        chosen: The CHOSEN schema: every chosen candidate, by example id, then rank.
        nulls: The NULLS schema; see `tutelage.selection.baselines.draw_nulls`.
        tally: How many examples were given each reason, most frequent first.
        coverage: How much of the data could be judged.
    """

    decisions: pa.Table
    chosen: pa.Table
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
    gates: pa.Table | None = None,
    embeddings: pa.Table | None = None,
    columns: pa.Table | None = None,
) -> Selected:
    """Decide on every example and draw the baselines of the decision.

    Args:
        candidates: A table of the CANDIDATES schema, or a path; texts are not read.
        scores: A table of the SCORES schema with the metrics that the rule needs, or a path.
        settings: The rule and how strict it is.
        examples: Every example that must have a decision; None takes those with candidates.
        student: The fingerprint of the student whose scores decide, where there are several.
        gates: Candidates that may not be chosen, from `tutelage.selection.gate`; None: all may.
        embeddings: For `diversity`: `candidate_id` and `embedding` of all that may be chosen.
        columns: For `cheap` and `oracle`: `candidate_id` and the number that they compare, which
            is not the student's and so is there for what the gates rejected, too.

    Returns:
        Exactly one decision an example. It depends on the ids, the scores and the seed, not on the
        order of rows.

    Raises:
        DataError: Tables that do not belong together, a metric that was not computed, or more
            candidates without a score than the settings allow.
    """
    needed = compared_columns(settings)
    pool = load_pool(
        candidates=candidates,
        scores=scores,
        metrics=tuple(dict.fromkeys((*needed, "response_tokens"))),
        examples=examples,
        student=student,
    )
    gates = GATES.empty_table() if gates is None else gates
    open_pool = shut_out(pool, gates, late=False)
    if columns is not None:
        open_pool = with_columns(open_pool, columns)
    verdict = _chosen(open_pool, settings, embeddings=embeddings)
    verdict = _checked_late(open_pool, verdict, gates)
    coverage = coverage_of(open_pool, kept=int((verdict.chosen_E != NONE).sum()), needed=needed)
    check_coverage(coverage, settings)
    chosen = _chosen_table(pool, verdict)
    return Selected(
        decisions=_decisions(pool, verdict, settings.rule),
        chosen=chosen,
        nulls=draw_nulls(
            shut_out(pool, gates, late=True), kept_E=_counts(pool, verdict), seed=settings.seed
        ),
        tally=count_values(pa.array(verdict.reason_E, pa.string())),
        coverage=coverage,
    )


def _chosen(pool: Pool, settings: SelectSettings, *, embeddings: pa.Table | None) -> Verdict:
    if settings.mix is None:
        return cut(pool, decide(pool, settings), settings, embeddings=embeddings)
    pool, left_out_E = mixed(pool, settings.mix, seed=settings.seed)
    verdict = _without(pool, decide(pool, settings), left_out_E, words(pool, OUTSIDE_MIX))
    return cut(pool, verdict, settings, embeddings=embeddings)


def _without(pool: Pool, verdict: Verdict, out_E: Bools, reason_E: Words) -> Verdict:
    """Verdict without the candidates that were dropped from some examples, with the reasons."""
    out_E = out_E & (verdict.chosen_E != NONE)
    rank_N = verdict.rank_N
    return replace(
        verdict,
        chosen_E=np.where(out_E, NONE, verdict.chosen_E),
        reason_E=np.where(out_E, reason_E, verdict.reason_E),
        rank_N=None if rank_N is None else np.where(out_E[pool.example_N], NONE, rank_N),
    )


def _checked_late(pool: Pool, verdict: Verdict, gates: pa.Table) -> Verdict:
    """Drop chosen candidates that are not right; the next ones of the example move up."""
    word_N = rejected_late(pool, gates)
    rejected_N = word_N != ""
    if not rejected_N.any():
        return verdict
    first_word_E = np.where(verdict.chosen_E != NONE, word_N[verdict.chosen_E], "")
    reason_E = np.array([rejection_reason(str(word)) for word in first_word_E], dtype=np.object_)
    if verdict.rank_N is None:
        return _without(pool, verdict, first_word_E != "", reason_E)
    places_N = np.where((verdict.rank_N != NONE) & ~rejected_N, verdict.rank_N, np.nan)
    rank_N = pool.ranks(~np.isnan(places_N), places_N, highest=False)
    chosen_E = np.full(pool.examples, NONE, dtype=np.int64)
    firsts = np.flatnonzero(rank_N == 0)
    chosen_E[pool.example_N[firsts]] = firsts
    emptied_E = (verdict.chosen_E != NONE) & (chosen_E == NONE)
    return replace(
        verdict,
        chosen_E=chosen_E,
        rank_N=rank_N,
        reason_E=np.where(emptied_E, reason_E, verdict.reason_E),
    )


def needed_metrics(rule: RuleName) -> tuple[str, ...]:
    """Metrics that a rule compares; other rules only need that a candidate was scored."""
    match rule:
        case "srt" | "srt_pairwise":
            return ("ifd", "r_ifd")
        case "ifd_top":
            return ("ifd",)
        case "grape" | "rsr":
            return (rule,)
        case "lark":
            return ("mean_surprisal", "brier")
        case "best_of_n" | "keep_all" | "random" | "longest" | "all_original" | "all_refined":
            return ()
        case (
            "permuted" | "length_matched" | "chosen_version" | "refused_version" | "cheap"
            | "oracle" | "extension"
        ):  # fmt: skip
            return ()  # those of the rule it is made from, or of the function: `compared_columns`
        case _:
            assert_never(rule)


def compared_columns(settings: SelectSettings) -> tuple[str, ...]:
    """Columns of the scores that a selection compares.

    They are the metrics of the rule, but for lark what was made of them over each pool, and for
    best_of_n the column the user named.
    """
    if settings.rule == "lark":
        return ("lark", "lark_weight")
    if settings.rule == "extension":
        return tuple(extension_named("rule", settings.function).options.get("metrics", ()))
    if settings.best_by is not None:
        return (settings.best_by,)
    return needed_metrics(settings.compared_rule)


_RULES: Mapping[RuleName, Callable[[Pool, SelectSettings], Verdict]] = {
    "srt": decide_srt,
    "srt_pairwise": decide_srt_pairwise,
    "grape": decide_grape,
    "rsr": decide_rsr,
    "lark": decide_lark,
    "best_of_n": decide_best_of_n,
    "keep_all": decide_keep_all,
    "ifd_top": decide_ifd_top,
    "random": decide_random,
    "longest": decide_longest,
    "all_original": decide_all_original,
    "all_refined": decide_all_refined,
    "oracle": decide_oracle,
    "extension": decide_extension,
}


_MADE_FROM: Mapping[RuleName, Callable[..., Verdict]] = {
    "permuted": decide_permuted,
    "length_matched": decide_length_matched,
    "chosen_version": decide_chosen_version,
    "refused_version": decide_refused_version,
    "cheap": decide_cheap,
}


def decide(pool: Pool, settings: SelectSettings) -> Verdict:
    """Apply the rule of the settings, before any budget."""
    if settings.rule in BASELINES:
        return _MADE_FROM[settings.rule](pool, settings, rule=_RULES[settings.of])
    return _RULES[settings.rule](pool, settings)


def _counts(pool: Pool, verdict: Verdict) -> Indexes:
    """Number of kept candidates per example."""
    if verdict.rank_N is None:
        one: Indexes = (verdict.chosen_E != NONE).astype(np.int64)
        return one
    counted: Indexes = np.add.reduceat((verdict.rank_N != NONE).astype(np.int64), pool.starts_E)
    return counted


def _chosen_table(pool: Pool, verdict: Verdict) -> pa.Table:
    if verdict.rank_N is None:
        rows = verdict.chosen_E[verdict.chosen_E != NONE]
        rank = np.zeros(len(rows), dtype=np.int64)
    else:
        kept = np.flatnonzero(verdict.rank_N != NONE)
        rows = kept[np.lexsort((verdict.rank_N[kept], pool.example_N[kept]))]
        rank = verdict.rank_N[rows]
    weight_N = verdict.weight_N
    weight = np.full(len(rows), np.nan) if weight_N is None else weight_N[rows]
    return pa.table(
        [
            take(pool.example_ids, pool.example_N[rows]),
            take(pool.candidate_ids, rows),
            pa.array(rank, pa.int32()),
            from_floats(weight),
        ],
        schema=CHOSEN,
    )


def _decisions(pool: Pool, verdict: Verdict, rule: RuleName) -> pa.Table:
    kept_E = verdict.chosen_E != NONE
    step_E = np.where(kept_E, pool.step_N[verdict.chosen_E], NONE)
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
        schema=table_schema(DECISIONS, columns_of(verdict.evidence, pa.float64())),
    )


def choose_parents(
    *, candidates: pa.Table, scores: pa.Table, settings: SelectSettings
) -> Mapping[str, str]:
    """Choose the version of each example whose response the teacher rewrites.

    With `srt` it is the winner of the first comparison; with `grape` and `rsr` the better of the
    two by that metric; with the other rules the original. Where none passes, the original goes
    on if it has text, since a new response may repair it, and else the rewritten instruction.

    Args:
        candidates: Originals and rewritten instructions, in the CANDIDATES schema.
        scores: Their scores, with the metrics of the rule.
        settings: The rule that will decide in the end.

    Returns:
        Candidate id by example id; an example of which nothing has text is left out.

    Raises:
        DataError: A metric that the rule needs was not computed.
    """
    pool = load_pool(
        candidates=candidates,
        scores=scores,
        metrics=(*needed_metrics(settings.rule), "response_tokens"),
    )
    best_E = _best(pool, settings)
    # In paper mode an original without text can be the winner: it cannot be rewritten.
    best_E = np.where((best_E != NONE) & pool.written_N[best_E], best_E, NONE)
    for step in (ORIGINAL, INSTRUCTION_REFLECTION):
        written_N = pool.of_step(step) & pool.written_N
        first_E = pool.consider((written_N,), pool.numbers["response_tokens"], highest=True)
        best_E = np.where(best_E == NONE, first_E, best_E)
    ids: list[Any] = pool.candidate_ids.to_pylist()
    names: list[Any] = pool.example_ids.to_pylist()
    return {names[example]: ids[row] for example, row in enumerate(best_E.tolist()) if row != NONE}


def _best(pool: Pool, settings: SelectSettings) -> Indexes:
    if settings.rule == "srt" and settings.mode == "paper":
        return compare_paper(pool).winner_E
    if settings.rule == "srt":
        return compare_safe(pool, margin=settings.margin).winner_E
    if settings.rule == "grape":
        return decide_grape(pool, settings).chosen_E
    if settings.rule == "rsr":
        return decide_rsr(pool, settings).chosen_E
    return np.full(pool.examples, NONE, dtype=np.int64)
