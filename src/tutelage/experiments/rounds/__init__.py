"""Rounds: repeated selection and training, with limits on drift."""

from tutelage.experiments.rounds.config import (
    DEFAULT_LIMITS,
    GUARD_BROKEN,
    NO_FLIPS,
    NO_GAIN,
    NOTHING_CHOSEN,
    ROUNDS_DONE,
    Checked,
    Limit,
    RoundOutcome,
    RoundsSettings,
    StopSettings,
    check_guard,
    load_rounds_settings,
    stop_reason,
)
from tutelage.experiments.rounds.loop import run_rounds
from tutelage.experiments.rounds.model import (
    CHANGED,
    Direction,
    FlipTally,
    flips,
    tally_flips,
)

__all__ = [
    "CHANGED",
    "DEFAULT_LIMITS",
    "GUARD_BROKEN",
    "NOTHING_CHOSEN",
    "NO_FLIPS",
    "NO_GAIN",
    "ROUNDS_DONE",
    "Checked",
    "Direction",
    "FlipTally",
    "Limit",
    "RoundOutcome",
    "RoundsSettings",
    "StopSettings",
    "check_guard",
    "flips",
    "load_rounds_settings",
    "run_rounds",
    "stop_reason",
    "tally_flips",
]
