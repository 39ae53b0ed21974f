"""Near duplicates: texts that share most of their shingles."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.decision import Verdicts
from tutelage.filters.duplicates import (
    NEAR_DUPLICATE,
    NO_RIVAL,
    decide_duplicates,
    example_codes,
    preference_order,
)
from tutelage.filters.minhash import Buckets, bucket, choose_bands, jaccard, shingle_sets
from tutelage.filters.pool import Pool, compute
from tutelage.filters.settings import NearDuplicatesSettings
from tutelage.filters.words import spaced_words


def drop_near_duplicates(
    pool: Pool, settings: NearDuplicatesSettings, *, scores: pa.Table | None = None
) -> Verdicts:
    """Keep one of texts that share most of their shingles.

    Texts are compared as lower-case words. MinHash proposes pairs; each is then decided by the
    exact Jaccard similarity of the two sets of shingles, so what is dropped is really that alike.
    A pair exactly at the threshold is missed with a chance below 1 in 100, one above it more
    rarely.

    Returns:
        Verdicts with one of `unique`, `kept_of_duplicates`, `near_duplicate`,
        `nothing_to_compare`, `no_response`. The value is the similarity with the kept candidate
        that the detail names.
    """
    texts = pool.text(settings.of)
    encoded = compute.dictionary_encode(spaced_words(texts))
    bands = choose_bands(settings.minimum_similarity)
    buckets = bucket(encoded.dictionary, settings, bands)
    involved = np.flatnonzero(np.diff(buckets.starts_N))
    search = _Search(
        threshold=settings.minimum_similarity,
        same_example=settings.same_example,
        text_of_row=np.asarray(encoded.indices, dtype=np.int64).tolist(),
        example_of_row=example_codes(pool).tolist(),
        ids=list(pool.candidate_ids),
        buckets=buckets,
        sets=shingle_sets(encoded.dictionary, involved, settings),
    )
    comparable = np.asarray(compute.not_equal(encoded.dictionary, "")).astype(bool)
    comparable_N = comparable[np.asarray(encoded.indices)] if len(pool) else np.zeros(0, bool)
    rivals = np.full(len(pool), NO_RIVAL, dtype=np.int64)
    similarities = np.zeros(len(pool))
    for row in preference_order(pool, settings, scores=scores).tolist():
        if comparable_N[row]:
            rivals[row], similarities[row] = search.place(row)
    return decide_duplicates(
        pool,
        rivals_N=rivals,
        similarities_N=similarities,
        texts=texts,
        comparable_N=comparable_N,
        reason=NEAR_DUPLICATE,
        facts={
            "bands": bands.bands,
            "rows_in_a_band": bands.rows,
            "expected_recall_at_threshold": bands.recall(settings.minimum_similarity),
            "compared_pairs": search.compared,
        },
    )


@dataclass(slots=True, kw_only=True)
class _Search:
    """What has been kept so far, by bucket.

    Candidates with the same words share a text. All kept candidates of one text belong to one
    example (or are one), because any other is dropped; so one row stands for the text.
    """

    threshold: float
    same_example: bool
    text_of_row: list[int]
    example_of_row: list[int]
    ids: list[str]
    buckets: Buckets
    sets: dict[int, NDArray[np.uint64]]
    kept_row_of_text: dict[int, int] = field(default_factory=dict)
    texts_in_bucket: dict[int, list[int]] = field(default_factory=dict)
    compared: int = 0

    def place(self, row: int) -> tuple[int, float]:
        """Keep this row, or find the most similar kept one: its row and similarity."""
        text = self.text_of_row[row]
        twin = self.kept_row_of_text.get(text)
        if twin is not None:
            return (twin, 1.0) if self._are_rivals(row, twin) else (NO_RIVAL, 0.0)
        shared = self.buckets.of(text)
        near = sorted({t for b in shared for t in self.texts_in_bucket.get(b, ())})
        best: tuple[float, str, int] | None = None
        for other in self.buckets.promising(text, near, self.threshold):
            rival = self.kept_row_of_text[other]
            if not self._are_rivals(row, rival):
                continue
            similarity = self._similarity(text, other)
            if similarity >= self.threshold:
                found = (-similarity, self.ids[rival], rival)
                best = found if best is None else min(best, found)
        if best is not None:
            return best[2], -best[0]
        self.kept_row_of_text[text] = row
        for b in shared:
            self.texts_in_bucket.setdefault(b, []).append(text)
        return NO_RIVAL, 0.0

    def _are_rivals(self, row: int, other: int) -> bool:
        return self.same_example or self.example_of_row[row] != self.example_of_row[other]

    def _similarity(self, text: int, other: int) -> float:
        one, two = self.sets[text], self.sets[other]
        if min(len(one), len(two)) < self.threshold * max(len(one), len(two)):
            return 0.0
        self.compared += 1
        return jaccard(one, two)
