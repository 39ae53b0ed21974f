"""Mathematical equivalence of a response's final answer and the reference answer.

Plain quantities are compared here, exactly and at once. What needs algebra becomes a
`HardClaim`, which only a worker process may decide (see `maths_worker.py`): `math-verify` uses
`signal.alarm`, and a formula such as `9^{9^{9^9}}` can take all memory.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tutelage.data.thinking import split_thinking
from tutelage.verification.answer_extraction import (
    NAMED,
    Found,
    NotFound,
    find_answer,
    named_parts,
    strip_markup,
)
from tutelage.verification.notations import (
    both_signs,
    compare_notations,
    has_unit,
    is_compound,
    is_time_or_ratio,
    read_based,
    read_parts,
    same_based,
    same_time_or_ratio,
    without_letters,
)
from tutelage.verification.number_parsing import (
    Quantity,
    Unit,
    numbers_in,
    read_quantity,
    same_measure,
    units_of,
)
from tutelage.verification.verdict import Verdict, cannot_check, no_answer, right, wrong

# Comparison of expressions that have parts: tuples, sets, and values with names.


_T = TypeVar("_T")


def all_same(results: Iterable[bool | None]) -> bool | None:
    """Whether all parts are equal: False if one is not, None if one is undecided."""
    found = set(results)
    return False if False in found else None if None in found else True


def same_sets(
    ours: Sequence[_T], theirs: Sequence[_T], same: Callable[[_T, _T], bool | None]
) -> bool | None:
    """Whether two collections can be matched one to one, in any order.

    Args:
        ours: Parts of the answer.
        theirs: Parts of the reference.
        same: Comparison of two parts.
    """
    remaining = list(theirs)
    unsure = False
    for part in ours:
        results = [same(part, other) for other in remaining]
        if True in results:
            remaining.pop(results.index(True))
        elif None in results:
            unsure = True
        else:
            return False
    if unsure:
        return None
    return not remaining


LONGEST_ANSWER = 1_000
"""Most characters of an answer; longer texts are prose."""

_FORMULA = re.compile(
    r"[\\^=]|\d\s?[a-z](?![A-Za-z])|\d\s*[-+*/\u00d7÷]|[-+*/\u00d7÷]\s*\(|\d\s*:\s*\d"
    r"|(?:gcd|lcm|floor|ceil|sqrt|cbrt|log|ln|exp|sin|cos|tan|abs|max|min)\s*\("
)
_CALL = re.compile(r"(?:gcd|lcm|floor|ceil|sqrt|cbrt|abs|max|min)\s*\(")
_LATEX_NAMES = re.compile(
    r"\\(?:begin|end)\s*\{\w+\*?\}|(?<![A-Za-z])(?:pi|infinity|a?(?:arc)?(?:sin|cos|tan)h?|log|exp|sqrt"
    r"|emptyset)(?![A-Za-z])"
)
_JOINED_CONDITIONS = re.compile(r"\band\b|\\(?:land|wedge)\b|\u2227")
_RELATION = re.compile(r"[<>\u2264\u2265]|\\(?:le|ge|lt|gt)(?:q|slant)?\b")
_TRAILING_UNIT = re.compile(
    r"(.*?[\d)}\]A-Za-z])\s+((?:(?:square|cubic|sq\.?|cu\.?)\s+)?[A-Za-z\u00b0]+(?:\s*(?:/|per)\s*[A-Za-z]+)?)",
    re.DOTALL,
)
_SENTENCE = re.compile(
    r"(?<![\\A-Za-z])(?:[A-Za-z]{2,}[ ]+[A-Za-z]{2,}|[A-Z][a-z]{2,})(?![A-Za-z(])"
)
_OPPOSITES = ({"yes", "no"}, {"true", "false"})
_WORDS = re.compile(r"[A-Za-z]{3,}(?: [A-Za-z]+)*")
_WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|log|exp|sqrt|abs|min|max)\b)[A-Za-z]{3,}")
_PROSE_WORDS = 2
_MOST_WORDS = 12
"""Pieces between spaces in one member of a list; a longer one is prose."""
_LIST = re.compile(r"[,;]|\bor\b|\band\b")
_AND = re.compile(r"\bor\b|\band\b")
_IN_UNKNOWNS = re.compile(
    r"\d\s*\*?\s*[a-z](?![A-Za-z])|(?<![A-Za-z\\])[a-z]\s*(?:[-+*/^]|\\cdot)"
    r"|(?:[-+*/]|\\cdot)\s*[a-z](?![A-Za-z])|\|[a-z]\|"
)
"""The left side of an equation that is no name."""
_BEYOND = re.compile(
    r"\b(?:(?:more|less|fewer|greater|larger|smaller|higher|lower|other) than|not|over|under"
    r"|above|below)\s+\$?\s*\d",
    re.IGNORECASE,
)
"""Words in front of a number that say that it is another one."""
_HEDGE = re.compile(r"\bor\b|\beither\b|\bmaybe\b|\bperhaps\b|\bpossibly\b", re.IGNORECASE)
_TAIL = re.compile(r"\s*(?:\(|;|,(?!\s*[\d$-])|\b(?:because|since|as|which|so|for|in total)\b)")
_BRACKETED = re.compile(r"(\\?[({\[])(.*?)(\\?[)}\]])", re.DOTALL)
_SENTENCES = re.compile(r"[.!?]\s+(?=[A-Z])|\n+")
_ELLIPSIS = re.compile(r"\.\.\.|\u2026|\\[lcd]dots|\\dots")

Same = Callable[[str, str], bool | None]
"""Function type: whether two expressions are equal; None where this is undecided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardClaim:
    """Answer and reference that only algebra can compare.

    Attributes:
        answer: The answer as found, without markup around it.
        reference: The reference answer, likewise.
        how: How the answer was found.
    """

    answer: str
    reference: str
    how: str


def check_maths(  # noqa: PLR0911  (one return a kind of answer)
    response: str, reference: str, *, instruction: str | None = None
) -> Verdict | HardClaim:
    """Compare a response's final answer with a reference answer.

    Args:
        response: What the model wrote; see `tutelage.verification.answer_extraction.find_answer`.
        reference: The right answer: a number, a formula, or a solution that marks its answer
            (`#### 42`).
        instruction: What was asked, if it is known; tells an answer from a repeated number.

    Returns:
        A verdict, or a claim that a worker has to decide.

    Examples:
        >>> check_maths("That makes 2 * 20 = 40 euros. #### 40", "40").verdict
        'right'
        >>> check_maths("The answer is 12 or 13.", "13").verdict
        'wrong'
    """
    target = _reference_answer(reference)
    if target is None:
        return cannot_check(f"no reference answer: {reference[:80]!r}")
    found = find_answer(response, instruction=instruction)
    if isinstance(found, NotFound):
        return no_answer(f"{found.why}; reference {target!r}")
    if len(found.text) > LONGEST_ANSWER:
        return cannot_check(f"the answer ({found.how}) has {len(found.text)} characters")
    answer = strip_markup(found.text)
    if not answer:
        return no_answer(f"the answer ({found.how}) is empty: {found.text!r}")
    answer, target = without_letters(answer, target)
    unusual = compare_notations(answer, target)
    if unusual is not None:
        return _ruled(unusual[0], found, answer, target)
    quantity = read_quantity(target) or read_parts(target)
    if quantity is not None and read_based(answer) is not None:
        return _ruled(same_based(answer, target), found, answer, target)
    if quantity is not None and is_time_or_ratio(answer):
        return _ruled(None, found, answer, target)
    if quantity is not None:
        return _against_number(found, answer, quantity)
    return _against_formula(found, answer, target)


def _against_formula(  # noqa: PLR0911  (one return a kind of answer)
    found: Found, answer: str, target: str
) -> Verdict | HardClaim:
    for compare, applies in (
        (same_time_or_ratio, is_time_or_ratio(target) or is_time_or_ratio(answer)),
        (same_based, read_based(target) is not None),
    ):
        if applies:
            return _ruled(compare(answer, target), found, answer, target)
    if _ELLIPSIS.search(answer + target) and not _same_text(answer, target):
        return cannot_check(f"a list that goes on: answer {answer!r}, reference {target!r}")
    same = compare_expressions(answer, target, _same_number)
    if same is not None:
        return rule(same=same, answer=answer, reference=target, how=found.how)
    if is_compound(answer) != is_compound(target) and has_unit(answer) and has_unit(target):
        return cannot_check(f"{answer!r} and {target!r} are not in the same unit")
    ours, theirs = _trailing_unit(answer), _trailing_unit(target)
    if ours is not None and theirs is not None:
        return _in_one_unit(ours, theirs, found)
    if any(_is_prose(x) or _WORDS.fullmatch(_LATEX_NAMES.sub("", x)) for x in (answer, target)):
        return cannot_check(f"words: answer {answer!r} ({found.how}), reference {target!r}")
    return HardClaim(answer=answer, reference=target, how=found.how)


def _in_one_unit(
    ours: tuple[str, tuple[Unit, ...]], theirs: tuple[str, tuple[Unit, ...]], found: Found
) -> Verdict | HardClaim:
    """Claim about two formulas with units, with the answer converted to the reference's unit."""
    (answer, units), (target, wanted) = ours, theirs
    for one in units:
        for other in wanted:
            if one.kind == other.kind:
                factor = one.factor / other.factor
                if factor != 1:
                    answer = f"\\frac{{{factor.numerator}}}{{{factor.denominator}}}({answer})"
                return HardClaim(answer=answer, reference=target, how=found.how)
    return cannot_check(f"{found.text!r} and the reference are not in the same unit")


def _trailing_unit(text: str) -> tuple[str, tuple[Unit, ...]] | None:
    """Formula and the unit behind it; None without a unit."""
    match = _TRAILING_UNIT.fullmatch(text)
    if match is None:
        return None
    units = units_of(re.sub(r"\s+", " ", match[2]))
    return (match[1].strip(), units) if units else None


def _ruled(same: bool | None, found: Found, answer: str, target: str) -> Verdict:  # noqa: FBT001
    """Verdict of a comparison of two notations."""
    if same is None:
        return cannot_check(f"answer {answer!r} ({found.how}) against {target!r}: may be the same")
    return rule(same=same, answer=answer, reference=target, how=found.how)


def rule(*, same: bool, answer: str, reference: str, how: str) -> Verdict:
    """Verdict of a comparison.

    Args:
        same: Whether the two are equal.
        answer: The answer.
        reference: The reference.
        how: How they were compared, for the evidence.
    """
    if same:
        return right(f"answer {answer!r} ({how}) equals reference {reference!r}")
    return wrong(f"answer {answer!r} ({how}) differs from reference {reference!r}")


def compare_expressions(  # noqa: PLR0911  (one return a kind of expression)
    answer: str, reference: str, same: Same
) -> bool | None:
    """Compare two expressions, or two lists, tuples or sets of them.

    Brackets tell what it is: `(1, 2)` and `[1, 2)` are ordered and their brackets count; `{1, 2}`
    and a bare `1, 2` are not ordered. `1, 2` and `1 or 2` are the same: both give all solutions.

    Args:
        answer: Without markup.
        reference: Without markup.
        same: Compares two single expressions.

    Returns:
        Whether they are equal, or None where `same` could not tell.
    """
    by_name = _compare_named(answer, reference, same)
    if by_name is not None:
        return by_name[0]
    ours, theirs = _members(answer), _members(reference)
    if ours is None and theirs is None:
        return _same_text(answer, reference) or same(answer, reference)
    if ours is None or theirs is None:
        single = answer if ours is None else reference
        return _same_as_single(ours or theirs, single, lambda: same(answer, reference), same)
    (our_kind, our_parts), (their_kind, their_parts) = ours, theirs
    sides = ((our_kind, answer), (their_kind, reference))
    if our_kind == their_kind == "set" and len(our_parts) != len(their_parts):
        return _same_without_repeats(our_parts, their_parts, same)
    if len(our_parts) != len(their_parts):
        return False
    if our_kind != their_kind:
        bare = any(kind == "set" and "{" not in text[:2] for kind, text in sides)
        in_order = all_same(same(a, b) for a, b in zip(our_parts, their_parts, strict=True))
        # 1, 2 may be the tuple (1, 2) without its brackets.
        may_be = bare and {our_kind, their_kind} == {"set", "()"} and in_order is not False
        return None if may_be else False
    if our_kind == "set":
        return same_sets(our_parts, their_parts, same)
    return all_same(same(a, b) for a, b in zip(our_parts, their_parts, strict=True))


def _same_as_single(
    members: tuple[str, list[str]] | None, single: str, whole: Callable[[], bool | None], same: Same
) -> bool | None:
    """Compare a collection with a single expression."""
    kind, parts = members or ("", [])
    if kind == "set" and all(same(part, single) is True for part in parts):
        return True  # 1/2 or 0.5
    if read_quantity(single) is not None:
        return False
    if _WORDS.fullmatch(single):
        return None
    return whole()  # (1, 3) and 1 < x < 3; 2, -2 and \pm 2


def _same_without_repeats(ours: Sequence[str], theirs: Sequence[str], same: Same) -> bool | None:
    """Compare two collections of different sizes: roots may be listed twice, members of sets not.

    Returns:
        None where they are equal except for repetitions.
    """
    found = [[same(a, b) for b in theirs] for a in ours]
    columns = list(zip(*found, strict=True))
    if all(True in row for row in found) and all(True in column for column in columns):
        return None
    unsure = any(True not in row and None in row for row in (*found, *columns))
    missing = any(True not in row and None not in row for row in (*found, *columns))
    return None if unsure and not missing else False


def conditions_of(text: str) -> list[str]:
    """Conditions joined by `and`, as in `x > 3 and x < 5`; empty for anything else.

    Examples:
        >>> conditions_of("x > 3 and x < 5")
        ['x > 3', 'x < 5']
        >>> conditions_of("3 and 5")
        []
    """
    parts = [part.strip(" $") for part in _JOINED_CONDITIONS.split(text)]
    joined = len(parts) > 1 and all(_RELATION.search(part) for part in parts)
    return parts if joined else []


def listed_conditions(text: str) -> list[str]:
    """Conditions of a list such as `x > 3, x < 5`; empty for anything else."""
    parts = [part.strip(" $") for part in text.split(",")]
    unbracketed = not re.search(r"[()\[\]{}]", text)
    joined = len(parts) > 1 and unbracketed and all(_RELATION.search(part) for part in parts)
    return parts if joined else []


def _compare_named(answer: str, reference: str, same: Same) -> tuple[bool | None] | None:
    """Compare two texts where at least one names its values; None where neither does."""
    ours, theirs = named_parts(answer), named_parts(reference)
    if ours is not None and theirs is not None:
        if ours.keys() != theirs.keys():
            return (None if len(ours) == len(theirs) else False,)
        return (all_same(same(ours[name], theirs[name]) for name in ours),)
    if ours is None and theirs is None:
        return None
    named, other = (ours, reference) if ours is not None else (theirs, answer)
    members = _members(other)
    if named is None or members is None:
        return None
    if len(named) != len(members[1]):
        return (False,)
    values, by_name = list(named.values()), [named[name] for name in sorted(named)]

    def agree(given: Sequence[str]) -> bool | None:
        pairs = zip(given, members[1], strict=True)
        return all_same(same(*(p if ours is not None else p[::-1])) for p in pairs)

    in_order = agree(values)
    if members[0] == "()" and by_name != values:
        # y = 2, x = 1 is most likely (1, 2), and hardly (2, 1).
        sorted_order = agree(by_name)
        result = None if in_order and not sorted_order else sorted_order
    elif in_order or members[0] != "set" or not same_sets(values, members[1], same):
        result = in_order
    else:
        result = None  # (1, 2) gives the values in their order; 2, 1 may do so or not
    return (result,)


def _reference_answer(reference: str) -> str | None:
    reference = split_thinking(reference).answer
    found = find_answer(reference) if "####" in reference or "\\boxed" in reference else None
    text = found.text if isinstance(found, Found) else reference
    text = strip_markup(text)
    sides = re.split(r"(?<![<>!:])=", text)
    chained = len(sides) > 1 and _IN_UNKNOWNS.search(sides[-2]) is None
    if chained and not _LIST.search(text) and read_quantity(strip_markup(sides[-1])) is not None:
        text = strip_markup(sides[-1])  # a chain: 5 + 5 + 1 = 10 + 1 = 11
    return text if text and len(text) <= LONGEST_ANSWER else None


def _against_number(  # noqa: PLR0911  (one return a kind of answer)
    found: Found, answer: str, reference: Quantity
) -> Verdict | HardClaim:
    quantity = read_quantity(answer) or read_parts(answer)
    note = found.how
    picked = None if quantity is not None else _only_number(answer, found.how)
    if quantity is None and picked is None:
        *before, last_sentence = _SENTENCES.split(answer)
        picked = _only_number(last_sentence, found.how) if before else None
    if picked is not None:
        quantity, why = picked
        note = f"{found.how}, {why}"
    if quantity is not None:
        same = same_measure(quantity, reference)
        if same is None:
            return cannot_check(
                f"answer {quantity.text!r} ({note}) and reference {reference.text!r} "
                "are not in the same unit"
            )
        return rule(same=same, answer=quantity.text, reference=reference.text, how=note)
    listed = _listed_numbers(answer)
    if listed is not None and all(same_measure(one, listed[0]) for one in listed):
        same = same_measure(listed[0], reference)  # 1/2 or 0.5
        return _ruled(same, found, answer, reference.text)
    many = listed is not None and not any(one.unit for one in listed)
    if many or _hedges(answer) or (_looks_formal(answer) and _members(answer) is not None):
        return wrong(f"the answer {answer!r} ({found.how}) gives more than one number")
    if is_compound(answer) and reference.unit:
        return cannot_check(f"{answer!r} and {reference.text!r} are not in the same unit")
    if _looks_formal(answer) and not _is_prose(answer):
        return HardClaim(answer=answer, reference=reference.text, how=found.how)
    if not numbers_in(answer):
        return no_answer(f"no number in the answer {answer!r} ({found.how})")
    beyond = _BEYOND.search(answer) is not None
    why = "only a bound or a denied number in" if beyond else "more than one number in"
    return cannot_check(f"{why} the answer {answer!r} ({found.how}); reference {reference.text!r}")


def _listed_numbers(answer: str) -> list[Quantity] | None:
    """The numbers of `1331 and 1728`; None where the answer is anything but several numbers."""
    read = [read_quantity(part) for part in _LIST.split(answer) if part.strip()]
    found = [quantity for quantity in read if quantity is not None]
    return found if len(found) == len(read) > 1 else None


def _hedges(answer: str) -> bool:
    """Whether an answer offers several numbers: `12 or 13`, `3 or maybe 4 eggs`.

    `5 minutes or 300 seconds` and `5 arms and 3 legs, or 8 limbs` do not: they say one thing twice.
    """
    parts = [part.strip(" ,") for part in _HEDGE.split(answer)]
    read = [read_quantity(part) for part in parts if part]
    if len(read) < 2 or None in read:  # noqa: PLR2004  (one number is no choice)
        return False
    values = {q.values for q in read if q is not None}
    units = {q.unit for q in read if q is not None and q.unit}
    return len(values) > 1 and len(units) <= 1


def _only_number(answer: str, how: str) -> tuple[Quantity, str] | None:
    """The only number in an answer in words or of an equation."""
    if _HEDGE.search(answer):
        return None
    *before, result = re.split(r"=|≈|\\approx\b", answer)
    if before and _IN_UNKNOWNS.search(before[-1]) is None:
        quantity = read_quantity(strip_markup(result))
        if quantity is not None:
            return quantity, "right side of the last ="
    if how == "after 'answer'":
        for tail in _TAIL.finditer(answer):
            if (quantity := read_quantity(answer[: tail.start()])) is not None:
                return quantity, "what it starts with"
    # The 4 of x + 4 is not the answer, nor is the 12 of 12x or of 12 / y.
    is_formula = _looks_formal(answer) and not _is_prose(answer)
    numbers = numbers_in(answer)
    is_bound = _BEYOND.search(answer) is not None
    if len(numbers) == 1 and not (is_formula or is_bound or _FORMULA.search(answer)):
        return numbers[0], "its only number"
    return None


def _is_prose(text: str) -> bool:
    """Whether a text has too many words for a formula."""
    plain = _LATEX_NAMES.sub("", text)
    return len(_WORD.findall(plain)) >= _PROSE_WORDS or _SENTENCE.search(plain) is not None


def _looks_formal(text: str) -> bool:
    """Whether a text looks like a formula rather than like words."""
    return bool(
        re.search(_CALL.pattern + r"|[\\^_=+*/\u00d7÷√π]|\d\s*-|\d[a-z]\b|^[a-z]$", text)
    ) or not re.search(r"[A-Za-z]{2}", text)


def _same_text(answer: str, reference: str) -> bool:
    return answer.casefold() == reference.casefold() and (
        answer == reference or _WORDS.fullmatch(answer) is not None
    )


def _same_number(answer: str, reference: str) -> bool | None:
    words = {answer.casefold(), reference.casefold()}
    if any(words & pair for pair in _OPPOSITES) and len(words) > 1:
        return False if words in _OPPOSITES else None  # "yes" may stand for "true"
    if _WORDS.fullmatch(answer) and _WORDS.fullmatch(reference):
        # Two words differ for sure; "the red one" and "red" may not.
        return None if " " in answer + reference else False
    ours, theirs = read_quantity(answer), read_quantity(reference)
    if ours is None or theirs is None:
        return None
    return same_measure(ours, theirs)


def _members(text: str) -> tuple[str, list[str]] | None:
    """The kind of a collection and its parts; None where the text is a single expression."""
    if conditions_of(text) or listed_conditions(text):
        return None
    signed = both_signs(text)
    if signed is not None and "," not in text:
        return "set", list(signed)
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed is not None:
        left, inner, right_ = (part.lstrip("\\") for part in bracketed.groups())
        parts = _split(inner)
        if len(parts) > 1 and not any(c in inner for c in "()[]") and _is_balanced(inner):
            return ("set", _with_both_signs(parts)) if left == "{" else (left + right_, parts)
        if _is_balanced(inner):
            return None
    return _bare_members(text)


def _is_balanced(inner: str) -> bool:
    r"""Whether every bracket inside closes one that opens inside: not in `1\} \cup \{2`."""
    depth = 0
    for character in inner:
        depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def _bare_members(text: str) -> tuple[str, list[str]] | None:
    if read_quantity(text) is not None:
        return None
    parts = [part for part in _split(_AND.sub(",", text)) if part]
    if len(parts) > 1 and not any(_is_prose(p) or len(p.split()) > _MOST_WORDS for p in parts):
        return "set", _with_both_signs([NAMED.sub("", part) for part in parts])
    return None


def _with_both_signs(parts: Sequence[str]) -> list[str]:
    return [value for part in parts for value in (both_signs(part) or (part,))]


def _split(inner: str) -> list[str]:
    r"""Split at commas that are not inside brackets: `\frac{1,2}{3}, (4, 5)` has two parts."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(inner):
        depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(character, 0)
        if character in ",;" and not depth:
            parts.append(inner[start:index].strip())
            start = index + 1
    parts.append(inner[start:].strip())
    return parts
