"""Verifiable instructions of IFEval (arXiv 2311.07911)."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from tutelage.verification.language_detection import language_of
from tutelage.verification.verdict import Constraint, Verdict, cannot_check, no_answer, right, wrong

# Words, letters, counts and language. Each check gives its evidence.
#
# A checker takes the response and the constraint's arguments and returns whether it is met, with
# its evidence; None means that it cannot tell.


Arguments: TypeAlias = Mapping[str, object]
Finding: TypeAlias = tuple[bool | None, str]
Checker: TypeAlias = Callable[[str, Arguments], Finding]

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")
_SENTENCE = re.compile(r"[.!?]+[\"')\]\u201d\u2019*_]*(?=\s+[\"'(\[\u201c*_]*[A-Z0-9À-Þ]|\s*\Z)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|e\.g|i\.e|approx|No|Inc|Ltd|[A-Z])|^\s*\d+)\.$",
    re.MULTILINE,
)


def keywords_exist(response: str, arguments: Arguments) -> Finding:
    """All keywords occur, in any case, also inside longer words."""
    missing = [
        k for k in texts_of(arguments, "keywords") if k.casefold() not in response.casefold()
    ]
    return not missing, f"missing {missing}" if missing else "all keywords are there"


def words_forbidden(response: str, arguments: Arguments) -> Finding:
    """No forbidden word occurs as a whole word, in any case."""
    used = [
        word
        for word in texts_of(arguments, "forbidden_words")
        if re.search(rf"\b{re.escape(word)}\b", response, re.IGNORECASE)
    ]
    return not used, f"uses {used}" if used else "uses no forbidden word"


def keyword_frequency(response: str, arguments: Arguments) -> Finding:
    """A keyword occurs at least, or less than, a given number of times."""
    keyword = text_of(arguments, "keyword")
    count = response.casefold().count(keyword.casefold())
    return related(arguments, "relation", "frequency", count, f"{keyword!r}")


def letter_frequency(response: str, arguments: Arguments) -> Finding:
    """A letter or sign occurs at least, or less than, a given number of times, in any case."""
    letter = text_of(arguments, "letter")
    count = response.casefold().count(letter.casefold())
    return related(arguments, "let_relation", "let_frequency", count, f"{letter!r}")


def capital_words(response: str, arguments: Arguments) -> Finding:
    """All-capital words (including `I` and `A`) occur at least, or less than, a number of times."""
    count = sum(token.isupper() for token in _TOKEN.findall(response))
    return related(arguments, "capital_relation", "capital_frequency", count, "words in capitals")


def word_count(response: str, arguments: Arguments) -> Finding:
    """The number of words has a lower limit or an upper one."""
    return related(arguments, "relation", "num_words", len(_WORD.findall(response)), "words")


def sentence_count(response: str, arguments: Arguments) -> Finding:
    """The number of sentences is limited; abbreviations and list numbers do not end a sentence."""
    return related(arguments, "relation", "num_sentences", _sentences(response), "sentences")


def all_capitals(response: str, _: Arguments) -> Finding:
    """The response is in English and all in capitals."""
    return _cased(response, is_cased=response.isupper(), name="capitals")


def all_lowercase(response: str, _: Arguments) -> Finding:
    """The response is in English and all in lower case."""
    return _cased(response, is_cased=response.islower(), name="lower case")


def written_in(response: str, arguments: Arguments) -> Finding:
    """The whole response is in one language, given by its ISO 639-1 code."""
    wanted = text_of(arguments, "language")
    found = language_of(response)
    if found is None:
        return None, f"its language is uncertain; wanted {wanted!r}"
    return found == wanted, f"language {found!r}, wanted {wanted!r}"


def no_comma(response: str, _: Arguments) -> Finding:
    """The response has no comma."""
    count = response.count(",")
    return not count, f"{count} commas"


def related(
    arguments: Arguments, relation_name: str, limit_name: str, count: int, what: str
) -> Finding:
    """Compare a count with a limit: `at least` or `less than`.

    Args:
        arguments: Arguments of the constraint.
        relation_name: Name of the argument with the relation.
        limit_name: Name of the argument with the limit.
        count: The count.
        what: What is counted, for the evidence.
    """
    relation, limit = text_of(arguments, relation_name), number(arguments, limit_name)
    evidence = f"{count} {what}, wanted {relation} {limit}"
    if relation == "at least":
        return count >= limit, evidence
    if relation == "less than":
        return count < limit, evidence
    return None, f"unknown relation {relation!r}"


def number(arguments: Arguments, name: str) -> int:
    """Integer argument of a constraint.

    Raises:
        KeyError: There is none.
        TypeError: It is no whole number.
    """
    value = arguments[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError(f"{name} is {value!r}, not a whole number")
    return int(value)


def text_of(arguments: Arguments, name: str) -> str:
    """Non-empty text argument of a constraint.

    Raises:
        KeyError: There is none.
        TypeError: It is no text.
    """
    value = arguments[name]
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}, not a text")
    return value


def texts_of(arguments: Arguments, name: str) -> list[str]:
    """Text list argument of a constraint.

    Raises:
        KeyError: There is none.
        TypeError: It is no list of texts.
    """
    value = arguments[name]
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"{name} is {value!r}, not a list of texts")
    return list(value)


def _cased(response: str, *, is_cased: bool, name: str) -> Finding:
    if not is_cased:
        return False, f"not all in {name}"
    # Folded, because the words that tell a language are known in lower case.
    language = language_of(response.lower())
    if language is None:
        return None, f"all in {name}, but its language is uncertain"
    return language == "en", f"all in {name}, language {language!r}"


def _sentences(text: str) -> int:
    ends = [
        match.end()
        for match in _SENTENCE.finditer(text)
        if _ABBREVIATION.search(text[max(0, match.start() - 12) : match.start() + 1]) is None
    ]
    starts = [0, *ends]
    pieces = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    return sum(bool(_WORD.search(piece)) for piece in pieces)


# Form of a response: sections, lists, marks, start and end.
#
# The thresholds follow the published definitions of IFEval (arXiv 2311.07911): bullet points and
# paragraphs are counted exactly, placeholders, highlights and sections are minima.


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


CHECKERS: Mapping[str, Checker] = MappingProxyType(
    {
        "change_case:capital_word_frequency": capital_words,
        "change_case:english_capital": all_capitals,
        "change_case:english_lowercase": all_lowercase,
        "combination:repeat_prompt": repeats_request,
        "combination:two_responses": two_responses,
        "detectable_content:number_placeholders": placeholders,
        "detectable_content:postscript": postscript,
        "detectable_format:constrained_response": one_of_three,
        "detectable_format:json_format": json_only,
        "detectable_format:multiple_sections": sections,
        "detectable_format:number_bullet_lists": bullet_points,
        "detectable_format:number_highlighted_sections": highlights,
        "detectable_format:title": title,
        "keywords:existence": keywords_exist,
        "keywords:forbidden_words": words_forbidden,
        "keywords:frequency": keyword_frequency,
        "keywords:letter_frequency": letter_frequency,
        "language:response_language": written_in,
        "length_constraints:nth_paragraph_first_word": paragraph_start,
        "length_constraints:number_paragraphs": paragraphs,
        "length_constraints:number_sentences": sentence_count,
        "length_constraints:number_words": word_count,
        "punctuation:no_comma": no_comma,
        "startend:end_checker": ends_with,
        "startend:quotation": quoted,
    }
)


def check_constraints(response: str, constraints: Sequence[Constraint]) -> Verdict:
    """Whether a response meets all its constraints (IFEval's strict reading).

    Args:
        response: What the model wrote, taken as it is.
        constraints: At least one.

    Returns:
        `wrong` if any is surely not met, even where another cannot be checked; `cannot_check` if
        none is surely missed but some kind is unknown, or an argument is missing.

    Examples:
        >>> check_constraints("so it goes", [Constraint(kind="punctuation:no_comma")]).verdict
        'right'
    """
    if not constraints:
        return cannot_check("there are no constraints")
    if not response.strip():
        return no_answer("the response is empty")
    findings = [(c.kind, *check_constraint(response, c)) for c in constraints]
    missed = [f"{kind}: {why}" for kind, met, why in findings if met is False]
    unsure = [f"{kind}: {why}" for kind, met, why in findings if met is None]
    if missed:
        return wrong("not met: " + "; ".join(missed))
    if unsure:
        return cannot_check("; ".join(unsure))
    return right("all met: " + "; ".join(f"{kind}: {why}" for kind, _, why in findings))


def check_constraint(response: str, constraint: Constraint) -> Finding:
    """Whether one constraint is met, with evidence; None where this cannot be decided."""
    checker = CHECKERS.get(constraint.kind)
    if checker is None:
        return None, "unknown kind of constraint"
    try:
        return checker(response, constraint.arguments)
    except KeyError as error:
        return None, f"argument {error} is missing"
    except TypeError as error:
        return None, str(error)
