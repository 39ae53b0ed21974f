"""Frontier: examples that a student can learn from now, found by its own attempts."""

from tutelage.experiments.frontier.learnable_band import (
    BandSettings,
    Placing,
    draw_frontier,
    place,
)
from tutelage.experiments.frontier.run import find_frontier

__all__ = [
    "BandSettings",
    "Placing",
    "draw_frontier",
    "find_frontier",
    "place",
]
