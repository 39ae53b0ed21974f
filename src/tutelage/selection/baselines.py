"""Baselines: sets of the same size that are chosen without the student."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from tutelage.data import ORIGINAL
from tutelage.data.schemas import NULLS
from tutelage.selection.candidate_table import (
    NONE,
    Bools,
    Floats,
    Indexes,
    Pool,
    constant,
    draws,
    take,
)
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import (
    CHOSEN_VERSION,
    LENGTH_MATCHED,
    NO_CONTRAST,
    NOT_MATCHED,
    REFUSED_VERSION,
    SHUT_OUT,
    Verdict,
    why_unscored,
)
from tutelage.selection.rules import first, most_changed, refinements

NULL_NAMES = ("random", "random_version", "longest", "all_refined", "all_original")


def draw_nulls(pool: Pool, *, kept_E: Indexes, seed: int) -> pa.Table:
    """Draw every baseline (null) of a selection.

    With n the number of candidates kept, k the most that are kept of one example (usually 1), and
    a candidate usable where it has text, was scored and passed the gates:

    * `random`: random examples, up to k random usable candidates of each, until there are n;
    * `random_version`: the very examples that were kept, and of each as many random usable
      candidates as were kept;
    * `longest`: the k longest usable responses of each example, then the n longest of these;
    * `all_refined`: n random examples with a usable reflection, the most refined one of each;
    * `all_original`: n random examples with a usable original.

    The gates do not depend on the student, so a baseline is drawn from the candidates that pass
    them. The three random baselines use the same random order of examples, so they differ in the
    versions and not by chance.

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
    """Index of each candidate within its example; only the first where one suffices."""
    if most > 1:
        return pool.ranks(eligible_N, values_N, highest=highest)
    places_N = np.full(len(values_N), NONE, dtype=np.int64)
    best_E = pool.best(eligible_N, values_N, highest=highest)
    places_N[best_E[best_E != NONE]] = 0
    return places_N


def _within(places_N: Indexes, most: int) -> Indexes:
    return np.flatnonzero((places_N != NONE) & (places_N < most))


def _first(pool: Pool, rows: Indexes, places_N: Indexes, order_N: Floats, wanted: int) -> Indexes:
    """First `wanted` rows, example by example in the order of the draw."""
    by_example = np.lexsort((places_N[rows], pool.example_N[rows], order_N[rows]))
    return np.sort(rows[by_example][:wanted])


def _cheapest(rows: Indexes, cost_N: Floats, wanted: int) -> Indexes:
    """The `wanted` rows with the lowest cost; ties by example id, then candidate id."""
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


# ----------------------------------------------------------------------------------------------
# Baselines made from another rule: its scores exchanged, or its lengths matched.
#
# `permuted` keeps how often a rule takes which step and how long the versions are, and loses what
# the
# scores know of a row: it is the baseline for "the scores know something". `length_matched` keeps
# the
# lengths of what the rule chose, and nothing else.
# ----------------------------------------------------------------------------------------------


Decides: TypeAlias = Callable[[Pool, SelectSettings], Verdict]

_BAND_EXAMPLES = 20
"""Examples that exchange their scores, as neighbours in length."""


def decide_permuted(pool: Pool, settings: SelectSettings, *, rule: Decides) -> Verdict:
    """Rule over scores that belong to other examples of about the same length.

    Args:
        pool: The candidates.
        settings: Settings of the selection.
        rule: The rule of which this is a baseline.
    """
    verdict = rule(permuted(pool, seed=settings.seed), settings)
    evidence = {f"{name}_permuted": values for name, values in verdict.evidence.items()}
    return replace(verdict, evidence=evidence)


def permuted(pool: Pool, *, seed: int) -> Pool:
    """Pool in which examples have exchanged the scores and gate results of their versions.

    Only examples with the same versions (by step, parent and whether they were scored) exchange,
    in bands of neighbours in length, each version with its counterpart. The draw depends on ids and
    the seed.

    Args:
        pool: With `response_tokens`.
        seed: Seed of the draw.
    """
    _, draw_E = draws(pool.candidate_ids, pool.example_ids, seed=seed, purpose="permuted")
    source_N = np.arange(len(pool.step_N))
    ends_E = np.append(pool.starts_E[1:], len(pool.step_N))
    for rows_E_C in _alike(pool, ends_E).values():
        lengths = np.nan_to_num(pool.numbers["response_tokens"][rows_E_C]).sum(axis=1)
        by_length = np.lexsort((draw_E[pool.example_N[rows_E_C[:, 0]]], lengths))
        for start in range(0, len(by_length), _BAND_EXAMPLES):
            band = rows_E_C[by_length[start : start + _BAND_EXAMPLES]]
            drawn = band[np.argsort(draw_E[pool.example_N[band[:, 0]]], kind="stable")]
            source_N[drawn.ravel()] = np.roll(drawn, 1, axis=0).ravel()
    return replace(
        pool,
        usable_N=pool.usable_N[source_N],
        status_N=pool.status_N[source_N],
        numbers={
            name: values_N if name == "response_tokens" else values_N[source_N]
            for name, values_N in pool.numbers.items()
        },
    )


def _alike(pool: Pool, ends_E: Indexes) -> Mapping[tuple[object, ...], Indexes]:
    """Rows of the examples that have the same versions, one line per example."""
    scored_N = _scored(pool)
    found: dict[tuple[object, ...], list[Indexes]] = {}
    for start, end in zip(pool.starts_E.tolist(), ends_E.tolist(), strict=True):
        rows = np.arange(start, end)
        rows = rows[np.lexsort((rows, pool.step_N[rows], pool.changed_N[rows]))]
        place = {int(row): at for at, row in enumerate(rows)}
        key = tuple(
            (
                int(pool.step_N[row]),
                int(pool.changed_N[row]),
                bool(scored_N[row]),
                place.get(int(pool.parent_N[row]), NONE),
            )
            for row in rows
        )
        found.setdefault(key, []).append(rows)
    return {key: np.stack(lines) for key, lines in found.items()}


def _scored(pool: Pool) -> Bools:
    """Mask of scored candidates, including those excluded by a gate."""
    shut_out = np.array([status in SHUT_OUT for status in pool.statuses], dtype=np.bool_)
    scored_N: Bools = pool.usable_N | (pool.written_N & shut_out[pool.status_N])
    return scored_N


def decide_chosen_version(pool: Pool, settings: SelectSettings, *, rule: Decides) -> Verdict:
    """Versions that a rule keeps, for examples that have another version.

    Args:
        pool: The candidates.
        settings: Settings of the selection.
        rule: The rule of which this is a baseline.
    """
    chosen_E, rejected_E = _contrast(pool, settings, rule)
    return _one_side(pool, np.where(rejected_E != NONE, chosen_E, NONE), CHOSEN_VERSION)


def decide_refused_version(pool: Pool, settings: SelectSettings, *, rule: Decides) -> Verdict:
    """The other version of the same examples, the one furthest from what the rule keeps.

    It may be one that a gate rejected: that is what the contrast is about. It was scored.

    Args:
        pool: The candidates.
        settings: Settings of the selection.
        rule: The rule of which this is a baseline.
    """
    _, rejected_E = _contrast(pool, settings, rule)
    return _one_side(pool, rejected_E, REFUSED_VERSION)


def _contrast(pool: Pool, settings: SelectSettings, rule: Decides) -> tuple[Indexes, Indexes]:
    chosen_E = rule(pool, settings).chosen_E
    of_chosen_N = np.where(chosen_E != NONE, pool.changed_N[chosen_E], 0)[pool.example_N]
    others_N = _scored(pool) & (np.arange(len(pool.step_N)) != chosen_E[pool.example_N])
    others_N = others_N & (chosen_E != NONE)[pool.example_N]
    distance_N = np.abs(pool.changed_N.astype(np.float64) - of_chosen_N)
    return chosen_E, pool.best(others_N, distance_N, highest=True)


def _one_side(pool: Pool, kept_E: Indexes, reason: str) -> Verdict:
    reason_E = np.full(pool.examples, NO_CONTRAST, dtype=np.object_)
    reason_E[kept_E != NONE] = reason
    return Verdict(chosen_E=kept_E, reason_E=reason_E, evidence={})


def decide_length_matched(pool: Pool, settings: SelectSettings, *, rule: Decides) -> Verdict:
    """Random versions of random examples, in the number and lengths that a rule keeps.

    Each example offers one usable version, drawn by the seed. For each version that the rule keeps,
    longest first, the offered one that is nearest in length is taken.

    Args:
        pool: The candidates.
        settings: Settings of the selection.
        rule: The rule of which this is a baseline.
    """
    chosen_E = rule(pool, settings).chosen_E
    tokens_N = pool.numbers["response_tokens"]
    draw_N, draw_E = draws(
        pool.candidate_ids, pool.example_ids, seed=settings.seed, purpose="length_matched"
    )
    offered_E = pool.best(pool.usable_N, draw_N, highest=False)
    wanted = np.sort(tokens_N[chosen_E[chosen_E != NONE]])[::-1]
    taken_E = _nearest(offered_E, tokens_N, draw_E, wanted)
    matched_E = np.where(taken_E, offered_E, NONE)
    return Verdict(
        chosen_E=matched_E,
        reason_E=np.select(
            [taken_E, offered_E != NONE],
            [
                np.full(pool.examples, LENGTH_MATCHED, dtype=np.object_),
                np.full(pool.examples, NOT_MATCHED, dtype=np.object_),
            ],
            default=why_unscored(pool, first(pool)),
        ),
        evidence={"response_tokens_chosen": pool.at("response_tokens", matched_E)},
    )


def _nearest(offered_E: Indexes, tokens_N: Floats, draw_E: Floats, wanted: Floats) -> np.ndarray:
    """Examples matched to the wanted lengths, each the nearest one that is left."""
    there = np.flatnonzero(offered_E != NONE)
    lengths = tokens_N[offered_E[there]]
    order = np.lexsort((draw_E[there], lengths))
    left = [(float(lengths[i]), int(there[i])) for i in order]
    taken_E = np.zeros(len(offered_E), dtype=np.bool_)
    for length in wanted:
        place = bisect_left(left, (float(length), -1))
        near = [at for at in (place - 1, place) if 0 <= at < len(left)]
        if not near:
            break
        nearest = min(near, key=lambda at: (abs(left[at][0] - length), -at))
        taken_E[left.pop(nearest)[1]] = True
    return taken_E
