"""Processes of a training that `accelerate launch` or torchrun has started.

Each process reads the same rows and holds the same settings. Process 0 alone writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutelage.errors import SettingsError
from tutelage.models.hardware import find_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Where this process stands among those of a training.

    Attributes:
        rank: Its number, from 0.
        count: How many there are; 1 without a launcher.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0


def launched() -> Processes:
    """What the launcher says; one process where there is none.

    Raises:
        SettingsError: The variables of a launcher are there, but not numbers.
    """
    rank, count = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None or count is None:
        return Processes()
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise SettingsError(
            f"RANK is {rank!r} and WORLD_SIZE is {count!r}, which no launcher sets",
            hint="start with `accelerate launch`, or unset both",
        )
    return Processes(rank=int(rank), count=int(count))


def wait_for_all() -> None:
    """Wait until every process has come here; nothing where there is one, or none has begun."""
    if launched().count == 1:
        return
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def begin(*, device: str) -> None:
    """Connect the processes, so that they can wait for each other before the trainer is made.

    Args:
        device: What they compute on; `auto`, or the name of a kind.
    """
    if launched().count > 1:
        from accelerate import PartialState

        PartialState(cpu=(find_device() if device == "auto" else device) == "cpu")


@contextmanager
def first_writes(*, device: str) -> Iterator[bool]:
    """A block that process 0 enters to write; the others wait until it has.

    Args:
        device: As in `begin`.

    Yields:
        Whether this process writes.
    """
    processes = launched()
    begin(device=device)
    try:
        yield processes.is_first
    finally:
        wait_for_all()
