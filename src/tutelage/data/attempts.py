"""Counts of a student's checked attempts at one example."""

from dataclasses import dataclass

from tutelage.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Counts of a student's checked attempts at one example.

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
            raise DataError(
                f"example {self.example_id}: these are not valid counts of attempts: {counts}"
            )

    @property
    def checked(self) -> int:
        """Number of checked attempts, greedy and sampled."""
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
        """Pass rate shrunk towards one half: (right + 1/2) / (attempts + 1).

        The mean of Jeffreys' posterior. With few attempts 0 of 4 is not surely 0.
        """
        if self.sampled:
            return (self.sampled_right + 0.5) / (self.sampled + 1)
        return (self.greedy_right + 0.5) / (self.greedy + 1) if self.greedy else None
