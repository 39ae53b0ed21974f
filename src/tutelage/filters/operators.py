"""The operators and comparison signs of a text, in order.

Near duplicates are compared as words, in which `a + b` and `a - b` are the same. What tells the two
apart is compared here, on its own: hyphens, slashes, list bullets, Markdown and HTML tags are not
operators, so that prose is not affected.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_SAME_AS = {
    "**": "^",
    "\u2212": "-",
    "\u2013": "-",
    "\u00d7": "*",
    "\u00b7": "*",
    "\u22c5": "*",
    "\u2217": "*",
    "\u00f7": "/",
    "\u2215": "/",
    "\u2044": "/",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
    "\\le": "<=",
    "\\leq": "<=",
    "\\ge": ">=",
    "\\geq": ">=",
    "\\ne": "!=",
    "\\neq": "!=",
    "\\lt": "<",
    "\\gt": ">",
    "\\pm": "\u00b1",
    "\\cup": "\u222a",
    "\\cap": "\u2229",
    "\\in": "\u2208",
}
_SIGN = re.compile(
    r"\\(?:times|cdot|div|leq?|geq?|neq?|lt|gt|pm|cup|cap|in)(?![A-Za-z])"
    r"|<=|>=|!=|==|->|=>|\*\*|&&|\|\||<<|>>|\+\+|--|//|[-+*/^=<>%&|!()\u2013]"
    r"|(?<=\b[A-Za-z])['\u2032](?=[\s(=])"  # the prime of a derivative
    r"|[\u00b1\u00b7\u00d7\u00f7\u00ac\u2044\u2190-\u21ff\u2200-\u22ff]"
)
_SUPERSCRIPTS = re.compile("([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)")
_NOT_A_FORMULA = re.compile(
    r"</?[a-z][a-z0-9]*(?:\s+[\w-]+=(?:\"[^\"]*\"|'[^']*'))*\s*/?>"  # tags
    r"|^[ \t]*(?:>+|[-*+])(?=\s)"  # quotes and bullets
    r"|([-=*+|~_])\1{2,}"  # rules
    r"|\b\w+://\S+",  # addresses
    re.MULTILINE | re.IGNORECASE,
)
_TABLE_ROW = re.compile(r"^[ \t]*\|.*$", re.MULTILINE)
_ANYWHERE = frozenset("+=<>^'") | {"<=", ">=", "!=", "==", "->", "=>", "&&", "||", "<<", ">>", "++"}
_NEGATIVE = "negative"
"""The sign of a number, as against the operator."""
_AROUND = frozenset("+-*/^<>=")
_NEAR = 20
"""Characters around a sign that are looked at."""


def operators_of(text: str) -> tuple[str, ...]:
    """The operators and comparison signs of a text, in order; different spellings are one.

    A minus sign, a slash or an asterisk only counts between numbers, single letters and brackets,
    or as the sign of a number.

    Examples:
        >>> operators_of("Solve x^2 - 4x + 5 = 0, with x \u2265 1/2.")
        ('^', '-', '+', '=', '>=', '/')
        >>> operators_of("- A well-known and/or *old* problem")
        ()
    """
    text = _SUPERSCRIPTS.sub(r"^\1 ", text)
    text = _TABLE_ROW.sub(lambda row: row[0].replace("|", " "), text)
    return tuple(_signs(_NOT_A_FORMULA.sub(" ", text)))


def _signs(text: str) -> Iterator[str]:
    for match in _SIGN.finditer(text):
        sign = _SAME_AS.get(match[0], match[0])
        if match[0] == "**":
            sign = "^" if _is_operator("**", match) else ""
        elif not (sign in _ANYWHERE or not sign.isascii() or _is_operator(sign, match)):
            sign = ""
        if sign:
            yield _NEGATIVE if sign == "-" and not _ends_as_operand(_before(match)) else sign


def _before(match: re.Match[str]) -> str:
    return match.string[max(match.start() - _NEAR, 0) : match.start()].rstrip()


def _is_prefix(before: str, after: str) -> bool:
    """Whether a sign stands tight in front of a word, as in `!done`."""
    return after[:1].isalpha() and not before[-1:].isalnum()


def _is_operator(sign: str, match: re.Match[str]) -> bool:
    """Whether what stands around a sign makes it an operator."""
    before = match.string[max(match.start() - _NEAR, 0) : match.start()]
    after = match.string[match.end() : match.end() + _NEAR]
    left, right = before.rstrip(), after.lstrip()
    ends, starts = _ends_as_operand(left), _starts_as_operand(right)
    is_first = not before[-1:].isalnum() and before[-1:] not in {")", "]", "-"}
    rules = {
        "(": left[-1:] in _AROUND and starts,
        ")": right[:1] in _AROUND and ends,
        "%": left[-1:].isdigit(),
        "!": (ends and right[:1] in {*_AROUND, ")"}) or _is_prefix(before, after),
        "|": (ends and starts) or after[:1].isalnum() or after[:1] == "-" or before[-1:].isalnum(),
        "--": before[-1:].isalnum() != after[:1].isalnum(),
        "-": (ends and starts) or (is_first and after[:1].isdigit()),
        "*": (ends and starts) or (before[-1:] == after[:1] == " "),
    }
    return rules.get(sign, ends and starts)


def _ends_as_operand(text: str) -> bool:
    return bool(re.search(r"(?:\d|[)\]}]|(?<![^\W\d_])[^\W\d_])[!$`]?$", text))


def _starts_as_operand(text: str) -> bool:
    return bool(re.match(r"[-$`]?(?:\d|[(\[{\\]|\.\d|[^\W\d_](?![^\W\d_]))", text))


def operator_similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two lists of operators are: shared neighbours over all neighbours, in [0, 1].

    1 means the same operators in the same order, or none on either side.

    Examples:
        >>> operator_similarity("+-=", "+-=")
        1.0
        >>> operator_similarity("+", "-")
        0.0
        >>> operator_similarity("^+-=", "^-+=")
        0.25
    """
    if tuple(one) == tuple(other):
        return 1.0
    first, second = (Counter(zip(["", *s], [*s, ""], strict=True)) for s in (one, other))
    return sum((first & second).values()) / sum((first | second).values())
