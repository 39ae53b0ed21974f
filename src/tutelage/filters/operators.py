"""The operators and comparison signs of a text, in order.

Duplicates are compared as words, so `a + b` and `a - b` would be the same. Operators are therefore
compared here, separately. Hyphens, slashes, list bullets, Markdown and HTML tags are not operators,
so prose is not affected.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_ONE_SPELLING = {
    "^": ("**",),
    "-": ("\u2212", "\u2013"),
    "*": ("\u00d7", "\u00b7", "\u22c5", "\u2217", "\\times", "\\cdot", "\\ast"),
    "/": ("\u00f7", "\u2215", "\u2044", "\\div"),
    "<=": ("\u2264", "\u2a7d", "\\le", "\\leq", "\\leqslant"),
    ">=": ("\u2265", "\u2a7e", "\\ge", "\\geq", "\\geqslant"),
    "!=": ("\u2260", "\\ne", "\\neq", "<>"),
    "<": ("\\lt",),
    ">": ("\\gt",),
    "\u00b1": ("\\pm",),
    "\u2213": ("\\mp",),
    "\u2248": ("\\approx",),
    "\u223c": ("\\sim",),
    "\u2245": ("\\cong",),
    "\u2261": ("\\equiv",),
    "\u221d": ("\\propto",),
    "\u222a": ("\\cup", "\\bigcup"),
    "\u2229": ("\\cap", "\\bigcap"),
    "\u2216": ("\\setminus", "\\smallsetminus"),
    "\u2208": ("\\in",),
    "\u2209": ("\\notin",),
    "\u220b": ("\\ni",),
    "\u2282": ("\\subset",),
    "\u2286": ("\\subseteq",),
    "\u2283": ("\\supset",),
    "\u2287": ("\\supseteq",),
    "\u2227": ("\\land", "\\wedge", "\\bigwedge"),
    "\u2228": ("\\lor", "\\vee", "\\bigvee"),
    "\u00ac": ("\\lnot", "\\neg"),
    "\u2200": ("\\forall",),
    "\u2203": ("\\exists",),
    "\u2204": ("\\nexists",),
    "\u2295": ("\\oplus",),
    "\u2297": ("\\otimes",),
    "\u2296": ("\\ominus",),
    "\u2299": ("\\odot",),
    "\u2223": ("\\mid",),
    "\u2224": ("\\nmid",),
    "\u2225": ("\\parallel",),
    "\u22a5": ("\\perp",),
    "\u22a2": ("\\vdash",),
    "\u22a8": ("\\models", "\\vDash"),
    "\u2218": ("\\circ",),
    "\u221a": ("\\sqrt",),
    "\u2211": ("\\sum",),
    "\u220f": ("\\prod",),
    "\u222b": ("\\int",),
    "\u222e": ("\\oint",),
    "\u2202": ("\\partial",),
    "\u2207": ("\\nabla",),
    "->": ("\u2192", "\\to", "\\rightarrow", "\\longrightarrow"),
    "<-": ("\u2190", "\\leftarrow", "\\gets"),
    "=>": ("\u21d2", "\\Rightarrow", "\\implies"),
    "\u21d4": ("\\Leftrightarrow", "\\iff"),
    "\u2194": ("\\leftrightarrow",),
    "\u21a6": ("\\mapsto",),
    "not": ("\\not",),
}
_SAME_AS = {other: one for one, others in _ONE_SPELLING.items() for other in others}
_COMMANDS = "|".join(
    sorted((name[1:] for name in _SAME_AS if name[0] == "\\"), key=len, reverse=True)
)
_OPERAND = r"[-+]?(?:\d+(?:\.\d+)?|[A-Za-z]|\\infty|\u221e)"
_SIGN = re.compile(
    rf"\\(?:{_COMMANDS})(?![A-Za-z])"
    rf"|[(\[]\s*{_OPERAND}\s*[,;]\s*{_OPERAND}\s*[)\]]"  # an interval or a pair
    r"|<=|>=|!=|==|:=|(?:<<|>>|\*\*|//|[-+*/%&|^])=(?!=)"
    r"|<-(?![\d-])|->|=>|\*\*|&&|\|\||<<|>>|\+\+|--|//|\?\?|\?:|(?<=\s)<>(?=\s)"
    r"|(?<!\.)\.\.(?!\.)|\.(?=\d)"
    r"|[-+*/^=<>%&|!()~@#\u2013]"
    r"|(?<=\b[A-Za-z])['\u2032](?=[\s(=])"  # the prime of a derivative
    r"|[\u00b1\u00b7\u00d7\u00f7\u00ac\u2044\u2190-\u21ff\u2200-\u22ff\u2a7d\u2a7e]"
)
_SUPERSCRIPTS = re.compile("([\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]+)")
_RAISED_SIGNS = str.maketrans("\u207a\u207b", "+-")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""The full-width forms that Chinese and Japanese texts use for ASCII signs."""
_NOT_A_FORMULA = re.compile(
    r"</?[a-z][a-z0-9]*(?:\s+[\w-]+=(?:\"[^\"]*\"|'[^']*'))*\s*/?>"  # tags
    r"|^[ \t]*(?:>+|[-*+]|\#{1,6})(?=\s)"  # quotes, bullets and headings
    r"|([-=*+|~_#.])\1{2,}"  # rules and ellipses
    r"|\b\w+://\S+",  # addresses
    re.MULTILINE | re.IGNORECASE,
)
_TABLE_ROW = re.compile(r"^[ \t]*\|.*$", re.MULTILINE)
_ANYWHERE = frozenset(
    (
        *("+", "=", "<", ">", "^", "'", "<=", ">=", "!=", "==", ":=", "->", "=>", "<-", "not"),
        *("&&", "||", "<<", ">>", "++", "??", "?:", ".."),
    )
)
_NEGATIVE = "negative"
"""The sign of a number, as against the operator."""
_AROUND = frozenset("+-*/^<>=")
_NEAR = 20
"""Characters around a sign that are looked at."""
_CLOSING_STAR = re.compile(r"[^\s*(,]\*{1,2}(?!\w)")


def operators_of(text: str) -> tuple[str, ...]:
    """The operators and comparison signs of a text, in order; different spellings are one.

    A minus sign or an asterisk only counts between numbers, single letters, names with underscores
    and brackets, or as a sign in front of one of them.

    Examples:
        >>> operators_of("Solve x^2 - 4x + 5 = 0, with x \u2265 1/2.")
        ('^', '-', '+', '=', '>=', '/')
        >>> operators_of("- A well-known and/or *old* problem")
        ()
    """
    text = text.translate(_WIDE)
    text = _SUPERSCRIPTS.sub(lambda raised: f"^{raised[0].translate(_RAISED_SIGNS)} ", text)
    text = _TABLE_ROW.sub(lambda row: row[0].replace("|", " "), text)
    return tuple(_signs(_NOT_A_FORMULA.sub(" ", text)))


def _signs(text: str) -> Iterator[str]:
    for match in _SIGN.finditer(text):
        found = match[0]
        if found[0] in "([" and len(found) > 1:
            yield from _pair(found)
            continue
        sign = _SAME_AS.get(found, found)
        if found == "**":
            sign = "^" if _is_operator("**", match) else "**" if _is_prefix_star(match) else ""
        elif not (_counts_anywhere(sign) or _is_operator(sign, match)):
            sign = ""
        if sign:
            yield _NEGATIVE if sign == "-" and not _ends_as_operand(_before(match)) else sign


def _counts_anywhere(sign: str) -> bool:
    return sign in _ANYWHERE or not sign.isascii() or (len(sign) > 1 and sign[-1] == "=")


def _pair(text: str) -> Iterator[str]:
    """Brackets of an interval as one sign, and the text inside them."""
    yield f"{text[0]},{text[-1]}"
    yield from _signs(text[1:-1].replace(",", " , "))


def _before(match: re.Match[str]) -> str:
    return match.string[max(match.start() - _NEAR, 0) : match.start()].rstrip()


def _is_prefix(before: str, after: str) -> bool:
    """Whether a sign directly precedes a word, as in `!done`."""
    return (after[:1].isalpha() or after[:1] in "_(") and not before[-1:].isalnum() and after != ""


def _is_prefix_star(match: re.Match[str]) -> bool:
    """Whether asterisks precede a name, as in `*args`, and do not start an emphasis."""
    before = match.string[max(match.start() - 1, 0) : match.start()]
    after = match.string[match.end() : match.end() + 1]
    if before.isalnum() or before in {")", "*", "_"} or not (after.isalpha() or after == "_"):
        return False
    end = match.string.find("\n", match.end())
    rest = match.string[match.end() : end if end >= 0 else None]
    return _CLOSING_STAR.search(rest) is None


def _is_operator(sign: str, match: re.Match[str]) -> bool:
    """Whether the text around a sign makes it an operator."""
    before = match.string[max(match.start() - _NEAR, 0) : match.start()]
    after = match.string[match.end() : match.end() + _NEAR]
    left, right = before.rstrip(), after.lstrip()
    ends, starts = _ends_as_operand(left), _starts_as_operand(right)
    is_first = not before[-1:].isalnum() and before[-1:] not in {")", "]", "-"}
    spaced = before[-1:] == after[:1] == " "
    factorial = ends and before[-1:].isalnum() and not after[:1].isalnum()
    rules = {
        "(": left[-1:] in _AROUND and starts,
        ")": right[:1] in _AROUND and ends,
        "%": left[-1:].isdigit(),
        "!": (ends and right[:1] in {*_AROUND, ")"}) or factorial or _is_prefix(before, after),
        "|": (ends and starts) or after[:1].isalnum() or after[:1] == "-" or before[-1:].isalnum(),
        "--": before[-1:].isalnum() != after[:1].isalnum(),
        "-": (ends and starts) or (is_first and _starts_as_operand(after)) or before[-1:] == "^",
        "*": (ends and starts) or spaced or _is_prefix_star(match),
        "/": (ends and starts) or spaced,
        "&": (ends and starts) or _is_prefix(before, after),
        "~": after[:1].isalnum() and not before[-1:].isalnum(),
        "#": ends and before[-1:].isalpha(),
        ".": not before[-1:].isalpha(),
    }
    return rules.get(sign, ends and starts)


def _ends_as_operand(text: str) -> bool:
    return bool(re.search(r"(?:\d|[)\]}]|\w_\w+|(?<![^\W\d_])[^\W\d_])[!$`]?$", text))


def _starts_as_operand(text: str) -> bool:
    return bool(re.match(r"[-$`]?(?:\d|[(\[{\\]|\.\d|\w+_\w|[^\W\d_](?![^\W\d_]))", text))


def operator_similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """Similarity of two lists of operators: shared neighbours over all neighbours, in [0, 1].

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
