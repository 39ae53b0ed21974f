"""Normalised texts, and hashes of their word and character n-grams.

A *run* is n symbols in a row (an n-gram, a shingle); a symbol is a word or a character. All hashes
depend on content only, so they are the same on every machine and for every order of the rows.

Scripts that are written without spaces between words (Chinese, Japanese, Thai, Lao, Khmer,
Burmese, ...) have no words that could be found without a dictionary. In them each character, with
the marks that belong to it, counts as one word.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.candidates import TextColumn, compute

Form: TypeAlias = Literal["verbatim", "case_and_space", "letters_and_digits"]
"""Form in which two texts must agree to count as identical.

* `verbatim`: every character.
* `case_and_space`: everything but upper and lower case and the amount of white space.
* `letters_and_digits`: the letters and digits in their order; `1.5` and `15` are then the same,
  and so are `x + 1` and `x - 1`. Good for finding leaks, too coarse for dropping mathematics.
"""

_SPACE = r"[\s\pZ]+"
_NOT_A_WORD = r"[^\pL\pN\pM]+"
_NOT_A_WORD_OR_SIGN = r"[^\pL\pN\pM\p{So}\p{Sc}]+"
_INVISIBLE = r"[\x{00AD}\x{200B}\x{2060}\x{FEFF}]+"
"""Soft hyphens, zero-width spaces and byte order marks, which are invisible."""
_DENSE = (  # Chinese and Japanese: some two characters a word
    r"(?:[\p{Han}\p{Hiragana}\p{Katakana}\p{Yi}\p{Tangut}\p{Nushu}\x{30FC}\x{3005}\x{3007}]\pM*)"
)
_SPELLED = (  # scripts that spell their words in letters: Thai, Lao, Burmese, Khmer, Tai, Javanese,
    # Balinese, Bopomofo
    r"(?:[\x{0E01}-\x{0E30}\x{0E32}-\x{0E33}\x{0E40}-\x{0E46}\x{0E81}-\x{0EB0}\x{0EB2}-\x{0EB3}"
    r"\x{0EBD}-\x{0EC6}\x{0EDC}-\x{0EDF}\x{1000}-\x{102A}\x{103F}\x{1050}-\x{1055}"
    r"\x{105A}-\x{105D}\x{1061}\x{1065}-\x{1066}\x{106E}-\x{1070}\x{1075}-\x{1081}\x{108E}"
    r"\x{1780}-\x{17B3}\x{17D7}\x{17DC}\x{1950}-\x{19AB}\x{1A20}-\x{1A54}\x{A984}-\x{A9B2}"
    r"\x{1B05}-\x{1B33}\x{1B45}-\x{1B4C}\x{3105}-\x{312F}\x{31A0}-\x{31BF}\x{A9E0}-\x{A9E4}\x{A9E6}-\x{A9EF}\x{A9FA}-\x{A9FE}\x{AA60}-\x{AA76}\x{AA7A}"
    r"\x{AA7E}-\x{AA7F}\x{AA80}-\x{AAAF}]\pM*)"
)
DENSE_CHARACTERS = 2
SPELLED_CHARACTERS = 4
"""Characters that correspond to one word of an alphabetic language, where a length in words
measures content (the n-grams of `contamination`).
"""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing


def to_form(texts: TextColumn, form: Form) -> TextColumn:
    """Texts in the form in which they are compared; null stays null."""
    match form:
        case "verbatim":
            return texts
        case "case_and_space":
            lower = compute.utf8_lower(compute.utf8_normalize(texts, form="NFC"))
            return _trimmed(_replaced(_replaced(lower, _INVISIBLE, ""), _SPACE, " "))
        case "letters_and_digits":
            lower = compute.utf8_lower(compute.utf8_normalize(texts, form="NFKC"))
            return _replaced(lower, _NOT_A_WORD, "")


def spaced_words(texts: TextColumn) -> TextColumn:
    """Lower-case words (letters, digits and marks) joined by one space; empty for null.

    Text in scripts without spaces stays as it is written; see `segmented_words`.
    """
    return _trimmed(_replaced(_plain(texts), _NOT_A_WORD, " "))


def spaced_words_and_signs(texts: TextColumn) -> TextColumn:
    """Like `spaced_words`, but with emoji and currency signs."""
    return _trimmed(_replaced(_plain(texts), _NOT_A_WORD_OR_SIGN, " "))


def segmented_words(texts: TextColumn) -> TextColumn:
    """Like `spaced_words`, but each character of a script without spaces is a word.

    Examples:
        >>> import pyarrow as pa
        >>> segmented_words(pa.array(["Python 3 \u5f88\u597d!"])).to_pylist()
        ['python 3 \u5f88 \u597d']
    """
    apart = _replaced(spaced_words(texts), rf"({_DENSE}|{_SPELLED})", r" \1 ")
    return _trimmed(_replaced(apart, r" +", " "))


def words_of(text: str) -> list[str]:
    """Words of one text, as `segmented_words` separates them."""
    return str(segmented_words(pa.array([text], pa.string()))[0].as_py()).split()


def word_equivalents(texts: TextColumn) -> NDArray[np.float64]:
    """Length of each text in words of an alphabetic language, approximately.

    A word counts 1; a character of Chinese or Japanese 1/2, one of Thai, Lao, Khmer or Burmese 1/4.
    """
    words = segmented_words(texts)
    count = np.asarray(compute.count_substring(words, " "), dtype=np.float64)
    count += np.asarray(compute.not_equal(words, "")).astype(np.float64)
    dense = _counted(words, _DENSE)
    spelled = _counted(words, _SPELLED)
    saved = dense * (1 - 1 / DENSE_CHARACTERS) + spelled * (1 - 1 / SPELLED_CHARACTERS)
    equivalents: NDArray[np.float64] = count - saved
    return equivalents


def _counted(texts: TextColumn, pattern: str) -> NDArray[np.float64]:
    return np.asarray(compute.count_substring_regex(texts, pattern=pattern), dtype=np.float64)


def _plain(texts: TextColumn) -> TextColumn:
    there = compute.fill_null(texts, "")
    normal = compute.utf8_lower(compute.utf8_normalize(there, form="NFKC"))
    return _replaced(normal, _INVISIBLE, "")


def _replaced(texts: TextColumn, pattern: str, replacement: str) -> TextColumn:
    result: TextColumn = compute.replace_substring_regex(
        texts, pattern=pattern, replacement=replacement
    )
    return result


def _trimmed(texts: TextColumn) -> TextColumn:
    result: TextColumn = compute.utf8_trim_whitespace(texts)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """Concatenated symbols of N texts.

    Attributes:
        hashes_S: uint64, one random-looking number for each symbol.
        starts_N: int64, where each text starts; the text ends where the next one starts.
        counts_N: int64, how many symbols each text has; may be 0.
    """

    hashes_S: NDArray[np.uint64]
    starts_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]


def word_symbols(texts: TextColumn) -> Symbols:
    """Words of texts (see `segmented_words`); none without letters and digits."""
    split = compute.split_pattern(segmented_words(texts), " ")
    encoded = split.flatten().dictionary_encode()
    vocabulary = encoded.dictionary.to_pylist()
    hash_of_word = np.fromiter(map(_hash_word, vocabulary), np.uint64, len(vocabulary))
    codes = np.asarray(encoded.indices)
    counts = np.asarray(compute.list_value_length(split), dtype=np.int64)
    is_word = np.fromiter((bool(word) for word in vocabulary), np.bool_, len(vocabulary))
    real = is_word[codes] if len(codes) else np.zeros(0, dtype=bool)
    parents = np.repeat(np.arange(len(counts)), counts)
    real_counts = np.bincount(parents[real], minlength=len(counts)).astype(np.int64)
    hashes = hash_of_word[codes[real]] if len(codes) else np.zeros(0, dtype=np.uint64)
    return Symbols(hashes_S=hashes, starts_N=_starts(real_counts), counts_N=real_counts)


def character_symbols(texts: TextColumn) -> Symbols:
    """Characters of words and signs, with a space at each end of a non-empty text."""
    spaced = spaced_words_and_signs(texts)
    padded = compute.if_else(
        compute.equal(spaced, ""), "", compute.binary_join_element_wise(" ", spaced, " ", "")
    )
    counts = np.asarray(compute.utf8_length(padded), dtype=np.int64)
    joined = "".join(padded.to_pylist())
    points = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    return Symbols(hashes_S=mix(points), starts_N=_starts(counts), counts_N=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Hashes of all n-grams of one length, of N texts.

    Attributes:
        hashes_R: uint64.
        texts_R: int64, the index of the text each run is from; ascending.
    """

    hashes_R: NDArray[np.uint64]
    texts_R: NDArray[np.int64]


def runs_of(symbols: Symbols, length: int) -> Runs:
    """Hash every run of exactly `length` symbols within one text.

    Two different runs share a 64-bit hash with a chance of about 5e-20.

    Args:
        symbols: The texts.
        length: Symbols in a run, at least 1.
    """
    total = len(symbols.hashes_S)
    parents = np.repeat(np.arange(len(symbols.counts_N)), symbols.counts_N)
    if total < length:
        return Runs(hashes_R=np.zeros(0, np.uint64), texts_R=np.zeros(0, np.int64))
    starts = total - length + 1
    hashes = np.full(starts, np.uint64(length))
    for step in range(length):
        hashes *= _MULTIPLIER
        hashes += symbols.hashes_S[step : step + starts]
    within = parents[:starts] == parents[length - 1 :]
    return Runs(hashes_R=mix(hashes[within]), texts_R=parents[:starts][within])


def runs_or_whole(symbols: Symbols, length: int) -> Runs:
    """Like `runs_of`, but a non-empty text with fewer symbols than `length` is one run."""
    pieces = [runs_of(symbols, length)]
    short = (symbols.counts_N > 0) & (symbols.counts_N < length)
    for shorter in np.unique(symbols.counts_N[short]).tolist():
        runs = runs_of(symbols, shorter)
        whole = symbols.counts_N[runs.texts_R] == shorter
        pieces.append(Runs(hashes_R=runs.hashes_R[whole], texts_R=runs.texts_R[whole]))
    texts = np.concatenate([piece.texts_R for piece in pieces])
    hashes = np.concatenate([piece.hashes_R for piece in pieces])
    order = np.argsort(texts, kind="stable")
    return Runs(hashes_R=hashes[order], texts_R=texts[order])


def mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mixed 64-bit numbers (the splitmix64 finaliser), so that close ones become unrelated."""
    mixed = numbers + _MULTIPLIER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _hash_word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _starts(counts_N: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts_N) - counts_N
