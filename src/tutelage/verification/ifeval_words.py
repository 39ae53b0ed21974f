"""IFEval constraints on words, letters, counts and language; each check gives its evidence.

A checker takes the response and the constraint's arguments and returns whether it is met, with
its evidence; None means that it cannot tell.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tutelage.verification.language_detection import language_of

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
        KeyError: It is not there.
        TypeError: It is no whole number.
    """
    value = arguments[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError(f"{name} is {value!r}, not a whole number")
    return int(value)


def text_of(arguments: Arguments, name: str) -> str:
    """Non-empty text argument of a constraint.

    Raises:
        KeyError: It is not there.
        TypeError: It is no text.
    """
    value = arguments[name]
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}, not a text")
    return value


def texts_of(arguments: Arguments, name: str) -> list[str]:
    """Text list argument of a constraint.

    Raises:
        KeyError: It is not there.
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
