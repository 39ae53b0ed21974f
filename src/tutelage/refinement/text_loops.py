"""Loops in a text, and the script of a text, by cheap counts of characters and words."""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

_MIN_CHARS = 400  # shorter texts repeat themselves by chance and by purpose
_MAX_RATIO = 10.0  # prose compresses 2 to 3 times, code and tables up to 6, loops 15 and more
_GRAM_WORDS = 8
_MAX_GRAM_COUNT = 6
_MAX_GRAM_FRACTION = 0.4
_MAX_LINE_COUNT = 8
_MAX_LINE_FRACTION = 0.4
_MIN_LINE_LETTERS = 12
_SCRIPT_LETTERS = 400  # letters looked at
_MIN_SCRIPT_LETTERS = 20
_SCRIPT_FRACTION = 0.8


def loop_of(text: str) -> str | None:
    r"""Description of how a text loops, or None.

    Args:
        text: A response or an instruction.

    Returns:
        The line or phrase that repeats, with its count, or the compression ratio.

    Examples:
        >>> loop_of("It is what it is.")
        >>> loop_of("The same long line again and again.\n" * 30)
        "the line 'The same long line again and again.' occurs 30x"
    """
    if len(text) < _MIN_CHARS:
        return None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    line, count = Counter(lines).most_common(1)[0] if lines else ("", 0)
    if count >= _MAX_LINE_COUNT and count > _MAX_LINE_FRACTION * len(lines) and _has_words(line):
        return f"the line {line[:60]!r} occurs {count}x"
    phrase, count, fraction = _top_phrase(text.split())
    if count >= _MAX_GRAM_COUNT and fraction > _MAX_GRAM_FRACTION and _has_words(phrase):
        return f"the phrase {phrase[:60]!r} occurs {count}x"
    data = text.encode("utf-8", "surrogatepass")
    ratio = len(data) / len(zlib.compress(data, 6))
    if ratio > _MAX_RATIO:
        return f"it compresses {ratio:.1f}x"
    return None


def _has_words(text: str) -> bool:
    """Whether a text has words; rules, brackets and number tables repeat without being a loop."""
    return sum(map(str.isalpha, text)) >= _MIN_LINE_LETTERS


def _top_phrase(words: Sequence[str]) -> tuple[str, int, float]:
    """Most frequent phrase of 8 words, its count, and the fraction of letters it covers."""
    grams = Counter(zip(*(words[i:] for i in range(_GRAM_WORDS)), strict=False))
    if not grams:
        return "", 0, 0.0
    gram, count = grams.most_common(1)[0]
    starts = (
        i for i in range(len(words) - _GRAM_WORDS + 1) if tuple(words[i : i + _GRAM_WORDS]) == gram
    )
    covered = {start + offset for start in starts for offset in range(_GRAM_WORDS)}
    fraction = sum(len(words[i]) for i in covered) / sum(map(len, words))
    return " ".join(gram), count, fraction


def script_of(text: str) -> str | None:
    """Script of most letters of a text, or None where there are few letters or a mix.

    Chinese, Japanese and Korean characters count as one script, because names and numbers mix.

    Examples:
        >>> script_of("Write a short poem about the sea.")
        'LATIN'
        >>> script_of("1 + 1")
    """
    letters = list(islice(filter(str.isalpha, text), _SCRIPT_LETTERS))
    if not letters:
        return None
    script, count = Counter(map(_script_of_letter, letters)).most_common(1)[0]
    enough = count if script != "CJK" else 3 * count  # one character says about as much as a word
    if enough < _MIN_SCRIPT_LETTERS or count < _SCRIPT_FRACTION * len(letters):
        return None
    return script


@lru_cache(maxsize=4096)
def _script_of_letter(letter: str) -> str:
    word = unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0]
    return "CJK" if word in {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC"} else word
