"""Learnable band: examples that a student neither knows nor finds out of reach.

An example with the pass rate p has the learnability p (1 - p): 1/4 at a half, 0 where the student
is always right or always wrong. The band moves with the student: it holds as many examples as are
asked for, those of the highest learnability, wherever they lie.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.data.example import Attempts
from tutelage.data.schemas import FRONTIER
from tutelage.reporting.number_format import count, share

# ----------------------------------------------------------------------------------------------
# What a student knows of an example, from a handful of its own attempts.
#
# The classes are those of SliCK (Gekhman et al., 2024, arXiv 2405.05904): greedy answers always
# right (known), sometimes right (maybe known), never right but some sampled answer is (weakly
# known), none right (unknown). They ask ten times with different examples in the prompt. Where only
# one greedy answer was asked for, "sometimes" is told by the samples instead: that is a deviation.
# ----------------------------------------------------------------------------------------------


Knowledge: TypeAlias = Literal["known", "maybe_known", "weakly_known", "unknown"]
KNOWLEDGE: tuple[Knowledge, ...] = ("known", "maybe_known", "weakly_known", "unknown")

KNOWN_FROM = 0.9
"""Pass rate from which an example counts as known, with at most one greedy answer."""
MAYBE_FROM = 0.5
"""Pass rate from which it counts as maybe known, without a greedy answer."""


def place(attempts: Attempts) -> Knowledge | None:
    """Class of an example, or None without a checked attempt.

    Examples:
        >>> place(Attempts(example_id="a", greedy=3, greedy_right=1))
        'maybe_known'
        >>> place(Attempts(example_id="a", greedy=1, sampled=4, sampled_right=1))
        'weakly_known'
    """
    if not attempts.checked:
        return None
    if not attempts.greedy:
        return place_rate(attempts.pass_rate or 0.0)
    if attempts.greedy_right == attempts.greedy:
        one_may_be_luck = attempts.greedy == 1 and attempts.sampled > 0
        if one_may_be_luck and attempts.sampled_right < KNOWN_FROM * attempts.sampled:
            return "maybe_known"
        return "known"
    if attempts.greedy_right:
        return "maybe_known"
    return "weakly_known" if attempts.sampled_right else "unknown"


def place_rate(rate: float, *, least: float = 0.0) -> Knowledge:
    """Class suggested by a pass rate alone.

    Args:
        rate: In [0, 1]; measured or predicted.
        least: At or below this rate an example is unknown; for predicted rates, which are never 0.
    """
    if rate <= least:
        return "unknown"
    if rate >= KNOWN_FROM:
        return "known"
    return "maybe_known" if rate >= MAYBE_FROM else "weakly_known"


# ----------------------------------------------------------------------------------------------
# Learnable band.
# ----------------------------------------------------------------------------------------------


IN_BAND = "in_band"
TOO_EASY = "too_easy"
TOO_HARD = "too_hard"
NOT_PLACED = "not_placed"
BAND_FULL = "band_full"

MOSTLY_UNKNOWN = 0.5
"""Share of unknown examples from which a warning is given."""

HISTOGRAM_BINS = 10


class BandSettings(BaseModel):
    """Settings of the band of examples from which the student should learn now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_fraction: float = Field(
        default=0.5,
        gt=0.0,
        le=1.0,
        description="Adaptive band: the share of classified examples in it.",
    )
    keep_count: int | None = Field(
        default=None, ge=1, description="Adaptive band: the number of examples, instead of a share."
    )
    low: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Fixed band: the lowest pass rate."
    )
    high: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Fixed band: the highest pass rate."
    )
    keep_unknown: bool = Field(
        default=False,
        description="Whether the band may contain examples without a right attempt.",
    )
    order: Literal["easy_first", "hard_first", "band_first"] = Field(
        default="easy_first",
        description="Order of the exported set: by falling or rising pass rate, or the most "
        "learnable first.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.low, self.high
        if low is not None and high is not None and low > high:
            raise ValueError(f"the band's low end {low} is above its high end {high}")
        return self

    @property
    def fixed(self) -> bool:
        """Whether the band is fixed, whatever the student can do."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Class and pass rate of one example, before the band is drawn.

    Attributes:
        example_id: The example.
        attempts: Checked ones; none where it was not attempted.
        predicted: The pass rate that token statistics predict, in (0, 1), or None.
        missing: Why there is nothing, where that is so: `no_reference`, `not_attempted`, ...
        tie: Smaller comes first among examples of one rate: a loss in nats, for example.
    """

    example_id: str
    attempts: Attempts | None = None
    predicted: float | None = None
    missing: str = NOT_PLACED
    tie: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """Classes of all examples, with the chosen band.

    Attributes:
        table: The FRONTIER schema, one row an example, in the order given.
        shares: By class, among the placed examples; they add up to 1.
        placed: How many examples have a class.
        histogram: How many of the attempted examples have a pass rate in each tenth; 1 counts to
            the last.
        band: Lowest and highest pass rate (smoothed or predicted) that is kept; None where nothing
            is.
        warning: What to think of before training on this set, or None.
    """

    table: pa.Table
    shares: Mapping[Knowledge, float]
    placed: int
    histogram: tuple[int, ...]
    band: tuple[float, float] | None
    warning: str | None


def draw_frontier(placings: Sequence[Placing], settings: BandSettings) -> Frontier:
    """Classify examples, choose the band, and order the examples in it.

    It depends on ids and numbers, not on the order of examples.

    Args:
        placings: One for each example.
        settings: The band and the order.
    """
    rows = [_row(one) for one in placings]
    ties = {one.example_id: one.tie for one in placings}
    _choose(rows, ties, settings)
    kept = [row for row in rows if row["kept"]]
    for place_in_order, row in enumerate(_ordered(kept, ties, settings)):
        row["curriculum"] = place_in_order
    counts = Counter(row["knowledge"] for row in rows if row["knowledge"] is not None)
    placed = counts.total()
    shares: dict[Knowledge, float] = {
        name: counts[name] / placed if placed else 0.0 for name in KNOWLEDGE
    }
    rates = [row["rate"] for row in kept]
    return Frontier(
        table=pa.Table.from_pylist(rows, schema=FRONTIER),
        shares=shares,
        placed=placed,
        histogram=histogram([row["pass_rate"] for row in rows if row["pass_rate"] is not None]),
        band=(min(rates), max(rates)) if rates else None,
        warning=_warning(shares, placed),
    )


def histogram(rates: Sequence[float], *, bins: int = HISTOGRAM_BINS) -> tuple[int, ...]:
    """Count of pass rates in equal bins of [0, 1]; 1 belongs to the last bin.

    Examples:
        >>> histogram([0.0, 0.05, 1.0], bins=2)
        (2, 1)
    """
    counts = [0] * bins
    for rate in rates:
        counts[min(int(rate * bins), bins - 1)] += 1
    return tuple(counts)


def _row(one: Placing) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(FRONTIER.names)
    row |= {"example_id": one.example_id, "predicted": one.predicted, "kept": False}
    attempts = one.attempts
    if attempts is not None and attempts.checked:
        rate = attempts.smoothed_rate
        row |= {
            "knowledge": place(attempts),
            "basis": "attempts",
            "greedy": attempts.greedy,
            "greedy_right": attempts.greedy_right,
            "sampled": attempts.sampled,
            "sampled_right": attempts.sampled_right,
            "pass_rate": attempts.pass_rate,
        }
    elif one.predicted is not None:
        rate = one.predicted
        row |= {"knowledge": place_rate(rate, least=UNKNOWN_BELOW), "basis": "predicted"}
    else:
        return row | {"basis": "none", "reason": one.missing}
    return row | {"rate": rate, "learnability": None if rate is None else rate * (1 - rate)}


UNKNOWN_BELOW = 0.1
"""Predicted pass rate at or below which an example counts as unknown: a prediction is never 0."""


def _choose(
    rows: Sequence[dict[str, Any]], ties: Mapping[str, float], settings: BandSettings
) -> None:
    """Mark the kept examples, and give a reason for the others."""
    placed = [row for row in rows if row["knowledge"] is not None]
    open_rows = []
    for row in placed:
        below = settings.fixed and _rate(row) < (settings.low or 0.0)
        if below or (row["knowledge"] == "unknown" and not settings.keep_unknown):
            row["reason"] = TOO_HARD
        elif settings.fixed and _rate(row) > (1.0 if settings.high is None else settings.high):
            row["reason"] = TOO_EASY
        else:
            open_rows.append(row)
    wanted = settings.keep_count or round(settings.keep_fraction * len(placed))
    count = len(open_rows) if settings.fixed and settings.keep_count is None else wanted
    open_rows.sort(key=lambda row: (-_learnability(row), ties[_id(row)], _id(row)))
    chosen = open_rows[:count]
    rates = [_rate(row) for row in chosen]
    for row in chosen:
        row |= {"kept": True, "reason": IN_BAND}
    for row in open_rows[count:]:
        if rates and _rate(row) > max(rates):
            row["reason"] = TOO_EASY
        elif rates and _rate(row) < min(rates):
            row["reason"] = TOO_HARD
        else:
            row["reason"] = BAND_FULL


def _ordered(
    kept: Sequence[dict[str, Any]], ties: Mapping[str, float], settings: BandSettings
) -> list[dict[str, Any]]:
    sign = 1.0 if settings.order == "hard_first" else -1.0
    number = _learnability if settings.order == "band_first" else _rate
    return sorted(kept, key=lambda row: (sign * number(row), -sign * ties[_id(row)], _id(row)))


def _warning(shares: Mapping[Knowledge, float], placed: int) -> str | None:
    if not placed or shares["unknown"] < MOSTLY_UNKNOWN:
        return None
    unknown = share(shares["unknown"])
    return (
        f"{unknown} of {count(placed, 'placed example')} unknown to the student: if "
        "these are facts, training on them teaches it to state things it does not know (arXiv "
        "2405.05904); keep the learnable band, or stop early"
    )


def _id(row: Mapping[str, Any]) -> str:
    return str(row["example_id"])


def _rate(row: Mapping[str, Any]) -> float:
    rate: float = row["rate"]
    return rate


def _learnability(row: Mapping[str, Any]) -> float:
    learnability: float = row["learnability"]
    return learnability
