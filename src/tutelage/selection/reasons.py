"""Reasons of decisions: the words that reports use.

A candidate without a number gives the reason `<step>_<status>`, such as `original_too_long` or
`response_reflection_teacher_failed`: see `unscored_reason`. All others are in `REASONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tutelage.data import STEPS
from tutelage.selection.candidate_table import NONE, NOT_SCORED, Floats, Indexes, Pool

NO_CANDIDATES = "no_candidates"
ORIGINAL_KEPT = "original_kept"
INSTRUCTION_REFLECTION_WON = "instruction_reflection_won"
RESPONSE_REFLECTION_WON = "response_reflection_won"
BOTH_REFLECTIONS_WON = "both_reflections_won"
ORIGINAL_OUT = "original_out_refinement_passes"
NO_ORIGINAL_PASSES = "no_original_refinement_passes"
IFD_NOT_BELOW_1 = "ifd_not_below_1"
R_IFD_NOT_BELOW_1 = "r_ifd_not_below_1"
NO_ORIGINAL = "no_original"
NO_RESPONSE_REFLECTION = "no_response_reflection"
NOT_BETTER = "response_reflection_not_better"
HIGHEST_GRAPE = "highest_grape"
LOWEST_RSR = "lowest_rsr"
IN_THE_CUT = "in_the_cut"
BELOW_CUT = "below_cut"
DRAWN = "drawn"
NOT_DRAWN = "not_drawn"
MOST_REFINED = "most_refined"
NO_REFINEMENT = "no_refinement"
HIGHEST_LARK = "highest_lark"
LOWEST_R_IFD = "lowest_r_ifd"
BEST_OF_N = "best_of_n"
KEPT_ALL = "kept_all"
COVERED = "covered_by_others"
OUTSIDE_MIX = "outside_mix"
LENGTH_MATCHED = "length_matched"
NOT_MATCHED = "not_matched"
WITHIN_BANDS = "within_bands"
ORIGINAL_WITHIN_BANDS = "original_within_bands"
OUTSIDE_BANDS = "outside_bands"
TRUTH_CLEAN = "truth_clean"
TRUTH_FAULTY = "truth_faulty"
CHOSEN_VERSION = "chosen_version"
REFUSED_VERSION = "refused_version"
NO_CONTRAST = "no_contrast"
CHOSEN_WRONG = "chosen_wrong"
CHOSEN_NO_ANSWER = "chosen_no_answer"
CHOSEN_CANNOT_CHECK = "chosen_cannot_check"

FILTERED_OUT = "filtered_out"
REJECTED_BY_GATE = "quality_gate"
OTHER_KIND = "other_kind"
SHUT_OUT: Mapping[str, str] = MappingProxyType(
    {
        FILTERED_OUT: "was dropped by the filters",
        REJECTED_BY_GATE: "was rejected by the quality gate",
        "wrong": "is wrong",
        "no_answer": "has no answer that could be checked",
        "cannot_check": "could not be checked, and only right answers may be chosen",
        OTHER_KIND: "is of another kind than the mix keeps of this example",
    }
)
"""Reasons for which a candidate with text may not be chosen."""
OVERRULED = "overruled_by_person"
CHOSEN_BY_EXTENSION = "chosen_by_extension"
DROPPED_BY_EXTENSION = "dropped_by_extension"

STEP_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "original": "original",
        "instruction_reflection": "rewritten instruction",
        "response_reflection": "rewritten response",
        "sample": "sampled response",
    }
)
"""Name of what each step wrote, in sentences."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        CHOSEN_BY_EXTENSION: "The rule of an extension chose it.",
        DROPPED_BY_EXTENSION: "The rule of an extension chose no version.",
        ORIGINAL_KEPT: "The original is kept: no rewrite is better by this rule.",
        INSTRUCTION_REFLECTION_WON: "The rewritten instruction won against the original, and no "
        "rewritten response won against it.",
        RESPONSE_REFLECTION_WON: "The rewritten response won against the original.",
        BOTH_REFLECTIONS_WON: "The rewritten instruction won against the original, and then its "
        "rewritten response won.",
        ORIGINAL_OUT: "The original does not pass or has no number; a rewrite passes.",
        NO_ORIGINAL_PASSES: "There is no original to compare with; a rewrite passes.",
        IFD_NOT_BELOW_1: "The instruction does not help the student to predict the response, as "
        "in a mismatched pair.",
        R_IFD_NOT_BELOW_1: "The response does not help the student to guess the instruction, as "
        "in a mismatched pair.",
        NOT_BETTER: "The rewritten response's r_ifd is not strictly lower than its parent's.",
        NO_RESPONSE_REFLECTION: "The winner of the first comparison has no rewritten response.",
        NO_ORIGINAL: "There is no original to compare with.",
        NO_CANDIDATES: "The example has no version at all.",
        HIGHEST_GRAPE: "For the student it is the most likely of its instruction's candidates.",
        LOWEST_RSR: "It has the lowest rank-surprisal ratio of its instruction's candidates.",
        IN_THE_CUT: "Its best candidate is within the requested number of examples.",
        BELOW_CUT: "The requested number of examples have better candidates.",
        DRAWN: "It was chosen at random.",
        NOT_DRAWN: "It was not chosen at random.",
        MOST_REFINED: "It is the usable version that is furthest from the original.",
        NO_REFINEMENT: "It has no rewritten instruction or response.",
        HIGHEST_LARK: "Training would lower the student's loss fastest with it, of its "
        "instruction's candidates.",
        LOWEST_R_IFD: "Of the responses that pass, it helps the student most to guess the "
        "instruction.",
        BEST_OF_N: "It is the best of its instruction's candidates by the column that was named.",
        KEPT_ALL: "Every candidate that may be chosen is kept.",
        COVERED: "Other kept examples cover it: the requested number of examples are more diverse.",
        LENGTH_MATCHED: "It was chosen for its length: that of a version that another rule keeps.",
        NOT_MATCHED: "Other examples match the lengths of the versions that another rule keeps.",
        WITHIN_BANDS: "Its language, length and similarity to the instruction are among the most "
        "usual: as many rewrites are kept as by another rule.",
        ORIGINAL_WITHIN_BANDS: "Its rewrites are less usual in language, length or similarity "
        "than those that are kept; as many originals are kept as by another rule.",
        OUTSIDE_BANDS: "Its versions are less usual in language, length or similarity than those "
        "that are kept.",
        TRUTH_CLEAN: "The truth column says that it has no fault.",
        TRUTH_FAULTY: "The truth column says that the rewrite is faulty, or the row "
        "itself if it has no rewrite.",
        CHOSEN_VERSION: "Another rule keeps it, and there is another version that it did not keep.",
        REFUSED_VERSION: "Another rule keeps another version of this example.",
        NO_CONTRAST: "Another rule keeps none of its versions, or only one version has a score.",
        OUTSIDE_MIX: "It would not fit the shares of the mix.",
        CHOSEN_WRONG: "The chosen version is wrong.",
        CHOSEN_NO_ANSWER: "The chosen version has no answer that could be checked.",
        CHOSEN_CANNOT_CHECK: "The chosen version could not be checked.",
        OVERRULED: "A person overrode the rule; overrides.jsonl has the note.",
    }
)
"""Meaning of each reason, in one sentence."""


def unscored_reason(step: str, status: str) -> str:
    """Reason for which a candidate without a score is not chosen."""
    return f"{step}_{status}"


def rejection_reason(verdict: str) -> str:
    """Reason for which a chosen candidate is dropped; empty for an empty verdict."""
    return f"chosen_{verdict}" if verdict else ""


def meaning_of(reason: str) -> str:
    """Meaning of a reason, in one sentence; of one that is not known, that it is not.

    Examples:
        >>> meaning_of("original_too_long")
        'The original has no number: too_long.'
        >>> meaning_of("drawn")
        'It was chosen at random.'
    """
    for step in STEPS:
        if reason.startswith(f"{step}_") and reason not in REASONS:
            status = reason.removeprefix(f"{step}_")
            name = STEP_NAMES[step]
            if status in SHUT_OUT:
                return f"The {name} may not be chosen: it {SHUT_OUT[status]}."
            return f"The {name} has no number: {status}."
    unknown = (
        "This version does not know that reason: a newer one wrote it, or somebody changed it."
    )
    return REASONS.get(reason, unknown)


# ----------------------------------------------------------------------------------------------
# What a rule gives back, and why a candidate does not take part.
# ----------------------------------------------------------------------------------------------


Words = NDArray[np.object_]
"""Array with one reason per example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Decision on every example, in the order of the pool.

    Attributes:
        chosen_E: The row of the chosen candidate; -1 where nothing was chosen.
        reason_E: Why, in snake_case.
        evidence: The numbers the decision rested on, by column name; NaN where there is none.
        rank_N: Where a rule keeps several candidates of an example, the place of each among
            them, from 0 on; -1 where it is not kept. None: only the chosen one is kept.
        weight_N: The training weight of each kept candidate, where the rule gives one.
        order: By what a cut keeps some examples and not others; None: by a draw.
    """

    chosen_E: Indexes
    reason_E: Words
    evidence: Mapping[str, Floats]
    rank_N: Indexes | None = None
    weight_N: Floats | None = None
    order: "Order | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Order by which a budget keeps some examples.

    Attributes:
        cost_E: What is compared, lower first; NaN exactly where nothing was chosen.
        kept: The reason of an example that is kept; None leaves the rule's own.
        dropped: The reason of one that is not.
        evidence: The column that says where the cut fell, if there is one.
        sign: 1 or -1: what turns a cost into the number that column shows.
    """

    cost_E: Floats
    kept: str | None
    dropped: str
    evidence: str | None = None
    sign: int = 1


def words(pool: Pool, word: str) -> Words:
    """Array with the same reason for every example."""
    return np.full(pool.examples, word, dtype=np.object_)


def why_unscored(pool: Pool, considered_E: Indexes) -> Words:
    """Reasons for having no score: `<step>_<status>`, such as `original_too_long`.

    Args:
        pool: The pool.
        considered_E: A candidate an example; -1 gives `no_candidates`.

    Returns:
        E words. A candidate that was scored, but without the number needed, is `not_scored`.
    """
    statuses = [NOT_SCORED if status == "ok" else status for status in pool.statuses]
    # The last row is a blank step, the index -1.
    table = np.array(
        [[unscored_reason(step, status) for status in statuses] for step in STEPS]
        + [[NO_CANDIDATES] * len(statuses)],
        dtype=np.object_,
    )
    found = table[pool.step_N[considered_E], pool.status_N[considered_E]]
    return np.where(considered_E == NONE, NO_CANDIDATES, found)


def why_out(pool: Pool, considered_E: Indexes) -> Words:
    """Reasons for failing the caps: unscored, or which ratio is not below 1."""
    ifd_E, r_ifd_E = pool.at("ifd", considered_E), pool.at("r_ifd", considered_E)
    return np.select(
        [np.isnan(ifd_E) | np.isnan(r_ifd_E), ifd_E >= 1],
        [why_unscored(pool, considered_E), words(pool, IFD_NOT_BELOW_1)],
        default=words(pool, R_IFD_NOT_BELOW_1),
    )
