"""Rules other than `srt`: one number of each candidate, the best of a pool, or no student at all.

Two of them are baselines that do not ask the student. `cheap` rejects as many versions as another
rule, those that look least usual; it is the baseline for "the student knows more than three simple
bands". `oracle` knows which rows are faulty, so it says how much could be gained at all.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL, RESPONSE_REFLECTION
from tutelage.errors import DataError
from tutelage.selection.candidate_table import NONE, Bools, Floats, Indexes, Pool, draws
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import (
    BELOW_CUT,
    BEST_OF_N,
    DRAWN,
    HIGHEST_GRAPE,
    HIGHEST_LARK,
    IFD_NOT_BELOW_1,
    IN_THE_CUT,
    KEPT_ALL,
    LOWEST_R_IFD,
    LOWEST_RSR,
    MOST_REFINED,
    NO_CANDIDATES,
    NO_ORIGINAL,
    NO_REFINEMENT,
    NOT_DRAWN,
    ORIGINAL_KEPT,
    ORIGINAL_WITHIN_BANDS,
    OUTSIDE_BANDS,
    REJECTED_BY_GATE,
    TRUTH_CLEAN,
    TRUTH_FAULTY,
    WITHIN_BANDS,
    Order,
    Verdict,
    why_out,
    why_unscored,
    words,
)


def decide_ifd_top(pool: Pool, _settings: SelectSettings) -> Verdict:
    """Examples with the highest ifd below 1 (arXiv 2308.12032, 2402.00530)."""
    ifd_N = pool.numbers["ifd"]
    best_E = pool.best(pool.usable_N & (ifd_N < 1), ifd_N, highest=True)
    scored_E = pool.consider((~np.isnan(ifd_N),), ifd_N, highest=False)
    rejected_E = np.where(scored_E != NONE, IFD_NOT_BELOW_1, why_unscored(pool, first(pool)))
    return Verdict(
        chosen_E=best_E,
        reason_E=np.where(best_E != NONE, IN_THE_CUT, rejected_E),
        evidence={"ifd_best": pool.at("ifd", np.where(best_E != NONE, best_E, scored_E))},
        order=Order(
            cost_E=-pool.at("ifd", best_E),
            kept=IN_THE_CUT,
            dropped=BELOW_CUT,
            evidence="ifd_cut",
            sign=-1,
        ),
    )


def decide_all_original(pool: Pool, _settings: SelectSettings) -> Verdict:
    """Original of every example where it is usable."""
    originals_N = pool.of_step(ORIGINAL)
    considered_E = pool.least_changed(originals_N)
    chosen_E = pool.least_changed(originals_N & pool.usable_N)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [chosen_E != NONE, considered_E != NONE, first(pool) != NONE],
            [
                words(pool, ORIGINAL_KEPT),
                why_unscored(pool, considered_E),
                words(pool, NO_ORIGINAL),
            ],
            default=words(pool, NO_CANDIDATES),
        ),
        evidence={},
    )


def decide_all_refined(pool: Pool, _settings: SelectSettings) -> Verdict:
    """The most refined usable version of every example that has one."""
    refined_N = refinements(pool)
    considered_E = most_changed(pool, refined_N)
    chosen_E = most_changed(pool, refined_N & pool.usable_N)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [chosen_E != NONE, considered_E != NONE, first(pool) != NONE],
            [
                words(pool, MOST_REFINED),
                why_unscored(pool, considered_E),
                words(pool, NO_REFINEMENT),
            ],
            default=words(pool, NO_CANDIDATES),
        ),
        evidence={},
    )


def refinements(pool: Pool) -> Bools:
    """Mask of rewritten candidates; samples do not count."""
    return pool.of_step(INSTRUCTION_REFLECTION) | pool.of_step(RESPONSE_REFLECTION)


def most_changed(pool: Pool, eligible_N: Bools) -> Indexes:
    """Eligible candidate furthest from the original, then the smaller id; or -1."""
    return pool.best(eligible_N, pool.changed_N.astype(np.float64), highest=True)


def first(pool: Pool) -> Indexes:
    """Least changed candidate, to which a reason refers where none is usable; or -1."""
    return pool.least_changed(pool.step_N >= 0)


def decide_grape(pool: Pool, settings: SelectSettings) -> Verdict:
    """Candidates with the highest mean log-probability (GRAPE, arXiv 2502.04194)."""
    return _decide_best(pool, "grape", settings, highest=True, reason=HIGHEST_GRAPE)


def decide_rsr(pool: Pool, settings: SelectSettings) -> Verdict:
    """The candidates with the lowest rank-surprisal ratio (arXiv 2601.14249)."""
    return _decide_best(pool, "rsr", settings, highest=False, reason=LOWEST_RSR)


def decide_lark(pool: Pool, settings: SelectSettings) -> Verdict:
    """Candidates with the highest expected learning speed, with weights (arXiv 2605.30651).

    `lark` and `lark_weight` belong to a pool: they must have been computed over the candidates
    that pass the gates, and with as many kept as the settings say.
    """
    verdict = _decide_best(pool, "lark", settings, highest=True, reason=HIGHEST_LARK)
    return Verdict(
        chosen_E=verdict.chosen_E,
        reason_E=verdict.reason_E,
        evidence=verdict.evidence,
        rank_N=verdict.rank_N,
        weight_N=pool.numbers["lark_weight"],
    )


def decide_best_of_n(pool: Pool, settings: SelectSettings) -> Verdict:
    """Candidates with the best value of a user's column, such as a reward."""
    column = settings.best_by or ""
    return _decide_best(
        pool, column, settings, highest=settings.best_is == "high", reason=BEST_OF_N
    )


def _decide_best(
    pool: Pool, metric: str, settings: SelectSettings, *, highest: bool, reason: str
) -> Verdict:
    values_N = pool.numbers[metric]
    chosen_E = pool.best(pool.usable_N, values_N, highest=highest)
    others_N = pool.usable_N & (np.arange(len(values_N)) != chosen_E[pool.example_N])
    second_E = pool.best(others_N, values_N, highest=highest)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.where(chosen_E != NONE, reason, why_unscored(pool, first(pool))),
        evidence={
            f"{metric}_chosen": pool.at(metric, chosen_E),
            f"{metric}_second": pool.at(metric, second_E),
        },
        rank_N=_several(pool, chosen_E, values_N, settings, highest=highest),
    )


def _several(
    pool: Pool, chosen_E: Indexes, values_N: Floats, settings: SelectSettings, *, highest: bool
) -> Indexes | None:
    """Index of the kept candidates, where more than one may be kept."""
    if settings.keep_per_example == 1:
        return None
    eligible_N = pool.usable_N
    if settings.one_teacher:
        of_chosen_E = np.where(chosen_E != NONE, pool.teacher_N[chosen_E], NONE)
        eligible_N = eligible_N & (pool.teacher_N == of_chosen_E[pool.example_N])
    rank_N = pool.ranks(eligible_N, values_N, highest=highest)
    return np.where(rank_N < settings.keep_per_example, rank_N, NONE)


def decide_keep_all(pool: Pool, settings: SelectSettings) -> Verdict:
    """All usable candidates; with a gate, all verified ones (arXiv 2308.01825).

    With one teacher, those of the teacher with the most usable candidates of the instruction, and
    of equal ones the first by name.
    """
    usable_N = pool.usable_N
    if settings.one_teacher:
        usable_N = usable_N & _of_most_frequent_teacher(pool)
    rank_N = pool.ranks(usable_N, np.zeros(len(usable_N)), highest=True)
    chosen_E = pool.least_changed(usable_N)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.where(chosen_E != NONE, KEPT_ALL, why_unscored(pool, first(pool))),
        evidence={"candidates_kept": _counts(pool, rank_N)},
        rank_N=rank_N,
    )


def _counts(pool: Pool, rank_N: Indexes) -> Floats:
    counted: Floats = np.add.reduceat((rank_N != NONE).astype(np.float64), pool.starts_E)
    return counted


def _of_most_frequent_teacher(pool: Pool) -> Bools:
    # Teachers in the order of their names, so that the first of equal ones is the first by name.
    named = sorted(range(len(pool.teachers)), key=lambda code: pool.teachers[code])
    place = np.empty(len(named) + 1, dtype=np.int64)
    place[named] = np.arange(len(named))
    place[-1] = len(named)  # no teacher named
    teacher_N = place[pool.teacher_N]
    counts = np.zeros((pool.examples, len(named) + 1), dtype=np.int64)
    np.add.at(counts, (pool.example_N, teacher_N), pool.usable_N)
    of_most: Bools = teacher_N == counts.argmax(axis=1)[pool.example_N]
    return of_most


def decide_srt_pairwise(pool: Pool, settings: SelectSettings) -> Verdict:
    """Response comparison of srt, over a pool of responses to one instruction.

    Originals, samples and rewritten responses of originals take part where both `ifd` and
    `r_ifd` are below 1. An original among them defends its place: the one with the lowest
    `r_ifd` replaces it only if it is lower by more than the margin. With margin 0 that is what a
    tournament of pairs comes to, in whatever order they meet.

    Deviation from Selective Reflection-Tuning (arXiv 2402.10110), which compares two.
    """
    ifd_N, r_ifd_N = pool.numbers["ifd"], pool.numbers["r_ifd"]
    responses_N = (pool.step_N >= 0) & (pool.changed_N <= 1)
    passing_N = responses_N & pool.usable_N & (ifd_N < 1) & (r_ifd_N < 1)
    originals_N = passing_N & (pool.changed_N == 0)
    holder_E = pool.best(originals_N, r_ifd_N, highest=False)
    best_E = pool.best(passing_N, r_ifd_N, highest=False)
    gain_E = pool.at("r_ifd", holder_E) - pool.at("r_ifd", best_E)
    stays_E = (holder_E != NONE) & ~(gain_E > settings.margin)
    chosen_E = np.where(stays_E, holder_E, best_E)
    scored_E = pool.consider((responses_N & ~np.isnan(ifd_N + r_ifd_N),), r_ifd_N, highest=False)
    rejected_E = np.where(
        scored_E != NONE, why_out(pool, scored_E), why_unscored(pool, first(pool))
    )
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.where(
            chosen_E == NONE, rejected_E, np.where(stays_E, ORIGINAL_KEPT, LOWEST_R_IFD)
        ),
        evidence={
            "ifd_chosen": pool.at("ifd", chosen_E),
            "r_ifd_chosen": pool.at("r_ifd", chosen_E),
            "r_ifd_original": pool.at("r_ifd", holder_E),
        },
    )


def decide_longest(pool: Pool, settings: SelectSettings) -> Verdict:
    """Longest responses of each example, then the examples with the longest ones."""
    values_N = pool.numbers["response_tokens"]
    best_E = pool.best(pool.usable_N, values_N, highest=True)
    return Verdict(
        chosen_E=best_E,
        reason_E=np.where(best_E != NONE, IN_THE_CUT, why_unscored(pool, first(pool))),
        evidence={"response_tokens_best": pool.at("response_tokens", best_E)},
        rank_N=_several(pool, best_E, values_N, settings, highest=True),
        order=Order(
            cost_E=-pool.at("response_tokens", best_E),
            kept=IN_THE_CUT,
            dropped=BELOW_CUT,
            evidence="response_tokens_cut",
            sign=-1,
        ),
    )


def decide_random(pool: Pool, settings: SelectSettings) -> Verdict:
    """Random candidates of random examples, by a hash of their ids and the seed."""
    ids = (pool.candidate_ids, pool.example_ids)
    draw_N, draw_E = draws(*ids, seed=settings.seed, purpose="rule")
    best_E = pool.best(pool.usable_N, draw_N, highest=False)
    return Verdict(
        chosen_E=best_E,
        reason_E=np.where(best_E != NONE, DRAWN, why_unscored(pool, first(pool))),
        evidence={},
        rank_N=_several(pool, best_E, draw_N, settings, highest=False),
        order=Order(cost_E=np.where(best_E != NONE, draw_E, np.nan), kept=DRAWN, dropped=NOT_DRAWN),
    )


DEVIATION = "deviation"
"""Evidence column of `cheap`: how far a version is from the usual; see `band_deviations`."""
FAULTY = "truth_faulty"
"""Evidence column of `oracle`: 1 where the refinements of the row are faulty, else 0."""

_OTHER_LANGUAGE = 100.0
"""Penalty where response and instruction are in different languages."""
_MAD_OF_A_NORMAL = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""

_Decides: TypeAlias = Callable[[Pool, SelectSettings], Verdict]


def band_deviations(
    *, words_N: Floats, similarity_N: Floats, other_language_N: Bools, original_N: Bools
) -> Floats:
    """Deviation of each version from the usual values among versions of its kind.

    The larger of two robust deviations from the median, that of the logarithm of the length and
    that of the similarity of instruction and response, in units of 1.48 median absolute deviations.
    Originals are compared with originals, and all other versions with each other.

    Args:
        words_N: Words of each response.
        similarity_N: Similarity of each response with its instruction.
        other_language_N: Whether the two are known to be in different languages; adds 100.
        original_N: Which versions are originals.

    Examples:
        >>> even = np.zeros(4, dtype=bool)
        >>> band_deviations(
        ...     words_N=np.array([9.0, 9, 9, 99]), similarity_N=np.array([0.1, 0.2, 0.3, 0.2]),
        ...     other_language_N=even, original_N=even,
        ... ).round(1).tolist()
        [1.3, 0.0, 1.3, 2.3]
    """
    deviation_N = np.zeros(len(words_N))
    for of_kind_N in (original_N, ~original_N):
        for values_N in (np.log1p(words_N), similarity_N):
            values = values_N[of_kind_N]
            if len(values):
                deviation_N[of_kind_N] = np.maximum(deviation_N[of_kind_N], _deviations(values))
    return deviation_N + np.where(other_language_N, _OTHER_LANGUAGE, 0.0)


def _deviations(values: Floats) -> Floats:
    apart = np.abs(values - np.median(values))
    # Where more than half are alike the median absolute deviation is 0.
    scale = float(np.median(apart)) / _MAD_OF_A_NORMAL or float(values.std()) or 1.0
    found: Floats = apart / scale
    return found


def decide_cheap(pool: Pool, settings: SelectSettings, *, rule: _Decides) -> Verdict:
    """The most usual versions, in the number of refinements and originals that a rule keeps.

    Of each example the most usual refinement is considered. As many as the rule keeps stay; of the
    other examples as many originals as the rule keeps. What the quality gate rejected takes part:
    the gate asks the student.

    Args:
        pool: The candidates.
        settings: Settings of the selection.
        rule: The rule of which this is a baseline.
    """
    verdict = rule(pool, settings)
    cost_N = _number(pool, DEVIATION, settings)
    kept_E = verdict.chosen_E != NONE
    rejected_N = np.array([status == REJECTED_BY_GATE for status in pool.statuses], dtype=np.bool_)
    usable_N = (pool.usable_N | (pool.written_N & rejected_N[pool.status_N])) & ~np.isnan(cost_N)
    original_N = pool.of_step(ORIGINAL)
    refined_E = pool.best(usable_N & ~original_N, cost_N, highest=False)
    original_E = pool.best(usable_N & original_N, cost_N, highest=False)
    originals = int((kept_E & original_N[verdict.chosen_E]).sum())
    refined = int(kept_E.sum()) - originals
    is_refined_E = _most_usual(refined_E, cost_N, refined)
    is_original_E = _most_usual(np.where(is_refined_E, NONE, original_E), cost_N, originals)
    short = int(kept_E.sum()) - int(is_refined_E.sum()) - int(is_original_E.sum())
    if short:  # the other examples have too few originals: further refinements stay instead
        is_refined_E |= _most_usual(
            np.where(is_refined_E | is_original_E, NONE, refined_E), cost_N, short
        )
    chosen_E = np.where(is_refined_E, refined_E, np.where(is_original_E, original_E, NONE))
    considered_E = np.where(refined_E != NONE, refined_E, original_E)
    cut = float(cost_N[refined_E[is_refined_E]].max()) if is_refined_E.any() else np.nan
    deviation_E = pool.at(DEVIATION, chosen_E)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [is_refined_E, is_original_E, considered_E != NONE],
            [words(pool, name) for name in (WITHIN_BANDS, ORIGINAL_WITHIN_BANDS, OUTSIDE_BANDS)],
            default=why_unscored(pool, first(pool)),
        ),
        evidence={
            "deviation_refined": pool.at(DEVIATION, refined_E),
            "deviation_original": pool.at(DEVIATION, original_E),
            "deviation_chosen": deviation_E,
            "deviation_cut": np.where(refined_E != NONE, cut, np.nan),
        },
        order=None
        if verdict.order is None
        else Order(cost_E=deviation_E, kept=None, dropped=verdict.order.dropped),
    )


def _most_usual(version_E: Indexes, cost_N: Floats, count: int) -> Bools:
    """Examples whose version is among the `count` most usual; ties by example id."""
    there = np.flatnonzero(version_E != NONE)
    order = there[np.argsort(cost_N[version_E[there]], kind="stable")]
    taken_E = np.zeros(len(version_E), dtype=np.bool_)
    taken_E[order[:count]] = True
    return taken_E


def decide_oracle(pool: Pool, settings: SelectSettings) -> Verdict:
    """The most changed refinement of every row without a planted fault, else the original.

    Of an example without refinements the truth is about the original: a faulty one is dropped.
    """
    faulty_N = _number(pool, FAULTY, settings) == 1.0
    original_N = pool.of_step(ORIGINAL)
    there_N = pool.step_N >= 0
    has_refined_E = np.zeros(pool.examples, dtype=np.bool_)
    has_refined_E[pool.example_N[there_N & ~original_N & pool.written_N]] = True
    faulty_E = np.zeros(pool.examples, dtype=np.bool_)
    faulty_E[pool.example_N[faulty_N]] = True
    changed_N = pool.changed_N.astype(np.float64)
    refined_E = pool.best(pool.usable_N & ~original_N, changed_N, highest=True)
    original_E = pool.least_changed(pool.usable_N & original_N)
    chosen_E = np.select(
        [has_refined_E & ~faulty_E & (refined_E != NONE), has_refined_E | ~faulty_E],
        [refined_E, original_E],
        default=NONE,
    ).astype(np.int64)
    judged_E = (refined_E != NONE) | (original_E != NONE)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [judged_E & faulty_E, judged_E],
            [words(pool, TRUTH_FAULTY), words(pool, TRUTH_CLEAN)],
            default=why_unscored(pool, first(pool)),
        ),
        evidence={FAULTY: np.where(judged_E, faulty_E.astype(np.float64), np.nan)},
    )


def _number(pool: Pool, name: str, settings: SelectSettings) -> Floats:
    if name not in pool.numbers:
        raise DataError(
            f"rule {settings.rule} needs the texts or columns of the data, which are not available "
            "here",
            hint="use `tutelage select RUN`, which reads them from the run folder",
        )
    return pool.numbers[name]
