"""Successive halving: small trainings of many entrants, larger ones of the best."""

import math
from dataclasses import dataclass

from tutelage.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round of successive halving.

    Attributes:
        number: From 1.
        entrants: Number of entrants.
        examples: Trained on, each.
        keeps: Number that reach the next round.
    """

    number: int
    entrants: int
    examples: int
    keeps: int


def rungs_of(
    entrants: int, *, examples: int, keep_fraction: float, growth: float, rungs: int
) -> list[Rung]:
    """Rounds with fewer entrants and more examples each time.

    Source: successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943).

    Args:
        entrants: At least 1.
        examples: Number of examples of the first round, at least 1.
        keep_fraction: Which part goes on, in (0, 1); at least one does.
        growth: Examples of a round over those of the one before, at least 1.
        rungs: How many at most; it ends earlier when one is left.

    Raises:
        SettingsError: A number is out of its range.

    Examples:
        >>> [(r.entrants, r.examples, r.keeps) for r in
        ...  rungs_of(5, examples=32, keep_fraction=0.5, growth=2.0, rungs=3)]
        [(5, 32, 3), (3, 64, 2), (2, 128, 1)]
    """
    if entrants < 1 or examples < 1 or rungs < 1 or growth < 1 or not 0 < keep_fraction < 1:
        raise SettingsError(
            f"halving of {entrants} entrants with {examples} examples, {rungs} rungs, growth "
            f"{growth} and keep_fraction {keep_fraction} is not possible"
        )
    found: list[Rung] = []
    left, size = entrants, float(examples)
    for number in range(1, rungs + 1):
        last = number == rungs or left == 1
        keeps = 1 if last else max(1, math.ceil(left * keep_fraction))
        found.append(Rung(number=number, entrants=left, examples=round(size), keeps=keeps))
        if last:
            break
        left, size = keeps, size * growth
    return found
