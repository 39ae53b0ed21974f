"""The texts that an account is about, and their words as numbers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.stats.bootstrap import Codes

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSet:
    """Responses that belong together: the originals, a selected set, what a student wrote.

    Attributes:
        name: What reports call it.
        keys: One for each text: what was answered, such as a hash of the instruction. Texts of two
            sets with the same key are resampled together, which makes a comparison a paired one.
        texts: The responses.
        teachers: Who wrote each; None for the user's own text.
        numbers: Further numbers by measure, one for each text, None where there is none: token
            counts, mean losses, `right` (1.0 or 0.0).
        vectors: float, one row of length 1 (or of zeros) for each text, or None.
    """

    name: str
    keys: tuple[str, ...]
    texts: tuple[str, ...]
    teachers: tuple[str | None, ...] = ()
    numbers: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    vectors: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        lengths = {
            "keys": len(self.keys),
            "teachers": len(self.teachers) or len(self.texts),
            "vectors": len(self.texts) if self.vectors is None else len(self.vectors),
            **{name: len(values) for name, values in self.numbers.items()},
        }
        for name, length in lengths.items():
            if length != len(self.texts):
                raise DataError(
                    f"the set {self.name!r} has {len(self.texts)} texts but {length} {name}"
                )
        if not self.texts:
            raise DataError(f"the set {self.name!r} is empty", hint="there is nothing to measure")


def words_of(text: str) -> list[str]:
    """Lower-case words and single punctuation marks.

    Examples:
        >>> words_of("It's 3 a.m.!")
        ['it', "'", 's', '3', 'a', '.', 'm', '.', '!']
    """
    return _WORD.findall(text.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """All runs of n words of N texts, as numbers.

    Attributes:
        codes_R: int64, the same number for the same run; in [0, vocabulary).
        texts_R: int64, the index of the text each run is from; ascending.
        vocabulary: How many different runs there are over all sets that were coded together.
    """

    codes_R: Codes
    texts_R: Codes
    vocabulary: int

    def __len__(self) -> int:
        return len(self.codes_R)


def grams_of(sets: Sequence[Sequence[str]], *, n: int) -> list[Grams]:
    """Code the runs of n words of several lists of texts by one common vocabulary.

    A run lies within one text; a text with fewer than n words has none.

    Args:
        sets: Lists of texts.
        n: Words in a run, at least 1.
    """
    known: dict[tuple[str, ...], int] = {}
    coded: list[tuple[list[int], list[int]]] = []
    for texts in sets:
        codes: list[int] = []
        owners: list[int] = []
        for index, text in enumerate(texts):
            words = words_of(text)
            runs = zip(*(words[start:] for start in range(n)), strict=False)
            found = [known.setdefault(run, len(known)) for run in runs]
            codes += found
            owners += [index] * len(found)
        coded.append((codes, owners))
    return [
        Grams(
            codes_R=np.array(codes, dtype=np.int64),
            texts_R=np.array(owners, dtype=np.int64),
            vocabulary=len(known),
        )
        for codes, owners in coded
    ]
