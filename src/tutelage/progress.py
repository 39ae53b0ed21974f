"""How a room tells the person who waits what it is doing. Rooms never print."""

from typing import Protocol


class Progress(Protocol):
    """Somebody who wants to know how far a stage is."""

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """A stage begins; total is None where it cannot be known."""
        ...

    def tell(self, text: str) -> None:
        """One line for the person, now: what is about to happen, or what went wrong."""
        ...

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """`count` more units are done; note is a short fact such as what was spent."""
        ...

    def end(self, *, note: str | None = None) -> None:
        """The stage that began last has ended."""
        ...


class Silent:
    """A progress that nobody sees."""

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Say nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Say nothing."""

    def end(self, *, note: str | None = None) -> None:
        """Say nothing."""
