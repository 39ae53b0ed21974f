"""Bounds that are set before a loop starts, and when a loop should stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.experiments.drift.drift_table import Line

Of: TypeAlias = Literal["value", "change", "ratio"]

NO_FLIPS = "nothing_flips"
NO_GAIN = "no_gain_beyond_noise"
NOTHING_CHOSEN = "nothing_chosen"
GUARD_BROKEN = "guard_broken"
ROUNDS_DONE = "rounds_done"


class Limit(BaseModel):
    """One bound on one measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(description="data, student or held_out.")
    measure: str = Field(description="As in drift.parquet, such as distinct_2.")
    of: Of = Field(
        default="value",
        description="What is bounded: the value, its change against the baseline, or its ratio "
        "to the baseline.",
    )
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    surely: bool = Field(
        default=False,
        description="Broken only if the whole 95 % interval is beyond the bound, not the number "
        "alone.",
    )

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError(f"the limit on {self.measure} needs low or high")
        return self


DEFAULT_LIMITS: tuple[Limit, ...] = (
    Limit(subject="student", measure="words", of="ratio", low=0.5, high=2.0),
    Limit(subject="student", measure="distinct_2", of="ratio", low=0.7),
    Limit(subject="student", measure="compression_ratio", of="ratio", high=1.5),
    Limit(subject="student", measure="divergence", of="value", high=0.5),
    Limit(subject="held_out", measure="nll_human", of="change", high=0.2),
    Limit(subject="held_out", measure="accuracy", of="change", low=-0.05, surely=True),
)
"""What a student may lose in a round without anybody asking: half or twice the length, a third of
its variety, half a nat of divergence, 0.2 nats of human text, five points of accuracy for sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What became of one limit.

    Attributes:
        limit: The limit.
        verdict: `kept`, `broken`, or `not_measured` where the account has no such line.
        found: The number that was held against it, or None.
    """

    limit: Limit
    verdict: Literal["kept", "broken", "not_measured"]
    found: float | None = None

    def in_words(self) -> str:
        """For people."""
        limit = self.limit
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", limit.low), ("at most", limit.high))
            if bound is not None
        ]
        of = "" if limit.of == "value" else f" ({limit.of} against the baseline)"
        said = f"{limit.subject} {limit.measure}{of}: {' and '.join(bounds)}"
        if self.found is None:
            return f"{said}; not measured"
        return f"{said}; found {self.found:.3g}: {self.verdict}"


def check_guard(lines: Sequence[Line], limits: Sequence[Limit]) -> tuple[Checked, ...]:
    """Hold the account of a round against the limits.

    Args:
        lines: Of one round, of all subjects; baselines have no baseline of their own and are
            left aside.
        limits: The guard.

    Returns:
        One outcome for each limit, in their order.
    """
    compared = {(line.subject, line.measure): line for line in lines if line.baseline is not None}
    return tuple(_check(limit, compared.get((limit.subject, limit.measure))) for limit in limits)


def _check(limit: Limit, line: Line | None) -> Checked:
    found = None if line is None else _number(limit, line)
    if found is None:
        return Checked(limit=limit, verdict="not_measured")
    number, low, high = found
    # Surely beyond the upper bound means that even the lower end of the interval is.
    at_least, at_most = (high, low) if limit.surely else (number, number)
    broken = (limit.low is not None and at_least < limit.low) or (
        limit.high is not None and at_most > limit.high
    )
    return Checked(limit=limit, verdict="broken" if broken else "kept", found=number)


def _number(limit: Limit, line: Line) -> tuple[float, float, float] | None:
    estimate = line.value if limit.of == "value" else line.change
    if estimate is None:
        return None
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    if limit.of != "ratio":
        return estimate.value, low, high
    before = line.value.value - estimate.value
    if before == 0:
        return None
    ends = sorted(1 + end / before for end in (low, high))
    return line.value.value / before, ends[0], ends[1]


class StopSettings(BaseModel):
    """When a loop ends before its rounds are used up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_flip_fraction: float = Field(
        default=0.01,
        ge=0.0,
        le=1.0,
        description="Stop when fewer of the decisions than this change from one round to the next.",
    )
    patience: int = Field(
        default=2,
        ge=1,
        description="Stop when held-out accuracy is not surely (95 %) above that of the student so "
        "many rounds before; never where accuracy is not measured.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOutcome:
    """What the stop rule looks at.

    Attributes:
        flip_fraction: Share of decisions that changed against the round before, in [0, 1]; None
            in the first round.
        gained: Whether held-out accuracy is surely above that of the student `patience` rounds
            before; None where it is not measured, or there are not so many.
    """

    flip_fraction: float | None
    gained: bool | None


def stop_reason(outcomes: Sequence[RoundOutcome], settings: StopSettings) -> str | None:
    """Why a loop should end after these rounds, or None.

    Args:
        outcomes: Of the accepted rounds so far, in order.
        settings: The rule.
    """
    if not outcomes:
        return None
    last = outcomes[-1].flip_fraction
    if last is not None and last < settings.min_flip_fraction:
        return NO_FLIPS
    return NO_GAIN if outcomes[-1].gained is False else None
