"""Result and folder of one round of one loop, and its changes of decisions since the last round."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from tutelage.data.schemas import FLIPS
from tutelage.evaluation import task_means
from tutelage.experiments.drift import Line
from tutelage.experiments.rounds.config import Checked, LoopName, RoundOutcome
from tutelage.pipeline.run_dir import RunFolder

Direction: TypeAlias = Literal["same", "gained", "lost", "other_version", "new", "gone"]
CHANGED: tuple[Direction, ...] = ("gained", "lost", "other_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipTally:
    """Counts of changed decisions.

    Attributes:
        examples: Examples that both rounds decided on.
        by_direction: Of these: `same`; `gained` was dropped and is kept; `lost` was kept and is
            dropped; `other_version`: another version of it is kept.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Result of one round of one loop.

    Attributes:
        seed: Seed of the loop.
        loop: Its name.
        number: From 0: the student of this number judged.
        judged: The tally of its selection.
        flips: Against the round before; None in the first.
        flips_from_start: Against the untrained student's decisions; None in the first.
        trained: What the training came to; None where nothing was trained.
        lines: The account; empty where nothing was trained.
        checked: The guard's limits.
        accepted: Whether the trained student is kept; None where nothing was trained.
        results: The evaluation of the trained student; None where nothing is held out.
        gained: Whether its accuracy is surely above that of the student `stop.patience` rounds
            before; None where that cannot be said.
        ended: Why the loop ended with this round, or None.
    """

    seed: int
    loop: LoopName
    number: int
    judged: Mapping[str, Any]
    flips: FlipTally | None = None
    flips_from_start: FlipTally | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    checked: tuple[Checked, ...] = ()
    accepted: bool | None = None
    results: pa.Table | None = None
    gained: bool | None = None
    ended: str | None = None

    @property
    def outcome(self) -> RoundOutcome:
        """Result as the stop rule uses it."""
        return RoundOutcome(
            flip_fraction=None if self.flips is None else self.flips.fraction, gained=self.gained
        )


# ----------------------------------------------------------------------------------------------
# Numbers of one round as an experiment tracker shows them.
# ----------------------------------------------------------------------------------------------


def round_numbers(one: Round) -> dict[str, Any]:
    """Numbers of a round other than its training loss, under `round/` and `drift/`."""
    found: dict[str, Any] = {
        "round/kept": one.judged["kept"],
        "round/examples": one.judged["examples"],
        "round/flip_fraction": None if one.flips is None else one.flips.fraction,
        "round/accepted": None if one.accepted is None else int(one.accepted),
    }
    for line in one.lines:
        found[f"drift/{line.subject}/{line.name}/{line.measure}"] = line.value.value
    return found if one.results is None else found | task_means(one.results)


# ----------------------------------------------------------------------------------------------
# Where a loop of rounds keeps its runs, its students and its accounts.
# ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsFolder:
    """Paths of a loop of rounds.

    OUT/pool                     an ordinary run, judged by the untrained student
    OUT/untrained                how the untrained student does on what is held out
    OUT/seed-S/LOOP/round-R      an ordinary run: the pool as student R judges it
    OUT/seed-S/LOOP/student-R    the student that was trained on round R - 1
    OUT/*.parquet, report.html   the accounts of all of them
    """

    root: Path

    @property
    def run(self) -> RunFolder:
        """Run folder with the manifest, the lock and the report."""
        return RunFolder(root=self.root)

    @property
    def pool(self) -> RunFolder:
        """Run whose candidates all loops begin with."""
        return RunFolder(root=self.root / "pool")

    @property
    def untrained(self) -> Path:
        """Folder of the untrained student's answers and evaluation."""
        return self.root / "untrained"

    def judged(self, seed: int, loop: str, number: int) -> RunFolder:
        """Run in which student `number` selects.

        Args:
            seed: Seed of the loop.
            loop: Name of the loop.
            number: Number of the student, from 0.
        """
        return RunFolder(root=self._loop(seed, loop) / f"round-{number}")

    def student(self, seed: int, loop: str, number: int) -> Path:
        """Folder of student `number`, at least 1.

        Args:
            seed: Seed of the loop.
            loop: Name of the loop.
            number: Number of the student.
        """
        return self._loop(seed, loop) / f"student-{number}"

    def _loop(self, seed: int, loop: str) -> Path:
        return self.root / f"seed-{seed}" / loop

    @property
    def rounds(self) -> Path:
        """Rounds, one row per round of a loop and a seed."""
        return self.root / "rounds.parquet"

    @property
    def drift(self) -> Path:
        """Drift measures of all rounds."""
        return self.root / "drift.parquet"

    @property
    def flips(self) -> Path:
        """Changed decisions between students."""
        return self.root / "flips.parquet"

    @property
    def loops(self) -> Path:
        """Comparisons of the loops on held-out items."""
        return self.root / "loops.parquet"

    @property
    def rewrites(self) -> Path:
        """Rewrites after a rejection, and whether they were chosen."""
        return self.root / "rewrites.parquet"
