"""Processes of a distributed training, started by `accelerate launch` or torchrun.

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
    """Rank of this process and number of processes.

    Attributes:
        rank: Its number, from 0.
        count: How many there are; 1 without a launcher.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0


def launched() -> Processes:
    """Rank and size from the launcher's environment; a single process without a launcher.

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
    """Barrier of all processes; does nothing with a single process or before `begin`."""
    if launched().count == 1:
        return
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def begin(*, device: str) -> None:
    """Initialise the process group before the trainer exists.

    Args:
        device: What they compute on; `auto`, or the name of a kind.
    """
    if launched().count > 1:
        from accelerate import PartialState

        PartialState(cpu=(find_device() if device == "auto" else device) == "cpu")


@contextmanager
def first_writes(*, device: str) -> Iterator[bool]:
    """Context manager in which process 0 writes first while the others wait.

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
