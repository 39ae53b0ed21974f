"""Changes of decisions between two rounds, with their direction and reason."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa

from tutelage.data.schemas import FLIPS

Direction: TypeAlias = Literal["same", "gained", "lost", "other_version", "new", "gone"]
CHANGED: tuple[Direction, ...] = ("gained", "lost", "other_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipTally:
    """Counts of changed decisions.

    Attributes:
        examples: Examples that both rounds decided on.
        by_direction: Of these: `same`; `gained` was refused and is taken; `lost` was taken and is
            refused; `other_version` another version of it is taken.
        by_reason: Changed decisions by the reason before and after.
    """

    examples: int
    by_direction: Mapping[Direction, int]
    by_reason: Mapping[tuple[str, str], int]

    @property
    def changed(self) -> int:
        """Number of decisions that differ."""
        return sum(self.by_direction.get(direction, 0) for direction in CHANGED)

    @property
    def fraction(self) -> float:
        """Share of decisions that changed, in [0, 1]; 0 where none can be compared."""
        return self.changed / self.examples if self.examples else 0.0


def flips(before: pa.Table, after: pa.Table) -> pa.Table:
    """Compare two tables of decisions example by example.

    Args:
        before: The DECISIONS schema.
        after: Likewise, of a later round, another student or another seed.

    Returns:
        A table of the FLIPS schema: one row for each example of either, ascending by id;
        `new` and `gone` are those of one table only.
    """
    olds, news = _by_example(before), _by_example(after)
    rows = [_flip(example, olds.get(example), news.get(example)) for example in {*olds, *news}]
    rows.sort(key=lambda row: str(row["example_id"]))
    return pa.Table.from_pylist(rows, schema=FLIPS)


def tally_flips(table: pa.Table) -> FlipTally:
    """Counts of a table of the FLIPS schema."""
    rows = [row for row in table.to_pylist() if row["direction"] not in ("new", "gone")]
    return FlipTally(
        examples=len(rows),
        by_direction=dict(Counter(row["direction"] for row in rows)),
        by_reason=dict(
            Counter(
                (row["reason_before"], row["reason_after"])
                for row in rows
                if row["direction"] in CHANGED
            )
        ),
    )


_Decision: TypeAlias = Mapping[str, object]


def _by_example(decisions: pa.Table) -> dict[str, _Decision]:
    columns = ["example_id", "candidate_id", "step", "kept", "reason"]
    return {row["example_id"]: row for row in decisions.select(columns).to_pylist()}


def _flip(example_id: str, old: _Decision | None, new: _Decision | None) -> dict[str, object]:
    row: dict[str, object] = {"example_id": example_id, "direction": _direction(old, new)}
    for when, decision in (("before", old), ("after", new)):
        kept = decision is not None and decision["kept"]
        row[f"candidate_{when}"] = decision["candidate_id"] if decision and kept else None
        row[f"step_{when}"] = decision["step"] if decision and kept else None
        row[f"reason_{when}"] = decision["reason"] if decision else None
    return row


def _direction(old: _Decision | None, new: _Decision | None) -> Direction:
    if old is None:
        return "new"
    if new is None:
        return "gone"
    if old["kept"] and new["kept"]:
        return "same" if old["candidate_id"] == new["candidate_id"] else "other_version"
    if old["kept"]:
        return "lost"
    return "gained" if new["kept"] else "same"
