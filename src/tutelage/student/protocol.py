"""Student protocol: the methods that every kind of student offers."""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol, runtime_checkable

from tutelage.data import Candidate, ReadingOutcome, TokenStats, Unscored, ViewName
from tutelage.student.config import Statistics
from tutelage.student.student import TextPair


class Reads(Protocol):
    """Protocol of reading: `StudentModel`, and `TableStudent` for tests."""

    def read(
        self,
        candidates: Iterable[Candidate],
        *,
        views: Collection[ViewName],
        statistics: Statistics = "nll",
    ) -> Iterator[ReadingOutcome]:
        """One outcome for each candidate, in the order given.

        Args:
            candidates: The candidates.
            views: The views to read.
            statistics: What to measure of each token.
        """
        ...

    def read_pairs(
        self, pairs: Iterable[TextPair], *, statistics: Statistics = "nll"
    ) -> Iterator[TokenStats | Unscored]:
        """One outcome for each pair, in the order given."""
        ...

    def context_text(self, candidate: Candidate) -> str:
        """Text in front of a candidate's response."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """Student that can count the tokens it would read."""

    def tokens_to_read(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[int]:
        """Tokens of each candidate's passages, in the order given; 0 where it has none."""
        ...
