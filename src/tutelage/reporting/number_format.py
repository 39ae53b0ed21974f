"""Number formats, and reasons in plain words."""

import math
from collections.abc import Mapping, Sequence

from tutelage.reporting.blocks import Cell, Style

UNKNOWN = "\u2013"

STEP_WORDS: Mapping[str, str] = {
    "original": "original",
    "instruction_reflection": "rewritten instruction and response",
    "response_reflection": "rewritten response",
    "sample": "sampled response",
}
"""Name of what each step wrote."""

SET_WORDS: Mapping[str, str] = {
    "chosen": "the student's selection",
    "random": "random",
    "random_version": "a random version of each example",
    "longest": "longest",
    "all_refined": "all rewritten",
    "all_original": "all original",
}

REASON_WORDS: Mapping[str, str] = {
    # kept
    "original_kept": "the original is kept: no rewrite is better by this rule",
    "instruction_reflection_won": "the rewritten instruction and response won",
    "response_reflection_won": "the rewritten response won",
    "both_reflections_won": "the rewritten instruction won, then its rewritten response",
    "original_out_refinement_passes": "the original fails, a rewrite passes",
    "no_original_refinement_passes": "there is no original, a rewrite passes",
    "highest_grape": "the most likely response for the student",
    "lowest_rsr": "the lowest rank-surprisal ratio",
    "highest_lark": "the response that lowers the loss fastest",
    "lowest_r_ifd": "the response that best predicts its instruction",
    "best_of_n": "the best by the chosen column",
    "kept_all": "every version that may be chosen is kept",
    "in_the_cut": "within the requested number",
    "drawn": "chosen at random",
    "most_refined": "the most rewritten version",
    "length_matched": "chosen for its length, to match what another rule keeps",
    "within_bands": "its language, length and similarity are among the most usual",
    "original_within_bands": "its rewrites are less usual; the original is kept",
    "truth_clean": "no fault, by the truth column",
    "truth_faulty": "faulty, by the truth column",
    "chosen_version": "the version that another rule keeps of this example",
    "refused_version": "a version that another rule does not keep of this example",
    "chosen_by_extension": "chosen by the rule of an extension",
    # not kept
    "ifd_not_below_1": "the instruction does not help to predict the response (ifd 1 or more)",
    "r_ifd_not_below_1": "the response does not help to predict the instruction (r_ifd 1 or more)",
    "no_original": "there is no original, and no rewrite passes",
    "no_candidates": "there is no version to choose from",
    "no_response_reflection": "there is no rewritten response to compare",
    "response_reflection_not_better": "the rewritten response is not better",
    "below_cut": "beyond the requested number",
    "not_drawn": "not chosen at random",
    "no_refinement": "there is no rewrite",
    "covered_by_others": "covered by other kept examples",
    "outside_mix": "does not fit the shares of the mix",
    "not_matched": "other examples match the lengths of what another rule keeps",
    "no_contrast": "another rule keeps no version, or there is only one scored version",
    "outside_bands": "its versions are less usual in language, length or similarity",
    "dropped_by_extension": "the rule of an extension keeps no version",
    "filtered_out": "dropped by the filters",
    "quality_gate": "rejected by the quality gate",
    "right": "the answer is right",
    "wrong": "the answer is wrong",
    "no_answer": "there is no answer to check",
    "cannot_check": "the answer could not be checked",
    "other_kind": "the mix keeps another kind of version of this example",
    "chosen_wrong": "the chosen version is wrong",
    "chosen_no_answer": "the chosen version has no answer to check",
    "chosen_cannot_check": "the chosen version could not be checked",
    "overruled_by_person": "a person overrode the rule",
    "no_reason": "no reason was recorded",
    "no_decision": "no decision was recorded",
    "scored": "scored, not decided yet",
    "not_scored": "not scored",
    # reading
    "example": "read as an example",
    "same_example": "another version of an earlier row",
    "duplicate": "repeats an earlier row",
    "unreadable": "could not be read",
    "part_of_a_conversation": "a question in a conversation tree; its answers are rows",
    "missing_fields": "has no field that is recognized as an instruction",
    "bad_type": "a field is not text",
    "bad_candidates": "the versions that it lists cannot be read",
    "no_user_turn": "there is no user turn before the response",
    "unexpected_turns": "the turns do not alternate as a conversation does",
    "unsupported_role": "a turn has a role that is not known",
    "unsupported_content": "contains images, sound or other parts that are not text",
    "partly_trained": "only a part of a turn is to be trained on",
    "not_an_object": "is not an object with named fields",
    "nested_too_deeply": "brackets nested too deeply",
    "malformed_json": "is not valid JSON",
    "malformed_csv": "does not have the columns of its header",
    "bad_encoding": "is not UTF-8",
    "row_too_large": "is too long for any student",
    "broken_file": "the file is damaged or incomplete here",
    # writing
    "alone": "no rewrite requested",
    "written": "rewritten",
    "refused": "the teacher declined",
    "cut_by_length": "the reply was truncated at the token limit",
    "echoed_prompt": "the reply repeats our prompt",
    "unparseable": "the reply does not follow the format",
    "chat_markup": "the reply contains control tokens of a chat template",
    "half_parsed": "the instruction or the response is missing",
    "unclear_end": "the reply may be incomplete",
    "unchanged": "the reply changes nothing",
    "half_changed": "only the instruction or only the response is new",
    "lost_input": "the rewritten instruction lost the text that it refers to",
    "under_min_length": "the rewritten text is too short",
    "over_max_length": "the rewritten text is too long",
    "degenerate": "the rewritten text repeats itself",
    "meta_talk": "the rewritten text comments on the task",
    "wrong_language": "the rewritten text is in another script",
    "duplicate_sample": "repeats an earlier sample",
    "waiting_for_batch": "waiting in a batch of the teacher's provider",
    "batch_expired": "the teacher's batch expired",
    "batch_cancelled": "the teacher's batch was cancelled",
    "teacher_failed": "the teacher could not be reached",
    "not_in_journal": "there is no cached reply",
    "over_budget": "the limit on cost was reached",
    "over_limit": "beyond the number of rows to rewrite",
    "parent_failed": "its parent has no text",
    # scoring
    "empty_instruction": "the instruction is empty",
    "empty_response": "the response is empty",
    "untrained_response": "the row marks its response as not to be trained on",
    "uses_tools": "not possible for a row with tool calls",
    "not_trained": "the row marks this turn as not to be trained on",
    "too_long": "too long for the student",
    "template_refused": "the student's chat template does not accept the row",
    "rewritten_by_template": "the student's chat template changes the words of the row",
    "no_target_tokens": "no token left to score",
    "nonfinite": "no finite number",
    "token_out_of_range": "has a token that the student does not have",
    "student_failed": "the student failed on it",
    # what the quality gate looks for
    "mismatch": "answers another question",
    "scrambled_words": "its words are out of order",
    "wrong_letters": "many wrong letters",
    "truncation": "is cut off",
    "introduction": "ends with its introduction",
    "doubling": "the text is repeated",
    "looping": "repeats one sentence many times",
    "echo": "repeats the instruction",
    "refusal": "declines to answer",
    "other_language": "in another language than the instruction",
    "markup_debris": "broken markup",
    "template_text": "contains text of a template",
    "wrong_turn": "invents further turns",
    "rejected": "like the rows that a person rejected",
}
"""Reasons in plain words. A reason that is not listed is shown unchanged."""

_THOUSAND, _TEN, _HUNDRED = 1000, 10, 100
_MINUTE = 60


def reason_words(reason: str) -> str:
    """Reason in plain words; `<step>_<status>` also names the step.

    Examples:
        >>> reason_words("original_too_long")
        'original: too long for the student'
        >>> reason_words("a_new_reason")
        'a new reason'
    """
    if reason in REASON_WORDS:
        return REASON_WORDS[reason]
    for step, said in STEP_WORDS.items():
        status = reason.removeprefix(f"{step}_")
        if status != reason and status in REASON_WORDS:
            return f"{said}: {REASON_WORDS[status]}"
    return reason.replace("_", " ")


def step_words(step: str) -> str:
    """Name of what a step wrote, in plain words."""
    return STEP_WORDS.get(step, step.replace("_", " "))


def set_words(name: str) -> str:
    """Name of the selection or of a baseline, in plain words."""
    return SET_WORDS.get(name, name.replace("_", " "))


def number(value: float | None) -> str:
    """Number with three significant digits; large ones with thousands separators.

    Examples:
        >>> [number(v) for v in (0.12345, 12.3456, 12345.6, 1.0)]
        ['0.123', '12.3', '12,346', '1']
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    if value == round(value) and size < _THOUSAND:
        return f"{round(value)}"
    if size >= _THOUSAND:
        return f"{value:,.0f}"
    if size >= _HUNDRED:
        return f"{value:.0f}"
    if size >= _TEN:
        return f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.001 else f"{value:.2g}"  # noqa: PLR2004  (three digits)


def money(amount: float, currency: str | None) -> str:
    """Amount with its currency.

    Examples:
        >>> money(1.37, "USD"), money(0.00042, "EUR"), money(1234.5, None)
        ('1.37 USD', '0.00042 EUR', '1,234.50')
    """
    digits = f"{amount:,.2f}" if amount == 0 or amount >= 0.1 else f"{amount:.2g}"  # noqa: PLR2004  (a cent tells nothing below)
    return f"{digits} {currency}" if currency else digits


def share(fraction: float | None) -> str:
    """Percentage of a fraction in [0, 1].

    Examples:
        >>> [share(f) for f in (0.5, 0.004, 1.0)]
        ['50 %', '0.4 %', '100 %']
    """
    if fraction is None:
        return UNKNOWN
    percent = 100 * fraction
    if 0 < percent < _TEN or 90 < percent < _HUNDRED:  # noqa: PLR2004  (where a digit tells)
        return f"{percent:.1f} %"
    return f"{percent:.0f} %"


def count(value: float, singular: str, plural: str | None = None) -> str:
    """Number with its noun.

    Args:
        value: The number.
        singular: The noun for 1.
        plural: The noun otherwise; None adds an s.

    Examples:
        >>> count(1, "row"), count(1200, "row"), count(2, "copy", "copies")
        ('1 row', '1,200 rows', '2 copies')
    """
    noun = singular if value == 1 else plural or f"{singular}s"
    return f"{value:,.0f} {noun}"


def duration(seconds: float) -> str:
    """Duration in words, such as "3 min".

    Examples:
        >>> duration(3.21), duration(75), duration(7322)
        ('3.2 s', '1 min 15 s', '2 h 2 min')
        >>> duration(59.96), duration(3599.7)
        ('1 min 0 s', '1 h 0 min')
    """
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min"


def listed(words: Sequence[str]) -> str:
    """Words joined to a list in a sentence.

    Examples:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    if len(words) < 2:  # noqa: PLR2004  (nothing to join)
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def cell(value: Cell, style: Style) -> str:
    """Text of one table cell."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value
    if style == "share":
        return share(value)
    if style == "count":
        return f"{value:,.0f}"
    return number(value)
