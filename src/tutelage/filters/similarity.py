"""Similarity filters: closeness to a target set, and semantic duplicates."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.candidates import NO_RESPONSE, Pool, TextColumn, Verdicts
from tutelage.filters.config import SemanticDuplicatesSettings, SimilaritySettings
from tutelage.filters.duplicates import (
    NO_RIVAL,
    SEMANTIC_DUPLICATE,
    context_codes,
    decide_duplicates,
    example_codes,
    preference_order,
)
from tutelage.filters.embeddings import Embedder
from tutelage.filters.ngrams import word_symbols
from tutelage.filters.numeric import Numbers, numbers
from tutelage.filters.operators import operators_of
from tutelage.filters.reference_texts import read_items

NO_WORDS = "no_words"
"""Reason where a text has nothing to embed."""

_ROWS_AT_A_TIME = 1024


def measure_similarity(pool: Pool, settings: SimilaritySettings, embedder: Embedder) -> Numbers:
    """Cosine similarity of each candidate with the target set, in [-1, 1].

    1 means the same direction as the nearest target (or as the mean of all targets), 0 that they
    have nothing in common.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        embedder: Gives the vectors.
    """
    items = read_items(settings.targets)
    texts = pool.text(settings.of)
    present = [text or "" for text in texts.to_pylist()]
    vectors = embedder.embed([*present, *(item.text for item in items)])
    mine, targets = vectors[: len(present)], vectors[len(present) :]
    details: list[str | None] = [None] * len(present)
    if settings.to == "mean":
        mean = targets.mean(axis=0)
        length = float(np.linalg.norm(mean))
        cosines = mine @ (mean / length if length else mean)
    else:
        nearest = np.zeros(len(mine), dtype=np.int64)
        cosines = np.zeros(len(mine), dtype=np.float32)
        for start in range(0, len(mine), _ROWS_AT_A_TIME):
            block = mine[start : start + _ROWS_AT_A_TIME] @ targets.T
            nearest[start : start + len(block)] = block.argmax(axis=1)
            cosines[start : start + len(block)] = block.max(axis=1)
        details = [f"nearest is {items[i].item_id}" for i in nearest.tolist()]
    empty = ~_has_content(mine)
    values = np.where(empty, np.nan, cosines).astype(np.float64)
    return numbers(
        values,
        missing=_missing(texts),
        details=[None if nothing else d for nothing, d in zip(empty, details, strict=True)],
    )


def drop_semantic_duplicates(
    pool: Pool,
    settings: SemanticDuplicatesSettings,
    embedder: Embedder,
    *,
    scores: pa.Table | None = None,
) -> Verdicts:
    """Keep one of texts with nearly the same embedding.

    Unless only the response is compared, the system prompt, the tools and the earlier turns of
    duplicates are the same. Two texts with different operators (`a + b`, `a - b`) are none: most
    embedders do not tell operators apart.

    Every candidate is compared with every kept one, so none is missed; the time grows with the
    square of their number.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        embedder: Gives the vectors.
        scores: The scores table, where a preference needs it.

    Returns:
        Verdicts with one of `unique`, `kept_of_duplicates`, `semantic_duplicate`,
        `nothing_to_compare`, `no_response`. The value is the cosine with the kept candidate that
        the detail names.
    """
    texts = pool.text(settings.of)
    vectors = embedder.embed([text or "" for text in texts.to_pylist()])
    comparable = _has_content(vectors)
    order = preference_order(pool, settings, scores=scores)
    order = order[comparable[order]]
    examples = np.arange(len(pool)) if settings.same_example else example_codes(pool)
    contexts = context_codes(pool) if settings.of != "response" else np.zeros(len(pool), np.int64)
    kinds = _Kinds(examples=examples, contexts=contexts, formulas=_formula_codes(texts))
    rivals, cosines = _rivals(vectors, order, kinds, settings.minimum_similarity)
    return decide_duplicates(
        pool,
        rivals_N=rivals,
        similarities_N=cosines,
        texts=texts,
        comparable_N=comparable,
        reason=SEMANTIC_DUPLICATE,
        facts={"embedder": embedder.name},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kinds:
    """Conditions under which two rows may be duplicates.

    Attributes:
        examples: int64; versions of one example share a number and are no duplicates.
        contexts: int64; duplicates share a number.
        formulas: int64; 0 where a text has no operators. Others are no duplicates if they differ.
    """

    examples: NDArray[np.int64]
    contexts: NDArray[np.int64]
    formulas: NDArray[np.int64]

    def apart(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Bool of all pairs of two lists of rows; whether they cannot be duplicates."""
        mine, theirs = self.formulas[rows][:, None], self.formulas[others]
        result: NDArray[np.bool_] = (
            (self.examples[rows][:, None] == self.examples[others])
            | (self.contexts[rows][:, None] != self.contexts[others])
            | ((mine != theirs) & (mine > 0) & (theirs > 0))
        )
        return result


def _formula_codes(texts: TextColumn) -> NDArray[np.int64]:
    """A number for each text, the same for equal operators; 0 where there are none."""
    codes: dict[tuple[str, ...], int] = {(): 0}
    found = [operators_of(text or "") for text in texts.to_pylist()]
    return np.array([codes.setdefault(signs, len(codes)) for signs in found], dtype=np.int64)


def _rivals(
    vectors: NDArray[np.float32],
    order: NDArray[np.int64],
    kinds: _Kinds,
    threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each row, the nearest kept row before it that is similar enough."""
    rivals = np.full(len(vectors), NO_RIVAL, dtype=np.int64)
    cosines = np.zeros(len(vectors))
    kept_rows = np.empty(len(order), dtype=np.int64)
    kept_vectors = np.empty((len(order), vectors.shape[1]), dtype=np.float32)
    kept = 0
    for start in range(0, len(order), _ROWS_AT_A_TIME):
        rows = order[start : start + _ROWS_AT_A_TIME]
        before = kept
        against_kept = vectors[rows] @ kept_vectors[:before].T
        against_kept[kinds.apart(rows, kept_rows[:before])] = -1.0
        among = vectors[rows] @ vectors[rows].T
        among[kinds.apart(rows, rows)] = -1.0
        kept_here: list[int] = []
        for i, row in enumerate(rows.tolist()):
            best, rival = -1.0, NO_RIVAL
            if before:
                at = int(against_kept[i].argmax())
                best, rival = float(against_kept[i, at]), int(kept_rows[at])
            if kept_here:
                at = kept_here[int(among[i, kept_here].argmax())]
                if float(among[i, at]) > best:
                    best, rival = float(among[i, at]), int(rows[at])
            if rival != NO_RIVAL and best >= threshold:
                rivals[row], cosines[row] = rival, best
                continue
            kept_here.append(i)
            kept_rows[kept], kept_vectors[kept] = row, vectors[row]
            kept += 1
    return rivals, cosines


def _missing(texts: TextColumn) -> list[str]:
    return [NO_WORDS if there else NO_RESPONSE for there in texts.is_valid().to_pylist()]


def _has_content(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    content: NDArray[np.bool_] = np.count_nonzero(vectors, axis=1) > 0
    return content


def pair_similarity(
    left: TextColumn, right: TextColumn, *, embedder: Embedder | None = None
) -> NDArray[np.float64]:
    """Cosine similarity of each text with its partner; 0 where one of them has no words.

    Without an embedder it is that of the bags of words, rare words counting more (TF-IDF over all
    texts given), and exact.

    Args:
        left: N texts.
        right: Their partners.
        embedder: Gives the vectors instead.

    Examples:
        >>> left, right = pa.array(["red apples", "blue sky"]), pa.array(["apples", "green"])
        >>> pair_similarity(left, right).round(2).tolist()
        [0.62, 0.0]
    """
    rows = len(left)
    if embedder is not None:
        both: list[str] = [text or "" for column in (left, right) for text in column.to_pylist()]
        vectors = embedder.embed(both)
        cosines = np.einsum("ij,ij->i", vectors[:rows], vectors[rows:], dtype=np.float64)
        return np.asarray(cosines)
    symbols = word_symbols(pa.concat_arrays([left, right]))
    words, codes = np.unique(symbols.hashes_S, return_inverse=True)
    size = max(len(words), 1)
    parents = np.repeat(np.arange(2 * rows), symbols.counts_N)
    pairs, counts = np.unique(parents * size + codes, return_counts=True)
    of_text, of_word = pairs // size, pairs % size
    texts_with = np.bincount(of_word, minlength=size)
    weights = (1.0 + np.log(counts)) * (np.log((1 + 2 * rows) / (1 + texts_with))[of_word] + 1.0)
    lengths = np.sqrt(np.bincount(of_text, weights=weights**2, minlength=2 * rows))
    first = int(np.searchsorted(of_text, rows))
    _, one, other = np.intersect1d(
        pairs[:first], pairs[first:] - rows * size, assume_unique=True, return_indices=True
    )
    products = np.bincount(
        of_text[:first][one], weights=weights[:first][one] * weights[first:][other], minlength=rows
    )
    scale = lengths[:rows] * lengths[rows:]
    found: NDArray[np.float64] = np.divide(products, scale, out=np.zeros(rows), where=scale > 0)
    return found
