"""IFEval constraints on the form of a response: sections, lists, marks, start and end.

The thresholds follow the published definitions of IFEval (arXiv 2311.07911): bullet points and
paragraphs are counted exactly, placeholders, highlights and sections are minima.
"""

import json
import re

from tutelage.verification.ifeval_words import Arguments, Finding, number, text_of

_BULLET = re.compile(r"^\s*(?:\*[^*\n].*|-.*)$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\[[^\n]*?\]")
_TITLE = re.compile(r"<<([^\n]+)>>")
_STRONG = re.compile(r"\*\*[^\n*]*\*\*")
_EMPHASIS = re.compile(r"\*[^\n*]*\*")
_RULE = re.compile(r"\s?\*\*\*\s?")
_FENCE = re.compile(r"\A```(?:json|JSON|Json)?\s*\n?(.*?)\n?```\Z", re.DOTALL)
_SEPARATOR = "******"
_ALLOWED_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def bullet_points(response: str, arguments: Arguments) -> Finding:
    """Exact number of lines that start with `*` or `-`."""
    return _exactly(len(_BULLET.findall(response)), number(arguments, "num_bullets"), "bullets")


def placeholders(response: str, arguments: Arguments) -> Finding:
    """Least number of `[placeholders]`."""
    found = len(_PLACEHOLDER.findall(response))
    return _minimum(found, number(arguments, "num_placeholders"), "placeholders")


def highlights(response: str, arguments: Arguments) -> Finding:
    """Least number of `*highlighted*` or `**highlighted**` parts."""
    strong = [s for s in _STRONG.findall(response) if s.strip("* ")]
    emphasis = [s for s in _EMPHASIS.findall(response) if s.strip("* ")]
    found = len(strong) + len(emphasis)
    return _minimum(found, number(arguments, "num_highlights"), "highlights")


def sections(response: str, arguments: Arguments) -> Finding:
    """Least number of sections, each marked by a word and a number: `SECTION 1`."""
    word = text_of(arguments, "section_spliter")
    found = len(re.findall(rf"\s?{re.escape(word)}\s?\d+\s?", response))
    return _minimum(found, number(arguments, "num_sections"), f"times {word!r} with a number")


def title(response: str, _: Arguments) -> Finding:
    """A title in double angular brackets: `<<title>>`."""
    titles = [t for t in _TITLE.findall(response) if t.strip("<> ")]
    return bool(titles), f"title {titles[0]!r}" if titles else "no <<title>>"


def json_only(response: str, _: Arguments) -> Finding:
    """The whole response is JSON, optionally in a Markdown fence."""
    text = response.strip()
    fenced = _FENCE.fullmatch(text)
    try:
        json.loads(fenced[1] if fenced is not None else text)
    except (ValueError, RecursionError) as error:
        return False, f"not JSON: {error}"
    return True, "it is JSON"


def one_of_three(response: str, _: Arguments) -> Finding:
    """The response says `My answer is yes.`, `... no.` or `... maybe.`."""
    said = [answer for answer in _ALLOWED_ANSWERS if answer in response]
    return bool(said), f"says {said[0]!r}" if said else "says none of the allowed answers"


def two_responses(response: str, _: Arguments) -> Finding:
    """Two different responses separated by six asterisks."""
    parts = [part.strip() for part in response.split(_SEPARATOR)]
    inner_empty = any(not part for part in parts[1:-1])
    filled = [part for part in parts if part]
    met = len(filled) == 2 and filled[0] != filled[1] and not inner_empty  # noqa: PLR2004  (two)
    return met, f"{len(filled)} parts, {len(set(filled))} of them different"


def repeats_request(response: str, arguments: Arguments) -> Finding:
    """The response starts with the request, word for word, in any case."""
    wanted = text_of(arguments, "prompt_to_repeat").strip().lower()
    met = response.strip().lower().startswith(wanted)
    return met, "starts with the request" if met else "does not start with the request"


def paragraphs(response: str, arguments: Arguments) -> Finding:
    """Exact number of paragraphs separated by `***`."""
    parts = _RULE.split(response)
    if any(not part.strip() for part in parts[1:-1]):
        return False, "an empty paragraph between two ***"
    found = sum(bool(part.strip()) for part in parts)
    return _exactly(found, number(arguments, "num_paragraphs"), "paragraphs")


def paragraph_start(response: str, arguments: Arguments) -> Finding:
    """Exact number of paragraphs separated by blank lines; the n-th starts with a given word."""
    parts = response.split("\n\n")
    filled = sum(bool(part.strip()) for part in parts)
    wanted, nth = number(arguments, "num_paragraphs"), number(arguments, "nth_paragraph")
    word = text_of(arguments, "first_word").lower()
    if filled != wanted:
        return False, f"{filled} paragraphs, wanted exactly {wanted}"
    if not 1 <= nth <= len(parts) or not parts[nth - 1].strip():
        return False, f"there is no paragraph {nth}"
    first = re.split(r"[.,?!'\"]", parts[nth - 1].split()[0].lstrip("'\""))[0].lower()
    return first == word, f"paragraph {nth} starts with {first!r}, wanted {word!r}"


def postscript(response: str, arguments: Arguments) -> Finding:
    """A postscript with a given mark, such as `P.S.`, in any case and spacing."""
    mark = text_of(arguments, "postscript_marker")
    letters = [re.escape(letter) for letter in mark.lower() if letter.isalnum()]
    pattern = r"\.\s?".join(letters) + (r"\." if mark.endswith(".") else "")
    met = re.search(pattern, response.lower()) is not None
    return met, f"{mark!r} is there" if met else f"no {mark!r}"


def ends_with(response: str, arguments: Arguments) -> Finding:
    """The response ends with a given phrase, in any case, optionally inside quotation marks."""
    phrase = text_of(arguments, "end_phrase").strip().lower()
    met = response.strip().strip('"').lower().endswith(phrase)
    return met, f"ends with {response.strip()[-60:]!r}"


def quoted(response: str, _: Arguments) -> Finding:
    """The whole response is in double quotation marks."""
    text = response.strip()
    met = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return met, f"starts with {text[:1]!r} and ends with {text[-1:]!r}"


def _minimum(found: int, wanted: int, what: str) -> Finding:
    return found >= wanted, f"{found} {what}, wanted at least {wanted}"


def _exactly(found: int, wanted: int, what: str) -> Finding:
    return found == wanted, f"{found} {what}, wanted exactly {wanted}"
