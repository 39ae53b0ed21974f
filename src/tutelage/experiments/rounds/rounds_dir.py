"""Where a loop of rounds keeps its runs, its students and its accounts."""

from dataclasses import dataclass
from pathlib import Path

from tutelage.pipeline.run_dir import RunFolder


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
