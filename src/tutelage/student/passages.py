"""Passages: token ids of a context and a target, as the model reads them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tutelage.data import TokenStats
from tutelage.errors import DataError

SideName: TypeAlias = Literal["response", "instruction", "end"]
TURN_BREAK = "\n"
"""Separator between the texts of pooled turns."""

_Number = TypeVar("_Number", np.uint8, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Passage:
    """One context and one target as token ids.

        ids      C1  C2  C3  T1  T2       target_start = 3
        counted   0   0   0   1   1       predicted from positions 2 and 3

    Attributes:
        ids_T: int32, context and target in one piece, at least two tokens.
        target_start: Index of the first target token, in [1, T - 1]: the token at index 0 is
            predicted by nothing.
    """

    ids_T: NDArray[np.int32]
    target_start: int

    def __post_init__(self) -> None:
        if not 1 <= self.target_start < len(self.ids_T):
            raise DataError(
                f"a target cannot start at {self.target_start} of {len(self.ids_T)} tokens",
                hint="a target needs at least one token, and a context in front of it",
            )

    @property
    def targets(self) -> int:
        """Number of target tokens."""
        return len(self.ids_T) - self.target_start

    @property
    def key(self) -> bytes:
        """Content hash, 16 bytes."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.target_start.to_bytes(4, "little"))
        digest.update(np.ascontiguousarray(self.ids_T, dtype="<i4").tobytes())
        return digest.digest()


def passage_of(context: Sequence[int], target: Sequence[int]) -> Passage:
    """Passage from context ids and target ids."""
    ids_T = np.array([*context, *target], dtype=np.int32)
    return Passage(ids_T=ids_T, target_start=len(context))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSide:
    """Both views of one target as token ids.

    Attributes:
        given: The target after its context: one passage, or one for each turn that is pooled.
        alone: The same target ids after the header.
        straddles: True where a token crosses a border and was counted to the context.
        truncated: True where something was cut to fit the length limit.
        stripped: True where the template changed white space of the target.
        control_tokens_in_data: True where a turn contains the text of a special token.
        starts_T: int32: where each target token starts, in characters of `text`.
        text: The target text as the template renders it; the texts of turns that are pooled are
            joined by `TURN_BREAK`.
    """

    given: tuple[Passage, ...]
    alone: tuple[Passage, ...]
    straddles: bool
    truncated: bool
    starts_T: NDArray[np.int32]
    text: str
    stripped: bool = False
    control_tokens_in_data: bool = False

    @property
    def ids_T(self) -> NDArray[np.int32]:  # noqa: N802  (ends in its dimension)
        """Target token ids, int32, one for each entry of `starts_T`."""
        return np.concatenate([passage.ids_T[passage.target_start :] for passage in self.given])


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Reason why one side of a candidate has no passages; see `tutelage.data.Unscored`."""

    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Statistics measured at the targets of one passage, finite or not.

    The fields are those of `tutelage.data.TokenStats`, which accepts finite numbers only.
    """

    logprobs_T: NDArray[np.float32]
    ranks_T: NDArray[np.uint8] | None = None
    entropies_T: NDArray[np.float32] | None = None
    sum_squares_T: NDArray[np.float32] | None = None

    @property
    def is_finite(self) -> bool:
        """Whether every log-probability is finite."""
        return bool(np.isfinite(self.logprobs_T).all())


def pooled_stats(measured: Sequence[Measured]) -> TokenStats:
    """Token statistics of one view, concatenated over its passages.

    Raises:
        DataError: A number is not finite.
    """
    first = measured[0]
    if len(measured) == 1:
        return TokenStats(
            logprobs_T=first.logprobs_T,
            ranks_T=first.ranks_T,
            entropies_T=first.entropies_T,
            sum_squares_T=first.sum_squares_T,
        )
    return TokenStats(
        logprobs_T=np.concatenate([m.logprobs_T for m in measured]),
        ranks_T=_joined([m.ranks_T for m in measured]),
        entropies_T=_joined([m.entropies_T for m in measured]),
        sum_squares_T=_joined([m.sum_squares_T for m in measured]),
    )


def _joined(parts: Sequence[NDArray[_Number] | None]) -> NDArray[_Number] | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None
