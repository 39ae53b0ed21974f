"""Teacher outages: unanswered requests get a status and the run continues.

A wrong key or model ends a run immediately, because a person has to fix it. An unavailable server
may recover by itself: cached replies are used, every other rewrite fails with the reason, the rest
of the run is done, and the same command later requests only the missing replies.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from tutelage.data import OK, Candidate
from tutelage.errors import (
    BudgetError,
    NotInJournalError,
    TeacherError,
    TeacherStoppedError,
    TeacherUnreachableError,
)
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress, Silent
from tutelage.refinement.statuses import (
    DUPLICATE_SAMPLE,
    PARENT_FAILED,
    UNCHANGED,
    WAITING_FOR_BATCH,
)
from tutelage.teacher import (
    OPENAI_URL,
    Journal,
    JournaledTeacher,
    Reply,
    Request,
    Tally,
    TeacherSettings,
)

SHOWN_ALIKE = 3
"""Failures of one kind that are reported individually."""

REPORT_EVERY_SECONDS = 10.0
"""Interval at which further failures of the same kind are reported."""


class FailureReport:
    """Reporter of retries, time-outs and refusals that does not flood the log.

    Args:
        name: The teacher's.
        tell: Takes a line for people.
        clock: Seconds; only differences count.
    """

    def __init__(
        self, name: str, tell: Callable[[str], None], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._name, self._tell, self._clock = name, tell, clock
        self._seen: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._said: dict[str, float] = {}
        self.first_hint: str | None = None

    def __call__(self, error: TeacherError, *, again: bool) -> None:
        """Report one failed attempt."""
        self.first_hint = self.first_hint or error.hint
        kind, now = type(error).__name__, self._clock()
        self._seen[kind] = self._seen.get(kind, 0) + 1
        waited = now - self._said.get(kind, now)
        if self._seen[kind] > SHOWN_ALIKE and waited < REPORT_EVERY_SECONDS:
            self._held[kind] = self._held.get(kind, 0) + 1
            return
        self._said[kind] = now
        held = self._held.pop(kind, 0)
        more = f" ({held} more before it)" if held else ""
        then = "asking again" if again else f"hint: {error.hint}" if error.hint else "given up"
        self._tell(f"{self._name}: {error}{more}; {then}")


class AttendedTeacher:
    """Teacher wrapper that distinguishes an outage from the failure of one reply.

    Args:
        inner: The teacher, entered.
        away: Why only its journal can be asked, if so.

    Attributes:
        capped: Reason for sending no more requests once max_cost is reached; else None.
        report: Reports what fails.
    """

    def __init__(
        self,
        inner: JournaledTeacher,
        *,
        away: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._inner = inner
        self._progress = progress or Silent()
        self._away = away
        self.capped: str | None = None
        self.report = FailureReport(inner.name, self._progress.tell)
        inner.on_failure = self.report

    @property
    def name(self) -> str:
        """Name of the teacher."""
        return self._inner.name

    @property
    def supports_schema(self) -> bool:
        """Whether the teacher follows JSON schemas."""
        return self._inner.supports_schema

    @property
    def tally(self) -> Tally:
        """Counts of the teacher."""
        return self._inner.tally

    @property
    def away(self) -> str | None:
        """Reason why no requests are sent, or the awaited batches; None in normal operation."""
        return self._away or self._inner.waiting

    @property
    def only_waits(self) -> bool:
        """Whether nothing is wrong but that a provider's batches are not finished."""
        return self._away is None and self._inner.waiting is not None

    @property
    def waiting(self) -> str | None:
        """Awaited batches of the provider in words; None without any."""
        return self._inner.waiting

    async def submit(self) -> None:
        """Submit the planned batch; if that fails, the teacher counts as unavailable.

        Raises:
            TeacherError: Waiting would not help.
        """
        try:
            await self._inner.submit()
        except TeacherError as error:
            if not error.retryable:
                raise
            self._away = str(error)

    async def ask(self, request: Request) -> Reply:
        """Reply to one request.

        Raises:
            TeacherError: This one has no reply; the next one may have.
            TeacherStoppedError: No request can succeed until the settings are corrected.
        """
        try:
            return await self._inner.ask(request)
        except BudgetError as over:
            if self.capped is None:
                self.capped = f"stopped asking {self.name} at the cap on cost: {over}"
                self._progress.tell(self.capped)
            raise
        except TeacherStoppedError as stopped:
            if not stopped.may_pass:
                raise
            self._away = str(stopped)
            raise TeacherUnreachableError(self._away, hint=stopped.hint) from stopped
        except NotInJournalError as missing:
            if self._away is None:
                raise
            raise TeacherUnreachableError(self._away, hint=missing.hint) from missing


@asynccontextmanager
async def attended(
    settings: TeacherSettings,
    journal: Journal,
    *,
    run: str,
    doors: Doors,
    progress: Progress | None = None,
    requests: str = "requests",
) -> AsyncIterator[AttendedTeacher]:
    """Context manager with a teacher, which falls back to its cache if the teacher is unavailable.

    Args:
        settings: Settings of the teacher.
        journal: Where replies are kept.
        run: The name of the run that pays.
        doors: How teachers are opened.
        progress: Notified of what is asked and of what fails.
        requests: How many will be asked, such as `up to 48 requests`.

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
    progress = progress or Silent()
    progress.tell(asking_in_words(settings, requests=requests))
    if away is not None:
        progress.tell(f"{settings.teacher_name}: {away}; only its cached replies are used")
    try:
        attending = AttendedTeacher(teacher, away=away, progress=progress)
        yield attending
        await attending.submit()
        if teacher.waiting is not None:
            progress.tell(f"{settings.teacher_name}: {teacher.waiting}")
    finally:
        await teacher.aclose()


def tally_of(teacher: AttendedTeacher) -> dict[str, object]:
    """Calls and cost, and why the calls stopped, if they did."""
    capped = {"capped": teacher.capped} if teacher.capped else {}
    waits = {"only_waiting": True} if teacher.only_waits else {}
    return {"teacher": teacher.tally.as_dict(), "away": teacher.away, **waits, **capped}


def asking_in_words(settings: TeacherSettings, *, requests: str) -> str:
    """Requests about to be sent, in words.

    Examples:
        >>> settings = TeacherSettings(model="m", base_url="http://127.0.0.1:1/v1", concurrency=4)
        >>> asking_in_words(settings, requests="48 requests")
        'Asking m at http://127.0.0.1:1/v1: 48 requests, 4 concurrent'
    """
    name = settings.teacher_name
    match settings.kind:
        case "replay":
            return f"Replaying {name} from the teacher cache: {requests}"
        case "local":
            return f"Asking {name} in this process: {requests}, {settings.concurrency} a batch"
        case "openai":
            at = settings.base_url or OPENAI_URL
            if settings.batch:
                return f"Asking {name} at {at} by batch: {requests}"
            return f"Asking {name} at {at}: {requests}, {settings.concurrency} concurrent"


class Usability:
    """Whether any reply of a teacher was usable, and the first reason why one was not."""

    def __init__(self) -> None:
        self._usable = False
        self._failed = 0
        self._first: str | None = None

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Count the outcomes of a teacher's replies."""
        for candidate in candidates:
            if candidate.status in (OK, UNCHANGED, DUPLICATE_SAMPLE):
                self._usable = True
            elif candidate.status not in (PARENT_FAILED, WAITING_FOR_BATCH):
                self._failed += 1
                self._first = self._first or f"{candidate.status}: {candidate.detail}"

    def tally(self, *teachers: AttendedTeacher) -> dict[str, object]:
        """Reason, as `unusable`, why no reply was usable; empty if one was, or without requests."""
        if self._usable or not self._failed:
            return {}
        names = ", ".join(teacher.name for teacher in teachers)
        hints = (teacher.report.first_hint for teacher in teachers)
        return {
            "unusable": f"none of {self._failed} replies of {names} could be used; the first: "
            f"{self._first}",
            "unusable_hint": next((hint for hint in hints if hint), None),
        }


def need_collected(teacher: AttendedTeacher) -> None:
    """Raise an error where replies wait in a batch, since a finished stage is not repeated.

    Args:
        teacher: Closed, so that what it planned is submitted.

    Raises:
        TeacherUnreachableError: Some do; the journal keeps what was answered.
    """
    if teacher.waiting is not None:
        raise TeacherUnreachableError(
            teacher.waiting, hint="run the same command again later to collect the replies"
        )


def need_all(tally: Mapping[str, object], *, what: str) -> None:
    """Raise an error where a teacher was unavailable, since later stages would be incomplete.

    Args:
        tally: Has under `away` why the asking stopped, or None.
        what: What was being asked, for the message.

    Raises:
        TeacherUnreachableError: A teacher is away; the teacher cache keeps what was answered.
    """
    if tally.get("away"):
        raise TeacherUnreachableError(
            f"{what}: {tally['away']}",
            hint="the same command resumes here and requests only what is missing",
        )


def raise_if_stopped(tally: Mapping[str, Any]) -> None:
    """Raise an error where the teacher did not answer all requests, after everything else is done.

    Args:
        tally: Tally of the stage that asked the teacher.

    Raises:
        TeacherStoppedError: It went away, the limit on cost was reached, or no reply could be used.
    """
    if tally.get("capped"):
        raise TeacherStoppedError(
            str(tally["capped"]),
            hint="raise max_cost and start again; replies so far are in the teacher cache",
        )
    if tally.get("unusable") and not tally.get("away"):
        raise TeacherStoppedError(
            str(tally["unusable"]),
            hint=tally.get("unusable_hint") or "see status and detail in candidates.parquet",
        )
    if tally.get("away"):
        waits = "run the same command again later to collect the batch"
        retry = "run the same command again to retry only the calls that failed"
        raise TeacherStoppedError(
            str(tally["away"]), hint=waits if tally.get("only_waiting") else retry
        )
