"""A count of what the student has read so far, which moves with each batch.

A student reads a chunk of candidates as a whole and hands all of them over at its end. Meanwhile it
tells how many of the chunk's passages are read; the same share of its candidates is counted.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from tutelage.data import Candidate
from tutelage.progress import Progress


@runtime_checkable
class Watchable(Protocol):
    """A student that tells how far it is within a chunk."""

    def watch(self, on_batch: Callable[[int, int], None] | None) -> None:
        """Be told, after each batch, how many passages of a chunk are read, and of how many."""
        ...


class ReadingCounter:
    """Advances a progress by candidates: while they are read, or at the latest when they come.

    Args:
        progress: Told of each candidate once.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._asked = self._came = self._shown = 0

    def asked(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """The candidates, counted as they are taken."""
        for candidate in candidates:
            self._asked += 1
            yield candidate

    def came(self) -> None:
        """One candidate has its outcome."""
        self._came += 1
        self._show(self._came)

    @contextmanager
    def watching(self, student: object) -> Iterator[None]:
        """Count while the student reads, where it tells."""
        if not isinstance(student, Watchable):
            yield
            return
        student.watch(self._batch)
        try:
            yield
        finally:
            student.watch(None)

    def _batch(self, read: int, passages: int) -> None:
        under_way = self._asked - self._came
        # The last one is counted when it comes: a chunk is not done before its last batch.
        self._show(self._came + max(0, min(under_way * read // passages, under_way - 1)))

    def _show(self, count: int) -> None:
        if count > self._shown:
            self._progress.advance(count - self._shown)
            self._shown = count
