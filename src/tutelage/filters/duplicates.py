"""Duplicates, exact and near, and which one of each group is kept.

Every duplicates filter processes the candidates in the order of preference, and drops a candidate
if it is similar enough to one that is already kept. So each dropped candidate is similar to the
kept one that its decision names, and no two kept candidates are similar: there are no chains in
which A replaces C only because both resemble B. Near duplicates have most of their shingles in
common.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.candidates import NO_RESPONSE, Pool, TextColumn, Verdicts, compute
from tutelage.filters.config import (
    DuplicatesSettings,
    ExactDuplicatesSettings,
    NearDuplicatesSettings,
)
from tutelage.filters.ngrams import (
    Form,
    Runs,
    character_symbols,
    mix,
    runs_or_whole,
    spaced_words_and_signs,
    to_form,
    word_symbols,
)
from tutelage.filters.numeric import column_numbers
from tutelage.filters.operators import operator_similarity, operators_of

UNIQUE = "unique"
KEPT_OF_DUPLICATES = "kept_of_duplicates"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"
SEMANTIC_DUPLICATE = "semantic_duplicate"
NOTHING_TO_COMPARE = "nothing_to_compare"
"""Reason of texts without letters and digits, which are kept because nothing can be compared."""

NO_RIVAL = -1


def drop_exact_duplicates(
    pool: Pool, settings: ExactDuplicatesSettings, *, scores: pa.Table | None = None
) -> Verdicts:
    """Keep one of each group of identical texts.

    Unless only the response is compared, the system prompt, the tools and the earlier turns are
    part of the text: "Continue." after two different stories is not the same request.

    Versions of one example may share a text (samples share their instruction), so they are only
    compared with each other where the settings say so.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        scores: The scores table, where a preference needs it.

    Returns:
        Verdicts with one of `unique`, `kept_of_duplicates`, `exact_duplicate`, `no_response`;
        the detail of a dropped candidate names the kept one.
    """
    texts = to_form(pool.text(settings.of), settings.form)
    codes = text_codes(texts)
    if settings.of != "response":
        codes = joint_codes(codes, context_codes(pool, settings.form))
    order = preference_order(pool, settings, scores=scores)
    _, first = np.unique(codes[order], return_index=True)
    winner_of_code = order[first]  # np.unique sorts the codes, which are 0, 1, 2, ...
    winners = winner_of_code[codes]
    examples = example_codes(pool)
    rows = np.arange(len(pool))
    dropped = winners != rows
    if not settings.same_example:
        dropped &= examples[winners] != examples
    dropped &= ~np.asarray(texts.is_null())
    rivals = np.where(dropped, winners, NO_RIVAL)
    return decide_duplicates(
        pool,
        rivals_N=rivals,
        similarities_N=np.ones(len(pool)),
        texts=texts,
        comparable_N=np.ones(len(pool), dtype=bool),
        reason=EXACT_DUPLICATE,
    )


def preference_order(
    pool: Pool, settings: DuplicatesSettings, *, scores: pa.Table | None = None
) -> NDArray[np.int64]:
    """Positions of the candidates in the order in which they are preferred.

    Candidates without a number or a response come last; between equals the id decides, except
    for `first`, which is the order of the table.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        scores: The scores table, where a preference needs it.
    """
    if settings.keep == "first":
        return np.arange(len(pool), dtype=np.int64)
    if settings.keep == "longest":
        lengths = compute.fill_null(compute.utf8_length(pool.responses), -1)
        worth = np.asarray(lengths, dtype=np.float64)
    else:
        measured = column_numbers(pool, settings.by or "", scores=scores)
        signed = measured.values_N if settings.prefer == "high" else -measured.values_N
        worth = np.where(measured.known_N, signed, -np.inf)
    ids = np.array(pool.candidate_ids, dtype=object)
    by_id = np.argsort(ids, kind="stable")
    return by_id[np.argsort(-worth[by_id], kind="stable")].astype(np.int64)


def text_codes(texts: TextColumn) -> NDArray[np.int64]:
    """Integer code of each text, the same for equal texts; each null is unique."""
    encoded = compute.dictionary_encode(texts, null_encoding="encode")
    return np.asarray(encoded.indices, dtype=np.int64)


def context_codes(pool: Pool, form: Form = "case_and_space") -> NDArray[np.int64]:
    """Integer code of each candidate's system prompt, tools and earlier turns."""
    return joint_codes(*(text_codes(to_form(t, form)) for t in (pool.frames, pool.dialogues)))


def joint_codes(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integer code, from 0, of each pair of codes."""
    pairs = one * (int(other.max(initial=0)) + 1) + other
    codes: NDArray[np.int64] = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    return codes


def example_codes(pool: Pool) -> NDArray[np.int64]:
    """Integer code of each candidate, the same for versions of one example."""
    encoded = compute.dictionary_encode(pa.array(pool.example_ids, pa.string()))
    return np.asarray(encoded.indices, dtype=np.int64)


def decide_duplicates(
    pool: Pool,
    *,
    rivals_N: NDArray[np.int64],
    similarities_N: NDArray[np.float64],
    texts: TextColumn,
    comparable_N: NDArray[np.bool_],
    reason: str,
    facts: Mapping[str, str | int | float] | None = None,
) -> Verdicts:
    """Verdicts from pairs of duplicates, each with the candidate that is kept.

    Args:
        pool: The candidates.
        rivals_N: The position of the kept candidate that each resembles; `NO_RIVAL` for none.
        similarities_N: How similar they are; only meaningful where there is a rival.
        texts: What was compared; null where there is no response.
        comparable_N: False where the text has nothing to compare.
        reason: The reason of those that are dropped.
        facts: What to say about all of them.
    """
    dropped = rivals_N != NO_RIVAL
    absent = np.asarray(texts.is_null())
    followers = np.bincount(rivals_N[dropped], minlength=len(pool))
    reasons = np.full(len(pool), UNIQUE, dtype=object)
    reasons[~comparable_N] = NOTHING_TO_COMPARE
    reasons[followers > 0] = KEPT_OF_DUPLICATES
    reasons[dropped] = reason
    reasons[absent] = NO_RESPONSE
    details: list[str | None] = [None] * len(pool)
    for row in np.flatnonzero(dropped).tolist():
        details[row] = f"of {pool.candidate_ids[rivals_N[row]]}"
    for row in np.flatnonzero(followers).tolist():
        details[row] = f"{followers[row]} duplicate{'s' * bool(followers[row] > 1)} dropped"
    return Verdicts(
        kept_N=~dropped & ~absent,
        reasons_N=[str(r) for r in reasons],
        values_N=np.where(dropped, similarities_N, 0.0),
        known_N=dropped,
        details_N=details,
        facts=facts or {},
    )


# MinHash signatures and the buckets of texts that may be near duplicates.
#
# A. Broder, "On the resemblance and containment of documents", 1997: for a random order of all
# shingles, two sets have the same smallest shingle with a chance that equals their Jaccard
# similarity. Locality-sensitive hashing puts texts into one bucket when r such minima in a row
# agree, in any of b bands: the chance of sharing a bucket is 1 - (1 - J^r)^b.
#
# Deviation: instead of random orders, h(x) = a x + b modulo 2^64 with odd a. The buckets are only
# candidates; `near.py` compares the sets themselves.


HASHES = 128
"""Minima in a signature. More of them find the same pairs with fewer false candidates, slower."""

WANTED_RECALL = 0.99
"""Recall of pairs exactly at the threshold; pairs above it are found more often."""

_CHARACTERS_AT_A_TIME = 250_000  # keeps the inner loop within the processor's cache
_HASH_SEED = 20240229
_ESTIMATE_MARGIN = 0.2  # over four standard errors of the share of 128 minima that agree
_FEW = 4  # so few are compared at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Bands into which a signature is cut.

    Attributes:
        bands: Pieces of the signature, each a chance to share a bucket.
        rows: Minima in each piece, all of which must agree.
    """

    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Probability in [0, 1] that two texts of this Jaccard similarity share a bucket."""
        return float(1.0 - (1.0 - similarity**self.rows) ** self.bands)


def choose_bands(similarity: float) -> Bands:
    """Most selective bands that still find `WANTED_RECALL` of the pairs at this similarity.

    Examples:
        >>> choose_bands(0.8)
        Bands(bands=21, rows=6)
    """
    for rows in range(HASHES, 1, -1):
        bands = Bands(bands=HASHES // rows, rows=rows)
        if bands.recall(similarity) >= WANTED_RECALL:
            return bands
    return Bands(bands=HASHES, rows=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Shared buckets of each of N texts.

    Attributes:
        ids_B: int64; bucket ids, those of text 0 first. Buckets of one text are left out.
        starts_N: int64; where the ids of each text start, and one more for the end.
        sketches_N_H: uint8; the low eight bits of the H minima of each text.
    """

    ids_B: NDArray[np.int64]
    starts_N: NDArray[np.int64]
    sketches_N_H: NDArray[np.uint8]

    def of(self, text: int) -> list[int]:
        """Buckets that this text shares with others."""
        found: list[int] = self.ids_B[self.starts_N[text] : self.starts_N[text + 1]].tolist()
        return found

    def promising(self, text: int, others: list[int], similarity: float) -> list[int]:
        """Buckets without pairs whose minima agree too rarely for this Jaccard similarity.

        The share of minima that agree estimates the similarity with a standard error of at most
        0.045; a text as near as asked for is left out with a chance of about 1 in 100,000.

        Args:
            text: Index of the text.
            others: Indices of the texts that share a bucket with it.
            similarity: The least Jaccard similarity.
        """
        if len(others) < _FEW:
            return others
        agree = self.sketches_N_H[others] == self.sketches_N_H[text]
        near = agree.mean(axis=1) >= similarity - _ESTIMATE_MARGIN
        return [other for other, is_near in zip(others, near.tolist(), strict=True) if is_near]


def shingles(texts: TextColumn, settings: NearDuplicatesSettings) -> Runs:
    """Hashed shingles of each text; a short text is one shingle."""
    symbols = character_symbols if settings.shingle == "characters" else word_symbols
    return runs_or_whole(symbols(texts), settings.shingle_size)


def in_chunks(texts: TextColumn) -> Iterator[tuple[int, TextColumn]]:
    """Chunks of about 250,000 characters: (first index, texts)."""
    ends = np.cumsum(np.asarray(compute.utf8_length(texts), dtype=np.int64))
    start = 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + _CHARACTERS_AT_A_TIME, side="right"))
        stop = max(stop, start + 1)
        yield start, texts.slice(start, stop - start)
        start = stop


def bucket(
    texts: TextColumn,
    settings: NearDuplicatesSettings,
    bands: Bands,
    *,
    apart_N: NDArray[np.int64] | None = None,
) -> Buckets:
    """Assign texts to buckets.

    Args:
        texts: Distinct texts without nulls. A text without letters and digits is in no bucket.
        settings: What a shingle is.
        bands: How to cut the signatures.
        apart_N: Texts with different numbers share no bucket.
    """
    keys = np.zeros((len(texts), bands.bands), dtype=np.uint64)
    sketches = np.zeros((len(texts), bands.bands * bands.rows), dtype=np.uint8)
    has_key = np.zeros(len(texts), dtype=bool)
    for start, chunk in in_chunks(texts):
        signed, signatures = _signatures(shingles(chunk, settings), bands.bands * bands.rows)
        keys[start + signed] = _band_keys(signatures, bands)
        sketches[start + signed] = signatures.astype(np.uint8)  # keeps the low bits
        has_key[start + signed] = True
    if apart_N is not None:
        keys ^= mix(apart_N.astype(np.uint64))[:, None]
    ids, starts = _shared(keys, np.flatnonzero(has_key), len(texts))
    return Buckets(ids_B=ids, starts_N=starts, sketches_N_H=sketches)


def _signatures(runs: Runs, hashes: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Texts with shingles, and their (texts, hashes) minima."""
    texts, starts = np.unique(runs.texts_R, return_index=True)
    generator = np.random.Generator(np.random.PCG64(_HASH_SEED))
    factors = generator.integers(0, 2**64, size=HASHES, dtype=np.uint64) | np.uint64(1)
    offsets = generator.integers(0, 2**64, size=HASHES, dtype=np.uint64)
    minima = np.empty((hashes, len(texts)), dtype=np.uint64)
    if len(texts):
        hashed = np.empty_like(runs.hashes_R)
        for i in range(hashes):
            np.multiply(runs.hashes_R, factors[i], out=hashed)
            hashed += offsets[i]
            np.minimum.reduceat(hashed, starts, out=minima[i])
    return texts, minima.T


def _band_keys(signatures: NDArray[np.uint64], bands: Bands) -> NDArray[np.uint64]:
    cut = signatures.reshape(len(signatures), bands.bands, bands.rows)
    keys = np.zeros(cut.shape[:2], dtype=np.uint64)
    for row in range(bands.rows):
        keys = mix(keys ^ cut[:, :, row])
    return keys


def _shared(
    keys: NDArray[np.uint64], texts: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys that two or more texts share, numbered band by band: bucket ids and their starts."""
    members: list[NDArray[np.int64]] = []
    ids: list[NDArray[np.int64]] = []
    next_id = 0
    for band in range(keys.shape[1]):
        _, codes, counts = np.unique(keys[texts, band], return_inverse=True, return_counts=True)
        shared = counts[codes] > 1
        members.append(texts[shared])
        ids.append(codes[shared].astype(np.int64) + next_id)
        next_id += len(counts)
    all_members = np.concatenate(members)
    order = np.argsort(all_members, kind="stable")
    counts_N = np.bincount(all_members, minlength=total)
    starts = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
    return np.concatenate(ids)[order], starts


def shingle_sets(
    texts: TextColumn, wanted: NDArray[np.int64], settings: NearDuplicatesSettings
) -> dict[int, NDArray[np.uint64]]:
    """Sorted distinct shingles of some texts, by index.

    Args:
        texts: All texts.
        wanted: Indices of the texts.
        settings: Settings of the filter.
    """
    sets: dict[int, NDArray[np.uint64]] = {}
    some = texts.take(pa.array(wanted, pa.int64()))
    for start, chunk in in_chunks(some):
        runs = shingles(chunk, settings)
        found, starts = np.unique(runs.texts_R, return_index=True)
        pieces = np.split(runs.hashes_R, starts[1:])
        for text, piece in zip(found.tolist(), pieces, strict=True):
            sets[int(wanted[start + text])] = np.unique(piece)
    return sets


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Jaccard similarity of two sorted arrays without repeats, in [0, 1].

    1 means the same set; 0 means nothing shared.

    Examples:
        >>> jaccard(np.array([1, 2, 3], np.uint64), np.array([2, 3, 4], np.uint64))
        0.5
    """
    if not len(one) or not len(other):
        return 0.0
    if len(one) > len(other):
        one, other = other, one
    at = np.searchsorted(other, one)
    at[at == len(other)] = 0
    shared = int((other[at] == one).sum())
    return shared / (len(one) + len(other) - shared)


_NONE = np.zeros(0, dtype=np.uint64)


def drop_near_duplicates(
    pool: Pool, settings: NearDuplicatesSettings, *, scores: pa.Table | None = None
) -> Verdicts:
    """Keep one of texts with most shingles in common.

    Texts are compared as lower-case words and signs; the operators in them are compared on their
    own and must be as similar. Unless only the response is compared, the earlier turns and the last
    one must each be as similar by themselves, and system prompt and tools must be the same.

    MinHash proposes pairs; each is then decided by the exact Jaccard similarity of the two sets of
    shingles, so what is dropped is really that similar. A pair exactly at the threshold is missed
    with a chance below 1 in 100, one above it more rarely.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        scores: The scores table, where a preference needs it.

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
    """Compared texts of N candidates.

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
        """Prepare texts and their earlier turns, which may be empty."""
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
    """Kept candidates so far, by bucket.

    Candidates in which everything is the same share a text. All kept candidates of one text belong
    to one example (or are one), because any other is dropped; so one row represents the text.
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
        """Keep this row, or find the most similar kept one and its similarity."""
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
