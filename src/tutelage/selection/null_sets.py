"""Sets of the same size, chosen without the student: what a selection has to beat."""

import numpy as np
import pyarrow as pa

from tutelage.data import ORIGINAL
from tutelage.data.tables import NULLS
from tutelage.selection.best import most_changed, refinements
from tutelage.selection.columns import NONE, Bools, Floats, Indexes, constant, take
from tutelage.selection.draws import draws
from tutelage.selection.pool import Pool

NULL_NAMES = ("random", "random_version", "longest", "all_refined", "all_original")


def draw_nulls(pool: Pool, *, kept_E: Bools, seed: int) -> pa.Table:
    """Draw every null of a selection.

    With n the number of examples kept and a candidate usable where it has text and was scored:

    * `random`: n random examples, a random usable candidate of each;
    * `random_version`: the very examples that were kept, a random usable candidate of each;
    * `longest`: the longest usable response of each example, then the n longest of these;
    * `all_refined`: n random examples with a usable reflection, the most refined one of each;
    * `all_original`: n random examples with a usable original.

    The three random draws of examples go through the examples in the same order, so that they
    differ by the version and not by luck.

    Args:
        pool: With `response_tokens`.
        kept_E: Which examples the selection kept.
        seed: The draw depends on this and on the ids, not on any order.

    Returns:
        A table of the NULLS schema, by null, then example id. A null that finds fewer than n
        examples to take has fewer rows.
    """
    wanted = int(kept_E.sum())
    usable_N = pool.usable_N
    draw_N, draw_E = draws(pool.candidate_ids, pool.example_ids, seed=seed, purpose="nulls")
    tokens_N = pool.numbers["response_tokens"]
    drawn_E = pool.best(usable_N, draw_N, highest=False)
    longest_E = pool.best(usable_N, tokens_N, highest=True)
    refined_E = most_changed(pool, refinements(pool) & usable_N)
    original_E = pool.least_changed(pool.of_step(ORIGINAL) & usable_N)
    sets = {
        "random": _cheapest(drawn_E, draw_E, wanted),
        "random_version": np.where(kept_E, drawn_E, NONE),
        "longest": _cheapest(longest_E, -pool.at("response_tokens", longest_E), wanted),
        "all_refined": _cheapest(refined_E, draw_E, wanted),
        "all_original": _cheapest(original_E, draw_E, wanted),
    }
    return pa.concat_tables([_rows(pool, name, sets[name], seed) for name in NULL_NAMES])


def _cheapest(candidate_E: Indexes, cost_E: Floats, wanted: int) -> Indexes:
    """Keep the candidates of the `wanted` examples that cost least; equal costs by example id."""
    available = np.flatnonzero(candidate_E != NONE)
    taken = available[np.argsort(cost_E[available], kind="stable")[:wanted]]
    kept_E = np.full(len(candidate_E), NONE, dtype=np.int64)
    kept_E[taken] = candidate_E[taken]
    return kept_E


def _rows(pool: Pool, name: str, chosen_E: Indexes, seed: int) -> pa.Table:
    examples = np.flatnonzero(chosen_E != NONE)
    return pa.table(
        [
            constant(name, len(examples)),
            pa.array(np.full(len(examples), seed, dtype=np.int64)),
            take(pool.example_ids, examples),
            take(pool.candidate_ids, chosen_E[examples]),
        ],
        schema=NULLS,
    )
