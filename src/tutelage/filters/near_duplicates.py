"""Near duplicates: texts that share most of their shingles."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.candidate_texts import Pool, TextColumn, compute
from tutelage.filters.config import NearDuplicatesSettings
from tutelage.filters.decisions import Verdicts
from tutelage.filters.duplicates import (
    NEAR_DUPLICATE,
    NO_RIVAL,
    decide_duplicates,
    example_codes,
    joint_codes,
    preference_order,
    text_codes,
)
from tutelage.filters.minhash import Buckets, bucket, choose_bands, jaccard, shingle_sets
from tutelage.filters.ngrams import spaced_words_and_signs, to_form
from tutelage.filters.operators import operator_similarity, operators_of

_NONE = np.zeros(0, dtype=np.uint64)


def drop_near_duplicates(
    pool: Pool, settings: NearDuplicatesSettings, *, scores: pa.Table | None = None
) -> Verdicts:
    """Keep one of texts that share most of their shingles.

    Texts are compared as lower-case words and signs; the operators in them are compared on their
    own and must be as alike. Unless only the response is compared, the earlier turns and the last
    one must each be as alike by themselves, and system prompt and tools must be the same.

    MinHash proposes pairs; each is then decided by the exact Jaccard similarity of the two sets of
    shingles, so what is dropped is really that alike. A pair exactly at the threshold is missed
    with a chance below 1 in 100, one above it more rarely.

    Returns:
        Verdicts with one of `unique`, `kept_of_duplicates`, `near_duplicate`,
        `nothing_to_compare`, `no_response`. The value is the similarity with the kept candidate
        that the detail names.
    """
    texts = pool.text(settings.of)
    whole = settings.of != "response"
    nothing = pa.array([""] * len(pool), pa.string())
    compared = _Compared.of(texts, pool.dialogues if whole else nothing)
    frames = text_codes(to_form(pool.frames if whole else nothing, "case_and_space"))
    codes = joint_codes(compared.codes_N, frames)
    _, first = np.unique(codes, return_index=True)
    at = pa.array(first, pa.int64())
    joint = compared.joint.take(at)
    bands = choose_bands(settings.minimum_similarity)
    buckets = bucket(joint, settings, bands, apart_N=frames[first])
    involved = np.flatnonzero(np.diff(buckets.starts_N))
    search = _Search(
        threshold=settings.minimum_similarity,
        same_example=settings.same_example,
        text_of_row=codes.tolist(),
        example_of_row=example_codes(pool).tolist(),
        ids=list(pool.candidate_ids),
        buckets=buckets,
        sets=shingle_sets(joint, involved, settings),
        parts=tuple(
            shingle_sets(
                part.take(at), involved[compared.has_dialogue_N[first][involved]], settings
            )
            for part in (compared.last, compared.dialogues)
        ),
        operators=[compared.operators[row] for row in first.tolist()],
    )
    comparable_N = np.asarray(compute.not_equal(compared.last, "")).astype(bool)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What of N candidates is compared.

    Attributes:
        joint: The words and signs of the earlier turns and of the text itself.
        last: Those of the text itself.
        dialogues: Those of the earlier turns.
        has_dialogue_N: Bool; whether there are earlier turns, so that the two differ.
        operators: The operators of all of it.
        codes_N: int64; the same number for candidates in which all of this is the same.
    """

    joint: TextColumn
    last: TextColumn
    dialogues: TextColumn
    has_dialogue_N: NDArray[np.bool_]
    operators: list[tuple[str, ...]]
    codes_N: NDArray[np.int64]

    @classmethod
    def of(cls, texts: TextColumn, dialogues: TextColumn) -> "_Compared":
        """Prepare texts and the turns before them, which may be empty."""
        there = compute.fill_null(texts, "")
        has_dialogue = compute.not_equal(dialogues, "")
        raw = compute.if_else(
            has_dialogue, compute.binary_join_element_wise(dialogues, there, "\n"), there
        )
        last, joint = spaced_words_and_signs(there), spaced_words_and_signs(raw)
        operators = [operators_of(text) for text in raw.to_pylist()]
        signs = pa.array(["\x1f".join(found) for found in operators], pa.string())
        key = compute.binary_join_element_wise(joint, last, signs, "\x1e")
        return cls(
            joint=joint,
            last=last,
            dialogues=spaced_words_and_signs(dialogues),
            has_dialogue_N=np.asarray(has_dialogue).astype(bool),
            operators=operators,
            codes_N=text_codes(key),
        )


@dataclass(slots=True, kw_only=True)
class _Search:
    """What has been kept so far, by bucket.

    Candidates in which everything is the same share a text. All kept candidates of one text belong
    to one example (or are one), because any other is dropped; so one row stands for the text.
    """

    threshold: float
    same_example: bool
    text_of_row: list[int]
    example_of_row: list[int]
    ids: list[str]
    buckets: Buckets
    sets: dict[int, NDArray[np.uint64]]
    parts: tuple[dict[int, NDArray[np.uint64]], ...]
    operators: list[tuple[str, ...]]
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
        similarity = jaccard(one, two)
        if similarity < self.threshold:
            return similarity
        alike = [similarity, operator_similarity(self.operators[text], self.operators[other])]
        if any(text in part or other in part for part in self.parts):
            alike += [jaccard(*(p.get(t, _NONE) for t in (text, other))) for p in self.parts]
        return similarity if min(alike) >= self.threshold else min(alike)
