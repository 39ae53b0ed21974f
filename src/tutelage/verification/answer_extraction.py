r"""Extraction of the final answer of a response, and of its markup.

A response says its answer in some marked way (`#### 42`, `\boxed{42}`, a JSON field, "The answer is
42", `A: 42`, the output of a program it ran), or else the last number it mentions is taken.
Every answer found says how it was found, for the evidence.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tutelage.verification.negation import Mention, judge_mentions
from tutelage.verification.number_parsing import (
    numbers_at,
    numbers_in,
    read_quantity,
    same_quantity,
    without_fraction_signs,
)

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


LONGEST_RESPONSE = 60_000
"""Characters from the end that are searched for the answer."""

_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)$", re.MULTILINE)
_JSON_FIELD = re.compile(
    r'"(?:final_|correct_)?answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"?|([^",}\s][^,}\n]*))',
    re.IGNORECASE | re.DOTALL,
)
_PHRASE = re.compile(
    r"\banswer\b[ \t*_]*(?:(?:is|was|should be|would be|will be|=|:)[ \t*_]*)+\s*"
    r"(?:(?:\\\[|\$\$)[ \t]*\n\s*)?"  # a formula on lines of its own
    r"(?=(\S[^\n]{0,1000}))",  # looked at, not consumed: the line may say it twice
    re.IGNORECASE,
)
_TAGGED = re.compile(r"<((?:final_)?answer)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_TAG_CLOSED = re.compile(r"</(?:final_)?answer>", re.IGNORECASE)
_UNDER_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|[*_]{2,3})[*_ \t]*(?:the[ \t]+)?(?:final[ \t]+)?answer[*_: \t]*\n\s*"
    r"([^\n]*\w[^\n]*)(?=\n\s*\n|\s*\Z)",
    re.IGNORECASE | re.MULTILINE,
)
"""A paragraph of one line under a heading."""
_NAMED_NUMBER = r"[a-z](?:_?\d)?\s*=\s*[-\u2212]?\s*\d[\d,./]*(?<![,./])"
_SOLUTIONS = re.compile(
    rf"(?<![\w\\])({_NAMED_NUMBER}(?:\s*(?:,\s*(?:or|and)?|or|and)\s+{_NAMED_NUMBER})+)[\s.$*]*\Z"
)
"""All solutions at the end of a text: `x = 3 or x = -3`."""
_A_LINE = re.compile(r"^[ \t*]*A[ \t*]*:[ \t*]*(?=[^\n]*\d)(\S[^\n]{0,60})$", re.MULTILINE)
_OUTPUT = re.compile(r"```output[ \t]*\n(.{0,4000}?)\n?```", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(\d+))")
_BRACE = re.compile(r"[{}]")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_RUN_ON = re.compile(
    r"\n\s*(?:#+\s*)?(?:Q|Question|Problem|Instruction|Human|User)\b[ \t]*\d*[ \t]*:", re.IGNORECASE
)
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<![.])[.!?](?=\s+[A-Z(*]|\s*$)|(?<=[\d}$])[.](?=\s)")
_DENIAL = re.compile(
    r"(?:n['\u2019]t\b|(?:\w+ly\s+)?(?:not|never|neither|by no means|no longer)\b)",
    re.IGNORECASE,
)
"""How a sentence goes on that says what the answer is not."""
_LATEX_WORD = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LONGEST_FORMULA = 200
_WEAK = ("after 'answer'", "after 'A:'")
_BOXES_APART = 12
"""Most characters between two boxes that form one answer: `\boxed{3}` or `\boxed{4}`."""
_LONGEST_BOX = 2_000
_MOST_BOXES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Answer with the way in which it was found.

    Attributes:
        text: The answer as written, without what marked it.
        how: For the evidence: `after ####`, `boxed`, `JSON field`, ...
        start: Where it starts in the text that was searched, in characters.
    """

    text: str
    how: str
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """Reason why no answer was found."""

    why: str


def find_answer(response: str, *, instruction: str | None = None) -> Found | NotFound:
    """Find the final answer of a response.

    Among marked answers the one that starts last counts, since people and models correct
    themselves forwards; but a sentence about "the answer" that is not itself a plain number does
    not overrule `####`, a box or a field. Text after a line such as `Question:` that follows a
    marked answer was not asked for (base models run on) and is ignored.

    Args:
        response: What the model wrote: prose, Markdown, LaTeX, JSON or a program and its output.
        instruction: What was asked. Where nothing is marked and the last number only repeats one
            of it ("12 pages each night to finish in 10 days"), the answer is the one number of
            the last sentence that does not, if there is just one.

    Returns:
        The answer, never empty, or why there is none.

    Examples:
        >>> find_answer("6 * 7 = 42, so the answer is 42.").text
        '42'
        >>> find_answer("First 6, then 7. That makes 42 apples.")
        Found(text='42', how='last number', start=28)
        >>> find_answer("Read 12 pages each night to finish in 10 days.",
        ...             instruction="A book has 120 pages. How many a night in 10 days?").text
        '12'
    """
    text = _CALCULATOR.sub("", without_fraction_signs(response[-LONGEST_RESPONSE:]))
    marked = sorted((f for f in _marked(text) if f.text), key=lambda f: f.start)
    if not marked:
        return _unmarked(text, instruction)
    run_on = _RUN_ON.search(text, marked[0].start)
    if run_on is not None:
        marked = [f for f in marked if f.start < run_on.start()]
    return _strongest(marked)


def _strongest(marked: list[Found]) -> Found:
    """Last candidate, unless it comments on a stronger one ("The answer is correct")."""
    last = marked[-1]
    if last.how in _WEAK and read_quantity(last.text) is None:
        return next((f for f in reversed(marked) if f.how not in _WEAK), last)
    return last


def _marked(text: str) -> Iterator[Found]:
    for match in _HASHES.finditer(text):
        yield Found(text=match[1].strip(), how="after ####", start=match.start(1))
    yield from _boxes(text)
    for match in _JSON_FIELD.finditer(text):
        value = _json_text(match[1]) if match[1] is not None else match[2].strip()
        if value:
            yield Found(text=value, how="JSON field", start=match.start())
    for match in _PHRASE.finditer(text):
        sentence = _first_sentence(match[1])
        if sentence and not (_DENIAL.match(sentence) and numbers_in(sentence)):
            yield Found(text=sentence, how="after 'answer'", start=match.start(1))
    yield from _set_apart(text)
    for match in _A_LINE.finditer(text):
        yield Found(text=_first_sentence(match[1]), how="after 'A:'", start=match.start(1))
    for match in _OUTPUT.finditer(text):
        lines = match[1].strip().splitlines()
        if lines:
            yield Found(text=lines[-1].strip(), how="program output", start=match.start(1))


def _set_apart(text: str) -> Iterator[Found]:
    """Answers inside `<answer>` or alone under the heading `Answer`."""
    for match in _TAGGED.finditer(text):
        yield Found(text=match[2].strip(), how="answer tag", start=match.start(2))
    for match in _UNDER_HEADING.finditer(text):
        line = match[1].strip(" \t*_$.")
        if "=" not in line and _is_formula(line):
            yield Found(text=match[1].strip(), how="after 'answer'", start=match.start(1))


def _unmarked(text: str, instruction: str | None) -> Found | NotFound:
    if not text.strip():
        return NotFound(why="the response is empty")
    if re.match(r'\s*(?:```(?:json)?\s*)?\{\s*"', text):
        return NotFound(why="the response is JSON without an answer field")
    prose = _CODE.sub("", text)
    if not prose.strip():
        return NotFound(why="the response is code without its output")
    formula = prose.strip().strip(" \n$.")
    if formula and _is_formula(prose.strip()):
        return Found(text=formula, how="whole response", start=0)
    last_line = prose.strip().splitlines()[-1]
    for match in reversed(list(_BOLD.finditer(last_line))):
        bold = match[1].strip(" :.$")
        if read_quantity(bold) is not None:
            return Found(text=bold, how="bold text in the last line", start=text.rfind(match[0]))
    return _last_number(prose, instruction, text=text)


def _last_number(prose: str, instruction: str | None, *, text: str) -> Found | NotFound:
    solutions = _SOLUTIONS.search(prose)
    if solutions is not None:
        start = text.rfind(solutions[1])
        return Found(text=solutions[1], how="solutions at the end", start=start)
    numbers = numbers_at(prose)
    if not numbers:
        return NotFound(why="the response contains no number and no marked answer")
    mentions = [Mention(start=a, end=b, names=(n.text,)) for n, (a, b) in numbers]
    said = [j.mention.names[0] for j in judge_mentions(prose, mentions) if j.polarity != "denied"]
    if not said:
        return NotFound(why="the response only says what the answer is not")
    last, last_line = said[-1], prose.strip().splitlines()[-1]
    is_a_result = text[: text.rfind(last)].rstrip(" $\\({[").endswith("=")
    fresh = None if instruction is None or is_a_result else _only_new(last_line, instruction)
    if fresh is not None and fresh != last:
        how = "the only new number in the last sentence"
        return Found(text=fresh, how=how, start=text.rfind(fresh))
    return Found(text=last, how="last number", start=text.rfind(last))


def _is_formula(text: str) -> bool:
    r"""Whether a response is one formula, or one quantity, without a sentence around it.

    Examples:
        >>> [_is_formula(t) for t in (r"3\sqrt{2}", "twelve", "x = 5", "It is 5.", "7 or 8")]
        [True, True, True, False, False]
    """
    if not text or "\n" in text or len(text) > _LONGEST_FORMULA:
        return False
    quantity = read_quantity(text)
    if quantity is not None:
        return not quantity.unit or bool(quantity.units)
    return not _WORD.search(_LATEX_WORD.sub("", text))


def _only_new(last_line: str, instruction: str) -> str | None:
    """The only number of the last sentence that does not repeat one of the instruction."""
    given = numbers_in(instruction)
    said = numbers_in(_SENTENCE_END.split(last_line.strip(" .!?*"))[-1])
    fresh = [n for n in said if not any(same_quantity(n, old) for old in given)]
    return fresh[0].text if len(fresh) == 1 else None


def _boxes(text: str) -> Iterator[Found]:
    contents: list[str] = []
    previous_end = start = 0
    for match in list(_BOX.finditer(text))[-_MOST_BOXES:]:
        if match[1] is not None:
            content, end = match[1], match.end()
        else:
            end = _closing_brace(text, match.end())
            content = text[match.end() : end - 1]
        if not content.strip() or _BOX.search(content):  # a box around others says what they say
            continue
        between = text[previous_end : match.start()] if contents else ""
        # A fresh box starts a fresh answer unless it directly follows the previous one.
        if contents and ("\n" in between or len(between) > _BOXES_APART):
            contents = []
        if not contents:
            start = match.start()
        contents.append(content.strip())
        previous_end = end
        joint = " or " if "or" in between else " and "
        alike = list(dict.fromkeys(contents))
        yield Found(text=joint.join(alike), how="boxed", start=start)


def _closing_brace(text: str, start: int) -> int:
    """Position after the matching closing brace, or after the end of the search."""
    depth = 1
    stop = min(len(text), start + _LONGEST_BOX)
    for brace in _BRACE.finditer(text, start, stop):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.end()
    return stop + 1


def _json_text(raw: str) -> str:
    try:
        value = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        # Models write LaTeX into JSON without doubling the backslashes.
        value = raw.replace('\\"', '"').replace("\\n", "\n")
    return str(value).strip().strip("`\"'").strip()


def _first_sentence(text: str) -> str:
    text = _TAG_CLOSED.split(text, maxsplit=1)[0].strip()
    end = _SENTENCE_END.search(text)
    if end is not None and end.start() > 0:
        text = text[: end.start()]
    return text.strip().strip("*_`").strip()
