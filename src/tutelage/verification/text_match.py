"""Text checks: exact match and multiple choice."""

import re
import unicodedata
from collections.abc import Sequence

from tutelage.verification.answer_extraction import NotFound, find_answer
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


_LETTER = r"(?<![\w'])[(\[*_`]*[A-J][)\]*_`]*"
_TAIL = (
    r"(?:\s+(?:be\s+)?(?:it|right|correct|true|the (?:right |correct )?(?:answer|choice|option)))?"
)
_DENIED = re.compile(
    r"(?:\b(?i:not|anything but|other than|isn't|isn\u2019t|wasn't|aren't|cannot be|can't be|never|"
    r"neither|nor|rather than|instead of|except|unlike|eliminate[sd]?|exclude[sd]?|"
    r"(?:rules?|ruled)\s+out|rejects?|rejected|discards?)\s+(?:\w+\s+){0,2}?"
    r"(?:option|choice|answer)?s?\s*[(\[*_`\"'$]*(?:\\boxed\{|\\text\{)*[A-J](?![\w'])"
    r"(?:\s*(?:,\s*(?:or|and|nor)?|/|or|and|nor)\s*[(\[*_`]*[A-J][)\]*_`]*(?![\w']))*"
    r"(?=[)\]*_`\"'$}.:,;!\s]|$)[)\]*_`\"'$}]*"
    rf"|{_LETTER}\s+(?:is|was|are|can|could|must|would(?: be)?|seems)\s*(?:\w+ly\s+)?"
    r"(?:not|n't|wrong|incorrect|false|clearly wrong|eliminated|excluded|ruled out|out\b)"
    rf"{_TAIL}"
    rf"|{_LETTER}\s+(?:doesn't|doesn\u2019t|does not)\s+(?:work|fit|apply|hold)"
    rf"|\b(?:don't|don\u2019t|do not) think (?:that )?{_LETTER} is (?:right|correct|true)"
    rf"|{_LETTER}\s+(?:isn't|isn\u2019t|can't be|cannot be){_TAIL})"
)
"""A letter that the response excludes as the answer."""


_STANDS_ALONE = re.compile(
    r"(?<![A-Za-z0-9_\u00c0-\u024f'\u2019-])"
    r"(?:[(\[*_`]+([A-J])[)\]*_`]+|([B-HJ])(?![\w'\u2019-])|([AI])(?=\s*[.,;:!\u3002]|\s*$))"
)
"""A letter that names a choice and is neither an article nor a pronoun."""
_LED = re.compile(
    r"(?:^|[.!?:;,\n\uff1a\u3002\u662f\u9009\u9078\"'\u201c(]|\b(?:option|choice|statement|answer|is|it's|"
    r"it\u2019s|be|es|ist|est|\u00e9|with|so|therefore|thus|hence|but|only|actually|choose|pick|say))\s*$",
    re.IGNORECASE,
)
"""Words in front of a letter given as the answer, unlike in `vitamin C`."""
_SECOND_THOUGHT = re.compile(
    r"\b(?:no,? wait|wait|actually|correction|scratch that|on second thought|i mean)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"(?:\bnot|n't|n\u2019t|\brather than|\binstead of|\bnor|\bneither|\bexcept|\bunlike)"
    r"(?:\s+(?:the|a|an|be|by|of|made|called|answer|is))*\s*[\"'(*_`]*$"
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
    response = unicodedata.normalize("NFKC", response)
    response, denied = _DENIED.subn(" ", response)
    found = find_answer(response)
    named = response if isinstance(found, NotFound) or found.how == "last number" else found.text
    if _SEVERAL.search(named[:200]):
        return cannot_check(f"more than one choice is named: {named[:200]!r}")
    said = _letters_said(response) or (_letters_left(response) if denied else [])
    said = said or _texts_said(response, choices)
    return _ruled_said(said, response, target) if said else _ruled_alone(response, target)


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
    first = _LETTER_FIRST.match(response)
    return [(first[1], "what the response starts with")] if first is not None else []


def _letters_left(response: str) -> list[tuple[str, str]]:
    """The only letter that remains after others were excluded: `not A, it is C`."""
    return [(letter, "named where others were ruled out") for letter in _ruled_in(response)]


def _texts_said(response: str, choices: Sequence[str]) -> list[tuple[str, str]]:
    """Choices whose text occurs in the response; one inside a longer one does not count."""
    body = _plain(response)
    spans: list[tuple[int, int, str]] = []
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
    return [
        (letter, "its text")
        for start, _, letter in outer
        if _DENIES.search(body[max(start - 40, 0) : start]) is None
    ]


def _plain(text: str, *, ignore_case: bool = True) -> str:
    text = _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    text = text.strip("\"'`*").rstrip(".").strip()
    return text.casefold() if ignore_case else text
