"""In which order rows are trained on: random, but rows of like length together."""

import random
from collections.abc import Iterator, Sequence

POOL_BATCHES = 16
"""Rows are sorted by length within pools of so many batches: enough to waste little on padding,
few enough that a batch is not always made of the same rows."""


class LikeLengths:
    """A sampler: each epoch another order, which depends on seed and epoch alone.

    A continued training therefore sees the order that it would have seen. Its parent's own
    grouped sampler draws from a global generator and does not keep that promise.

    Args:
        lengths: Tokens of each row.
        batch: Rows of one optimizer step, at least 1.
        seed: At least 0.
        shared: An epoch is filled to a multiple of so many rows, those that all processes together
            compute at once. What it is filled with is the row behind the last one.
    """

    def __init__(self, lengths: Sequence[int], *, batch: int, seed: int, shared: int = 1) -> None:
        self._lengths = list(lengths)
        self._batch = batch
        self._seed = seed
        self._filling = -len(self._lengths) % shared
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is; counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths) + self._filling

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed}:{self._epoch}")
        order = list(range(len(self._lengths)))
        draw.shuffle(order)
        size = self._batch * POOL_BATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), size):
            pool = sorted(order[start : start + size], key=lambda i: -self._lengths[i])
            batches += [pool[at : at + self._batch] for at in range(0, len(pool), self._batch)]
        # Only a batch that is last may be short: rows are taken in a line, batch by batch.
        short = [batch for batch in batches if len(batch) < self._batch]
        whole = [batch for batch in batches if len(batch) == self._batch]
        draw.shuffle(whole)
        for batch in whole + short:
            yield from batch
        yield from [len(order)] * self._filling
