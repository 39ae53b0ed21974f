"""Size and composition of a selection: counts, quotas, diversity and mixtures of kinds."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.selection.candidate_table import (
    NONE,
    Bools,
    Floats,
    Indexes,
    Pool,
    column_of,
    draws,
    encode,
    take,
    to_numpy,
)
from tutelage.selection.config import OTHER_SOURCES, MixSettings, SelectSettings
from tutelage.selection.gates import without
from tutelage.selection.reasons import COVERED, NOT_DRAWN, OTHER_KIND, Order, Verdict

# ----------------------------------------------------------------------------------------------
# Diversity orders: the first k of some vectors cover all of them well, for every k.
# ----------------------------------------------------------------------------------------------


Vectors = NDArray[np.float32]
"""Matrix with one unit vector per text, or zeros where there was nothing to embed."""

MOST_COMPARED = 20_000
"""Most texts for facility location: all pairs of them need 1.6 GB."""


def cover(
    vectors: Vectors,
    *,
    count: int,
    start: int,
    method: Literal["k_center", "facility_location"],
) -> list[int]:
    """Order of `count` rows, each the one that adds most after those before it.

    Args:
        vectors: M rows of length 1.
        count: How many are wanted; at most M are given.
        start: k_center: the row to begin with. Facility location begins with the most central.
        method: k_center (Gonzalez 1985) takes the row that is furthest from all taken, and so
            reaches into the corners; its greatest distance is at most twice the best possible.
            facility_location takes the row that adds most to the sum over all rows of the cosine
            with the nearest taken one, and so follows where the data are dense; the sum reaches
            at least 1 - 1/e of the best possible.

    Returns:
        Row numbers, each once. Of equal ones the smaller number is taken.

    Raises:
        DataError: Too many rows to compare all pairs.
    """
    count = min(count, len(vectors))
    if method == "k_center":
        return _k_center(vectors, count=count, start=start)
    if len(vectors) > MOST_COMPARED:
        raise DataError(
            f"facility location compares all pairs; {len(vectors)} are more than {MOST_COMPARED}",
            hint="use diversity: k_center, or choose within each source",
        )
    return _facility_location(vectors, count=count)


def _k_center(vectors: Vectors, *, count: int, start: int) -> list[int]:
    taken = [start] if count else []
    nearest = vectors @ vectors[start] if count else np.empty(0, np.float32)
    while len(taken) < count:
        nearest[taken[-1]] = np.inf  # never again, even where all others are the same text
        row = int(nearest.argmin())
        taken.append(row)
        np.maximum(nearest, vectors @ vectors[row], out=nearest)
    return taken


def _facility_location(vectors: Vectors, *, count: int) -> list[int]:
    # Negative cosines would let a text cover another by being unlike it.
    cosines = np.maximum(vectors @ vectors.T, 0.0)
    covered = np.zeros(len(vectors), dtype=np.float32)
    # What a row adds only shrinks as others are taken, so old gains are upper bounds (lazy greedy).
    gains = cosines.sum(axis=0, dtype=np.float64)
    taken: list[int] = []
    fresh = np.zeros(len(vectors), dtype=np.int64)
    while len(taken) < count:
        row = int(gains.argmax())
        if fresh[row] == len(taken):
            taken.append(row)
            np.maximum(covered, cosines[row], out=covered)
            gains[row] = -np.inf
            continue
        gains[row] = np.maximum(cosines[row] - covered, 0.0).sum(dtype=np.float64)
        fresh[row] = len(taken)
    return taken


def vectors_of(embeddings: pa.Table) -> Mapping[str, NDArray[np.float32]]:
    """Vectors by candidate id.

    Args:
        embeddings: The columns `candidate_id` and `embedding`, a list of numbers.

    Raises:
        DataError: A column is missing, or the vectors differ in length.
    """
    for name in ("candidate_id", "embedding"):
        if name not in embeddings.column_names:
            raise DataError(f"the embeddings have no column {name!r}")
    lists = column_of(embeddings, "embedding")
    flat = to_numpy(pc.list_flatten(lists)).astype(np.float32)
    rows = len(lists)
    if lists.null_count or (rows and len(flat) % rows):
        raise DataError("the embeddings differ in length, or one is missing")
    ids = [str(i) for i in embeddings["candidate_id"].to_pylist()]
    return dict(zip(ids, flat.reshape(rows, -1), strict=True))


# ----------------------------------------------------------------------------------------------
# Mixture of kinds of responses with given shares.
# ----------------------------------------------------------------------------------------------


def mixed(pool: Pool, mix: MixSettings, *, seed: int) -> tuple[Pool, Bools]:
    """Assign each example one kind of response so that the set has the given shares.

    Of long and short answers (or those of a strong and a weak teacher), students of up to 3B
    parameters learnt best from a mix of 1 to 4 (Mix Distillation, arXiv 2502.12143). The choice
    among the responses of that kind is left to the rule.

    Args:
        pool: The pool, after the gates.
        mix: What tells the kinds apart, and their weights.
        seed: Which example gives which kind is drawn where it could give several.

    Returns:
        The pool in which the other kinds have the status `other_kind`; and which examples are
        left out, because with them the shares would not hold.

    Raises:
        DataError: No usable candidate is of one of the kinds, so the shares cannot hold.
    """
    kinds = list(mix.weights)
    kind_N = _kinds(pool, mix, kinds)
    for code, name in enumerate(kinds):
        if not (pool.usable_N & (kind_N == code)).any():
            known = ", ".join(sorted(pool.teachers)) or "none"
            raise DataError(
                f"no candidate that may be chosen is of the kind {name!r}, for which the mix by "
                f"{mix.by} has a share",
                hint=f"the teachers are {known}" if mix.by == "teacher" else "set long_tokens",
            )
    has_E_K = np.zeros((pool.examples, len(kinds)), dtype=np.bool_)
    rows = np.flatnonzero(pool.usable_N & (kind_N != NONE))
    has_E_K[pool.example_N[rows], kind_N[rows]] = True
    (draw_E,) = draws(pool.example_ids, seed=seed, purpose="mix")
    kind_E, left_out_E = assign(has_E_K, np.array(list(mix.weights.values())), draw_E)
    other_N = (kind_N != kind_E[pool.example_N]) | (kind_N == NONE)
    return without(pool, other_N & pool.usable_N, OTHER_KIND), left_out_E


def assign(has_E_K: NDArray[np.bool_], weight_K: Floats, draw_E: Floats) -> tuple[Indexes, Bools]:
    """Assign each example one of its kinds, as close to the weights as possible.

    Those with fewer kinds to choose from go first, then in the order of the draw; each takes the
    kind that lacks most of its share. Then the last ones drawn of each kind that is too frequent
    are left out, until the shares hold up to one example.

    Args:
        has_E_K: Which kinds each example has.
        weight_K: Above 0.
        draw_E: A number an example.

    Returns:
        The kind of each example, -1 where it has none; and which examples are left out.
    """
    share_K = weight_K / weight_K.sum()
    count_K = np.zeros(len(weight_K), dtype=np.int64)
    kind_E = np.full(len(has_E_K), NONE, dtype=np.int64)
    choices_E = has_E_K.sum(axis=1)
    order = [int(e) for e in np.lexsort((draw_E, choices_E)) if choices_E[e]]
    for example in order:
        filled_K = np.where(has_E_K[example], (count_K + 1) / share_K, np.inf)
        kind = int(filled_K.argmin())
        kind_E[example] = kind
        count_K[kind] += 1
    wanted_K = np.ceil(share_K * (count_K / share_K).min() - 1e-9).astype(np.int64)
    left_out_E = np.zeros(len(kind_E), dtype=np.bool_)
    for kind, wanted in enumerate(wanted_K.tolist()):
        members = np.flatnonzero(kind_E == kind)
        by_draw = members[np.argsort(draw_E[members], kind="stable")]
        left_out_E[by_draw[wanted:]] = True
    return kind_E, left_out_E


def _kinds(pool: Pool, mix: MixSettings, kinds: Sequence[str]) -> Indexes:
    if mix.by == "teacher":
        code = {name: kinds.index(name) for name in kinds}
        of_teacher = np.array([code.get(name, NONE) for name in pool.teachers] + [NONE])
        by_teacher: Indexes = of_teacher[pool.teacher_N].astype(np.int64)
        return by_teacher
    tokens_N = pool.numbers["response_tokens"]
    known_N = pool.usable_N & ~np.isnan(tokens_N)
    if mix.long_tokens is not None:
        long_N = tokens_N >= mix.long_tokens
    else:
        long_N = tokens_N > (np.median(tokens_N[known_N]) if known_N.any() else np.inf)
    found_N = np.where(long_N, kinds.index("long"), kinds.index("short"))
    return np.where(known_N, found_N, NONE)


# ----------------------------------------------------------------------------------------------
# Shares, counts and quotas, and the order that fills them.
# ----------------------------------------------------------------------------------------------


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
