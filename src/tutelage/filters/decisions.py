"""Filter decisions: one for each candidate, with its reason, as a value and as a table."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data.schemas import FILTER_DECISIONS
from tutelage.errors import DataError

PASSED_ALL = "passed_all"
"""Reason of a candidate that every filter kept."""

NO_RESPONSE = "no_response"
"""Reason where a filter reads the response and there is none."""

UNMEASURED = frozenset(
    (
        *(NO_RESPONSE, "no_messages", "no_words", "no_number", "not_scored"),
        *("teacher_failed", "not_in_journal"),
    )
)
"""Reasons of a candidate about which a filter could not say anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterDecision:
    """Decision of one filter on one candidate.

    Attributes:
        candidate_id: Id of the candidate.
        kept: Whether the filter lets it through.
        reason: Why, in one snake_case word of the filter's vocabulary.
        value: What the filter measured, finite; None where it could not be measured. Its unit
            is the filter's: tokens, a rating, a fraction, a similarity.
        detail: For people: the duplicate that was kept, the evaluation item that was found.
    """

    candidate_id: str
    kept: bool
    reason: str
    value: float | None = None
    detail: str | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise DataError(
                f"candidate {self.candidate_id}: a filter measured {self.value!r}",
                hint="a value is a finite number, or None with the reason why it is missing",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Decisions on N candidates in columns, before they have their ids.

    Attributes:
        kept_N: Bool.
        reasons_N: One word for each.
        values_N: float64; only meaningful where `known_N`.
        known_N: Bool; whether there is a value.
        details_N: Text or None for each.
        facts: What the filter wants to say about all of them, such as the recall it expects.
    """

    kept_N: NDArray[np.bool_]
    reasons_N: Sequence[str]
    values_N: NDArray[np.float64]
    known_N: NDArray[np.bool_]
    details_N: Sequence[str | None]
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    def to_table(self, candidate_ids: Sequence[str]) -> pa.Table:
        """The decisions as a table of the `FILTER_DECISIONS` schema, in the same order.

        Raises:
            DataError: There is not exactly one decision for each id, or a value is not finite.
        """
        lengths = {
            len(candidate_ids),
            len(self.kept_N),
            len(self.reasons_N),
            len(self.values_N),
            len(self.known_N),
            len(self.details_N),
        }
        if len(lengths) != 1:
            raise DataError(f"a filter's columns differ in length: {sorted(lengths)}")
        if not np.isfinite(self.values_N[self.known_N]).all():
            raise DataError("a filter measured a value that is not finite")
        return pa.table(
            [
                pa.array(candidate_ids, pa.string()),
                pa.array(self.kept_N, pa.bool_()),
                pa.array(self.reasons_N, pa.string()),
                pa.array(self.values_N, pa.float64(), mask=~self.known_N),
                pa.array(self.details_N, pa.string()),
            ],
            schema=FILTER_DECISIONS,
        )


def decisions_to_table(decisions: Iterable[FilterDecision]) -> pa.Table:
    """Decisions as a table of the `FILTER_DECISIONS` schema, in the order given."""
    rows = [{name: getattr(d, name) for name in FILTER_DECISIONS.names} for d in decisions]
    return pa.Table.from_pylist(rows, schema=FILTER_DECISIONS)


def decisions_from_table(table: pa.Table) -> list[FilterDecision]:
    """Decisions from a table of the `FILTER_DECISIONS` schema."""
    return [FilterDecision(**row) for row in table.select(FILTER_DECISIONS.names).to_pylist()]
