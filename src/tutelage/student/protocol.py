"""What may be asked of any student, whatever reads for it."""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol, runtime_checkable

from tutelage.data import Candidate, ReadingOutcome, TokenStats, Unscored, ViewName
from tutelage.student.config import Statistics
from tutelage.student.student import TextPair


class Reads(Protocol):
    """The reading part of a student: `StudentModel` is one, and `TableStudent` for tests."""

    def read(
        self,
        candidates: Iterable[Candidate],
        *,
        views: Collection[ViewName],
        statistics: Statistics = "nll",
    ) -> Iterator[ReadingOutcome]:
        """One outcome for each candidate, in the order given."""
        ...

    def read_pairs(
        self, pairs: Iterable[TextPair], *, statistics: Statistics = "nll"
    ) -> Iterator[TokenStats | Unscored]:
        """One outcome for each pair, in the order given."""
        ...

    def context_text(self, candidate: Candidate) -> str:
        """The text in front of a candidate's response."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A student that says how much it would read, without reading."""

    def tokens_to_read(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[int]:
        """The tokens of each candidate's passages, in the order given; 0 where it has none."""
        ...
