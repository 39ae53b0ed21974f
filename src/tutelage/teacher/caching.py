"""Caching teacher: each request is sent and paid for once, and its reply is stored."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from tutelage.errors import (
    BatchPendingError,
    NotInJournalError,
    SettingsError,
    TeacherError,
    UnusableReplyError,
)
from tutelage.teacher.batch_api import BatchTeacher, Collected
from tutelage.teacher.cost import Account, Tally
from tutelage.teacher.journal import Journal
from tutelage.teacher.journal_file import Entry, answer_of
from tutelage.teacher.protocol import Reply, Request, Teacher


class OnFailure(Protocol):
    """Callback for each attempt that gave no usable reply."""

    def __call__(self, error: TeacherError, *, again: bool) -> None:
        """Report one failed attempt; `again` is true where another one follows."""
        ...


def _nobody(error: TeacherError, *, again: bool) -> None:
    """Ignore the failure of an attempt."""


@runtime_checkable
class Opening(Protocol):
    """Teacher that must be opened (to detect capabilities) and closed."""

    @property
    def endpoint(self) -> str:
        """Address of the endpoint."""
        ...

    async def open(self) -> None:
        """Detect the endpoint's capabilities, unless they are known."""
        ...

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        ...


class JournaledTeacher:
    """Teacher that answers from the cache where it can, else asks another teacher once.

    Equal requests that are under way at the same time are sent once. A reply is durable before
    the caller has it. A caller that is cancelled does not take back the writing of a reply that
    has come. Two processes that ask the same at the same moment both pay; the journal keeps the
    reply that was written first, and both get that one.

    The key of a request here includes what the settings add to its body, so use
    `Reply.request_key`, not the key of the request as it was handed in.

    Args:
        inner: The teacher behind it.
        journal: Where replies are kept.
        account: Counts, prices and the cap.
        extra: What the settings add to the body of every request.
        omit: What the settings leave out of the body of every request.
        run: A name for the run that pays. Money it spent before it was started again counts to
            its cap; see `Journal.spent`.
        slots: At most this many requests are between being sent and being durable, so that a
            process that is killed loses at most so many replies. None sets no limit.

    Attributes:
        on_failure: Told of each attempt that brought no usable reply.
    """

    def __init__(
        self,
        inner: Teacher,
        journal: Journal,
        *,
        account: Account | None = None,
        extra: Mapping[str, object] | None = None,
        omit: tuple[str, ...] = (),
        run: str | None = None,
        slots: int | None = None,
    ) -> None:
        self._slots: AbstractAsyncContextManager[None] = (
            asyncio.Semaphore(slots) if slots is not None else nullcontext()
        )
        self._inner = inner
        self._journal = journal
        self._account = account or Account()
        self._extra = dict(extra) if extra else None
        self._omit = omit
        self._run = run
        self._records = not journal.read_only
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        self._collected: set[str] = set()
        self.on_failure: OnFailure = _nobody

    @property
    def name(self) -> str:
        """Name of the underlying teacher."""
        return self._inner.name

    @property
    def supports_schema(self) -> bool:
        """Whether a request may carry a JSON schema; known after entering the context."""
        return self._inner.supports_schema

    @property
    def tally(self) -> Tally:
        """Calls, tokens and cost so far."""
        return self._account.tally

    def completed(self, request: Request) -> Request:
        """Request with the defaults filled in, as it is sent and keyed."""
        if request.model != self.name:
            raise SettingsError(
                f"a request to {request.model!r} was handed to the teacher {self.name!r}",
                hint="build requests with Request(model=teacher.name, ...)",
            )
        if self._extra is None and not self._omit:
            return request
        return replace(request, extra=self._extra, omit=self._omit)

    async def ask(self, request: Request) -> Reply:
        """Reply to one request.

        Raises:
            TeacherError: No usable reply could be had. Retrying has already been done.
            BudgetError: Sending it could bring the cost above the cap.
            TeacherStoppedError: Every call fails in the same way, so nothing more is sent.
            JournalError: The journal cannot be written, so nothing more is sent.
        """
        request = self.completed(request)
        self._account.asked()
        try:
            return await self._answer(request)
        except BatchPendingError:  # it has not ended, and stays under way in the tally
            raise
        except TeacherError:
            self._account.failed()
            raise
        except BaseException:  # cancelled, or a bug: nothing ended, and nothing is hidden
            self._account.abandoned()
            raise

    async def _answer(self, request: Request) -> Reply:
        key = request.key
        while True:
            entry = self._journal.get(key)
            if entry is not None and key in self._collected:  # it came with a batch, and is new
                self._collected.discard(key)
                reply = answer_of(entry, from_journal=False)
                self._account.answered()
                return reply
            if entry is not None:
                self._account.met(cost=entry.cost)
                reply = answer_of(entry)
                self._account.found()
                return reply
            under_way = self._under_way.get(key)
            if under_way is None:
                return await self._lead(request, key)
            await asyncio.wait([under_way])
            if not under_way.cancelled():  # else its asker went away: ask ourselves
                reply = replace(under_way.result(), from_journal=True)
                self._account.found()
                return reply

    async def _lead(self, request: Request, key: str) -> Reply:
        """Send a request once for all callers that ask the same at the same time."""
        outcome: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._under_way[key] = outcome
        try:
            reply = await self._send(request)
        except TeacherError as error:
            outcome.set_exception(error)
            outcome.exception()  # perhaps no other call waits; then it is not "never retrieved"
            raise
        else:
            outcome.set_result(reply)
            return reply
        finally:
            del self._under_way[key]
            if not outcome.done():
                outcome.cancel()

    async def _send(self, request: Request) -> Reply:
        async with self._slots:
            return await self._send_and_keep(request)

    async def _send_and_keep(self, request: Request) -> Reply:
        if self._records:
            await self._journal.check_writable()
        if isinstance(self._inner, BatchTeacher) and self._inner.takes(request):
            return await self._inner.ask(request)
        async with self._account.reserved(request):
            try:
                reply = await self._inner.ask(request)
            except UnusableReplyError as error:
                entry = self._entry_of(request, error)
                self._account.attempt_failed(error)
                self.on_failure(error, again=False)
            except TeacherError as error:
                await self.note_failure(request, error)
                raise
            else:
                entry = self._entry_of(request, reply)
        kept = await self._journal.keep(request, entry) if self._records else entry
        reply = answer_of(kept, from_journal=False)
        self._account.answered()
        return reply

    @property
    def waiting(self) -> str | None:
        """Open batches of the provider in words; None where there are none."""
        return self._inner.waiting if isinstance(self._inner, BatchTeacher) else None

    async def submit(self) -> None:
        """Submit the planned batch; does nothing where calls are sent one by one.

        Raises:
            TeacherError: The endpoint could not be asked, or refuses batches.
        """
        if isinstance(self._inner, BatchTeacher):
            await self._inner.submit()

    async def _keep_collected(self, one: Collected) -> None:
        """Store the replies of a finished batch."""
        outcome, request = one.outcome, one.request
        if isinstance(outcome, Reply):
            entry = self._entry_of(request, outcome)
        elif isinstance(outcome.error, UnusableReplyError):
            entry = self._entry_of(request, outcome.error)
            self._account.attempt_failed(outcome.error)
        else:
            await self.note_failure(request, outcome.error)
            return
        await self._journal.keep(request, replace(entry, run=one.run))
        self._collected.add(request.key)

    async def note_failure(
        self, request: Request, error: TeacherError, *, again: bool = False
    ) -> None:
        """Count, report and record a failed attempt.

        Args:
            request: The request.
            error: The error.
            again: Whether another attempt follows.
        """
        self._account.attempt_failed(error)
        self.on_failure(error, again=again)
        if self._records:
            kind = type(error).__name__
            await self._journal.note_failure(request, kind=kind, message=str(error))

    def _entry_of(self, request: Request, outcome: Reply | UnusableReplyError) -> Entry:
        cost = self._account.paid(
            request,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
            seconds=outcome.seconds,
        )
        reply = outcome if isinstance(outcome, Reply) else None
        return Entry(
            request_key=request.key,
            model=request.model if reply is None else reply.model,
            text=None if reply is None else reply.text,
            problem=str(outcome) if reply is None else None,
            finish_reason=outcome.finish_reason,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
            cost=cost,
            currency=self._account.currency,
            seconds=outcome.seconds,
            run=self._run,
            reasoning=outcome.reasoning,
        )

    async def open(self) -> None:
        """Detect the endpoint's capabilities, unless known; entering the context calls this.

        Raises:
            TeacherError: The endpoint could not be asked.
        """
        if isinstance(self._inner, Opening):
            await self._inner.open()
            if isinstance(self._inner, BatchTeacher):
                await self._inner.collect(self._keep_collected)
            if self._records:
                await self._journal.keep_ability(
                    teacher=self.name,
                    endpoint=self._inner.endpoint,
                    obeys_schema=self.supports_schema,
                )

    async def aclose(self) -> None:
        """Close the connections to the endpoint. The journal stays open: its opener closes it."""
        if isinstance(self._inner, Opening):
            await self._inner.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.submit()
        finally:
            await self.aclose()


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
