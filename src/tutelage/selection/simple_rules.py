"""Rules that compare one number of each candidate, or none."""

import numpy as np

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL, RESPONSE_REFLECTION
from tutelage.selection.candidate_table import NONE, Bools, Indexes, Pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import (
    BELOW_CUT,
    IFD_NOT_BELOW_1,
    IN_THE_CUT,
    MOST_REFINED,
    NO_CANDIDATES,
    NO_ORIGINAL,
    NO_REFINEMENT,
    ORIGINAL_KEPT,
    Order,
    Verdict,
    why_unscored,
    words,
)


def decide_ifd_top(pool: Pool, _settings: SelectSettings) -> Verdict:
    """Examples with the highest ifd below 1 (arXiv 2308.12032, 2402.00530)."""
    ifd_N = pool.numbers["ifd"]
    best_E = pool.best(pool.usable_N & (ifd_N < 1), ifd_N, highest=True)
    scored_E = pool.consider((~np.isnan(ifd_N),), ifd_N, highest=False)
    refused_E = np.where(scored_E != NONE, IFD_NOT_BELOW_1, why_unscored(pool, first(pool)))
    return Verdict(
        chosen_E=best_E,
        reason_E=np.where(best_E != NONE, IN_THE_CUT, refused_E),
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
