"""Texts brought to one form, and hashes of their runs of words or characters.

A *run* is n symbols in a row (an n-gram, a shingle); a symbol is a word or a character. All hashes
depend on content only, so they are the same on every machine and for every order of the rows.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutelage.filters.pool import TextColumn, compute

Form: TypeAlias = Literal["verbatim", "case_and_space", "letters_and_digits"]
"""What two texts must share to be called identical.

* `verbatim`: every character.
* `case_and_space`: everything but upper and lower case and the amount of white space.
* `letters_and_digits`: the letters and digits in their order; `1.5` and `15` are then the same,
  and so are `x + 1` and `x - 1`. Good for finding leaks, too coarse for dropping mathematics.
"""

_SPACE = r"[\s\pZ]+"
_NOT_A_WORD = r"[^\pL\pN\pM]+"
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing


def to_form(texts: TextColumn, form: Form) -> TextColumn:
    """Bring texts to the form in which they are compared; null stays null."""
    match form:
        case "verbatim":
            return texts
        case "case_and_space":
            lower = compute.utf8_lower(compute.utf8_normalize(texts, form="NFC"))
            return _trimmed(_replaced(lower, _SPACE, " "))
        case "letters_and_digits":
            lower = compute.utf8_lower(compute.utf8_normalize(texts, form="NFKC"))
            return _replaced(lower, _NOT_A_WORD, "")


def spaced_words(texts: TextColumn) -> TextColumn:
    """Lower-case words (letters, digits and marks) joined by one space; null becomes empty."""
    there = compute.fill_null(texts, "")
    lower = compute.utf8_lower(compute.utf8_normalize(there, form="NFKC"))
    return _trimmed(_replaced(lower, _NOT_A_WORD, " "))


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
    """The symbols of N texts, one after the other.

    Attributes:
        hashes_S: uint64, one random-looking number for each symbol.
        starts_N: int64, where each text starts; the text ends where the next one starts.
        counts_N: int64, how many symbols each text has; may be 0.
    """

    hashes_S: NDArray[np.uint64]
    starts_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]


def word_symbols(texts: TextColumn) -> Symbols:
    """Split texts into words. A text without letters and digits has none."""
    split = compute.split_pattern(spaced_words(texts), " ")
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
    """The characters of the spaced words, with a space at each end of a text that has words."""
    spaced = spaced_words(texts)
    padded = compute.if_else(
        compute.equal(spaced, ""), "", compute.binary_join_element_wise(" ", spaced, " ", "")
    )
    counts = np.asarray(compute.utf8_length(padded), dtype=np.int64)
    joined = "".join(padded.to_pylist())
    points = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    return Symbols(hashes_S=mix(points), starts_N=_starts(counts), counts_N=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """All runs of one length, of N texts, as hashes.

    Attributes:
        hashes_R: uint64.
        texts_R: int64, the index of the text each run is from; ascending.
    """

    hashes_R: NDArray[np.uint64]
    texts_R: NDArray[np.int64]


def runs_of(symbols: Symbols, length: int) -> Runs:
    """Hash every run of exactly `length` symbols that lies within one text.

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
    """Like `runs_of`, but a text with fewer symbols than `length` is one run, if not empty."""
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
    """Scramble 64-bit numbers so that near ones become unrelated (the splitmix64 finaliser)."""
    mixed = numbers + _MULTIPLIER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _hash_word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _starts(counts_N: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts_N) - counts_N
