"""One round of one loop: what was selected, trained and measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tutelage.experiments.drift import Line
from tutelage.experiments.rounds.config import LoopName
from tutelage.experiments.rounds.decision_changes import FlipTally
from tutelage.experiments.rounds.limits import Checked, RoundOutcome


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
