"""Rules that look at one number of each candidate, or at none."""

import math

import numpy as np

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL, RESPONSE_REFLECTION
from tutelage.selection.columns import NONE, Bools, Floats, Indexes, encode
from tutelage.selection.draws import draws
from tutelage.selection.pool import Pool
from tutelage.selection.reasons import (
    BELOW_CUT,
    DRAWN,
    HIGHEST_GRAPE,
    IFD_NOT_BELOW_1,
    IN_THE_CUT,
    LOWEST_RSR,
    MOST_REFINED,
    NO_CANDIDATES,
    NO_ORIGINAL,
    NO_REFINEMENT,
    NOT_DRAWN,
    ORIGINAL_KEPT,
)
from tutelage.selection.settings import SelectSettings
from tutelage.selection.verdict import Verdict, why_unscored, words


def decide_grape(pool: Pool) -> Verdict:
    """The candidate that the student finds likeliest (GRAPE, arXiv 2502.04194)."""
    return _decide_best(pool, "grape", highest=True, reason=HIGHEST_GRAPE)


def decide_rsr(pool: Pool) -> Verdict:
    """The candidate with the lowest rank-surprisal ratio (arXiv 2601.14249)."""
    return _decide_best(pool, "rsr", highest=False, reason=LOWEST_RSR)


def _decide_best(pool: Pool, metric: str, *, highest: bool, reason: str) -> Verdict:
    values_N = pool.numbers[metric]
    chosen_E = pool.best(pool.usable_N, values_N, highest=highest)
    others_N = pool.usable_N & (np.arange(len(values_N)) != chosen_E[pool.example_N])
    second_E = pool.best(others_N, values_N, highest=highest)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.where(chosen_E != NONE, reason, why_unscored(pool, _first(pool))),
        evidence={
            f"{metric}_chosen": pool.at(metric, chosen_E),
            f"{metric}_second": pool.at(metric, second_E),
        },
    )


def decide_ifd_top(pool: Pool, settings: SelectSettings) -> Verdict:
    """The highest ifd below 1: hard for the student, yet matched (arXiv 2308.12032, 2402.00530)."""
    ifd_N = pool.numbers["ifd"]
    best_E = pool.best(pool.usable_N & (ifd_N < 1), ifd_N, highest=True)
    scored_E = pool.consider((~np.isnan(ifd_N),), ifd_N, highest=False)
    refused_E = np.where(scored_E != NONE, IFD_NOT_BELOW_1, why_unscored(pool, _first(pool)))
    group_E = _sources(pool) if settings.per_source else np.zeros(pool.examples, dtype=np.int64)
    kept_E, cut_E = _cut(best_E, -pool.at("ifd", best_E), group_E, settings)
    return Verdict(
        chosen_E=np.where(kept_E, best_E, NONE),
        reason_E=np.where(kept_E, IN_THE_CUT, np.where(best_E != NONE, BELOW_CUT, refused_E)),
        evidence={
            "ifd_best": pool.at("ifd", np.where(best_E != NONE, best_E, scored_E)),
            "ifd_cut": -cut_E,
        },
    )


def decide_longest(pool: Pool, settings: SelectSettings) -> Verdict:
    """The longest response of each example, then the longest of these."""
    best_E = pool.best(pool.usable_N, pool.numbers["response_tokens"], highest=True)
    kept_E, cut_E = _cut(
        best_E, -pool.at("response_tokens", best_E), np.zeros(pool.examples, np.int64), settings
    )
    refused_E = why_unscored(pool, _first(pool))
    return Verdict(
        chosen_E=np.where(kept_E, best_E, NONE),
        reason_E=np.where(kept_E, IN_THE_CUT, np.where(best_E != NONE, BELOW_CUT, refused_E)),
        evidence={
            "response_tokens_best": pool.at("response_tokens", best_E),
            "response_tokens_cut": -cut_E,
        },
    )


def decide_random(pool: Pool, settings: SelectSettings) -> Verdict:
    """A random candidate of random examples, both by a hash of their ids and the seed."""
    ids = (pool.candidate_ids, pool.example_ids)
    draw_N, draw_E = draws(*ids, seed=settings.seed, purpose="rule")
    best_E = pool.best(pool.usable_N, draw_N, highest=False)
    kept_E, _ = _cut(
        best_E,
        np.where(best_E != NONE, draw_E, np.nan),
        np.zeros(pool.examples, np.int64),
        settings,
    )
    refused_E = why_unscored(pool, _first(pool))
    return Verdict(
        chosen_E=np.where(kept_E, best_E, NONE),
        reason_E=np.where(kept_E, DRAWN, np.where(best_E != NONE, NOT_DRAWN, refused_E)),
        evidence={},
    )


def decide_all_original(pool: Pool) -> Verdict:
    """Every original that is usable."""
    originals_N = pool.of_step(ORIGINAL)
    considered_E = pool.least_changed(originals_N)
    chosen_E = pool.least_changed(originals_N & pool.usable_N)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [chosen_E != NONE, considered_E != NONE, _first(pool) != NONE],
            [
                words(pool, ORIGINAL_KEPT),
                why_unscored(pool, considered_E),
                words(pool, NO_ORIGINAL),
            ],
            default=words(pool, NO_CANDIDATES),
        ),
        evidence={},
    )


def decide_all_refined(pool: Pool) -> Verdict:
    """The most refined usable version of every example that has one."""
    refined_N = refinements(pool)
    considered_E = most_changed(pool, refined_N)
    chosen_E = most_changed(pool, refined_N & pool.usable_N)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [chosen_E != NONE, considered_E != NONE, _first(pool) != NONE],
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
    """Which rows are reflections: a sample refines nothing."""
    return pool.of_step(INSTRUCTION_REFLECTION) | pool.of_step(RESPONSE_REFLECTION)


def most_changed(pool: Pool, eligible_N: Bools) -> Indexes:
    """The eligible candidate furthest from the original, then the smaller id; or -1."""
    return pool.best(eligible_N, pool.changed_N.astype(np.float64), highest=True)


def _first(pool: Pool) -> Indexes:
    """The least changed candidate, whom a reason speaks of where none is usable; or -1."""
    return pool.least_changed(pool.step_N >= 0)


def _sources(pool: Pool) -> Indexes:
    """A number for each source; those without one are a source of their own."""
    return encode(pool.sources)[1]


def _cut(
    best_E: Indexes, cost_E: Floats, group_E: Indexes, settings: SelectSettings
) -> tuple[Bools, Floats]:
    """Keep the cheapest examples of each group, as many as were asked for.

    Args:
        best_E: The candidate that would be kept; -1 takes no part.
        cost_E: What is compared, lower first; NaN exactly where best is -1.
        group_E: Which group an example belongs to. A share counts all examples of the group.
        settings: keep_count, or keep_fraction (rounded up), or neither: everything.

    Returns:
        Whether each example is kept, and the cost of the last one kept in its group (NaN where
        none is). Equal costs keep the smaller example id.
    """
    kept_E = np.zeros(len(best_E), dtype=np.bool_)
    cut_E = np.full(len(best_E), np.nan)
    for group in np.unique(group_E):
        members = np.flatnonzero(group_E == group)
        taking_part = members[best_E[members] != NONE]
        order = taking_part[np.argsort(cost_E[taking_part], kind="stable")]
        kept = order[: _budget(len(members), settings)]
        kept_E[kept] = True
        if len(kept):
            cut_E[members] = cost_E[kept[-1]]
    return kept_E, cut_E


def _budget(examples: int, settings: SelectSettings) -> int:
    if settings.keep_count is not None:
        return settings.keep_count
    if settings.keep_fraction is not None:
        # The subtraction keeps a product such as 100 * 0.07 from being rounded up to 8.
        return max(1, math.ceil(examples * settings.keep_fraction - 1e-9))
    return examples
