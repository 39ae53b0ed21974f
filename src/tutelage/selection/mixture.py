"""Mixture of kinds of responses with given shares."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.selection.candidate_table import NONE, Bools, Floats, Indexes, Pool
from tutelage.selection.config import MixSettings
from tutelage.selection.gates import without
from tutelage.selection.random_draws import draws
from tutelage.selection.reasons import OTHER_KIND


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
            known = ", ".join(sorted(pool.teachers)) or "nobody"
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
