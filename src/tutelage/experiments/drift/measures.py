"""Drift measures: pure functions of weighted texts.

A weight is how often a text counts: 1 in the set itself, the number of draws in a resample.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.stats.bootstrap import Codes
from tutelage.stats.intervals import Numbers

# ----------------------------------------------------------------------------------------------
# The texts that an account is about, and their words as numbers.
# ----------------------------------------------------------------------------------------------


_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSet:
    """Set of responses: the originals, a selected set, or what a student wrote.

    Attributes:
        name: What reports call it.
        keys: One for each text: what was answered, such as a hash of the instruction. Texts of two
            sets with the same key are resampled together, which makes a comparison a paired one.
        texts: The responses.
        teachers: The teacher that wrote each; None for the user's own text.
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
    """Lower-case words and single punctuation marks of a text.

    Examples:
        >>> words_of("It's 3 a.m.!")
        ['it', "'", 's', '3', 'a', '.', 'm', '.', '!']
    """
    return _WORD.findall(text.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """N-grams of N texts, as integer codes.

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
    """Code the n-grams of several lists of texts with a common vocabulary.

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


# ----------------------------------------------------------------------------------------------
# Measures.
# ----------------------------------------------------------------------------------------------


COMPRESSED_BLOCK_BYTES = 16_384
"""Bytes of a block for compression: sets of different size would otherwise differ only by their
length. zlib looks back 32 KiB.
"""


def weighted_mean(values: Numbers, weights: Numbers) -> float | None:
    """Weighted mean of the values that are not NaN, or None without any."""
    there = np.isfinite(values)
    total = float(weights[there].sum())
    if total <= 0:
        return None
    return float((values[there] * weights[there]).sum() / total)


def jensen_shannon(counts_a: Numbers, counts_b: Numbers) -> float | None:
    """Jensen-Shannon divergence of two distributions, in bits.

    JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2 with H in bits (Lin, 1991).

    Args:
        counts_a: Non-negative, one for each symbol; need not add up to 1.
        counts_b: The same symbols in the same order.

    Returns:
        In [0, 1]: 0 for equal distributions, 1 for distributions that share no symbol; None where
        one of them counts nothing. Two samples of one distribution do not come out at 0: compare
        with the noise that `account` measures.

    Examples:
        >>> import numpy as np
        >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 3.0]))
        1.0
    """
    total_a, total_b = float(counts_a.sum()), float(counts_b.sum())
    if total_a <= 0 or total_b <= 0:
        return None
    p, q = counts_a / total_a, counts_b / total_b
    found = _entropy_bits((p + q) / 2) - (_entropy_bits(p) + _entropy_bits(q)) / 2
    return min(1.0, max(0.0, found))


def _entropy_bits(p: Numbers) -> float:
    there = p[p > 0]
    return float(-(there * np.log2(there)).sum())


def counts_of(grams: Grams, weights: Numbers) -> Numbers:
    """Weighted count of each n-gram."""
    return np.bincount(
        grams.codes_R, weights=weights[grams.texts_R], minlength=grams.vocabulary
    ).astype(np.float64)


def distinct(counts: Numbers, *, runs: float) -> float | None:
    """Distinct-n at an equal number of n-grams: expected number of different ones in `runs` draws.

    Distinct-n (Li et al., 2016, arXiv 1510.03055) falls with the amount of text, so sets are
    compared at the same amount: with the shares p of the set, the expected number of different
    runs among `runs` independent draws is sum(1 - (1 - p)^runs) (rarefaction with replacement).

    Args:
        counts: How often each run occurs.
        runs: At how many runs sets are compared, above 0; at most those of the smallest set.

    Returns:
        Different runs as a share of all, in (0, 1]; None where there is no run. The plain
        distinct-n of a set is higher: it is not drawn with replacement.

    Examples:
        >>> import numpy as np
        >>> distinct(np.array([2.0, 2.0]), runs=2.0)
        0.75
    """
    total = float(counts.sum())
    if total <= 0 or runs <= 0:
        return None
    p = counts[counts > 0] / total
    if len(p) == 1:
        return min(1.0, 1.0 / runs)
    return min(1.0, float(-np.expm1(runs * np.log1p(-p)).sum() / runs))


def compression_ratio(texts: Sequence[str], *, block_bytes: int = COMPRESSED_BLOCK_BYTES) -> float:
    """Compression ratio by zlib, at least about 0.5; repetition makes it higher.

    Texts are joined by line breaks in the order given, compressed block by block (level 6), and
    the sizes are added up; the last block may be shorter. As a measure of diversity: Shaib et al.,
    2024 (arXiv 2403.00553), who compress the whole set with gzip.

    Args:
        texts: At least one that is not empty.
        block_bytes: The size of a block.
    """
    data = "\n".join(texts).encode("utf-8", "surrogatepass")
    blocks = range(0, len(data), block_bytes)
    packed = sum(len(zlib.compress(data[at : at + block_bytes], 6)) for at in blocks)
    return len(data) / packed if packed else 1.0


def spread(vectors: NDArray[np.float32], weights: Numbers) -> float | None:
    """Mean cosine distance of two different texts.

    Args:
        vectors: One row of length 1 for each text; rows of zeros (empty texts) take no part.
        weights: How often each text counts; a text is never paired with itself.

    Returns:
        In [0, 2]: 0 where all texts point one way, 1 where they have nothing in common; None where
        fewer than two texts count.
    """
    there = (np.abs(vectors).sum(axis=1) > 0) & (weights > 0)
    rows = vectors[there].astype(np.float64)
    w = weights[there]
    pairs = float(w.sum() ** 2 - (w**2).sum())
    if pairs <= 0:
        return None
    total = (w[:, None] * rows).sum(axis=0)
    squares = float((w**2 * (rows**2).sum(axis=1)).sum())
    return 1.0 - (float(total @ total) - squares) / pairs


def log_ratio(
    current: Sequence[Numbers], untrained: Sequence[Numbers], weights: Numbers
) -> float | None:
    """Estimated divergence of the current student from the untrained one, in nats per token.

    On texts that the current student sampled at temperature 1 the mean of log p - log q over their
    tokens is an unbiased estimate of the divergence KL(current || untrained) per token, each
    position given the text before it. On other texts it is the difference of their losses.

    Args:
        current: For each text the log-probabilities of its tokens under the current student.
        untrained: The same tokens under the untrained one.
        weights: How often each text counts.

    Returns:
        0 where both agree; None where no token counts.
    """
    sums = np.array([float((a - b).sum()) for a, b in zip(current, untrained, strict=True)])
    sizes = np.array([len(a) for a in current], dtype=np.float64)
    tokens = float((sizes * weights).sum())
    return float((sums * weights).sum() / tokens) if tokens > 0 else None


def share_by_teacher(
    texts: Sequence[str], teachers: Sequence[str | None], weights: Numbers
) -> dict[str | None, float]:
    """Share of all characters by teacher; the shares add up to 1.

    Args:
        texts: The responses.
        teachers: The teacher that wrote each; None for the user's own text.
        weights: How often each text counts.
    """
    sizes = np.array([len(text) for text in texts], dtype=np.float64) * weights
    total = float(sizes.sum())
    shares: dict[str | None, float] = {}
    for teacher, size in zip(teachers, sizes.tolist(), strict=True):
        shares[teacher] = shares.get(teacher, 0.0) + size
    if total <= 0 or not math.isfinite(total):
        return {}
    return {teacher: size / total for teacher, size in shares.items()}
