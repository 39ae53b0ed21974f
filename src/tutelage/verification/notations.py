"""Answers in special notations: a number base, a time of day, a ratio, several units."""

import re
from fractions import Fraction

from tutelage.verification.number_parsing import Quantity, read_quantity

_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16, "binary": 2, "octal": 8,
    "decimal": 10, "hexadecimal": 16,
}  # fmt: skip
_SUBSCRIPTS = str.maketrans(
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789"
)
_PREFIXED = re.compile(r"(-?)0([xob])([0-9a-f]+)", re.IGNORECASE)
_BASES = {"x": 16, "o": 8, "b": 2}
_BASED = re.compile(
    r"(-?)\(?([0-9A-Za-z]+)\)?\s*"
    r"(?:_\s*\{?\s*\(?([0-9]+|[a-z]+)\)?\s*\}?"
    r"|,?\s*\(?(?:in\s+)?base[\s-]*_?\{?([0-9]+|[a-z]+)\}?\)?"
    r"|\s+in\s+(binary|octal|decimal|hexadecimal))"
)
_TIME = re.compile(
    r"(\d{1,2}):([0-5]\d)(?::[0-5]\d)?\s*(?:(a|p)\.?\s?m\.?)?|(\d{1,2})\s*(a|p)\.?\s?m\.?",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d{1,2}:[0-5]\d(?::[0-5]\d)?")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+")
_PART = re.compile(r"\d[\d,.]*(?:/\d+)?\s*[A-Za-z$\u00a2]+\.?")
_JOINED_PARTS = re.compile(rf"({_PART.pattern})(?:\s*(?:,|and|,\s*and)?\s*({_PART.pattern}))+")
_NOON = 12
_GREATEST_BASE = 36


def read_based(text: str) -> tuple[int, str] | None:
    r"""Parse a number that names its base.

    Examples:
        >>> read_based("42_8")
        (34, '42')
        >>> read_based(r"101_{two}")
        (5, '101')
        >>> read_based("42") is None
        True
    """
    text = re.sub(
        "[\u2080-\u2089]+", lambda m: "_" + m[0].translate(_SUBSCRIPTS), text.strip().rstrip(".")
    )
    prefixed = _PREFIXED.fullmatch(text)
    if prefixed is not None:
        sign, letter, digits = prefixed.groups()
        return _valued(sign, digits, _BASES[letter.lower()])
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    sign, digits, *named = match.groups()
    name = next(n for n in named if n is not None)
    base = int(name) if name.isdecimal() else _BASE_WORDS.get(name, 0)
    return _valued(sign, digits, base)


def _valued(sign: str, digits: str, base: int) -> tuple[int, str] | None:
    if not 2 <= base <= _GREATEST_BASE:  # noqa: PLR2004  (the least base)
        return None
    try:
        return int(sign + digits, base), sign + digits.upper()
    except ValueError:
        return None  # x_1, or a digit that the base does not have


def same_based(one: str, other: str) -> bool | None:
    """Compare two numbers where at least one names its base.

    Returns:
        None where only the digits are the same: the other may leave its base unsaid.
    """
    ours, theirs = read_based(one), read_based(other)
    if ours is not None and theirs is not None:
        return ours[0] == theirs[0]
    based, plain = (ours, other) if ours is not None else (theirs, one)
    if based is None:
        return None
    quantity = read_quantity(plain)
    if quantity is not None and Fraction(based[0]) in quantity.values:
        return True
    if plain.strip().upper() == based[1]:
        return None
    return False if quantity is not None else None


def same_time_or_ratio(  # noqa: PLR0911  (one return a kind of notation)
    one: str, other: str
) -> bool | None:
    """Compare two times of day, scores or ratios; None where this cannot be decided.

    `4:6` may be the ratio `2:3` and may be a score that is not 2:3. A time without am or pm may be
    either.
    """
    ours, theirs = (re.sub(r"\s", "", text).casefold().replace(".", "") for text in (one, other))
    if ours == theirs:
        return True
    mine, yours = _minutes(one), _minutes(other)
    if mine is not None and yours is not None and (_has_half(one) or _has_half(other)):
        (first, first_known), (second, second_known) = mine, yours
        if first == second:
            return True if first_known and second_known else None
        both = first_known and second_known
        return None if not both and (first - second) % (_NOON * 60) == 0 else False
    if not (_RATIO.fullmatch(one) and _RATIO.fullmatch(other)):
        return None
    if _CLOCK.fullmatch(one) and _CLOCK.fullmatch(other):
        return False
    parts = [[Fraction(p) for p in re.findall(r"[\d.]+", text)] for text in (one, other)]
    if len(parts[0]) != len(parts[1]) or 0 in (parts[0][0], parts[1][0]):
        return False
    scaled = [[p / row[0] for p in row] for row in parts]
    return None if scaled[0] == scaled[1] else False


def is_time_or_ratio(text: str) -> bool:
    """Whether a text is a time of day, a score or a ratio in digits."""
    return bool(_RATIO.fullmatch(text) or _TIME.fullmatch(text))


def _has_half(text: str) -> bool:
    return re.search(r"[ap]\.?\s?m\.?\s*$", text, re.IGNORECASE) is not None


def _minutes(text: str) -> tuple[int, bool] | None:
    """Minutes since midnight, and whether am or pm is known."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hour, half = int(match[1] or match[4]), (match[3] or match[5] or "").casefold()
    if half:
        hour = hour % _NOON + (_NOON if half == "p" else 0)
    return hour * 60 + int(match[2] or 0), bool(half) or hour > _NOON or match[0].startswith("0")


def read_parts(text: str) -> Quantity | None:
    """Parse a quantity in several units, such as `2 hours 30 minutes`, into the smallest one.

    Examples:
        >>> read_parts("2 hours and 30 minutes").values
        (Fraction(150, 1),)
        >>> read_parts("2 hours and 30 apples") is None
        True
    """
    if _JOINED_PARTS.fullmatch(text.strip()) is None:
        return None
    parts = [read_quantity(part) for part in _PART.findall(text)]
    read = [part for part in parts if part is not None]
    if len(read) != len(parts) or any(len(part.values) != 1 for part in read):
        return None
    last = read[-1]
    for unit in last.units:
        alike = [[u for u in part.units if u.kind == unit.kind] for part in read]
        if all(alike):
            factors = [units[0].factor for units in alike]
            if factors != sorted(factors, reverse=True) or len(set(factors)) != len(factors):
                return None
            total = sum(p.values[0] * f for p, f in zip(read, factors, strict=True)) / unit.factor
            return Quantity(
                values=(total,), exact=all(p.exact for p in read), text=text, unit=last.unit
            )
    return None
