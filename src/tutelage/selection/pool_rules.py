"""Rules that rank the candidates of one instruction and keep the first ones."""

import numpy as np

from tutelage.selection.candidate_table import NONE, Bools, Floats, Indexes, Pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.random_draws import draws
from tutelage.selection.reasons import (
    BELOW_CUT,
    BEST_OF_N,
    DRAWN,
    HIGHEST_GRAPE,
    HIGHEST_LARK,
    IN_THE_CUT,
    KEPT_ALL,
    LOWEST_R_IFD,
    LOWEST_RSR,
    NOT_DRAWN,
    ORIGINAL_KEPT,
    Order,
    Verdict,
    why_out,
    why_unscored,
)
from tutelage.selection.simple_rules import first


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
    place[-1] = len(named)  # nobody named
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
    tournament of pairs comes to, whoever meets whom first.

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
    refused_E = np.where(scored_E != NONE, why_out(pool, scored_E), why_unscored(pool, first(pool)))
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.where(
            chosen_E == NONE, refused_E, np.where(stays_E, ORIGINAL_KEPT, LOWEST_R_IFD)
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
