r"""Notations of answers: formulas in plain text, number bases, times of day, ratios, several units.

People and models write `pi` and `sqrt(2)` where LaTeX has `\pi` and `\sqrt{2}`; a parser of LaTeX
takes the letters for unknowns, so `sqrt(2)/2`, `pi/2` and `x <= 3` are converted to LaTeX.
"""

import math
import re
from fractions import Fraction

from tutelage.verification.number_parsing import Quantity, read_quantity, same_measure, units_of

_SIGNS = (
    ("\u221a", "\\sqrt "),
    ("\u03c0", "\\pi "),
    ("\u00d7", "\\times "),
    ("\u00f7", "\\div "),
    ("\u221e", "\\infty "),
    ("\u222a", "\\cup "),
    ("\u2229", "\\cap "),
    ("\u2264", "\\le "),
    ("\u2265", "\\ge "),
    ("\u2260", "\\neq "),
    ("\u2208", "\\in "),
    ("\u2212", "-"),
    ("\u2013", "-"),
    ("<=", "\\le "),
    (">=", "\\ge "),
    ("!=", "\\neq "),
    ("**", "^"),
    ("\\varnothing", "\\emptyset"),
    ("\u2205", "\\emptyset "),
)
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-"
)
_SUPERSCRIPT = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_CONSTANTS = re.compile(
    r"(?<![\\A-Za-z])(pi|infinity|inf|oo|theta|alpha|beta|gamma|lambda|phi)(?![A-Za-z])"
)
_FUNCTIONS = re.compile(
    r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp)"
    r"(?=[\s(\d^_]|[a-z](?![a-z]))"
)
_INVERSES = re.compile(r"(?<![\\A-Za-z])a(sin|cos|tan)(?![A-Za-z])")
_BARE_ROOT = re.compile(r"(?<![\\A-Za-z])(sqrt|cbrt)\s*(\d+(?:\.\d+)?|[a-z](?![A-Za-z]))")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d)(?!\d)")
_OF_DEGREES = re.compile(
    r"\\?(sin|cos|tan|cot|sec|csc)\s*[({]?\s*(-?\d+(?:\.\d+)?)\s*\u00b0\s*[)}]?"
)
_CHOICES = re.compile(r"(?<![\\A-Za-z])C\((\d+),\s*(\d+)\)|(?<![\w.])(\d+)C(\d+)(?!\w)")
_CHINESE_CHOICES = re.compile(
    r"(?:\{\}\s*)?_\s*\{?(\d+)\}?\s*C\s*_\s*\{?(\d+)\}?|(?<![A-Za-z\\])C_\{?(\d+)\}?\^\{?(\d+)\}?"
)
_DIVISORS = re.compile(r"\\?(gcd|lcm)\s*\(\s*(\d{1,30}(?:\s*,\s*\d{1,30})+)\s*\)")
_ARRANGEMENTS = re.compile(r"(?<![A-Za-z\\])A_\{?(\d+)\}?\^\{?(\d+)\}?")
_PYTHON_COMPLEX = re.compile(r"(?<![A-Za-z\\.\d])(\d+(?:\.\d+)?)j(?![A-Za-z])")
_ROOT = re.compile(r"\\?(sqrt|cbrt|abs|floor|ceil)\s*\(")
_GROUPED_POWER = re.compile(r"\^\s*\(")
_LONG_POWER = re.compile(r"\^\s*(-?\d+(?:\.\d+)?)(?![\d}])")
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])")
_ROWS = re.compile(r"\[\s*(\[[^\[\]]*\]\s*(?:,\s*\[[^\[\]]*\]\s*)*)\]")
_LATEX_NAMES = {"inf": "infty", "infinity": "infty", "oo": "infty"}
_PLUS_MINUS = re.compile(r"\\pm\b\s*|\u00b1\s*|\+/-\s*")


def as_latex(text: str) -> str:
    r"""LaTeX of a formula; LaTeX input is unchanged.

    Examples:
        >>> as_latex("sqrt(2)/2 + pi")
        '\\sqrt{2}/2 + \\pi '
        >>> as_latex("x^10 <= 3")
        'x^{10} \\le  3'
    """
    for plain, latex in _SIGNS:
        text = text.replace(plain, latex)
    text = _SUPERSCRIPT.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _SCIENTIFIC.sub(lambda m: f"{m[1]}\\cdot 10^{{{int(m[2])}}}", text)
    text = _ROWS.sub(_matrix, text)
    text = _OF_DEGREES.sub(r"\\\1(\\frac{\2\\pi}{180})", text)
    text = _CHOICES.sub(lambda m: f"\\binom{{{m[1] or m[3]}}}{{{m[2] or m[4]}}}", text)
    text = _CHINESE_CHOICES.sub(lambda m: f"\\binom{{{m[1] or m[3]}}}{{{m[2] or m[4]}}}", text)
    text = _ARRANGEMENTS.sub(r"\\frac{\1!}{(\1-\2)!}", text)
    text = _DIVISORS.sub(_divisor, text)
    text = _PYTHON_COMPLEX.sub(r"\1i", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _INVERSES.sub(r"arc\1", text)
    text = _BARE_ROOT.sub(r"\1(\2)", text)
    text = _CONSTANTS.sub(lambda m: "\\" + _LATEX_NAMES.get(m[1], m[1]) + " ", text)
    for _ in range(20):  # innermost calls last; each round rewrites one
        match = _ROOT.search(text)
        if match is None:
            break
        text = _braced(text, match)
    for _ in range(20):
        match = _GROUPED_POWER.search(text)
        if match is None:
            break
        inner, end = _group(text, match.end())
        text = f"{text[: match.start()]}^{{{inner}}}{text[end:]}"
    text = _LONG_POWER.sub(lambda m: f"^{{{m[1]}}}", text)
    text = _FUNCTIONS.sub(r"\\\1", text)
    text = re.sub(r"\)\s*U\s*(?=[(\[])|\]\s*U\s*(?=[(\[])", lambda m: m[0][0] + "\\cup ", text)
    # Dollar signs that are left are money: they would end the formula.
    text = text.replace("\\$", "").replace("$", "").replace("*", "\\cdot ")
    return re.sub(r"(?<!\\)%", r"\\%", text)


def both_signs(text: str) -> tuple[str, str] | None:
    r"""Two values of an expression with plus-or-minus, or None without one.

    Examples:
        >>> both_signs(r"3 \pm \sqrt{5}")
        ('3 +\\sqrt{5}', '3 -\\sqrt{5}')
    """
    if _PLUS_MINUS.search(text) is None:
        return None
    plus = _PLUS_MINUS.sub("+", text).strip()
    return plus.removeprefix("+"), _PLUS_MINUS.sub("-", text).strip()


def _divisor(match: re.Match[str]) -> str:
    """The greatest common divisor of numbers, or their least common multiple."""
    numbers = [int(number) for number in match[2].split(",")]
    return str(math.gcd(*numbers) if match[1] == "gcd" else math.lcm(*numbers))


def _matrix(match: re.Match[str]) -> str:
    rows = re.findall(r"\[([^\[\]]*)\]", match[1])
    body = "\\\\".join(" & ".join(row.split(",")) for row in rows)
    return f"\\begin{{pmatrix}}{body}\\end{{pmatrix}}"


def _braced(text: str, match: re.Match[str]) -> str:
    inner, end = _group(text, match.end())
    latex = {
        "sqrt": "\\sqrt{%s}",
        "cbrt": "\\sqrt[3]{%s}",
        "abs": "|%s|",
        "floor": "\\lfloor %s \\rfloor",
        "ceil": "\\lceil %s \\rceil",
    }[match[1]]
    return text[: match.start()] + latex % inner + text[end:]


def _group(text: str, start: int) -> tuple[str, int]:
    """Content of a bracket that opens before `start`, and its end."""
    depth = 1
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if not depth:
            return text[start:index], index + 1
    return text[start:], len(text)


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
    r"|\s*\(?(?:in\s+)?(binary|octal|decimal|hexadecimal)\)?)"
)
_TIME = re.compile(
    r"(\d{1,2}):([0-5]\d)(?::[0-5]\d)?\s*(?:(a|p)\.?\s?m\.?)?|(\d{1,2})\s*(a|p)\.?\s?m\.?",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d{1,2}:[0-5]\d(?::[0-5]\d)?")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+")
_PART = re.compile(r"\d[\d,.]*(?:/\d+)?\s*[A-Za-z$\u00a2]+\.?")
_JOINED_PARTS = re.compile(rf"({_PART.pattern})(?:\s*(?:,|and|,\s*and)?\s*({_PART.pattern}))+")
_NO_VALUE = re.compile(
    r"dne|undefined|not defined|do(?:es)? not exist|none|nonexistent|no (?:real )?solutions?|"
    r"no (?:limit|value|such \w+)|diverges|\\emptyset|impossible|n/?a",
    re.IGNORECASE,
)
"""Ways to say that there is no answer, which may be the same or not."""
_UNIT = r"[A-Za-z\u00b5\u03a9]+(?:\^?\{?-?\d\}?)?"
_COMPOUND = re.compile(
    rf"(-?\d[\d.,]*)\s*({_UNIT}(?:(?:\s*(?:/|\\cdot|\u00b7|\*)\s*|\s+){_UNIT})+)"
)
_SYMBOLS = ("N", "Pa", "V", "A", "mol", "K", "J", "W", "C", "Hz")
_LETTERED = re.compile(
    r"\(([A-E])\)\s*(?=[\w\\$.-])(?!\\(?:cup|cap|in|times|cdot)\b)(.+)", re.DOTALL
)
"""An answer behind the letter of its choice."""
_FAMILY = re.compile(
    r"[,;(]?\s*(?:where\s+|for\s+)?\(?([a-z])\s*(?:\\in\b|\u2208)\s*\\?(?:mathbb)?\s*\{?[ZN\u2124\u2115]\}?\)?$"
)
"""Behind a formula for all solutions, such as 2k\\pi."""
_PERMUTATIONS = re.compile(r"(?<![A-Za-z\\])[ABD-Z]\(\d+,\s*\d+\)|P_\{?\d")
_CAPITALS = re.compile(r"[A-Z]{2,5}")
_DECIMAL_COMMA = re.compile(r"-?(?:\d+|\d{1,3}(?:[. \u00a0\u202f]\d{3})+),\d+")
_RADIANS = re.compile(r"\brad(?:ian)?s?\b", re.IGNORECASE)
_DEGREES = re.compile(r"\u00b0|\bdeg(?:ree)?s?\b", re.IGNORECASE)
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


_RESIDUE = re.compile(
    r"(?:[a-z]\s*(?:\\equiv|\u2261)\s*)?(-?\d+)\s*\(?\s*(?:\\[pb]?mod|mod)\b\s*\{?\s*(\d+)\s*\}?\s*\)?"
)


def is_residue(text: str) -> bool:
    r"""Whether a text is a number modulo another one, such as `x \equiv 2 \pmod 5`."""
    return _RESIDUE.fullmatch(text.strip()) is not None


def same_residue(one: str, other: str) -> bool | None:
    """Compare two numbers of which one is given modulo another number.

    Returns:
        None where a plain number is congruent but not the least remainder.
    """
    ours, theirs = (_RESIDUE.fullmatch(text.strip()) for text in (one, other))
    if ours is not None and theirs is not None:
        modulus = int(ours[2])
        if modulus != int(theirs[2]) or not modulus:
            return False
        return (int(ours[1]) - int(theirs[1])) % modulus == 0
    residue, plain = (ours, other) if ours is not None else (theirs, one)
    quantity = read_quantity(plain)
    if residue is None or quantity is None or not int(residue[2]):
        return None
    value, modulus = int(residue[1]), int(residue[2])
    if quantity.values[0] in (value, value % modulus):
        return True
    return None if (quantity.values[0] - value) % modulus == 0 else False


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


def without_letters(answer: str, target: str) -> tuple[str, str]:
    """Compare `(B) 42` with `B` by the letter, and with `42` by the value."""
    ours, theirs = _LETTERED.fullmatch(answer), _LETTERED.fullmatch(target)
    if ours is not None and theirs is not None:
        return (answer, target) if ours[2] == theirs[2] else (ours[1], theirs[1])
    by_letter = any(re.fullmatch(r"\(?[A-E]\)?", text) for text in (answer, target))
    group = 1 if by_letter else 2
    return (
        answer.strip("()")
        if ours is None and by_letter
        else answer
        if ours is None
        else ours[group],
        target.strip("()")
        if theirs is None and by_letter
        else target
        if theirs is None
        else theirs[group],
    )


def compare_notations(  # noqa: PLR0911  (one return a notation)
    answer: str, target: str
) -> tuple[bool | None] | None:
    """Verdict on notations that are not formulas, as a tuple of one; otherwise None."""
    if is_time_or_ratio(answer) and is_time_or_ratio(target):
        return (same_time_or_ratio(answer, target),)
    if is_residue(answer) or is_residue(target):
        return (same_residue(answer, target),)
    if _NO_VALUE.fullmatch(answer) and _NO_VALUE.fullmatch(target):
        return (answer.casefold() == target.casefold() or None,)
    if _CAPITALS.fullmatch(answer) and sorted(answer) == sorted(target) and answer != target:
        return (None,)  # AB and BA: a segment, a product, a word
    for text, other in ((answer, target), (target, answer)):
        number = _number_of_compound(text)
        plain = None if number is None else read_quantity(other)
        if number is not None and plain is not None and not (plain.unit or plain.currency):
            return (same_measure(number, plain),)
    families = [_FAMILY.search(text) for text in (answer, target)]
    if any(families):
        renamed = {
            _renamed(text, match) for match, text in zip(families, (answer, target), strict=True)
        }
        return (True if len(renamed) == 1 else None,)
    both = f"{answer} {target}"
    unsure = (
        (_RADIANS.search(both) and _DEGREES.search(both))
        or (_PERMUTATIONS.search(both) and answer != target)
        or _differ_by_comma(answer, target)
    )
    return (None,) if unsure else None


def _renamed(text: str, family: re.Match[str] | None) -> str:
    """A family of solutions whose integer is called k."""
    if family is None:
        return text
    name = rf"(?<![A-Za-z\\]){family[1]}(?![A-Za-z])"
    return re.sub(name, "k", text[: family.start()]).replace(" ", "")


def _differ_by_comma(answer: str, target: str) -> bool:
    """Whether the two are one number if a comma is a decimal point, as in 12,5 and 12.5."""
    for text, other in ((answer, target), (target, answer)):
        quantity = read_quantity(other)
        if quantity is not None and _DECIMAL_COMMA.fullmatch(text):
            pointed = Fraction(re.sub(r"[.\s]", "", text).replace(",", "."))
            if pointed in quantity.values and text != other:
                return True
    return False


def is_compound(text: str) -> bool:
    """Whether a text is a number with a unit made of several, such as `10 kg m/s^2`."""
    return _number_of_compound(text) is not None


def _number_of_compound(text: str) -> Quantity | None:
    match = _COMPOUND.fullmatch(text) if read_quantity(text) is None else None
    names = [] if match is None else re.findall("[A-Za-z\u00b5\u03a9]+", match[2])
    if match is None or not all(units_of(n) or n in _SYMBOLS for n in names):
        return None
    return read_quantity(match[1])


def has_unit(text: str) -> bool:
    """Whether a text is a number with something behind it."""
    quantity = read_quantity(text)
    return is_compound(text) if quantity is None else bool(quantity.unit)
