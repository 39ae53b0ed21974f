"""A teacher that goes away: what it cannot answer is a status, and the run goes on.

A wrong key or a wrong model ends a run at once, since a person has to mend it. A server that is
away may come back by itself: what the journal holds is used, every other reflection fails with the
reason, the rest of the run is made, and the same command asks again for just those.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tutelage.errors import (
    NotInJournalError,
    TeacherError,
    TeacherStoppedError,
    TeacherUnreachableError,
)
from tutelage.runs.opening import Doors
from tutelage.teacher import Journal, JournaledTeacher, Reply, Request, Tally, TeacherSettings


class AttendedTeacher:
    """A teacher whose going away is told apart from a failure of one reply.

    Args:
        inner: The teacher, entered.
        away: Why only its journal can be asked, if so.

    Attributes:
        away: Why nobody is asked any more; None while the teacher answers.
    """

    def __init__(self, inner: JournaledTeacher, *, away: str | None = None) -> None:
        self._inner = inner
        self.away = away

    @property
    def name(self) -> str:
        """As the teacher's."""
        return self._inner.name

    @property
    def supports_schema(self) -> bool:
        """As the teacher's."""
        return self._inner.supports_schema

    @property
    def tally(self) -> Tally:
        """As the teacher's."""
        return self._inner.tally

    async def ask(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            TeacherError: This one has no reply; the next one may have.
            TeacherStoppedError: No request will have one until somebody mends the settings.
        """
        try:
            return await self._inner.ask(request)
        except TeacherStoppedError as stopped:
            if not stopped.may_pass:
                raise
            self.away = str(stopped)
            raise TeacherUnreachableError(self.away, hint=stopped.hint) from stopped
        except NotInJournalError as missing:
            if self.away is None:
                raise
            raise TeacherUnreachableError(self.away, hint=missing.hint) from missing


@asynccontextmanager
async def attended(
    settings: TeacherSettings, journal: Journal, *, run: str, doors: Doors
) -> AsyncIterator[AttendedTeacher]:
    """Open a teacher; if it is away, open what its journal remembers.

    Args:
        settings: Who is asked.
        journal: Where replies are kept.
        run: The name of the run that pays.
        doors: How teachers are opened.

    Raises:
        TeacherError: It cannot be opened, and waiting would not help.
    """
    teacher = doors.open_teacher(settings, journal, run=run)
    away: str | None = None
    try:
        await teacher.open()
    except TeacherError as error:
        await teacher.aclose()
        if not error.retryable:
            raise
        away = str(error)
        remembered = settings.model_copy(update={"kind": "replay", "name": settings.teacher_name})
        teacher = doors.open_teacher(remembered, journal, run=run)
        await teacher.open()
    try:
        yield AttendedTeacher(teacher, away=away)
    finally:
        await teacher.aclose()


def tally_of(teacher: AttendedTeacher) -> dict[str, object]:
    """What was asked and paid, and why the asking stopped, if it did."""
    return {"teacher": teacher.tally.as_dict(), "away": teacher.away}


def need_all(tally: Mapping[str, object], *, what: str) -> None:
    """Go no further where somebody went away: what follows would be built on what is missing.

    Args:
        tally: Has under `away` why the asking stopped, or None.
        what: What was being asked, for the message.

    Raises:
        TeacherUnreachableError: Somebody is away; the journal keeps what was answered.
    """
    if tally.get("away"):
        raise TeacherUnreachableError(
            f"{what}: {tally['away']}",
            hint="the same command goes on from here, and asks only for what is missing",
        )
