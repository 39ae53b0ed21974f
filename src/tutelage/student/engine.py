"""Engine protocol: passages in, statistics of their targets out."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tutelage.student.passages import Measured, Passage, Refusal


class OutOfMemoryError(Exception):
    """A batch does not fit into memory; a smaller one may."""


class ForwardError(Exception):
    """The model's forward pass failed on a batch; its other passages may still be readable.

    Args:
        message: Message of the model's error.
        reason: The status of a passage on which it fails alone.
    """

    def __init__(self, message: str, *, reason: str = "student_failed") -> None:
        super().__init__(message)
        self.reason = reason


class Engine(Protocol):
    """Protocol of a loaded model that can read passages."""

    @property
    def name(self) -> str:
        """Name in the manifest."""
        ...

    @property
    def lanes(self) -> int:
        """Number of batches that can be read at the same time, each in its own thread."""
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
            ForwardError: The forward pass failed on it.
        """
        ...

    def close(self) -> None:
        """Free the memory of the model."""
        ...


@runtime_checkable
class KnowsLimits(Protocol):
    """Engine that can tell beforehand which passages it cannot read."""

    def refusal(self, passage: Passage) -> Refusal | None:
        """Reason why this model cannot read a passage, or None.

        Returns:
            `token_out_of_range`, `too_long`, or None where nothing speaks against it.
        """
        ...


@runtime_checkable
class Shrinks(Protocol):
    """Engine whose batches can be made smaller after a shortage of memory."""

    def shrink(self) -> None:
        """Halve the tokens of all further batches."""
        ...


def out_of_range(passage: Passage, *, embedded: int, answered: int) -> Refusal | None:
    """Whether a passage has token ids outside the model's vocabulary.

    A tokenizer can know more tokens than the model was given rows: tokens added and never
    trained, or the tokenizer of another model.

    Args:
        passage: What is to be read.
        embedded: How many token ids the input embedding has.
        answered: How many token ids the model can predict.
    """
    highest = int(passage.ids_T.max())
    if highest >= embedded or passage.ids_T.min() < 0:
        worst = highest if highest >= embedded else int(passage.ids_T.min())
        return Refusal(
            reason="token_out_of_range",
            detail=f"token id {worst}, but the model's embedding has {embedded} rows",
        )
    target = int(passage.ids_T[passage.target_start :].max())
    if target >= answered:
        return Refusal(
            reason="token_out_of_range",
            detail=f"target token id {target}, but the model predicts {answered} tokens",
        )
    return None
