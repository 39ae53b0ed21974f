"""Budget of a selection: shares, counts and quotas, and the order that fills them."""

import math

import numpy as np
import pyarrow as pa

from tutelage.errors import DataError
from tutelage.selection.candidate_table import NONE, Bools, Floats, Pool, encode, take
from tutelage.selection.config import OTHER_SOURCES, SelectSettings
from tutelage.selection.diversity import Vectors, cover, vectors_of
from tutelage.selection.random_draws import draws
from tutelage.selection.reasons import COVERED, NOT_DRAWN, Order, Verdict

UNNAMED_SOURCE = "null"
"""Quota name of rows without a source."""


def cut(
    pool: Pool, verdict: Verdict, settings: SelectSettings, *, embeddings: pa.Table | None
) -> Verdict:
    """Keep the requested number of examples.

    Args:
        pool: The pool.
        verdict: What the rule chose.
        settings: keep_count, keep_fraction or quotas; per_source, diversity, seed.
        embeddings: For a choice by diversity: `candidate_id` and `embedding` of every candidate
            that may be chosen.

    Returns:
        The verdict in which the other examples keep nothing.

    Raises:
        DataError: A chosen candidate has no embedding.
    """
    order = verdict.order
    if order is None and not settings.cuts:
        return verdict
    (draw_E,) = draws(pool.example_ids, seed=settings.seed, purpose="cut")
    if order is None:
        order = Order(cost_E=draw_E, kept=None, dropped=NOT_DRAWN)
    if settings.diversity is not None:
        order = Order(cost_E=draw_E, kept=None, dropped=COVERED)
        vectors_E = _vectors(pool, verdict, embeddings)
    else:
        vectors_E = None
    by_source = settings.per_source or bool(settings.quotas)
    names, group_E = encode(pool.sources) if by_source else ((), np.zeros(pool.examples, np.int64))
    kept_E = np.zeros(pool.examples, dtype=np.bool_)
    last_E = np.full(pool.examples, np.nan)
    for group in np.unique(group_E):
        members = np.flatnonzero(group_E == group)
        source = UNNAMED_SOURCE if group == NONE or not names else names[group]
        wanted = _budget(len(members), settings, source=source)
        taking_part = members[verdict.chosen_E[members] != NONE]
        if vectors_E is None or settings.diversity is None or not len(taking_part):
            by_cost = np.argsort(order.cost_E[taking_part], kind="stable")
        else:
            by_cost = np.array(
                cover(
                    vectors_E[taking_part],
                    count=wanted,
                    start=int(draw_E[taking_part].argmin()),
                    method=settings.diversity,
                ),
                dtype=np.int64,
            )
        kept = taking_part[by_cost][:wanted]
        kept_E[kept] = True
        if len(kept):
            last_E[members] = order.cost_E[kept[-1]]
    return _with(pool, verdict, order, kept_E, last_E)


def _with(pool: Pool, verdict: Verdict, order: Order, kept_E: Bools, last_E: Floats) -> Verdict:
    chosen_E = np.where(kept_E, verdict.chosen_E, NONE)
    had_E = verdict.chosen_E != NONE
    reason_E = verdict.reason_E if order.kept is None else np.where(kept_E, order.kept, "")
    reason_E = np.where(kept_E, reason_E, np.where(had_E, order.dropped, verdict.reason_E))
    shown = {} if order.evidence is None else {order.evidence: order.sign * last_E}
    rank_N = verdict.rank_N
    return Verdict(
        chosen_E=chosen_E,
        reason_E=reason_E,
        evidence={**verdict.evidence, **shown},
        rank_N=None if rank_N is None else np.where(kept_E[pool.example_N], rank_N, NONE),
        weight_N=verdict.weight_N,
    )


def _budget(examples: int, settings: SelectSettings, *, source: str) -> int:
    if settings.quotas:
        return settings.quotas.get(source, settings.quotas.get(OTHER_SOURCES, examples))
    if settings.keep_count is not None:
        return settings.keep_count
    if settings.keep_fraction is not None:
        # The subtraction keeps a product such as 100 * 0.07 from being rounded up to 8.
        return max(1, math.ceil(examples * settings.keep_fraction - 1e-9))
    return examples


def _vectors(pool: Pool, verdict: Verdict, embeddings: pa.Table | None) -> Vectors:
    """Embedding of the chosen candidate of each example; zeros without one."""
    if embeddings is None:
        raise DataError(
            "a choice by diversity needs embeddings",
            hint="give `embeddings` with candidate_id and embedding",
        )
    found = vectors_of(embeddings)
    examples = np.flatnonzero(verdict.chosen_E != NONE)
    ids = [str(i) for i in take(pool.candidate_ids, verdict.chosen_E[examples]).to_pylist()]
    missing = [i for i in ids if i not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} chosen candidates have no embedding, such as "
            f"{missing[0]}",
            hint="give the embedding of every candidate that may be chosen",
        )
    dimensions = len(found[ids[0]]) if ids else 0
    vectors_E = np.zeros((pool.examples, dimensions), dtype=np.float32)
    if ids:
        vectors_E[examples] = np.stack([found[i] for i in ids])
    return vectors_E
