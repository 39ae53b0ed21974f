"""What a rule gives back, and why a candidate does not take part."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.data import STEPS
from tutelage.selection.arrow_columns import NONE, Floats, Indexes
from tutelage.selection.candidate_table import NOT_SCORED, Pool
from tutelage.selection.reasons import (
    IFD_NOT_BELOW_1,
    NO_CANDIDATES,
    R_IFD_NOT_BELOW_1,
    unscored_reason,
)

Words = NDArray[np.object_]
"""One reason an example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One decision an example, in the order of the pool.

    Attributes:
        chosen_E: The row of the chosen candidate; -1 where nothing was chosen.
        reason_E: Why, in snake_case.
        evidence: The numbers the decision rested on, by column name; NaN where there is none.
        rank_N: Where a rule keeps several candidates of an example, the place of each among
            them, from 0 on; -1 where it is not kept. None: only the chosen one is kept.
        weight_N: The training weight of each kept candidate, where the rule gives one.
        order: By what a cut keeps some examples and not others; None: by a draw.
    """

    chosen_E: Indexes
    reason_E: Words
    evidence: Mapping[str, Floats]
    rank_N: Indexes | None = None
    weight_N: Floats | None = None
    order: "Order | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """By what a cut keeps some examples and not others.

    Attributes:
        cost_E: What is compared, lower first; NaN exactly where nothing was chosen.
        kept: The reason of an example that is kept; None leaves the rule's own.
        dropped: The reason of one that is not.
        evidence: The column that says where the cut fell, if there is one.
        sign: 1 or -1: what turns a cost into the number that column shows.
    """

    cost_E: Floats
    kept: str | None
    dropped: str
    evidence: str | None = None
    sign: int = 1


def words(pool: Pool, word: str) -> Words:
    """The same word for every example."""
    return np.full(pool.examples, word, dtype=np.object_)


def why_unscored(pool: Pool, considered_E: Indexes) -> Words:
    """Why a candidate has no number: `<step>_<status>`, such as `original_too_long`.

    Args:
        pool: The pool.
        considered_E: A candidate an example; -1 gives `no_candidates`.

    Returns:
        E words. A candidate that was scored, but without the number needed, is `not_scored`.
    """
    statuses = [NOT_SCORED if status == "ok" else status for status in pool.statuses]
    # The last row stands for a blank step, the index -1.
    table = np.array(
        [[unscored_reason(step, status) for status in statuses] for step in STEPS]
        + [[NO_CANDIDATES] * len(statuses)],
        dtype=np.object_,
    )
    found = table[pool.step_N[considered_E], pool.status_N[considered_E]]
    return np.where(considered_E == NONE, NO_CANDIDATES, found)


def why_out(pool: Pool, considered_E: Indexes) -> Words:
    """Why a candidate does not pass both caps: unscored, or which ratio is not below 1."""
    ifd_E, r_ifd_E = pool.at("ifd", considered_E), pool.at("r_ifd", considered_E)
    return np.select(
        [np.isnan(ifd_E) | np.isnan(r_ifd_E), ifd_E >= 1],
        [why_unscored(pool, considered_E), words(pool, IFD_NOT_BELOW_1)],
        default=words(pool, R_IFD_NOT_BELOW_1),
    )
