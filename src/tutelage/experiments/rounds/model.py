"""One round of one loop: what was selected, trained and measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.experiments.drift import Line
from tutelage.experiments.rounds.config import Checked, LoopName, RoundOutcome
from tutelage.experiments.rounds.decision_changes import FlipTally
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.tracked_numbers import task_means


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What became of one round of one loop.

    Attributes:
        seed: Of the loop.
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
        """What the stop rule looks at."""
        return RoundOutcome(
            flip_fraction=None if self.flips is None else self.flips.fraction, gained=self.gained
        )


# ----------------------------------------------------------------------------------------------
# Numbers of one round as an experiment tracker shows them.
# ----------------------------------------------------------------------------------------------


def round_numbers(one: Round) -> dict[str, Any]:
    """What a round came to beside the loss of its training, under `round/` and `drift/`."""
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
    """The paths of a loop of rounds.

    OUT/pool                     an ordinary run, judged by the untrained student
    OUT/untrained                how the untrained student does on what is held out
    OUT/seed-S/LOOP/round-R      an ordinary run: the pool as student R judges it
    OUT/seed-S/LOOP/student-R    the student that was trained on round R - 1
    OUT/*.parquet, report.html   the accounts of all of them
    """

    root: Path

    @property
    def run(self) -> RunFolder:
        """The folder itself: its manifest, its lock, its report."""
        return RunFolder(root=self.root)

    @property
    def pool(self) -> RunFolder:
        """The run whose candidates all loops begin with."""
        return RunFolder(root=self.root / "pool")

    @property
    def untrained(self) -> Path:
        """Answers and evaluation of the untrained student."""
        return self.root / "untrained"

    def judged(self, seed: int, loop: str, number: int) -> RunFolder:
        """The run in which student `number` judges."""
        return RunFolder(root=self._loop(seed, loop) / f"round-{number}")

    def student(self, seed: int, loop: str, number: int) -> Path:
        """The folder of student `number`, at least 1."""
        return self._loop(seed, loop) / f"student-{number}"

    def _loop(self, seed: int, loop: str) -> Path:
        return self.root / f"seed-{seed}" / loop

    @property
    def rounds(self) -> Path:
        """One row a round of a loop and a seed."""
        return self.root / "rounds.parquet"

    @property
    def drift(self) -> Path:
        """The accounts of all rounds."""
        return self.root / "drift.parquet"

    @property
    def flips(self) -> Path:
        """Which decisions changed, between which students."""
        return self.root / "flips.parquet"

    @property
    def loops(self) -> Path:
        """The loops compared on what is held out."""
        return self.root / "loops.parquet"

    @property
    def rewrites(self) -> Path:
        """What was sent back to the teacher, why, and whether it was won back."""
        return self.root / "rewrites.parquet"
