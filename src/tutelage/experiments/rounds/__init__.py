"""Rounds: repeated selection and training, with limits on drift."""

from tutelage.experiments.rounds.config import (
    DEFAULT_LIMITS,
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
    flips,
    tally_flips,
)

__all__ = [
    "DEFAULT_LIMITS",
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
