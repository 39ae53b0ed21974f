"""What a rule gives back, and why a candidate does not take part."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.data import STEPS
from tutelage.selection.columns import NONE, Floats, Indexes
from tutelage.selection.pool import NOT_SCORED, Pool
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
    """

    chosen_E: Indexes
    reason_E: Words
    evidence: Mapping[str, Floats]


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
