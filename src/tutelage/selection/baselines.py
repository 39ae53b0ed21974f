"""Sets of the same size, chosen without the student: what a selection has to beat."""

import numpy as np
import pyarrow as pa

from tutelage.data import ORIGINAL
from tutelage.data.schemas import NULLS
from tutelage.selection.arrow_columns import NONE, Bools, Floats, Indexes, constant, take
from tutelage.selection.candidate_table import Pool
from tutelage.selection.random_draws import draws
from tutelage.selection.simple_rules import most_changed, refinements

NULL_NAMES = ("random", "random_version", "longest", "all_refined", "all_original")


def draw_nulls(pool: Pool, *, kept_E: Indexes, seed: int) -> pa.Table:
    """Draw every null of a selection.

    With n the number of candidates kept, k the most that are kept of one example (usually 1), and
    a candidate usable where it has text, was scored and passed the gates:

    * `random`: random examples, up to k random usable candidates of each, until there are n;
    * `random_version`: the very examples that were kept, and of each as many random usable
      candidates as were kept;
    * `longest`: the k longest usable responses of each example, then the n longest of these;
    * `all_refined`: n random examples with a usable reflection, the most refined one of each;
    * `all_original`: n random examples with a usable original.

    The gates do not ask the student, so a null is drawn from what passes them. The three random
    draws of examples go through the examples in the same order, so that they differ by the version
    and not by luck.

    Args:
        pool: With `response_tokens`.
        kept_E: How many candidates of each example the selection kept.
        seed: The draw depends on this and on the ids, not on any order.

    Returns:
        A table of the NULLS schema, by null, then example id. A null that finds fewer than n
        candidates to take has fewer rows.
    """
    wanted = int(kept_E.sum())
    most = max(1, int(kept_E.max(initial=0)))
    usable_N = pool.usable_N
    draw_N, draw_E = draws(pool.candidate_ids, pool.example_ids, seed=seed, purpose="nulls")
    tokens_N = pool.numbers["response_tokens"]
    drawn_N = _places(pool, usable_N, draw_N, most, highest=False)
    longest_N = _places(pool, usable_N, tokens_N, most, highest=True)
    refined_E = most_changed(pool, refinements(pool) & usable_N)
    original_E = pool.least_changed(pool.of_step(ORIGINAL) & usable_N)
    order_N = draw_E[pool.example_N]
    sets = {
        "random": _first(pool, _within(drawn_N, most), drawn_N, order_N, wanted),
        "random_version": np.flatnonzero((drawn_N != NONE) & (drawn_N < kept_E[pool.example_N])),
        "longest": _cheapest(_within(longest_N, most), -tokens_N, wanted),
        "all_refined": _cheapest(refined_E[refined_E != NONE], order_N, wanted),
        "all_original": _cheapest(original_E[original_E != NONE], order_N, wanted),
    }
    return pa.concat_tables([_rows(pool, name, sets[name], seed) for name in NULL_NAMES])


def _places(
    pool: Pool, eligible_N: Bools, values_N: Floats, most: int, *, highest: bool
) -> Indexes:
    """The place of each candidate within its example; only the first, where one is enough."""
    if most > 1:
        return pool.ranks(eligible_N, values_N, highest=highest)
    places_N = np.full(len(values_N), NONE, dtype=np.int64)
    best_E = pool.best(eligible_N, values_N, highest=highest)
    places_N[best_E[best_E != NONE]] = 0
    return places_N


def _within(places_N: Indexes, most: int) -> Indexes:
    return np.flatnonzero((places_N != NONE) & (places_N < most))


def _first(pool: Pool, rows: Indexes, places_N: Indexes, order_N: Floats, wanted: int) -> Indexes:
    """The first `wanted` rows, example by example in the order of the draw."""
    by_example = np.lexsort((places_N[rows], pool.example_N[rows], order_N[rows]))
    return np.sort(rows[by_example][:wanted])


def _cheapest(rows: Indexes, cost_N: Floats, wanted: int) -> Indexes:
    """The `wanted` rows that cost least; equal costs by example id, then candidate id."""
    rows = np.sort(rows)
    return np.sort(rows[np.argsort(cost_N[rows], kind="stable")[:wanted]])


def _rows(pool: Pool, name: str, rows: Indexes, seed: int) -> pa.Table:
    return pa.table(
        [
            constant(name, len(rows)),
            pa.array(np.full(len(rows), seed, dtype=np.int64)),
            take(pool.example_ids, pool.example_N[rows]),
            take(pool.candidate_ids, rows),
        ],
        schema=NULLS,
    )
