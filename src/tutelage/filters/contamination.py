"""Contamination: items of evaluation sets inside candidates.

An item is found in a text in one of three ways:

* an item of at least `ngram_words` words: by the share of its distinct n-grams of words that
  occur in the text; 1 means all of them, 0 none;
* a shorter item: whole, as a run of words of the text;
* any item: when its letters and digits are those of the whole text, which also finds items whose
  words were split differently ("did n't" and "didn't").

An item with fewer than `short_words` words is only found as the whole text, because "What is
it?" occurs in many texts that have nothing to do with it. The same holds for words that identify
no item: a short stem that many items share ("Which of the following is correct?"), and a short
item that occurs in many examples of the data.

In scripts without spaces two characters of Chinese or Japanese, or four of Thai, Lao, Khmer or
Burmese, count as one word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.candidates import Pool, TextColumn, Verdicts, compute
from tutelage.filters.config import ContaminationSettings
from tutelage.filters.duplicates import example_codes
from tutelage.filters.ngrams import Runs, Symbols, runs_of, to_form, word_equivalents, word_symbols
from tutelage.filters.reference_texts import Item, read_items

CLEAN = "clean"
CONTAMINATED = "contaminated"

SHARED_BY_ITEMS = 5
"""Number of items with the same n-gram above which it may belong to a common stem."""
SHORT_SHARED_BY_ITEMS = 3
"""Same number for an item that is shorter than an n-gram."""
COMMON_EXAMPLES = 5
COMMON_FRACTION = 0.01
"""A short item that occurs in more examples than both of these counts as a common phrase."""

_TEXTS_AT_A_TIME = 20_000
_RATIOS = (1.0, 1.5, 2.0, 3.0, 4.0)  # few, because each length is a pass over the data


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Matches: H pairs of a text and an item, each pair at most once.

    Attributes:
        texts_H: int64; index of the text.
        items_H: int64; index of the item.
        overlaps_H: float64 in (0, 1]; the share of the item's n-grams that the text has.
        whole_H: Bool; whether the text is the item and nothing else.
    """

    texts_H: NDArray[np.int64]
    items_H: NDArray[np.int64]
    overlaps_H: NDArray[np.float64]
    whole_H: NDArray[np.bool_]

    def where(self, wanted_H: NDArray[np.bool_] | NDArray[np.int64]) -> "Hits":
        """Subset of the matches."""
        return Hits(
            texts_H=self.texts_H[wanted_H],
            items_H=self.items_H[wanted_H],
            overlaps_H=self.overlaps_H[wanted_H],
            whole_H=self.whole_H[wanted_H],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grams:
    """N-grams of one length, of the items that are matched by them.

    Attributes:
        length: Words in an n-gram.
        hashes_G: uint64, sorted; with `items_G`, one entry for each n-gram of each item.
        items_G: int64.
        totals_I: int64; how many distinct n-grams each item has.
        stems: How many items have n-grams that are left out because they belong to a stem.
    """

    length: int
    hashes_G: NDArray[np.uint64]
    items_G: NDArray[np.int64]
    totals_I: NDArray[np.int64]
    stems: int


class EvaluationIndex:
    """Index of evaluation items for matching."""

    def __init__(self, items: Sequence[Item], *, ngram_words: int, short_words: int) -> None:
        """Index the items of evaluation sets.

        Args:
            items: The evaluation sets, one after the other.
            ngram_words: Words in an n-gram, at least 1.
            short_words: Shorter items are only found as the whole text.
        """
        self.items = tuple(items)
        texts = pa.array([item.text for item in items], pa.string())
        self._keys = to_form(texts, "letters_and_digits")
        symbols = word_symbols(texts)
        words = word_equivalents(texts)
        ratios = symbols.counts_N / np.maximum(words, 1.0 / _RATIOS[-1])
        steps = np.array(_RATIOS)
        nearest = steps[np.abs(ratios[:, None] - steps).argmin(axis=1)]
        wanted = np.rint(nearest * ngram_words).astype(np.int64)
        lengths = np.minimum(symbols.counts_N, wanted)
        self.short_I = symbols.counts_N < wanted
        findable = words >= min(short_words, ngram_words)
        self._grams = [
            _index(symbols, int(length), findable & (lengths == length), self.short_I, ngram_words)
            for length in np.unique(lengths[findable])
        ]
        self.shared_stems = int(sum(grams.stems for grams in self._grams))

    def find(self, texts: TextColumn) -> Hits:
        """Match every item against every text; null matches nothing."""
        pieces = [self._whole(texts)]
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            symbols = word_symbols(texts.slice(start, _TEXTS_AT_A_TIME))
            for grams in self._grams:
                hits = _look_up(grams, runs_of(symbols, grams.length))
                pieces.append(replace(hits, texts_H=hits.texts_H + start))
        return _strongest(pieces, len(self.items))

    def _whole(self, texts: TextColumn) -> Hits:
        """Texts identical to an item; of several equal items, the first."""
        at = compute.index_in(to_form(texts, "letters_and_digits"), value_set=self._keys)
        found = np.asarray(compute.fill_null(at, -1), dtype=np.int64)
        found[np.asarray(texts.is_null())] = -1
        hit = np.flatnonzero(found >= 0)
        return Hits(
            texts_H=hit,
            items_H=found[hit],
            overlaps_H=np.ones(len(hit)),
            whole_H=np.ones(len(hit), dtype=bool),
        )


def drop_contaminated(pool: Pool, settings: ContaminationSettings) -> Verdicts:
    """Drop candidates that contain an item of an evaluation set.

    Every candidate is checked, also those of a teacher: a teacher can write a benchmark item into
    data that was clean. With `of: both`, the earlier turns of a conversation are searched too.

    Returns:
        Verdicts with `clean`, `contaminated` or `no_response`. The value is the highest overlap
        with any item, in [0, 1]; the detail names the item, the part and the n-grams found.
    """
    items = [item for source in settings.evaluation for item in read_items(source)]
    index = EvaluationIndex(
        items, ngram_words=settings.ngram_words, short_words=settings.short_words
    )
    overlaps = np.zeros(len(pool))
    best_item = np.full(len(pool), -1, dtype=np.int64)
    part_of = np.full(len(pool), "", dtype=object)
    absent = np.zeros(len(pool), dtype=bool)
    phrases: set[int] = set()
    for part, texts in _parts(pool, settings):
        hits = index.find(texts)
        common = _common_phrases(hits, index, example_codes(pool))
        phrases.update(common.tolist())
        hits = hits.where(hits.whole_H | ~np.isin(hits.items_H, common))
        order = np.lexsort((hits.items_H, -hits.overlaps_H, hits.texts_H))
        found, first = np.unique(hits.texts_H[order], return_index=True)
        strongest = order[first]
        higher = hits.overlaps_H[strongest] > overlaps[found]
        rows, hit = found[higher], strongest[higher]
        overlaps[rows] = hits.overlaps_H[hit]
        best_item[rows] = hits.items_H[hit]
        part_of[rows] = part
        if settings.of != "both":
            absent = np.asarray(texts.is_null())
    verdicts = _decide(
        settings, index, overlaps=overlaps, best_item=best_item, part_of=part_of, absent=absent
    )
    shared = {"items_with_a_shared_stem": index.shared_stems, "common_phrases": len(phrases)}
    return replace(verdicts, facts={**verdicts.facts, **shared})


def _common_phrases(
    hits: Hits, index: EvaluationIndex, examples: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Short items that occur in so many examples that they identify nothing."""
    within = hits.where(~hits.whole_H & index.short_I[hits.items_H])
    total = len(np.unique(examples))
    size = max(len(examples), 1)
    pairs = np.unique(within.items_H * size + examples[within.texts_H])
    items, counts = np.unique(pairs // size, return_counts=True)
    common: NDArray[np.int64] = items[counts > max(COMMON_EXAMPLES, COMMON_FRACTION * total)]
    return common


def _decide(
    settings: ContaminationSettings,
    index: EvaluationIndex,
    *,
    overlaps: NDArray[np.float64],
    best_item: NDArray[np.int64],
    part_of: NDArray[np.object_],
    absent: NDArray[np.bool_],
) -> Verdicts:
    contaminated = (best_item >= 0) & (overlaps >= settings.minimum_overlap)
    reasons = np.where(contaminated, CONTAMINATED, CLEAN).astype(object)
    reasons[absent] = "no_response"
    details: list[str | None] = [None] * len(overlaps)
    for row in np.flatnonzero(best_item >= 0).tolist():
        item = index.items[best_item[row]]
        details[row] = f"{overlaps[row]:.2f} of {item.item_id} in the {part_of[row]}"
    return Verdicts(
        kept_N=~contaminated & ~absent,
        reasons_N=[str(reason) for reason in reasons],
        values_N=overlaps,
        known_N=~absent,
        details_N=details,
        facts={"evaluation_items": len(index.items), "ngram_words": settings.ngram_words},
    )


def _parts(pool: Pool, settings: ContaminationSettings) -> Iterator[tuple[str, TextColumn]]:
    if settings.of in ("instruction", "both"):
        yield "instruction", pool.instructions
    if settings.of in ("response", "both"):
        yield "response", pool.responses
    if settings.of == "both" and compute.any(compute.not_equal(pool.earlier, "")).as_py():
        yield "earlier turns", pool.earlier


def _index(
    symbols: Symbols,
    length: int,
    wanted: NDArray[np.bool_],
    short: NDArray[np.bool_],
    ngram_words: int,
) -> _Grams:
    runs = runs_of(symbols, length)
    mine = wanted[runs.texts_R]
    hashes, items = runs.hashes_R[mine], runs.texts_R[mine]
    order = np.lexsort((items, hashes))
    hashes, items = hashes[order], items[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (items[1:] != items[:-1])
    hashes, items = hashes[new], items[new]
    # What many items share is a stem if it is short; a long text that they share, such as a
    # passage with several questions, tells that it was copied.
    _, codes, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    limit = np.where(short[items], SHORT_SHARED_BY_ITEMS, SHARED_BY_ITEMS)
    shared = counts[codes] >= limit if len(codes) else np.zeros(0, dtype=bool)
    shared_I = np.bincount(items[shared], minlength=len(wanted))
    longest = ngram_words * length / max(min(length, ngram_words), 1)
    stem = shared & (shared_I[items] <= longest)
    return _Grams(
        length=length,
        hashes_G=hashes[~stem],
        items_G=items[~stem],
        totals_I=np.bincount(items[~stem], minlength=len(wanted)),
        stems=len(np.unique(items[stem])),
    )


def _look_up(grams: _Grams, runs: Runs) -> Hits:
    """Count the distinct n-grams that each text and item share."""
    lows = np.searchsorted(grams.hashes_G, runs.hashes_R, side="left")
    known = lows < len(grams.hashes_G)
    known[known] = grams.hashes_G[lows[known]] == runs.hashes_R[known]
    hashes, texts, lows = runs.hashes_R[known], runs.texts_R[known], lows[known]
    repeats = np.searchsorted(grams.hashes_G, hashes, side="right") - lows
    ends = np.cumsum(repeats)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - repeats, repeats)
    entries = np.repeat(lows, repeats) + within
    # A text may repeat an n-gram: each pair of a text and an entry counts once.
    size = max(len(grams.hashes_G), 1)
    seen = np.unique(np.repeat(texts, repeats) * size + entries)
    items = len(grams.totals_I)
    pairs, counts = np.unique(
        (seen // size) * items + grams.items_G[seen % size], return_counts=True
    )
    found = pairs % items
    return Hits(
        texts_H=pairs // items,
        items_H=found,
        overlaps_H=counts / grams.totals_I[found],
        whole_H=np.zeros(len(found), dtype=bool),
    )


def _strongest(pieces: Sequence[Hits], items: int) -> Hits:
    """Joined matches; where a text matches an item in two ways, the higher overlap counts."""
    joined = Hits(
        texts_H=np.concatenate([piece.texts_H for piece in pieces]),
        items_H=np.concatenate([piece.items_H for piece in pieces]),
        overlaps_H=np.concatenate([piece.overlaps_H for piece in pieces]),
        whole_H=np.concatenate([piece.whole_H for piece in pieces]),
    )
    order = np.lexsort((~joined.whole_H, -joined.overlaps_H, joined.items_H, joined.texts_H))
    keys = (joined.texts_H * max(items, 1) + joined.items_H)[order]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    return joined.where(order[first])
