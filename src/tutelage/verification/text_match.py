"""Text checks: exact match and multiple choice."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from tutelage.verification.answer_extraction import Found, NotFound, find_answer
from tutelage.verification.negation import Mention, judge_mentions
from tutelage.verification.verdict import Verdict, cannot_check, no_answer, right, wrong

_LETTERS = "ABCDEFGHIJ"
_SPACE = re.compile(r"\s+")
_MARK = r"[\s(\[*_`\"'$]*(?:\\(?:boxed|text|textbf|mathrm|mathbf)\s*\{[\s(*_]*)*"
_LONE_LETTER = re.compile(rf"{_MARK}([A-Ja-j])[\s)\]*_`\"'$}}.:,]*")
_LETTER_FIRST = re.compile(rf"{_MARK}([A-J])(?:[)\]*_}}.:,]+|\s*$|\s+(?=[-(:\u2013]))")
_SAYS_LETTER = re.compile(
    r"\b(?:answer|choice|option|choose|pick|select)\b[^.\n]{0,30}?"
    r"(?:\bis\b|:|=|\boption\b|\bchoice\b|\bchoose\b|\bpick\b|\s)\s*[(\[*_`\"'$]*"
    r"(?:\\boxed\{|\\text\{)*(?:([B-HJ])(?=[)\]*_`\"'$}.:,;!]|\s|$)|([AI])(?=[)\]*_`\"'$}.:,;!]|\s|$)"
    r"(?!\s+(?!because\b|since\b|as\b|over\b)[a-z]))"
)


_NO_WORD = "A-Za-z0-9_\u00c0-\u024f"
"""Characters that make a word of the letter next to them; those of other scripts do not."""
_DRESS = r"[(\[*_`\"']*(?:\\(?:boxed|text|textbf|mathrm|mathbf)\s*\{[(\[*_]*)*"
_VERB_BEHIND = (
    r"(?:is|was|and|or|nor|but|isn['\u2019]t|wasn['\u2019]t|can|cannot|can['\u2019]t|could|does|"
    r"doesn['\u2019]t|fails?|seems?|looks?|would|must|as|because|since|rather|instead|over)"
)
_LABEL = (
    rf"(?<![{_NO_WORD}'\u2019-]){_DRESS}"
    rf"(?:(?<=[(\[*_`{{])[A-J](?=[)\]*_`}}])|[B-HJ](?![{_NO_WORD}'\u2019]|-\w)"
    rf"|A(?=[.,;:!?)\]}}/&*\"'\u3000-\ufaff]|\s*$|\s*[=\u2717\u2718\u274c\u2013-]|\s+{_VERB_BEHIND}\b)"
    rf"|I(?=[.,;:!?)\]}}/&*\"'\u3000-\ufaff]|\s*$|\s+(?:is|isn['\u2019]t|was)\b))[)\]*_`\"'}}]*"
)
_LISTED = re.compile(rf"{_LABEL}(?:\s*(?:,\s*(?:and|or|nor)?|/|&|and|or|nor)\s*{_LABEL})*")
_LABEL_IN = re.compile(rf"(?<![{_NO_WORD}])[A-J](?![{_NO_WORD}])")
_BARE_PAIR = re.compile(rf"{_LABEL}\s*,\s*{_LABEL}")
_LEFT_OUT = "~"
"""Marks where words were left out, so that what is next to them stays a part of a sentence."""
_CONCLUDED = re.compile(
    r"\b(?i:so|therefore|thus|hence)\b,?\s*"
    r"(?i:(?:it(?:['\u2019]s| is| must be)|the answer is|only)\s+)?"
    r"[(\[*_`]*([A-J])[)\]*_`]*\s*(?:[.!]|$)"
)
_STRUCK = re.compile(r"~~[^~\n]+~~")
_TAGS = re.compile(r"</?[A-Za-z_]+>")
_CALLED_WRONG = re.compile(r"\b(?:wrong|incorrect|false|untrue)\b", re.IGNORECASE)


_STANDS_ALONE = re.compile(
    rf"(?<![{_NO_WORD}'\u2019-])"
    rf"(?:[(\[*_`]+([A-J])[)\]*_`]+|([B-HJ])(?![{_NO_WORD}'\u2019-])"
    r"|([AI])(?=\s*[.,;:!\u3002\u2705\u2713\u2714]|\s*$|[\u3040-\ufaff])|(A)(?=\s*(?:and|but)?\s*~))"
)
"""A letter that names a choice and is neither an article nor a pronoun."""
_LED = re.compile(
    r"(?:^|[.!?:;,\n\uff1a\uff0c\u3002\u662f\u9009\u9078\u306f\u30fb\"'\u201c(>]|\b(?:option|choice|statement|"
    r"answer|is|it's|it\u2019s|be|es|ist|est|\u00e9|\u00e8|with|so|therefore|thus|hence|but|only|actually|"
    r"choose|pick|say|sondern|sino|mais|leaves|leaving|adalah|odpowied\u017a|antwoord|cevap)"
    r"|\u043e\u0442\u0432\u0435\u0442|\u0432\u0430\u0440\u0438\u0430\u043d\u0442|\u044d\u0442\u043e|(?:\uc815\ub2f5|\ub2f5)[\uc740\uc774]?|\u0647\u064a|"
    r"\u0909\u0924\u094d\u0924\u0930|\u0935\u093f\u0915\u0932\u094d\u092a|\u0e04\u0e37\u0e2d|l\u00e0|\b(?:answer|choice|option)\s*[-\u2013\u2014=])\s*$",
    re.IGNORECASE,
)
"""Words in front of a letter given as the answer, unlike in `vitamin C`."""
_SECOND_THOUGHT = re.compile(
    r"\b(?:no,? wait|wait|actually|correction|scratch that|on second thought|i mean|sorry|oops)\b",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"(?<![\w'])\(?[A-J]\)?\s*(?:,|/|&|\bor\b|\band\b)\s*\(?[A-J]\)?(?![\w'])")


def check_exact(response: str, reference: str, *, ignore_case: bool = True) -> Verdict:
    """Whether the response, or its marked answer, equals the reference text.

    Spaces, Unicode forms, quotes around the whole and a full stop at the end do not count.

    Args:
        response: What the model wrote.
        reference: The only right text.
        ignore_case: Whether `Paris` and `paris` are the same.

    Examples:
        >>> check_exact("The answer is Paris.", "paris").verdict
        'right'
        >>> check_exact("It is not Paris.", "Paris").verdict
        'wrong'
    """
    if not reference.strip():
        return cannot_check("the reference is empty")
    if not response.strip():
        return no_answer("the response is empty")
    target = _plain(reference, ignore_case=ignore_case)
    found = find_answer(response)
    texts = [("whole response", response)]
    if not isinstance(found, NotFound) and found.how != "last number":
        texts.append((found.how, found.text))
    for how, text in texts:
        if _plain(text, ignore_case=ignore_case) == target:
            return right(f"the {how} is {reference!r}")
    how, text = texts[-1]
    return wrong(f"the {how} is {text[:200]!r}, not {reference[:200]!r}")


def check_choice(response: str, reference: str, choices: Sequence[str] = ()) -> Verdict:
    """Whether the response picks the right one of several choices.

    Args:
        response: A letter, a sentence that says one, or the text of a choice.
        reference: The letter (`B`), the 0-based index (`1`) or the text of the right choice.
        choices: The texts in order, at most 10. Without them only letters can be compared.

    Returns:
        `wrong` for another choice; `cannot_check` where two choices are named with no decision.

    Examples:
        >>> check_choice("The answer is (B).", "B").verdict
        'right'
        >>> check_choice("It must be granite.", "1", ["chalk", "granite"]).verdict
        'right'
    """
    if not response.strip():
        return no_answer("the response is empty")
    if len(choices) > len(_LETTERS):
        return cannot_check(f"{len(choices)} choices; at most {len(_LETTERS)} have letters")
    target = _right_letter(reference, choices)
    if target is None:
        return cannot_check(f"reference {reference[:80]!r} is neither a letter nor a choice")
    remains = _without_denied(_TAGS.sub(" ", unicodedata.normalize("NFKC", response)))
    found = find_answer(remains.text)
    named = found.text if _is_marked(found) else remains.text
    if _SEVERAL.search(named[:200]):
        return cannot_check(f"more than one choice is named: {named[:200]!r}")
    return _ruled_on(remains, choices, target)


def _is_marked(found: Found | NotFound) -> TypeGuard[Found]:
    return not isinstance(found, NotFound) and found.how != "last number"


def _ruled_on(remains: "_Remains", choices: Sequence[str], target: str) -> Verdict:
    said = _letters_said(remains.text)
    if not said and remains.unclear:
        return cannot_check(f"it is not clear whether {remains.unclear} is the answer")
    said = said or (_letters_left(remains.text) if remains.denied else [])
    said = said or _texts_said(remains.text, choices)
    if said:
        return _ruled_said(said, remains.text, target)
    if remains.called_wrong and not _ruled_in(remains.text):
        return cannot_check(f"{remains.called_wrong!r}: a question may ask for what is wrong")
    return _ruled_alone(remains.text, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remains:
    """A response without the letters that it denies.

    Attributes:
        text: The rest of it.
        denied: Whether letters were denied or only supposed.
        unclear: A letter of which it is not clear whether it is denied; empty where there is none.
        called_wrong: The words that call a letter wrong; empty where there are none.
    """

    text: str
    denied: bool
    unclear: str
    called_wrong: str


def _without_denied(response: str) -> _Remains:
    response, struck = _STRUCK.subn(" ", response)
    mentions = [
        Mention(start=m.start(), end=m.end(), names=tuple(_LABEL_IN.findall(m[0])))
        for m in _LISTED.finditer(response)
    ]
    parts, at, unclear, wrong, denied = [], 0, "", "", bool(struck)
    for judged in judge_mentions(response, mentions):
        if judged.polarity == "asserted":
            continue
        end, group = judged.end, judged.mention
        before = judged.start < group.start or judged.polarity == "supposed"
        if before and _BARE_PAIR.fullmatch(response, group.start, group.end):
            end = response.index(",", group.start)  # instead of A, C
        words = response[judged.start : end]
        parts.append(response[at : max(judged.start, at)])
        at = end
        if judged.polarity == "unclear":
            unclear = unclear or ", ".join(judged.mention.names)
        else:
            denied = True
        wrong = wrong or (words.strip() if _CALLED_WRONG.search(words) else "")
    text = f" {_LEFT_OUT} ".join([*parts, response[at:]])
    return _Remains(text=text, denied=denied, unclear=unclear, called_wrong=wrong)


def _ruled_said(said: list[tuple[str, str]], response: str, target: str) -> Verdict:
    thought = _SECOND_THOUGHT.search(response)
    if thought is not None and _ruled_in(response[thought.end() :]) - {said[0][0]}:
        return cannot_check(f"the response corrects itself: {response[-200:]!r}")
    return _ruled(said, target)


def _ruled_alone(response: str, target: str) -> Verdict:
    """Verdict where no letter is given as the answer, from the only one that remains."""
    letters = _ruled_in(response)
    if len(letters) > 1:
        return cannot_check(f"more than one choice is named: {', '.join(sorted(letters))}")
    last = None
    for last in _STANDS_ALONE.finditer(response):  # noqa: B007  (the last one counts)
        pass
    if last is None:
        return _ruled([], target)
    if _LED.search(response[: last.start()]) is None:
        return cannot_check(f"a letter that may not be the answer: {response[-200:]!r}")
    return _ruled([(next(iter(letters)), "the only letter")], target)


def _ruled_in(response: str) -> set[str]:
    return {next(filter(None, found)) for found in _STANDS_ALONE.findall(response)}


def _ruled(said: list[tuple[str, str]], target: str) -> Verdict:
    if not said:
        return no_answer(f"no choice is named; reference {target}")
    letters = {letter for letter, _ in said}
    if len(letters) > 1:
        return cannot_check(f"more than one choice is named: {', '.join(sorted(letters))}")
    letter, how = said[0]
    evidence = f"choice {letter} ({how}), reference {target}"
    return right(evidence) if letter == target else wrong(evidence)


def _right_letter(reference: str, choices: Sequence[str]) -> str | None:
    text = reference.strip()
    for index, choice in enumerate(choices):
        if _plain(choice) == _plain(text):
            return _LETTERS[index]
    lone = _LONE_LETTER.fullmatch(text)
    if lone is not None:
        letter = lone[1].upper()
        return letter if not choices or letter in _LETTERS[: len(choices)] else None
    if text.isdecimal() and choices and int(text) < len(choices):
        return _LETTERS[int(text)]
    return None


def _letters_said(response: str) -> list[tuple[str, str]]:
    lone = _LONE_LETTER.fullmatch(response.strip())
    if lone is not None:
        return [(lone[1].upper(), "the whole response")]
    found = find_answer(response)
    if not isinstance(found, NotFound):
        marked = _LONE_LETTER.fullmatch(found.text) or _LETTER_FIRST.match(found.text)
        if marked is not None:
            return [(marked[1].upper(), found.how)]
    said = _SAYS_LETTER.findall(response)
    if said:
        return [(said[-1][0] or said[-1][1], "named as the answer")]
    concluded = _CONCLUDED.findall(response)
    if concluded:
        return [(concluded[-1], "the conclusion")]
    first = _LETTER_FIRST.match(response)
    return [(first[1], "what the response starts with")] if first is not None else []


def _letters_left(response: str) -> list[tuple[str, str]]:
    """The only letter that remains after others were excluded: `not A, it is C`."""
    return [(letter, "named where others were ruled out") for letter in _ruled_in(response)]


def _texts_said(response: str, choices: Sequence[str]) -> list[tuple[str, str]]:
    """Choices whose text occurs in the response; one inside a longer one does not count."""
    body = _plain(response)
    spans: list[tuple[int, int, str]] = []  # of all texts
    for index, choice in enumerate(choices):
        pattern = rf"(?<!\w){re.escape(_plain(choice))}(?!\w)" if choice.strip() else r"(?!)"
        spans.extend((m.start(), m.end(), _LETTERS[index]) for m in re.finditer(pattern, body))
    outer = [
        span
        for span in spans
        if not any(
            other[0] <= span[0] and span[1] <= other[1] and other[1] - other[0] > span[1] - span[0]
            for other in spans
        )
    ]
    mentions = [Mention(start=a, end=b, names=(name,)) for a, b, name in sorted(outer)]
    return [
        (judged.mention.names[0], "its text")
        for judged in judge_mentions(body, mentions)
        if judged.polarity in ("asserted", "unclear")
    ]


def _plain(text: str, *, ignore_case: bool = True) -> str:
    text = _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    text = text.strip("\"'`*").rstrip(".").strip()
    return text.casefold() if ignore_case else text
