"""The examples a student can learn from now, placed by its own attempts."""

from tutelage.experiments.frontier.learnable_band import (
    BandSettings,
    Frontier,
    Placing,
    draw_frontier,
)
from tutelage.experiments.frontier.run import find_frontier
from tutelage.experiments.frontier.slick_classes import KNOWLEDGE, Knowledge, place

__all__ = [
    "KNOWLEDGE",
    "BandSettings",
    "Frontier",
    "Knowledge",
    "Placing",
    "draw_frontier",
    "find_frontier",
    "place",
]
