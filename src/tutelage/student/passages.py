"""Passages: token ids of a context and a target; and how many are read together."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tutelage.data import Candidate, TokenStats
from tutelage.errors import DataError
from tutelage.models.hardware import kind_of, memory_of

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


CHUNK_CANDIDATES = 256
CHUNK_CHARACTERS = 400_000
"""Candidates of a chunk, which takes about a minute on two cores."""

_Item = TypeVar("_Item")


def chunks_of(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Divide candidates into the chunks of `StudentModel.read`.

    Reading the lists apart, in any process, computes the same batches.
    """
    return chunks(candidates, size=_characters)


def chunks(items: Iterable[_Item], *, size: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Lists of at most `CHUNK_CANDIDATES` items and about `CHUNK_CHARACTERS` characters."""
    chunk: list[_Item] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += size(item)
        if len(chunk) == CHUNK_CANDIDATES or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _characters(candidate: Candidate) -> int:
    return sum(len(message.content) for message in candidate.messages)


CPU_TOKENS = 4096
"""Tokens of a batch on a CPU, which gains nothing from larger ones."""

_LEAST_TOKENS, _MOST_TOKENS = 1024, 1 << 16
_SHORT_PROBE, _LONG_PROBE = 256, 1024
_USED = 0.7
"""Fraction of the free memory that a batch may use; the rest covers variation."""


class Gauge(Protocol):
    """Memory gauge of one device."""

    def free(self) -> int | None:
        """Free memory in bytes; None where it cannot be determined."""
        ...

    def peak(self, work: Callable[[], None]) -> int:
        """Peak memory of some work in bytes, above what was used before."""
        ...


class TorchGauge:
    """Memory gauge of a graphics card, from torch's counters.

    Args:
        device: Such as cuda:1.
    """

    def __init__(self, device: str) -> None:
        self._device = device

    def free(self) -> int | None:
        """Free memory in bytes, including what torch keeps in reserve."""
        import torch

        memory = memory_of(self._device)
        if memory is None:
            return None
        module = getattr(torch, kind_of(self._device))
        kept = 0
        if hasattr(module, "memory_reserved"):
            kept = module.memory_reserved(self._device) - module.memory_allocated(self._device)
        return memory.free + int(kept)

    def peak(self, work: Callable[[], None]) -> int:
        """Peak memory of some work in bytes, above what was used before."""
        import torch

        module = getattr(torch, kind_of(self._device))
        if not hasattr(module, "max_memory_allocated"):
            before = module.current_allocated_memory()
            work()
            return int(module.driver_allocated_memory()) - int(before)
        module.reset_peak_memory_stats(self._device)
        before = module.memory_allocated(self._device)
        work()
        return int(module.max_memory_allocated(self._device)) - int(before)


def measured_tokens(gauge: Gauge, read: Callable[[int], None], *, longest: int) -> int:
    """Tokens of a batch that fit into memory, extrapolated from two small batches.

    Args:
        gauge: Gauge of the device that has the model already.
        read: Reads a passage of so many tokens.
        longest: The most tokens the model takes.

    Returns:
        A power of two, so that small differences of free memory change no plan.
    """
    short, long = min(_SHORT_PROBE, max(1, longest // 2)), min(_LONG_PROBE, longest)
    read(short)  # what is made once, at the first call, does not count
    free = gauge.free()
    taken = gauge.peak(lambda: read(long)) - gauge.peak(lambda: read(short))
    if free is None or taken <= 0 or long <= short:
        return CPU_TOKENS
    fits = int(_USED * free * (long - short) / taken)
    return max(_LEAST_TOKENS, min(_MOST_TOKENS, 1 << max(0, fits.bit_length() - 1)))
