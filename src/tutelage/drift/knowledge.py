"""What a student knows of an example, from a handful of its own attempts.

The classes are those of SliCK (Gekhman et al., 2024, arXiv 2405.05904): greedy answers always
right (known), sometimes right (maybe known), never right but some sampled answer is (weakly
known), none right (unknown). They ask ten times with different examples in the prompt. Where only
one greedy answer was asked for, "sometimes" is told by the samples instead: that is a deviation.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tutelage.errors import DataError

Knowledge: TypeAlias = Literal["known", "maybe_known", "weakly_known", "unknown"]
KNOWLEDGE: tuple[Knowledge, ...] = ("known", "maybe_known", "weakly_known", "unknown")

KNOWN_FROM = 0.9
"""With one greedy answer or none, the pass rate from which an example counts as known."""
MAYBE_FROM = 0.5
"""Without a greedy answer, the pass rate from which it counts as maybe known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """A student's checked attempts at one example.

    Attributes:
        example_id: The example.
        greedy: Checked greedy answers, each with another prompt; at least 0.
        greedy_right: How many of them are right.
        sampled: Checked sampled answers, at least 0.
        sampled_right: How many of them are right.
    """

    example_id: str
    greedy: int = 0
    greedy_right: int = 0
    sampled: int = 0
    sampled_right: int = 0

    def __post_init__(self) -> None:
        counts = (self.greedy_right, self.greedy, self.sampled_right, self.sampled)
        if min(counts) < 0 or counts[0] > counts[1] or counts[2] > counts[3]:
            raise DataError(f"example {self.example_id}: these are no counts of attempts: {counts}")

    @property
    def checked(self) -> int:
        """How many attempts there are."""
        return self.greedy + self.sampled

    @property
    def pass_rate(self) -> float | None:
        """Share of the sampled answers that are right, in [0, 1].

        Of the greedy ones where none was sampled; None where there is no attempt.
        """
        if self.sampled:
            return self.sampled_right / self.sampled
        return self.greedy_right / self.greedy if self.greedy else None

    @property
    def smoothed_rate(self) -> float | None:
        """The pass rate drawn towards a half: (right + 1/2) / (attempts + 1).

        The mean of Jeffreys' posterior. With few attempts 0 of 4 is not surely 0.
        """
        if self.sampled:
            return (self.sampled_right + 0.5) / (self.sampled + 1)
        return (self.greedy_right + 0.5) / (self.greedy + 1) if self.greedy else None


def place(attempts: Attempts) -> Knowledge | None:
    """The class of an example, or None where there is no checked attempt.

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
    """The class that a pass rate alone suggests.

    Args:
        rate: In [0, 1]; measured or predicted.
        least: At or below this rate an example is unknown; for predicted rates, which are never 0.
    """
    if rate <= least:
        return "unknown"
    if rate >= KNOWN_FROM:
        return "known"
    return "maybe_known" if rate >= MAYBE_FROM else "weakly_known"
