"""Chunks of candidates that are read together, and how many tokens fit a batch on a device."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from tutelage.data import Candidate
from tutelage.models.hardware import kind_of, memory_of

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
