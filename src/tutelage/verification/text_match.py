"""Text checks: exact match and multiple choice, with the polarity of each mention of a choice.

A sentence asserts what it mentions, denies it, or only supposes it. A mention is a letter or the
text of a choice. What counts is in its own segment, a piece of text between full stops,
semicolons, line breaks and words such as `but`, `so` or `because`:

    The answer can't be  B ,  because  B  is wrong ;  so it is  D .
               ^ before   denies           ^ after     asserts

Two denials of one mention ("B is not wrong", "nothing but B") are left undecided.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeGuard

from tutelage.verification.answer_extraction import Found, NotFound, find_answer
from tutelage.verification.verdict import Verdict, cannot_check, no_answer, right, wrong

Polarity: TypeAlias = Literal["asserted", "denied", "unclear", "supposed"]

_REACH = 160
"""Characters before and after a mention that are looked at."""
_GOES_ON = "\x00"
"""Stands at the end of what follows a mention where the next mention ends it."""

_BOUNDARY = re.compile(
    r"[.;!?\n\u3002\uff1b\uff01\uff1f]"
    r"|,(?!\s*(?:which|that)\s+(?:is|are|was|were)\b)(?!\s*(?:or|and|nor)?\s*[(\[*\"']*[A-J]\b)"
    r"|\uff0c"
    r"|\b(?:but|so|therefore|thus|hence|because|since|while|whereas|although|though|leaving|leaves|"
    r"sondern|sino|mais|mas|ma|\u0430)\b(?<!nothing but)(?<!anything but)(?<!all but)"
    r"(?<!everything but)(?<!none but)"
    r"|\u800c\u662f"
    r"|\b(?:and|or)\b(?=\s+[(\[*]*(?:[A-J]\b[)\]*]*\s+(?:is|was|fits|works|does)|"
    r"(?:the|it|that|this)\b))",
    re.IGNORECASE,
)
_CERTAINLY = re.compile(
    r"\b(?:no|without(?: a| any)?|beyond(?: a| any)?)\s+(?:doubt|question)\b"
    r"|\bnot (?:only|just|merely)\b",
    re.IGNORECASE,
)
"""Words of denial that deny nothing; they are overlooked."""
_CUE = (
    r"(?:(?:all|everything|anything|any|nothing|none|nobody|every one)\s+but|"
    r"(?:anything\s+)?other\s+than|rather\s+than|instead\s+of|n['\u2019]est\s+pas|"
    r"not|(?:is|are|was|were|ca|could|would|should|wo|do|does|did|must|has|have)n['\u2019]t|"
    r"can['\u2019]t|cannot|never|neither|nor|none|nothing|nobody|hardly|scarcely|"
    r"no(?=\s+(?:answer|option|choice|one|way|other|statement|letter|es|era)\b)|"
    r"by\s+no\s+means|far\s+from|doubts?|disagrees?|denies|deny|except(?:ing)?(?:\s+for)?|"
    r"unlike|without|avoid|cross(?:ed|es|ing)?\s+out|"
    r"eliminat(?:e|es|ed|ing)|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing)\s+out|"
    r"reject(?:s|ed|ing)?|discard(?:s|ed|ing)?|dismiss(?:es|ed|ing)?|"
    r"(?:wrong|incorrect|false|mistaken|a\s+mistake|unlikely|impossible)(?=\s+(?:to|that)\b)|"
    r"nicht|keine?s?|pas|n\u00e3o|non(?=\s+\u00e8)|\u043d\u0435)"
)
_CUE_UNSPACED = (
    r"(?:\u5e76?\u4e0d\u662f|\u4e0d\u9009|\u4e0d\u80fd\u9009|[\u4e26\u5e76]\u975e|\u6392\u9664)"
)
_LIGHT = (
    r"(?:the|a|an|be|been|being|it|it['\u2019]s|is|are|was|were|that|to|say|saying|pick|picking|"
    r"choose|choosing|chosen|select|selecting|go|going|answer|answers|option|options|choice|"
    r"choices|statement|statements|letter|of|them|these|those|all|by|called|made|think|believe|"
    r"say|claim|could|would|can|must|should|right|correct|true|as|with|for|either|both|one|any|way|"
    r"necessarily|likely|probably|possibly|really|actually|clearly|certainly|definitely|"
    r"there|here|therefore|in|from|on|up|for|est|es|ist|\u00e9|\u00e8|la|el|le|die|die Antwort)"
)
_GAP = r"[\s:\"'\u201c\u2018(\[*_`$]"
_BEFORE = re.compile(
    rf"(?:(?:(?<![\w'\u2019])(?:{_CUE}|{_LIGHT})(?![\w'\u2019])"
    rf"|\\(?:boxed|text|textbf|mathrm)\s*\{{){_GAP}*|{_CUE_UNSPACED}{_GAP}*)+$",
    re.IGNORECASE,
)
_CUES = re.compile(rf"(?<![\w'\u2019]){_CUE}(?![\w'\u2019])|{_CUE_UNSPACED}", re.IGNORECASE)
_NOT_SURE = re.compile(
    r"\bnot\s+(?:\w+ly\s+)?(?:clear|sure|certain|obvious|known)\b", re.IGNORECASE
)
_NOTHING_BUT = re.compile(r"\b(?:nothing|none|nobody)\s+but\b", re.IGNORECASE)
_HEADING = re.compile(
    r"\W*(?:incorrect|wrong|false|eliminated|excluded|rejected|ruled\s+out|not)"
    r"(?:\s+(?:options?|answers?|choices?|statements?))?\s*:\W*$",
    re.IGNORECASE,
)
"""In front of a list of what is wrong."""

_CLOSE = r"[\s)\]*_`\"'\u201d\u2019}$]*"
_ADVERBS = r"(?:(?:both|all|also|simply|just|too|quite|so|most|more|\w+ly)\s+)*"
_BE = (
    r"(?:is|are|was|were|be|been|being|can|could|should|must|would|may|might|will|has|have|"
    r"seems?|looks?|sounds?|appears?|gets?)"
)
_BAD = (
    r"(?:wrong|incorrect|false|untrue|invalid|impossible|unlikely|implausible|improbable|"
    r"inconsistent|mistaken|out(?:\s+of\s+the\s+question)?|eliminated|excluded|rejected|discarded|"
    r"dismissed|ruled\s+out|crossed\s+out|(?:an?\s+)?(?:trap|distractor|mistake|decoy|error|"
    r"red\s+herring|wrong\s+\w+)|\u2717|\u2718|\u274c|\u00d7)(?![\w-])"
)
_GOOD = (
    r"(?:correct|right|true|valid|possible|plausible|suitable|acceptable|it|so|an?\s+(?:valid\s+|"
    r"possible\s+|correct\s+)?(?:answer|option|choice|possibility)|"
    r"(?:the\s+)?(?:right|correct|best|final|true)?\s*(?:answer|choice|option|one)|$|(?=[.,;!?\n]))"
)
_DO = r"(?:do|does|did|would|will|can|could)"
_SUITS = (
    r"(?:works?|fits?|holds?|apply|applies|match(?:es)?|satisf(?:y|ies)|qualif(?:y|ies)|follows?|"
    r"makes?\s+sense|belongs?|answers?|counts?|meets?|agrees?)"
)
_AFTER: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(f"{_CLOSE}(?:\\([^()]*\\)\\s*)?{pattern}", re.IGNORECASE), count)
    for pattern, count in (
        (rf"(?:{_BE}\s+)+{_ADVERBS}(?:not|never)\s+{_ADVERBS}{_BAD}", 2),
        (rf"{_BE}n['\u2019]t\s+{_ADVERBS}{_BAD}", 2),
        (rf"(?:{_BE}\s+)*{_ADVERBS}{_BAD}", 1),
        (rf"[:=?\u2013\u2014-]+\s*(?:{_BE}\s+)?{_ADVERBS}(?:{_BAD}|(?:no|nope)\b)", 1),
        (rf"[^.;!?\n]{{0,60}}?,\s*which\s+{_BE}\s+{_ADVERBS}{_BAD}", 1),
        (rf"(?:{_BE}\s*)+{_ADVERBS}(?:not|n['\u2019]t|never)\s*(?:be\s+)?{_ADVERBS}{_GOOD}", 1),
        (rf"(?:can['\u2019]t|cannot)\s*(?:be\s+)?{_ADVERBS}{_GOOD}", 1),
        (rf"{_DO}(?:n['\u2019]t|\s+not)\s+{_ADVERBS}{_SUITS}", 1),
        (r"(?:fails?|failed|violates?|contradicts?)(?!\w)", 1),
        (rf"(?:{_BE}\s*)+(?:not|n['\u2019]t|never)(?!\w)", 2),
        (rf"{_DO}(?:n['\u2019]t|\s+not)(?!\w)", 2),
        (r"(?:ist|sind)\s+(?:falsch|nicht)|(?:es|son)\s+(?:incorrect|fals)|est\s+fau(?:x|sse)", 1),
        (
            r"(?:\u662f)?(?:\u9519\u8bef|\u9519\u7684|\u4e0d\u6b63\u786e|\u4e0d\u5bf9|\u4e0d\u7b26\u5408|\u4e0d\u6210\u7acb|\u88ab\u6392\u9664)",
            1,
        ),
        (
            r"(?:\u306f)?(?:\u3067\u306f\u306a[\u304f\u3044]|\u3058\u3083\u306a[\u304f\u3044]|\u3067\u306a\u304f|\u9593\u9055|\u8aa4\u308a)",
            1,
        ),
        (r"[\uac00-\ud7a3]?\s*(?:\uc544\ub2c8|\uc544\ub2d9|\ud2c0\ub9bd)", 1),
    )
)
"""What denies the mention in front of it, and how often: twice is left undecided."""
_SUPPOSED_BEFORE = re.compile(
    r"\b(?:would\s+have\s+been|(?:might|may|could)\s+(?:think|say|guess|expect|assume)|at\s+first|"
    r"initially|originally|(?:I|we|you)\s+(?:first\s+)?thought|tempt\w+|unless)\b",
    re.IGNORECASE,
)
_SUPPOSED_AFTER = re.compile(
    _CLOSE + r"(?:(?:looks?|seems?|is|appears?|may\s+(?:look|seem)|might\s+(?:look|seem))\s+"
    r"(?:\w+ly\s+)?(?:tempting|attractive)|\s*if\b[^.]{0,60}\bwere\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """Something that a text names.

    Attributes:
        start: Where it starts.
        end: Where it ends.
        names: The choices it names; several in "A, B and D".
    """

    start: int
    end: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A mention with what its sentence says of it.

    Attributes:
        mention: The mention.
        polarity: Whether it is asserted, denied, only supposed, or this is unclear.
        start: Where the words that tell so start; the mention's own start for an assertion.
        end: Where they end.
    """

    mention: Mention
    polarity: Polarity
    start: int
    end: int


def judge_mentions(text: str, mentions: Sequence[Mention]) -> list[Judged]:
    """The polarity of each mention of a text, in order.

    Examples:
        >>> found = [Mention(start=4, end=5, names=("A",)), Mention(start=13, end=14, names=("C",))]
        >>> [one.polarity for one in judge_mentions("Not A, it is C.", found)]
        ['denied', 'asserted']
    """
    plain = _CERTAINLY.sub(lambda m: " " * len(m[0]), text)
    found = list(_BOUNDARY.finditer(plain))
    borders, ends = [*(m.start() for m in found), len(plain)], [m.end() for m in found]
    judged: list[Judged] = []
    for index, mention in enumerate(mentions):
        at = bisect_right(ends, mention.start)
        floor = max(ends[at - 1] if at else 0, mention.start - _REACH)
        if judged:
            floor = max(floor, judged[-1].end)
        at = bisect_left(borders, mention.end)
        if plain[borders[at] : borders[at] + 1] == "?":  # A? No.
            at += 1
        ceiling = borders[min(at, len(borders) - 1)]
        after = plain[mention.end : ceiling]
        if index + 1 < len(mentions) and mentions[index + 1].start < ceiling:
            after = plain[mention.end : mentions[index + 1].start] + _GOES_ON
        judged.append(_judged(mention, plain[floor : mention.start], after, floor=floor))
    return judged


def _judged(mention: Mention, before: str, after: str, *, floor: int) -> Judged:
    count, start = _denied_before(before)
    end = mention.end
    for pattern, times in _AFTER:
        match = pattern.match(after)
        if match is not None:
            count, end = count + times, mention.end + match.end()
            break
    if count == 1:
        polarity: Polarity = "denied"
    elif count or _NOT_SURE.search(before):
        polarity = "unclear"
    elif _SUPPOSED_BEFORE.search(before) or _SUPPOSED_AFTER.match(after):
        polarity = "supposed"
    else:
        polarity = "asserted"
    started = floor + start if start is not None else mention.start
    return Judged(mention=mention, polarity=polarity, start=started, end=end)


def _denied_before(before: str) -> tuple[int, int | None]:
    """Number of denials in front of a mention, and where the first of them starts."""
    if _HEADING.fullmatch(before) is not None:
        return 1, 0
    chain = _BEFORE.search(before)
    cues = [] if chain is None else list(_CUES.finditer(before, chain.start()))
    if not cues:
        return 0, None
    return len(cues) + bool(_NOTHING_BUT.search(before, cues[0].start())), cues[0].start()


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
