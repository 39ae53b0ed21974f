"""Duplicates: exact matching, and which one of each group is kept.

Every duplicates filter processes the candidates in the order of preference, and drops a candidate
if it is similar enough to one that is already kept. So each dropped candidate is similar to the
kept one that its decision names, and no two kept candidates are similar: there are no chains in
which A replaces C only because both resemble B.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.filters.candidate_texts import Pool, TextColumn, compute
from tutelage.filters.config import DuplicatesSettings, ExactDuplicatesSettings
from tutelage.filters.decisions import NO_RESPONSE, Verdicts
from tutelage.filters.ngrams import Form, to_form
from tutelage.filters.numeric import column_numbers

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
        similarities_N: How alike they are; only meaningful where there is a rival.
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
        details[row] = f"stands for {followers[row]} more"
    return Verdicts(
        kept_N=~dropped & ~absent,
        reasons_N=[str(r) for r in reasons],
        values_N=np.where(dropped, similarities_N, 0.0),
        known_N=dropped,
        details_N=details,
        facts=facts or {},
    )
