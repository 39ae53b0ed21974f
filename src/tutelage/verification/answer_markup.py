"""Answers and references without what only tells how they look: delimiters, spacing, names."""

import re
import unicodedata
from collections.abc import Callable

_NO_FACTOR = r"(?![A-Za-z]|\s*(?:[abcinpqrtuvxyz](?![A-Za-z])|\\[a-z]|\())"
"""What follows a fraction that may be written with a slash: 1/2x could be read as 1/(2x)."""
_OF_REALS = r"(?:(?:\\in\b|\u2208)\s*(?:\\mathbb\s*\{?R\}?|\u211d)\s*)?"
_NOTHING = re.compile(
    r"^(?:there (?:is|are) )?no (?:real )?solutions?$|^(?:the )?empty set$|^\\?\{\s*\\?\}$",
    re.IGNORECASE,
)
_ALL_REALS = re.compile(
    r"^(?:the )?(?:set of )?(?:all )?real(?: number)?s$"
    r"|^\w\s*(?:\\in\b|\u2208)\s*(?:\\mathbb\s*\{?R\}?|\u211d)$",
    re.IGNORECASE,
)
_REALS = r"(?:\\mathbb\s*\{?R\}?|\u211d)\s*"
_MARKUP: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?<=\d),\\!\s*(?=\d{3}(?!\d))"), ","),  # 11,\! 111
    (
        re.compile(
            r"\\begin\s*\{(cases|aligned|align\*?|gathered|split|equation\*?)\}(.*?)\\end\s*\{\1\}",
            re.DOTALL,
        ),
        lambda m: ", ".join(
            p.strip(" ,;&") for p in m[2].replace("&", "").split("\\\\") if p.strip()
        ),
    ),
    (re.compile(r"\\num\s*\{([^{}]*)\}"), r"\1"),
    (
        re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"),
        lambda m: f"{m[1]} {m[2].replace(chr(92), ' ').strip()}",
    ),
    (
        re.compile(r"(?<=[\w})])\\(?:text|textbf|textit|textrm|textnormal|mbox)\s*\{([^{}]*)\}"),
        r" \1",
    ),
    (
        re.compile(
            r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|operatorname)"
            r"\s*\{([^{}]*)\}"
        ),
        r"\1",
    ),
    (re.compile(r"^\s*(?:\\approx\b|\\simeq\b|\u2248|=)\s*"), ""),
    (re.compile(r"^-?\d{1,3}(?:\.\d{3}){2,}$"), lambda m: m[0].replace(".", "")),
    (re.compile(r"\\displaystyle\b\s*"), ""),
    (re.compile(r"(?<!\\)\\[,;:!> ]|~|\{,\}"), ""),  # not the space behind a line break: \\ 3
    (re.compile(r"\\langle\b\s*|\u27e8"), "("),
    (re.compile(r"\s*\\rangle\b|\u27e9"), ")"),
    (re.compile(r"\\left|\\right|\\(?:qquad|quad)"), ""),
    (
        re.compile(
            r"\\?\{\s*[a-zA-Z]\s*" + _OF_REALS + r"(?:\\mid\b|\\vert\b|[|:])([^{}]*?)\s*\\?\}$"
        ),
        r"\1",
    ),
    (re.compile(r"^\(\s*[a-z](?:\s*,\s*[a-z])+\s*\)\s*=\s*(?=\()"), ""),
    (_NOTHING, r"\\emptyset"),
    (_ALL_REALS, r"(-\\infty,\\infty)"),
    (re.compile(_REALS + r"(?:\^\s*\{?\+\}?|_\s*\{?\s*(?:\+|>\s*0)\s*\}?)"), r"(0,\\infty)"),
    (re.compile(_REALS + r"(?:\^\s*\{?-\}?|_\s*\{?\s*(?:-|<\s*0)\s*\}?)"), r"(-\\infty,0)"),
    (re.compile(_REALS + r"_\s*\{\s*\\geq?\s*0\s*\}"), r"[0,\\infty)"),
    (re.compile(r"(\\[dt]?frac)\s*(\d)\s*(\d)"), r"\1{\2}{\3}"),
    (re.compile(r"\\\$"), "$"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\^\s*\{?\\circ\}?|\\degree"), "°"),
    (re.compile(r"(?<=\d)\s*\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}" + _NO_FACTOR), r" \1/\2"),
    (re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}" + _NO_FACTOR), r"\1/\2"),
    (
        re.compile(r"(?<!-)(?<!-\s)\\[dt]?frac\s*\{(-\d+)\}\s*\{(\d+)\}" + _NO_FACTOR),
        r"\1/\2",
    ),
)
_POWER_UNIT = re.compile(
    r"(?<=[\d\s)])((?:mm|cm|dm|km|ft|yd|mi|inches|feet|meters|metres|miles|yards)|(?<=\s)(?:m|in))"
    r"\s*(?:\^\s*\{?([23])\}?|([\u00b2\u00b3]))"
)
_POWERS = {"2": "square", "3": "cubic", "\u00b2": "square", "\u00b3": "cubic"}
_DELIMITERS = (("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"), ("`", "`"), ("**", "**"))
_VULGAR = re.compile("(\\d?)([\u00bc-\u00be\u2150-\u215e])")
_STOP = re.compile(r"(?:(?<![.])\.|[,;])+$")
"""Behind an answer; three full stops say that it goes on."""
_GOES_ON = re.compile(r"(\d+)\.(\d*?)(?:(\d)\3\3+|(\d{2,6}?)\4+)\s*(?:\.{3}|\u2026|\\[lc]?dots\b)")
_REPEATING = re.compile(
    r"(\d+)\.(\d*)(?:\\(?:overline|bar)\s*\{?(\d+)\}?|\\dot\s*\{?(\d)\}?|\((\d+)\))(?!\d)"
)
_PLAIN_NAME = r"[a-zA-Z]\w{0,20}(?:\([a-z]\))?"
_LONG_NAME = (
    r"[a-zA-Z]\w{0,3}\s*\^\s*\{?-1\}?\s*\([a-z]\)"  # f^{-1}(x)
    r"|[a-zA-Z]'{1,3}(?:\([a-z]\))?"
    r"|[a-zA-Z]\w{0,3}\s*\([^()=]{1,20}\)"  # P(X > 2)
    r"|\|[A-Z]{2,3}\|"
    r"|(?:m\s*)?\\(?:angle|triangle|vec|overline|bar|hat|widehat|mathbb|det|overrightarrow)\s*"
    r"\{?[A-Za-z]{1,4}\}?(?:\s*\([^()=]{1,20}\))?"
    r"|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|rho|sigma|tau|phi|varphi|omega|ell|Delta|Omega)"
    r"(?:_\{?\w{1,6}\}?)?"
    r"|[a-zA-Z]_\{[^{}=]{1,20}\}"
    r"|\\[dt]?frac\s*\{d[a-z]?\}\s*\{d[a-z]\}[a-z]?"
)
NAMED = re.compile(rf"^(?:{_PLAIN_NAME}|{_LONG_NAME})\s*(?:=|:)\s*(?=\S)")
_UNKNOWN = re.compile(r"(?<![A-Za-z\\{])[abcnpqrtuvxyz](?![A-Za-z])")
_IN = re.compile(r"^[a-zA-Z]\w{0,20}\s*(?:\\in\b|\u2208)\s*(?=\S)")


def strip_markup(text: str) -> str:
    r"""Take away what only tells how an expression looks: delimiters, spacing, `\text`, `x =`.

    Examples:
        >>> strip_markup(r"$x = 1{,}200\text{ m}$")
        '1200 m'
        >>> strip_markup("**$18$**.")
        '18'
    """
    text = text.strip()
    for _ in range(4):  # each round may uncover another: **$18$**.
        before = text
        text = _STOP.sub("", text).strip().strip("\"'").strip()
        for left, right_ in _DELIMITERS:
            inner = text[len(left) : len(text) - len(right_)]
            if len(text) > len(left + right_) and text.startswith(left) and text.endswith(right_):
                text = text if left in inner else inner.strip()
        if text == before:
            break
    text = _VULGAR.sub(_plain_fraction, text)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    text = _GOES_ON.sub(lambda m: f"{m[1]}.{m[2]}({m[3] or m[4]})", text)
    text = _REPEATING.sub(_repeating_fraction, text)
    text = _POWER_UNIT.sub(lambda m: f" {_POWERS[m[2] or m[3]]} {m[1]}", text)
    text = re.sub(" {2,}", " ", _IN.sub("", text))
    named = NAMED.match(text)
    # The name in y = 2x + 1 belongs to an equation, unlike the one in x = 5.
    is_equation = (
        named is not None
        and re.fullmatch(r"\w+\s*[=:]\s*", named[0]) is not None
        and _UNKNOWN.search(text, named.end()) is not None
    )
    keeps_name = is_equation or named_parts(text) is not None
    return (text if keeps_name else NAMED.sub("", text)).strip()


def _plain_fraction(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
    return f"{match[1]} {fraction}" if match[1] else fraction


def _repeating_fraction(match: re.Match[str]) -> str:
    whole, fixed = match[1], match[2]
    again = match[3] or match[4] or match[5]
    under = (10 ** len(again) - 1) * 10 ** len(fixed)
    over = int(whole + fixed + again) - int(whole + fixed)
    return f"{over}/{under}"


def named_parts(text: str) -> dict[str, str] | None:
    """The values of `x = 1, y = 2` by their names; None unless there are two names or more."""
    if text.count("=") < 2:  # noqa: PLR2004  (two names)
        return None
    parts = [p.strip() for p in re.split(r",|;|\band\b", text.strip("()")) if p.strip()]
    matches = [re.fullmatch(r"([a-zA-Z]\w{0,3})\s*=\s*([^=]+)", part) for part in parts]
    named = {m[1]: m[2].strip() for m in matches if m is not None}
    return named if len(named) == len(parts) >= 2 else None  # noqa: PLR2004
