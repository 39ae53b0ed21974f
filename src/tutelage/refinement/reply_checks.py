"""Checks of a teacher's text; each rule gives a reason or passes.

The rules err on the side of letting text pass that a person would doubt: the student judges it
later. What they must catch is text that only looks like an answer: a refusal, an echo of our own
prompt, talk about the task, a loop.
"""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice

from tutelage.data import INSTRUCTION_REFLECTION, Candidate
from tutelage.refinement import statuses
from tutelage.refinement.config import RefineSettings, SampleSettings
from tutelage.refinement.prompt import Prompt, normalised
from tutelage.refinement.reply_parser import Draft, Fault, has_marker
from tutelage.refinement.reply_patterns import (
    asks_to_decline,
    is_about_texts,
    is_placeholder,
    is_refusal,
    lost_input_of,
    meta_talk_in,
    remark_in,
)

_GIVEN_AWAY_FRACTION = 0.5  # less of an instruction may well be a choice or a text to find it in
_LEAST_WORDS = 8
_RUN_WORDS = 5
_PUT_IN_FRACTION = 0.8
_THERE_BEFORE_FRACTION = 0.5  # the task hands the text over, such as a correction
_NO_INSTRUCTION = frozenset({"n/a", "na", "none", "null", "unchanged", "same as above", "same"})


def fault_of_reflection(
    draft: Draft, *, parent: Candidate, step: str, prompt: Prompt, settings: RefineSettings
) -> Fault | None:
    """Fault of a rewritten pair, or None.

    Args:
        draft: Non-blank parts, as parsed.
        parent: The candidate that was reflected on.
        step: `instruction_reflection` or `response_reflection`.
        prompt: The prompt that was used; its own sentences must not come back.
        settings: The limits on length.

    Returns:
        The first fault found, or None where the draft may become a candidate.
    """
    checks: tuple[Callable[[], tuple[str, str] | None], ...] = (
        lambda: _echo(draft, parent=parent, prompt=prompt),
        lambda: _placeholder(draft),
        lambda: _unchanged(draft, parent=parent, step=step),
        lambda: _refusal(draft.response, parent=parent),
        lambda: _meta_talk(draft, parent=parent),
        lambda: _lost_input(draft, parent=parent),
        lambda: _given_away(draft, parent=parent),
        lambda: _degenerate(draft, parent_response=parent.response),
        lambda: _wrong_language(draft, parent=parent),
        lambda: _length(draft, settings=settings),
    )
    for check in checks:
        found = check()
        if found is not None:
            return Fault(status=found[0], detail=found[1], criticism=draft.criticism)
    return None


def fault_of_sample(
    draft: Draft, *, instruction: str, known_response: str | None, settings: SampleSettings
) -> Fault | None:
    """Fault of a sampled response, or None.

    Args:
        draft: A non-blank response.
        instruction: What it answers.
        known_response: The example's own response, if it has one: where that declines too, a
            refusal is an answer.
        settings: The limits on length.
    """
    response = draft.response
    if is_refusal(response) and not _may_decline(instruction, known_response):
        return Fault(status=statuses.REFUSED, detail=f"it begins {response.strip()[:60]!r}")
    looped = None if known_response and loop_of(known_response) else loop_of(response)
    if looped is not None:
        return Fault(status=statuses.DEGENERATE, detail=f"the response loops: {looped}")
    found = _bounds(
        "response", response, least=settings.min_response_chars, most=settings.max_response_chars
    )
    return None if found is None else Fault(status=found[0], detail=found[1])


def _echo(draft: Draft, *, parent: Candidate, prompt: Prompt) -> tuple[str, str] | None:
    known = normalised(" ".join(m.content for m in parent.messages))
    for part, text in _parts(draft):
        if has_marker(text) and not any(has_marker(m.content) for m in parent.messages):
            return statuses.ECHOED_PROMPT, f"the new {part} holds a marker of the reply's layout"
        flat = normalised(text)
        for sentence in prompt.own_sentences:
            if sentence in flat and sentence not in known:
                return (
                    statuses.ECHOED_PROMPT,
                    f"the new {part} holds our own sentence {sentence[:60]!r}",
                )
        for line in text.split("\n"):
            if normalised(line) in prompt.own_lines and normalised(line) not in known:
                return statuses.ECHOED_PROMPT, f"the new {part} holds our own line {line.strip()!r}"
    return None


def _placeholder(draft: Draft) -> tuple[str, str] | None:
    for part, text in _parts(draft):
        if is_placeholder(text):
            return statuses.ECHOED_PROMPT, f"the new {part} is the placeholder {text.strip()!r}"
    if (
        draft.instruction is not None
        and normalised(draft.instruction).strip(".") in _NO_INSTRUCTION
    ):
        return statuses.EMPTY_INSTRUCTION, f"the new instruction is {draft.instruction!r}"
    return None


def _unchanged(draft: Draft, *, parent: Candidate, step: str) -> tuple[str, str] | None:
    same_response = _same(draft.response, parent.response)
    if step != INSTRUCTION_REFLECTION or draft.instruction is None:
        if same_response:
            return statuses.UNCHANGED, "the new response is the parent's"
        return None
    same_instruction = _same(draft.instruction, parent.instruction)
    if same_instruction and same_response:
        return statuses.UNCHANGED, "the new pair is the parent's"
    if same_instruction:
        return statuses.HALF_CHANGED, "the new instruction is the parent's, the response is not"
    if same_response:
        return statuses.HALF_CHANGED, "a new instruction with the parent's response"
    return None


def _refusal(response: str, *, parent: Candidate) -> tuple[str, str] | None:
    if is_refusal(response) and not _may_decline(parent.instruction, parent.response):
        return statuses.REFUSED, f"the new response begins {response.strip()[:60]!r}"
    return None


def _may_decline(instruction: str, known_response: str | None) -> bool:
    if known_response is not None and is_refusal(known_response):
        return True
    return asks_to_decline(instruction)


def _meta_talk(draft: Draft, *, parent: Candidate) -> tuple[str, str] | None:
    """Fault of a text that talks about the old or new text, unless the task is about texts."""
    asked = " ".join(m.content for m in parent.messages if m.role == "user")
    if is_about_texts(asked) or meta_talk_in(parent.response):
        return None
    for part, text in _parts(draft):
        found = meta_talk_in(text) or (remark_in(text) if part == "instruction" else None)
        if found is not None:
            return statuses.META_TALK, f"the new {part} says {found!r}"
    return None


def _lost_input(draft: Draft, *, parent: Candidate) -> tuple[str, str] | None:
    if draft.instruction is None or len(parent.context) > 1:  # an earlier turn may hold the text
        return None
    pointer = lost_input_of(draft.instruction, old=parent.instruction)
    if pointer is None:
        return None
    return statuses.LOST_INPUT, f"the new instruction says {pointer!r} and does not hold it"


def _given_away(draft: Draft, *, parent: Candidate) -> tuple[str, str] | None:
    """Fault of an instruction that contains the old response and so gives the answer away."""
    words = normalised(parent.response).split()
    if draft.instruction is None or len(words) < _LEAST_WORDS:
        return None
    before = _share_in(words, normalised(" ".join(m.content for m in parent.context)))
    share = _share_in(words, normalised(draft.instruction))
    if share < _PUT_IN_FRACTION or before >= _THERE_BEFORE_FRACTION:
        return None
    return statuses.DEGENERATE, f"the new instruction holds {share:.0%} of the old response"


def _share_in(words: Sequence[str], text: str) -> float:
    """Share of the runs of words that occur in a text."""
    runs = [
        " ".join(words[at : at + _RUN_WORDS]) for at in range(max(1, len(words) - _RUN_WORDS + 1))
    ]
    return sum(run in text for run in runs) / len(runs)


def _degenerate(draft: Draft, *, parent_response: str) -> tuple[str, str] | None:
    if draft.instruction is not None:
        asked, told = normalised(draft.instruction), normalised(draft.response)
        if asked == told:
            return statuses.DEGENERATE, "the new response repeats the new instruction"
        if told in asked and len(told) > _GIVEN_AWAY_FRACTION * len(asked):
            return statuses.DEGENERATE, "the new instruction contains the whole new response"
    for part, text in _parts(draft):
        looped = loop_of(text)
        if looped is not None and loop_of(parent_response) is None:
            return statuses.DEGENERATE, f"the new {part} loops: {looped}"
    return None


def _wrong_language(draft: Draft, *, parent: Candidate) -> tuple[str, str] | None:
    """Fault of a text in another script than both old texts, unless the task is a translation."""
    known = {script_of(parent.instruction), script_of(parent.response)}
    if None in known:
        return None  # too few letters, or a mix, to say what would be wrong
    for part, text in _parts(draft):
        script = script_of(text)
        if script is not None and script not in known:
            names = " and ".join(sorted(str(s) for s in known))
            return (
                statuses.WRONG_LANGUAGE,
                f"the new {part} is in {script}, the old pair in {names}",
            )
    return None


def _length(draft: Draft, *, settings: RefineSettings) -> tuple[str, str] | None:
    if draft.instruction is not None:
        found = _bounds(
            "instruction",
            draft.instruction,
            least=settings.min_instruction_chars,
            most=settings.max_instruction_chars,
        )
        if found is not None:
            return found
    return _bounds(
        "response",
        draft.response,
        least=settings.min_response_chars,
        most=settings.max_response_chars,
    )


def _bounds(part: str, text: str, *, least: int, most: int) -> tuple[str, str] | None:
    if len(text) < least:
        return statuses.UNDER_MIN_LENGTH, f"the {part} has {len(text)} characters, below {least}"
    if len(text) > most:
        return statuses.OVER_MAX_LENGTH, f"the {part} has {len(text)} characters, above {most}"
    return None


def _parts(draft: Draft) -> tuple[tuple[str, str], ...]:
    response = ("response", draft.response)
    if draft.instruction is None:
        return (response,)
    return (("instruction", draft.instruction), response)


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()) == " ".join(other.split())


_MIN_CHARS = 400  # shorter texts repeat themselves by chance and by purpose
_MAX_RATIO = 10.0  # prose compresses 2 to 3 times, code and tables up to 6, loops 15 and more
_GRAM_WORDS = 8
_MAX_GRAM_COUNT = 6
_MAX_GRAM_FRACTION = 0.4
_MAX_LINE_COUNT = 8
_MAX_LINE_FRACTION = 0.4
_MIN_LINE_LETTERS = 12
_SCRIPT_LETTERS = 400  # letters looked at
_MIN_SCRIPT_LETTERS = 20
_SCRIPT_FRACTION = 0.8


def loop_of(text: str) -> str | None:
    r"""Description of how a text loops, or None.

    Args:
        text: A response or an instruction.

    Returns:
        The line or phrase that repeats, with its count, or the compression ratio.

    Examples:
        >>> loop_of("It is what it is.")
        >>> loop_of("The same long line again and again.\n" * 30)
        "the line 'The same long line again and again.' occurs 30x"
    """
    if len(text) < _MIN_CHARS:
        return None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    line, count = Counter(lines).most_common(1)[0] if lines else ("", 0)
    if count >= _MAX_LINE_COUNT and count > _MAX_LINE_FRACTION * len(lines) and _has_words(line):
        return f"the line {line[:60]!r} occurs {count}x"
    phrase, count, fraction = _top_phrase(text.split())
    if count >= _MAX_GRAM_COUNT and fraction > _MAX_GRAM_FRACTION and _has_words(phrase):
        return f"the phrase {phrase[:60]!r} occurs {count}x"
    data = text.encode("utf-8", "surrogatepass")
    ratio = len(data) / len(zlib.compress(data, 6))
    if ratio > _MAX_RATIO:
        return f"it compresses {ratio:.1f}x"
    return None


def _has_words(text: str) -> bool:
    """Whether a text has words; rules, brackets and number tables repeat without being a loop."""
    return sum(map(str.isalpha, text)) >= _MIN_LINE_LETTERS


def _top_phrase(words: Sequence[str]) -> tuple[str, int, float]:
    """Most frequent phrase of 8 words, its count, and the fraction of letters it covers."""
    grams = Counter(zip(*(words[i:] for i in range(_GRAM_WORDS)), strict=False))
    if not grams:
        return "", 0, 0.0
    gram, count = grams.most_common(1)[0]
    starts = (
        i for i in range(len(words) - _GRAM_WORDS + 1) if tuple(words[i : i + _GRAM_WORDS]) == gram
    )
    covered = {start + offset for start in starts for offset in range(_GRAM_WORDS)}
    fraction = sum(len(words[i]) for i in covered) / sum(map(len, words))
    return " ".join(gram), count, fraction


def script_of(text: str) -> str | None:
    """Script of most letters of a text, or None where there are few letters or a mix.

    Chinese, Japanese and Korean characters count as one script, because names and numbers mix.

    Examples:
        >>> script_of("Write a short poem about the sea.")
        'LATIN'
        >>> script_of("1 + 1")
    """
    letters = list(islice(filter(str.isalpha, text), _SCRIPT_LETTERS))
    if not letters:
        return None
    script, count = Counter(map(_script_of_letter, letters)).most_common(1)[0]
    enough = count if script != "CJK" else 3 * count  # one character says about as much as a word
    if enough < _MIN_SCRIPT_LETTERS or count < _SCRIPT_FRACTION * len(letters):
        return None
    return script


@lru_cache(maxsize=4096)
def _script_of_letter(letter: str) -> str:
    word = unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0]
    return "CJK" if word in {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC"} else word
