"""What an engine is: passages in, statistics of their targets out."""

from collections.abc import Sequence
from typing import Protocol

from tutelage.student.passage import Measured, Passage


class OutOfMemoryError(Exception):
    """A batch did not fit into memory; a smaller one may."""


class Engine(Protocol):
    """A loaded model that can read passages."""

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        ...

    @property
    def lanes(self) -> int:
        """How many batches it can read at the same time, each in a thread of its own."""
        ...

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Divide passages into batches, by index; each index is in exactly one batch."""
        ...

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given.

        Args:
            passages: What to read together.
            full: Whether all four statistics are wanted, or log-probabilities alone.

        Raises:
            OutOfMemoryError: The batch is too large.
        """
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...
