"""The srt rule: the student compares the original with its reflections, in one of two modes.

Selective Reflection-Tuning (arXiv 2402.10110), section 3. The truth tables stand in docs/rules.md
and, example by example, in tests/selection/selection_oracle.py.
"""

import numpy as np

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL, RESPONSE_REFLECTION
from tutelage.selection.columns import NONE, Bools, Floats, Indexes
from tutelage.selection.pool import Pool
from tutelage.selection.verdict import (
    IFD_NOT_BELOW_1,
    NO_CANDIDATES,
    R_IFD_NOT_BELOW_1,
    Verdict,
    Words,
    why_out,
    why_unscored,
    words,
)

METRICS = ("ifd", "r_ifd")

ORIGINAL_KEPT = "original_kept"
"""The original passes both caps and no refinement beat it (safe mode)."""

INSTRUCTION_REFLECTION_WON = "instruction_reflection_won"
"""The instruction reflection beat the original, and no response reflection beat it (safe mode)."""

RESPONSE_REFLECTION_WON = "response_reflection_won"
"""The original stood, and its response reflection beat it."""

BOTH_REFLECTIONS_WON = "both_reflections_won"
"""The instruction reflection beat the original, and its response reflection beat it in turn."""

ORIGINAL_OUT = "original_out_refinement_passes"
"""The original does not pass the caps or has no number; a refinement passes (safe mode)."""

NO_ORIGINAL_PASSES = "no_original_refinement_passes"
"""There is no original to compare with; a refinement passes (safe mode)."""

NO_ORIGINAL = "no_original"
"""There is no original to compare with, and no refinement was kept."""

NO_RESPONSE_REFLECTION = "no_response_reflection"
"""The winner of the first comparison has no response reflection (paper mode)."""

NOT_BETTER = "response_reflection_not_better"
"""The response reflection's r_ifd is not strictly lower than its parent's (paper mode)."""


def decide_safe(pool: Pool, *, margin: float) -> Verdict:
    """Only candidates with both ratios below 1 take part; an original that passes is the floor.

    Deviations from the paper: the caps come before the comparisons instead of after them, and
    what was not refined is kept where it passes.

    Args:
        pool: With `ifd` and `r_ifd`.
        margin: How much better a refinement must be to beat what it was made from, at least 0.

    Returns:
        A verdict for every example.
    """
    ifd_N, r_ifd_N = pool.numbers["ifd"], pool.numbers["r_ifd"]
    passes_N = (ifd_N < 1) & (r_ifd_N < 1)
    responses_N = pool.of_step(RESPONSE_REFLECTION)
    original_E = _consider(pool, ORIGINAL, passes_N)
    reflected_E = _consider(pool, INSTRUCTION_REFLECTION, passes_N)
    original_passes_E = _holds(passes_N, original_E)
    reflected_passes_E = _holds(passes_N, reflected_E)

    gain_E = pool.at("ifd", reflected_E) - pool.at("ifd", original_E)
    first_E = reflected_passes_E & (~original_passes_E | (gain_E > margin))
    winner_E = np.where(first_E, reflected_E, np.where(original_passes_E, original_E, NONE))

    response_E = _consider_responses(pool, _children(pool, winner_E), passes_N)
    drop_E = pool.at("r_ifd", winner_E) - pool.at("r_ifd", response_E)
    second_E = _holds(passes_N, response_E) & (drop_E > margin)
    # Where neither parent passes, a response reflection that passes stands on its own.
    alone_E = _consider_responses(pool, responses_N, passes_N)
    alone_passes_E = (winner_E == NONE) & _holds(passes_N, alone_E)
    response_E = np.where(winner_E == NONE, alone_E, response_E)
    chosen_E = np.where(second_E | alone_passes_E, response_E, winner_E)

    out_E = np.where(original_E != NONE, original_E, reflected_E)
    out_E = np.where(out_E != NONE, out_E, alone_E)
    present_E = original_E != NONE
    reason_E = np.select(
        [
            (chosen_E != NONE) & ~present_E,
            (chosen_E != NONE) & ~original_passes_E,
            first_E & second_E,
            first_E,
            second_E,
            chosen_E != NONE,
            out_E != NONE,
            _blank(pool),
        ],
        [
            words(pool, NO_ORIGINAL_PASSES),
            words(pool, ORIGINAL_OUT),
            words(pool, BOTH_REFLECTIONS_WON),
            words(pool, INSTRUCTION_REFLECTION_WON),
            words(pool, RESPONSE_REFLECTION_WON),
            words(pool, ORIGINAL_KEPT),
            why_out(pool, out_E),
            words(pool, NO_CANDIDATES),
        ],
        default=words(pool, NO_ORIGINAL),
    )
    return Verdict(
        chosen_E=chosen_E,
        reason_E=reason_E,
        evidence=_evidence(
            pool,
            original_E=original_E,
            reflected_E=reflected_E,
            winner_E=winner_E,
            response_E=response_E,
            chosen_E=chosen_E,
        ),
    )


def decide_paper(pool: Pool) -> Verdict:
    """The published procedure: compare first, cap afterwards, keep only response reflections.

    Every comparison with a candidate that has no number is false, so what lacks a number never
    wins. Deviation: a candidate that could not be scored has no number, where the authors' code
    gives it the ratio 0 and lets it win.

    Args:
        pool: With `ifd` and `r_ifd`.

    Returns:
        A verdict for every example.
    """
    ifd_N, r_ifd_N = pool.numbers["ifd"], pool.numbers["r_ifd"]
    original_E, reflected_E, first_E = _compare_instructions(pool)
    winner_E = np.where(first_E, reflected_E, original_E)
    response_E = _consider_responses(pool, _children(pool, winner_E), ~np.isnan(r_ifd_N))
    second_E = pool.at("r_ifd", response_E) < pool.at("r_ifd", winner_E)
    below_E = _holds((ifd_N < 1) & (r_ifd_N < 1), response_E)
    chosen_E = np.where(second_E & below_E, response_E, NONE)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=_paper_reasons(
            pool,
            original_E=original_E,
            reflected_E=reflected_E,
            first_E=first_E,
            response_E=response_E,
            second_E=second_E,
        ),
        evidence=_evidence(
            pool,
            original_E=original_E,
            reflected_E=reflected_E,
            winner_E=winner_E,
            response_E=response_E,
            chosen_E=chosen_E,
        ),
    )


def first_winner_paper(pool: Pool) -> Indexes:
    """The winner of the first comparison of the paper: whose response is reflected on next.

    Args:
        pool: With `ifd`.

    Returns:
        The instruction reflection where its ifd is strictly higher, else the original, scored or
        not; -1 where there is no original.
    """
    original_E, reflected_E, first_E = _compare_instructions(pool)
    return np.where(first_E, reflected_E, original_E)


def _compare_instructions(pool: Pool) -> tuple[Indexes, Indexes, Bools]:
    """The original, the instruction reflection, and whether the latter's ifd is higher."""
    has_ifd_N = ~np.isnan(pool.numbers["ifd"])
    original_E = _consider(pool, ORIGINAL, has_ifd_N)
    reflected_E = _consider(pool, INSTRUCTION_REFLECTION, has_ifd_N)
    return original_E, reflected_E, pool.at("ifd", reflected_E) > pool.at("ifd", original_E)


def _paper_reasons(
    pool: Pool,
    *,
    original_E: Indexes,
    reflected_E: Indexes,
    first_E: Bools,
    response_E: Indexes,
    second_E: Bools,
) -> Words:
    winner_E = np.where(first_E, reflected_E, original_E)
    lacks = {
        name: {
            "original": np.isnan(pool.at(name, original_E)),
            "winner": np.isnan(pool.at(name, winner_E)),
            "response": np.isnan(pool.at(name, response_E)),
            "reflected": (reflected_E != NONE) & np.isnan(pool.at(name, reflected_E)),
        }
        for name in METRICS
    }
    no_response_E = response_E == NONE
    reasons = [
        (_blank(pool), words(pool, NO_CANDIDATES)),
        (original_E == NONE, words(pool, NO_ORIGINAL)),
        (no_response_E & lacks["ifd"]["original"], why_unscored(pool, original_E)),
        (no_response_E & lacks["ifd"]["reflected"], why_unscored(pool, reflected_E)),
        (no_response_E, words(pool, NO_RESPONSE_REFLECTION)),
        (lacks["r_ifd"]["winner"], why_unscored(pool, winner_E)),
        (lacks["r_ifd"]["response"], why_unscored(pool, response_E)),
        (~second_E, words(pool, NOT_BETTER)),
        (lacks["ifd"]["response"], why_unscored(pool, response_E)),
        (pool.at("ifd", response_E) >= 1, words(pool, IFD_NOT_BELOW_1)),
        (pool.at("r_ifd", response_E) >= 1, words(pool, R_IFD_NOT_BELOW_1)),
        (first_E, words(pool, BOTH_REFLECTIONS_WON)),
    ]
    return np.select(
        [condition for condition, _ in reasons],
        [word for _, word in reasons],
        default=words(pool, RESPONSE_REFLECTION_WON),
    )


def _consider(pool: Pool, step: str, first_N: Bools) -> Indexes:
    """The candidate of a step that speaks for it: the highest ifd among the first tier."""
    of_step_N = pool.of_step(step)
    ifd_N = pool.numbers["ifd"]
    tiers = (of_step_N & first_N, of_step_N & ~np.isnan(ifd_N), of_step_N)
    return pool.consider(tiers, ifd_N, highest=True)


def _consider_responses(pool: Pool, among_N: Bools, first_N: Bools) -> Indexes:
    """The response reflection that speaks for the others: the lowest r_ifd of the first tier."""
    r_ifd_N = pool.numbers["r_ifd"]
    tiers = (among_N & first_N, among_N & ~np.isnan(r_ifd_N), among_N)
    return pool.consider(tiers, r_ifd_N, highest=False)


def _children(pool: Pool, parent_E: Indexes) -> Bools:
    """The response reflections of one candidate an example."""
    of_parent_N: Bools = pool.parent_N == parent_E[pool.example_N]
    children_N: Bools = pool.of_step(RESPONSE_REFLECTION) & (pool.parent_N != NONE) & of_parent_N
    return children_N


def _holds(mask_N: Bools, chosen_E: Indexes) -> Bools:
    holds: Bools = (chosen_E != NONE) & mask_N[chosen_E]
    return holds


def _blank(pool: Pool) -> Bools:
    """Which examples have no candidate."""
    blank: Bools = pool.step_N[pool.starts_E] < 0
    return blank


def _evidence(
    pool: Pool,
    *,
    original_E: Indexes,
    reflected_E: Indexes,
    winner_E: Indexes,
    response_E: Indexes,
    chosen_E: Indexes,
) -> dict[str, Floats]:
    return {
        "ifd_original": pool.at("ifd", original_E),
        "r_ifd_original": pool.at("r_ifd", original_E),
        "ifd_instruction_reflection": pool.at("ifd", reflected_E),
        "r_ifd_instruction_reflection": pool.at("r_ifd", reflected_E),
        "r_ifd_parent": pool.at("r_ifd", winner_E),
        "ifd_response_reflection": pool.at("ifd", response_E),
        "r_ifd_response_reflection": pool.at("r_ifd", response_E),
        "ifd_chosen": pool.at("ifd", chosen_E),
        "r_ifd_chosen": pool.at("r_ifd", chosen_E),
    }
