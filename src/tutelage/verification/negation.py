"""Polarity of a mention: whether a sentence asserts what it names, denies it, or only supposes it.

A mention is a letter or the text of a choice. What counts stands in its own segment, a piece of
text between full stops, semicolons, line breaks and words such as `but`, `so` or `because`:

    The answer can't be  B ,  because  B  is wrong ;  so it is  D .
               ^ before   denies           ^ after     asserts

Two denials of one mention ("B is not wrong", "nothing but B") are left undecided.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

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
    """How often the words in front of a mention deny it, and where the first of them starts."""
    if _HEADING.fullmatch(before) is not None:
        return 1, 0
    chain = _BEFORE.search(before)
    cues = [] if chain is None else list(_CUES.finditer(before, chain.start()))
    if not cues:
        return 0, None
    return len(cues) + bool(_NOTHING_BUT.search(before, cues[0].start())), cues[0].start()
