"""Numbers that are written in English words."""

import re
from fractions import Fraction

_UNITS = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
            "fifteen sixteen seventeen eighteen nineteen",
        )
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4)}
_WORD = re.compile(r"[a-z]+")
_MOST_WORDS = 30


def number_from_words(text: str) -> tuple[Fraction, str] | None:
    """Read a number in words from the start of a text.

    Args:
        text: For example `twenty-five apples`.

    Returns:
        The number and the lower-case words that follow it, or None where the text does not start
        with a number in words.

    Examples:
        >>> number_from_words("Twenty-five apples")
        (Fraction(25, 1), 'apples')
        >>> number_from_words("one hundred and five")
        (Fraction(105, 1), '')
        >>> number_from_words("three and a half hours")
        (Fraction(7, 2), 'hours')
        >>> number_from_words("none of them") is None
        True
    """
    words = _WORD.findall(text.lower())[: _MOST_WORDS + 1]
    if not words or len(words) > _MOST_WORDS:
        return None
    if words[0] in _PARTS or (words[0] in {"a", "one"} and words[1:2] and words[1] in _PARTS):
        part = next(word for word in words if word in _PARTS)
        return _PARTS[part], " ".join(words[words.index(part) + 1 :])
    value, used = _cardinal(words)
    if not used:
        return None
    rest = words[used:]
    if rest[:2] == ["and", "a"] and rest[2:3] and rest[2] in _PARTS:
        return value + _PARTS[rest[2]], " ".join(rest[3:])
    return Fraction(value), " ".join(rest)


def _cardinal(words: list[str]) -> tuple[int, int]:
    """The number the words start with, and how many words it took (0 for none)."""
    total = current = used = 0
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word in _UNITS:
            # "five six" is two numbers, "twenty five" is one.
            if current % 10 or (current % 100 and _UNITS[word] > 9):  # noqa: PLR2004  (digits)
                break
            current += _UNITS[word]
        elif word in _TENS:
            if current % 100:
                break
            current += _TENS[word]
        elif word == "hundred" and used:
            current *= 100
        elif word in _SCALES and used:
            total += current * _SCALES[word]
            current = 0
        elif word == "and" and used and (follows in _UNITS or follows in _TENS):
            if not total and current < 100:  # noqa: PLR2004  ("two and three" is two numbers)
                break
            continue
        else:
            break
        used = index + 1
    return total + current, used
