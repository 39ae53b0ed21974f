"""Replaying teacher: stored replies only, offline, free and always the same."""

from tutelage.errors import NotInJournalError
from tutelage.teacher.journal import Journal
from tutelage.teacher.journal_file import answer_of
from tutelage.teacher.protocol import Reply, Request


class ReplayTeacher:
    """Teacher that replies from a journal and never sends a request.

    Args:
        name: The teacher that was recorded.
        journal: Where; may be read-only.
        supports_schema: Whether the recorded teacher was asked with schemas.
    """

    def __init__(self, *, name: str, journal: Journal, supports_schema: bool) -> None:
        self._name = name
        self._journal = journal
        self._supports_schema = supports_schema

    @property
    def name(self) -> str:
        """Name of the recorded teacher."""
        return self._name

    @property
    def supports_schema(self) -> bool:
        """Whether the recorded teacher received schemas."""
        return self._supports_schema

    async def ask(self, request: Request) -> Reply:
        """Recorded reply to the request.

        Raises:
            NotInJournalError: There is none.
            UnusableReplyError: The teacher had answered without text.
        """
        entry = self._journal.get(request.key)
        if entry is None:
            raise NotInJournalError(
                f"{self._journal.path}: no reply of {self._name} to request {request.key}",
                hint="the data, a prompt or a sampling setting differs from the recording; "
                "set the teacher's kind to openai or local to ask for what is missing",
            )
        return answer_of(entry)
