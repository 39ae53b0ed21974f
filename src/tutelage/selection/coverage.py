"""Coverage: the share of the data that a selection could compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tutelage.errors import DataError
from tutelage.selection.candidate_table import NOT_SCORED, Bools, Pool, count_values, take
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import SHUT_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Counts of examples that a selection could compare.

    Attributes:
        examples: How many examples there are; each has one decision.
        kept: How many of them keep a candidate.
        candidates: How many candidates there are, with or without text.
        written: Number with text.
        scored: How many of these have every number that the rule needs.
        unwritten: How many have no text, by status.
        unscored: How many have text but not the numbers, by status.
        gated: How many have text but were shut out before they were compared, by reason.
    """

    examples: int
    kept: int
    candidates: int
    written: int
    scored: int
    unwritten: Mapping[str, int]
    unscored: Mapping[str, int]
    gated: Mapping[str, int] = field(default_factory=dict)

    @property
    def compared(self) -> int:
        """Examples with text that passed the gates."""
        return self.written - sum(self.gated.values())

    @property
    def unscored_fraction(self) -> float:
        """Share of the examples past the gates that could not be scored, in [0, 1]."""
        return (self.compared - self.scored) / self.compared if self.compared else 0.0


def coverage_of(pool: Pool, *, kept: int, needed: Sequence[str]) -> Coverage:
    """Coverage of a pool after its gates.

    Args:
        pool: The pool.
        kept: How many examples keep a candidate.
        needed: The numbers that the rule compares.
    """
    scored_N = pool.usable_N.copy()
    for name in needed:
        scored_N &= ~np.isnan(pool.numbers[name])
    there_N = pool.step_N >= 0
    words = np.array([*(status in SHUT_OUT for status in pool.statuses), False])
    gated_N = pool.written_N & words[pool.status_N]
    return Coverage(
        examples=pool.examples,
        kept=kept,
        candidates=int(there_N.sum()),
        written=int(pool.written_N.sum()),
        scored=int(scored_N.sum()),
        unwritten=_statuses(pool, there_N & ~pool.written_N),
        unscored=_statuses(pool, pool.written_N & ~gated_N & ~scored_N),
        gated=_statuses(pool, gated_N),
    )


def _statuses(pool: Pool, among_N: Bools) -> dict[str, int]:
    words = pa.array([NOT_SCORED if s == "ok" else s for s in pool.statuses], pa.string())
    return count_values(take(words, pool.status_N[among_N]))


def check_coverage(coverage: Coverage, settings: SelectSettings) -> None:
    """Raise an error where too few examples could be scored for a selection.

    Raises:
        DataError: More candidates than `max_unscored_fraction` have no number.
    """
    if coverage.unscored_fraction <= settings.max_unscored_fraction:
        return
    reasons = ", ".join(
        f"{status} {count}" for status, count in list(coverage.unscored.items())[:3]
    )
    raise DataError(
        f"{coverage.compared - coverage.scored} of {coverage.compared} candidates could not be "
        f"scored ({coverage.unscored_fraction:.2f}, at most "
        f"{settings.max_unscored_fraction:.2f} allowed): {reasons}",
        hint="look at these candidates in scores.parquet, or raise max_unscored_fraction",
    )
