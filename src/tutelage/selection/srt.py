"""The srt rule: the student compares the original with its reflections, in one of two modes.

Selective Reflection-Tuning (arXiv 2402.10110), section 3. The truth tables are in docs/rules.md
and, example by example, in tests/selection/selection_oracle.py.
"""

from dataclasses import dataclass

import numpy as np

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL, RESPONSE_REFLECTION, SAMPLE
from tutelage.selection.candidate_table import NONE, Bools, Floats, Indexes, Pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import (
    BOTH_REFLECTIONS_WON,
    IFD_NOT_BELOW_1,
    INSTRUCTION_REFLECTION_WON,
    NO_CANDIDATES,
    NO_ORIGINAL,
    NO_ORIGINAL_PASSES,
    NO_RESPONSE_REFLECTION,
    NOT_BETTER,
    ORIGINAL_KEPT,
    ORIGINAL_OUT,
    R_IFD_NOT_BELOW_1,
    RESPONSE_REFLECTION_WON,
    Verdict,
    Words,
    why_out,
    why_unscored,
    words,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidates compared in each example, and the results.

    Attributes:
        original_E: The original that speaks for its step: one that takes part if there is one,
            else one with a number, else any; -1 where there is none. So for the other steps.
        reflected_E: The rewritten instruction.
        first_E: Whether the rewritten instruction goes on, and not the original.
        winner_E: Winner of the first comparison, or -1.
        response_E: The rewritten response of the winner; of anyone where there is no winner.
        second_E: Whether the rewritten response beat the winner.
        chosen_E: Kept candidate, or -1.
    """

    original_E: Indexes
    reflected_E: Indexes
    first_E: Bools
    winner_E: Indexes
    response_E: Indexes
    second_E: Bools
    chosen_E: Indexes


def passing(pool: Pool) -> Bools:
    """Mask of candidates with both ratios below 1; false without both numbers."""
    passes_N: Bools = (pool.numbers["ifd"] < 1) & (pool.numbers["r_ifd"] < 1)
    return passes_N


def compare_safe(pool: Pool, *, margin: float) -> Comparison:
    """Safe mode: only candidates with both ratios below 1 compete, and a passing original is kept.

    Deviations from the paper: the caps come before the comparisons instead of after them, and
    what was not refined is kept where it passes.

    Args:
        pool: With `ifd` and `r_ifd`.
        margin: How much better a refinement must be to beat what it was made from, at least 0.

    Returns:
        The comparison in every example.
    """
    passes_N = passing(pool)
    original_E = _consider(pool, ORIGINAL, passes_N)
    reflected_E = _consider(pool, INSTRUCTION_REFLECTION, passes_N)
    original_passes_E = _holds(passes_N, original_E)
    gain_E = pool.at("ifd", reflected_E) - pool.at("ifd", original_E)
    first_E = _holds(passes_N, reflected_E) & (~original_passes_E | (gain_E > margin))
    winner_E = np.where(first_E, reflected_E, np.where(original_passes_E, original_E, NONE))

    child_E = _consider_responses(pool, _children(pool, winner_E), passes_N)
    drop_E = pool.at("r_ifd", winner_E) - pool.at("r_ifd", child_E)
    second_E = _holds(passes_N, child_E) & (drop_E > margin)
    # Where neither parent passes, a rewritten response that passes is chosen on its own.
    alone_E = _consider_responses(pool, pool.of_step(RESPONSE_REFLECTION), passes_N)
    no_winner_E = winner_E == NONE
    response_E = np.where(no_winner_E, alone_E, child_E)
    alone_passes_E = no_winner_E & _holds(passes_N, alone_E)
    return Comparison(
        original_E=original_E,
        reflected_E=reflected_E,
        first_E=first_E,
        winner_E=winner_E,
        response_E=response_E,
        second_E=second_E,
        chosen_E=np.where(second_E | alone_passes_E, response_E, winner_E),
    )


def compare_paper(pool: Pool) -> Comparison:
    """Published procedure: compare first, then apply the cap; only rewritten responses are kept.

    Every comparison with a candidate that has no number is false, so what lacks a number never
    wins. Deviation: a candidate that could not be scored has no number, where the authors' code
    gives it the ratio 0 and lets it win.

    Args:
        pool: With `ifd` and `r_ifd`.

    Returns:
        The comparison in every example.
    """
    has_ifd_N = ~np.isnan(pool.numbers["ifd"])
    has_r_ifd_N = ~np.isnan(pool.numbers["r_ifd"])
    original_E = _consider(pool, ORIGINAL, has_ifd_N)
    reflected_E = _consider(pool, INSTRUCTION_REFLECTION, has_ifd_N)
    first_E = pool.at("ifd", reflected_E) > pool.at("ifd", original_E)
    winner_E = np.where(first_E, reflected_E, original_E)
    response_E = _consider_responses(pool, _children(pool, winner_E), has_r_ifd_N)
    second_E = pool.at("r_ifd", response_E) < pool.at("r_ifd", winner_E)
    kept_E = second_E & _holds(passing(pool), response_E)
    return Comparison(
        original_E=original_E,
        reflected_E=reflected_E,
        first_E=first_E,
        winner_E=winner_E,
        response_E=response_E,
        second_E=second_E,
        chosen_E=np.where(kept_E, response_E, NONE),
    )


def decide_srt(pool: Pool, settings: SelectSettings) -> Verdict:
    """Apply the mode of the settings, with its reasons and numbers."""
    if settings.mode == "paper":
        return decide_paper(pool)
    return decide_safe(pool, margin=settings.margin)


def decide_safe(pool: Pool, *, margin: float) -> Verdict:
    """Verdict of `compare_safe`, with its reasons and numbers."""
    found = compare_safe(pool, margin=margin)
    kept_E = found.chosen_E != NONE
    out_E = np.where(found.original_E != NONE, found.original_E, found.reflected_E)
    out_E = np.where(out_E != NONE, out_E, found.response_E)
    table = [
        (_blank(pool), words(pool, NO_CANDIDATES)),
        (kept_E & (found.original_E == NONE), words(pool, NO_ORIGINAL_PASSES)),
        (kept_E & ~_holds(passing(pool), found.original_E), words(pool, ORIGINAL_OUT)),
        (found.first_E & found.second_E, words(pool, BOTH_REFLECTIONS_WON)),
        (found.first_E, words(pool, INSTRUCTION_REFLECTION_WON)),
        (found.second_E, words(pool, RESPONSE_REFLECTION_WON)),
        (kept_E, words(pool, ORIGINAL_KEPT)),
        (out_E != NONE, why_out(pool, out_E)),
    ]
    return _verdict(pool, found, table, otherwise=NO_ORIGINAL)


def decide_paper(pool: Pool) -> Verdict:
    """Verdict of `compare_paper`, with its reasons and numbers."""
    found = compare_paper(pool)
    ifd_E, r_ifd_E = pool.at("ifd", found.response_E), pool.at("r_ifd", found.response_E)
    alone_E = found.response_E == NONE
    no_ifd_E = np.isnan(pool.at("ifd", found.original_E))
    no_reflected_ifd_E = (found.reflected_E != NONE) & np.isnan(pool.at("ifd", found.reflected_E))
    table = [
        (_blank(pool), words(pool, NO_CANDIDATES)),
        (found.original_E == NONE, words(pool, NO_ORIGINAL)),
        (alone_E & no_ifd_E, why_unscored(pool, found.original_E)),
        (alone_E & no_reflected_ifd_E, why_unscored(pool, found.reflected_E)),
        (alone_E, words(pool, NO_RESPONSE_REFLECTION)),
        (np.isnan(pool.at("r_ifd", found.winner_E)), why_unscored(pool, found.winner_E)),
        (np.isnan(r_ifd_E), why_unscored(pool, found.response_E)),
        (~found.second_E, words(pool, NOT_BETTER)),
        (np.isnan(ifd_E), why_unscored(pool, found.response_E)),
        (ifd_E >= 1, words(pool, IFD_NOT_BELOW_1)),
        (r_ifd_E >= 1, words(pool, R_IFD_NOT_BELOW_1)),
        (found.first_E, words(pool, BOTH_REFLECTIONS_WON)),
    ]
    return _verdict(pool, found, table, otherwise=RESPONSE_REFLECTION_WON)


def _verdict(
    pool: Pool, found: Comparison, table: list[tuple[Bools, Words]], *, otherwise: str
) -> Verdict:
    """Verdict whose reason is that of the first line of the table that holds."""
    return Verdict(
        chosen_E=found.chosen_E,
        reason_E=np.select(
            [condition for condition, _ in table],
            [word for _, word in table],
            default=words(pool, otherwise),
        ),
        evidence=_evidence(pool, found),
    )


def _evidence(pool: Pool, found: Comparison) -> dict[str, Floats]:
    return {
        "ifd_original": pool.at("ifd", found.original_E),
        "r_ifd_original": pool.at("r_ifd", found.original_E),
        "ifd_instruction_reflection": pool.at("ifd", found.reflected_E),
        "r_ifd_instruction_reflection": pool.at("r_ifd", found.reflected_E),
        "r_ifd_parent": pool.at("r_ifd", found.winner_E),
        "ifd_response_reflection": pool.at("ifd", found.response_E),
        "r_ifd_response_reflection": pool.at("r_ifd", found.response_E),
        "ifd_chosen": pool.at("ifd", found.chosen_E),
        "r_ifd_chosen": pool.at("r_ifd", found.chosen_E),
    }


def _consider(pool: Pool, step: str, first_N: Bools) -> Indexes:
    """Candidate that represents a step: the highest ifd in the first tier."""
    of_step_N = pool.of_step(step)
    ifd_N = pool.numbers["ifd"]
    tiers = (of_step_N & first_N, of_step_N & ~np.isnan(ifd_N), of_step_N)
    return pool.consider(tiers, ifd_N, highest=True)


def _consider_responses(pool: Pool, among_N: Bools, first_N: Bools) -> Indexes:
    """Response reflection that represents the others: the lowest r_ifd of the first tier."""
    r_ifd_N = pool.numbers["r_ifd"]
    tiers = (among_N & first_N, among_N & ~np.isnan(r_ifd_N), among_N)
    return pool.consider(tiers, r_ifd_N, highest=False)


def _children(pool: Pool, parent_E: Indexes) -> Bools:
    """Response reflections of one candidate per example.

    A revision of a sampled answer, such as the student's own, answers the original instruction:
    it counts as a rewritten response of the original.
    """
    of_parent_N: Bools = pool.parent_N == parent_E[pool.example_N]
    of_sample_N: Bools = (pool.parent_N != NONE) & pool.of_step(SAMPLE)[pool.parent_N]
    original_N: Bools = _holds(pool.of_step(ORIGINAL), parent_E)[pool.example_N]
    of_parent_N = of_parent_N | (of_sample_N & original_N)
    children_N: Bools = pool.of_step(RESPONSE_REFLECTION) & (pool.parent_N != NONE) & of_parent_N
    return children_N


def _holds(mask_N: Bools, chosen_E: Indexes) -> Bools:
    holds: Bools = (chosen_E != NONE) & mask_N[chosen_E]
    return holds


def _blank(pool: Pool) -> Bools:
    """Mask of examples without a candidate."""
    blank: Bools = pool.step_N[pool.starts_E] < 0
    return blank
