r"""Conversion of plain-text formulas to LaTeX: `sqrt(2)/2`, `pi/2`, `x <= 3`.

People and models write `pi` and `sqrt(2)` where LaTeX has `\pi` and `\sqrt{2}`; a parser of LaTeX
takes the letters for unknowns.
"""

import math
import re

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
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "0123456789"
)
_SUPERSCRIPT = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
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
    # Dollar signs that are left are money: they would end the formula where they stand.
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
