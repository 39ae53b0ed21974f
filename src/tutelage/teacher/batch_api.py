"""Teacher behind a provider's batch API, which is cheaper and replies hours later.

    ask -> not in the cache, in no open batch -> planned
    end of the command: planned -> file uploaded -> batch submitted        (`submit`)
    next command: open batches are looked at; finished ones are collected   (`collect`)

The journal holds what was planned and submitted, each step written before the next one is taken,
so a process that is killed anywhere neither loses a batch nor sends one twice:

    planned     the requests are reserved; nothing was sent
    submitting  the file exists; the batch may or may not exist, so the provider is asked for it
    submitted   the provider has given its id
    (gone)      every reply is in the journal, and every other request may be asked again
"""

import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.data.writers import lock_file
from tutelage.errors import (
    BatchFailedError,
    BatchPendingError,
    BudgetError,
    TeacherError,
    TeacherUnreachableError,
)
from tutelage.teacher import openai_format
from tutelage.teacher.cost import Account
from tutelage.teacher.http_errors import Failed, said_in
from tutelage.teacher.journal import BatchRow, Journal
from tutelage.teacher.openai_client import OpenAITeacher
from tutelage.teacher.protocol import Reply, Request

MOST_REQUESTS = 50_000
"""Requests in one batch."""

MOST_BYTES = 180 * 10**6
"""Bytes in the file of one batch; providers accept 200 MB."""

MOST_LISTED = 100
"""Batches on one page when the provider's batches are listed."""

MOST_PAGES = 20

OPEN_STATES = ("validating", "in_progress", "finalizing", "cancelling")
"""Batch statuses under which replies may still come."""

URL = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Outcome of one request of a finished batch.

    Attributes:
        request: The request.
        run: The name of the run that asked.
        outcome: The reply, or why there is none.
    """

    request: Request
    run: str | None
    outcome: Reply | Failed


@dataclass(slots=True, kw_only=True)
class _Open:
    """A batch that the provider has not finished."""

    row: BatchRow
    status: str
    done: int | None = None
    total: int | None = None

    def in_words(self) -> str:
        """Short text such as `batch_1 (in_progress, 10 of 24 done)`."""
        name = self.row.batch_id or "a batch that is being submitted"
        if self.done is not None and self.total:
            return f"{name} ({self.status}, {self.done} of {self.total} done)"
        return f"{name} ({self.status})"


@dataclass(slots=True, kw_only=True)
class _State:
    """State of the batches in this process."""

    open: dict[str, _Open] = field(default_factory=dict)  # by batch key
    failed: dict[str, TeacherError] = field(default_factory=dict)  # by request key
    planned: dict[str, Request] = field(default_factory=dict)  # by request key


class BatchTeacher:
    """Teacher that collects requests into batches and replies once a batch has finished.

    Every `ask` that reaches it raises: the replies of collected batches are in the journal, which
    is looked at before.

    Args:
        client: Speaks to the endpoint; also asked directly where `submits` is False.
        journal: Remembers batches.
        run: A name for the run that pays.
        submits: Whether new requests go into a batch. False where the settings say no but batches
            of earlier are open: their requests are waited for, others are asked directly.
        account: Counts what is paid, and knows the cap.
    """

    def __init__(
        self,
        client: OpenAITeacher,
        journal: Journal,
        *,
        run: str | None,
        submits: bool,
        account: Account,
    ) -> None:
        self._client = client
        self._journal = journal
        self._run = run
        self._submits = submits
        self._account = account
        self._state = _State()

    @property
    def name(self) -> str:
        """Name of the underlying teacher."""
        return self._client.name

    @property
    def supports_schema(self) -> bool:
        """Whether a request may carry a JSON schema."""
        return self._client.supports_schema

    @property
    def endpoint(self) -> str:
        """Address of the endpoint."""
        return self._client.endpoint

    @property
    def waiting(self) -> str | None:
        """Open batches in words; None where there are none."""
        found = self._state.open.values()
        if not found:
            return None
        count = sum(one.row.requests for one in found)
        named = ", ".join(one.in_words() for one in found)
        requests = "1 request is" if count == 1 else f"{count:,} requests are"
        return f"{requests} waiting in {named}"

    async def open(self) -> None:
        """Detect the endpoint's capabilities, unless they are known."""
        await self._client.open()

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        await self._client.close()

    def takes(self, request: Request) -> bool:
        """Whether a request belongs to a batch: planned, submitted, or lost in this process."""
        key = request.key
        waits = self._journal.batches.batch_of(key) is not None
        return self._submits or waits or key in self._state.failed

    async def ask(self, request: Request) -> Reply:
        """Plan a request for the next batch, or raise an error that names the batch it waits in.

        Raises:
            BatchPendingError: Its reply comes with a batch.
            BatchFailedError: Its batch has ended without a reply for it. The next run asks again.
            BudgetError: With what is waiting already, it could pass the cap on cost.
        """
        key = request.key
        if key in self._state.failed:
            raise self._state.failed[key]
        if key in self._state.planned:
            raise _pending("it is going to be submitted")
        where = self._journal.batches.batch_of(key)
        if where is not None:
            known = self._state.open.get(where)
            raise _pending(known.in_words() if known else "a batch of another process")
        if not self._submits:
            return await self._client.ask(request)
        self._check_budget(request)
        self._state.planned[key] = request
        raise _pending("it is going to be submitted")

    def _check_budget(self, request: Request) -> None:
        left = self._account.left
        if left is None:
            return
        amount = self._account.cost_at_most(request)
        planned = sum(map(self._account.cost_at_most, self._state.planned.values()))
        held = planned + self._journal.batches.cost_at_most(run=self._run)
        if held + amount > left:
            raise BudgetError(
                f"the next request may cost {amount:.4g}; {held:.4g} is held for requests that "
                f"are waiting, and {left:.4g} of max_cost is left",
                hint="raise max_cost and start the run again",
            )

    # Submitting

    async def submit(self) -> None:
        """Submit all planned requests, including those that an earlier process planned.

        Raises:
            TeacherError: The endpoint could not be asked, or refuses batches.
        """
        planned, self._state.planned = self._state.planned, {}
        with lock_file(self._lock) as free:
            if not free:
                raise TeacherUnreachableError(
                    f"{self._journal.path}: another process submits batches of this teacher cache",
                    hint="start again when it has ended; nothing was sent",
                )
            known = self._journal.known(planned)  # another process may have collected meanwhile
            wanted = [r for key, r in planned.items() if key not in known]
            for part in _parts(wanted, self._line):
                key = content_hash("batch", self.endpoint, time.time_ns(), [r.key for r in part])
                await self._journal.batches.plan(
                    key,
                    teacher=self.name,
                    endpoint=self.endpoint,
                    run=self._run,
                    requests=[(r, self._account.cost_at_most(r)) for r in part],
                )
            for row in self._rows():
                if not row.requests:
                    await self._journal.batches.close([row.key])
                elif row.state != "submitted":
                    await self._send(row)

    @property
    def _lock(self) -> Path:
        return self._journal.path.with_name(f"{self._journal.path.name}-batches.lock")

    def _rows(self) -> list[BatchRow]:
        return self._journal.batches.rows(teacher=self.name, endpoint=self.endpoint)

    async def _send(self, row: BatchRow) -> None:
        if row.state == "submitting":
            found = await self._already_there(row)
            if found is not None:
                await self._submitted(row, found)
                return
        file_id = row.file_id
        if file_id is None:
            lines = b"".join(map(self._line, self._journal.batches.requests_of(row.key)))
            answer = await self._client.upload(lines, name=f"tutelage-{row.key}.jsonl")
            file_id = _text(_good(answer), "id", what="an uploaded file")
            row = replace(row, file_id=file_id)
        await self._journal.batches.note(row.key, state="submitting", file_id=file_id)
        answer = await self._client.call(
            "POST",
            "/batches",
            {
                "input_file_id": file_id,
                "endpoint": URL,
                "completion_window": "24h",
                "metadata": {"tutelage_batch": row.key},
            },
        )
        await self._submitted(row, _good(answer))

    async def _submitted(self, row: BatchRow, about: Mapping[str, Any]) -> None:
        batch_id = _text(about, "id", what="a batch")
        await self._journal.batches.note(row.key, state="submitted", batch_id=batch_id)
        row = replace(row, batch_id=batch_id, state="submitted")
        self._state.open[row.key] = _looked_at(row, about)

    async def _already_there(self, row: BatchRow) -> Mapping[str, Any] | None:
        """Batch that the provider already has under this name or file, or None.

        An earlier process was stopped between sending the request for it and noting the answer.
        """
        after = ""
        for _ in range(MOST_PAGES):
            answer = await self._client.call("GET", f"/batches?limit={MOST_LISTED}{after}")
            if isinstance(answer, Failed):
                raise TeacherError(
                    f"{self.endpoint}: whether batch {row.key} was submitted is not known: "
                    f"{answer.error}",
                    hint="nothing is sent twice: start again when the endpoint lists its batches",
                ) from answer.error
            page = [one for one in _list(answer.get("data")) if isinstance(one, dict)]
            for one in page:
                named = one.get("metadata")
                mine = isinstance(named, dict) and named.get("tutelage_batch") == row.key
                if mine or one.get("input_file_id") == row.file_id:
                    return one
            if not page or not answer.get("has_more"):
                return None
            after = f"&after={page[-1].get('id')}"
        return None

    def _line(self, request: Request) -> bytes:
        body = openai_format.body_of(request, self._client.settings) | dict(request.extra or {})
        line = {"custom_id": request.key, "method": "POST", "url": URL, "body": body}
        return json.dumps(line, ensure_ascii=True).encode() + b"\n"

    # Collecting

    async def collect(self, keep: Callable[[Collected], Awaitable[None]]) -> None:
        """Check every open batch and store the replies of finished ones.

        A batch is forgotten once all that it brought is kept.

        Args:
            keep: Makes a reply durable.

        Raises:
            TeacherError: The endpoint could not be asked.
        """
        with lock_file(self._lock) as free:
            if not free:  # another process is about to collect the same
                self._state.open = {
                    row.key: _Open(row=row, status="another process handles it")
                    for row in self._rows()
                }
                return
            for row in self._rows():
                for one in await self._looked(row):
                    if isinstance(one.outcome, Failed):
                        self._state.failed[one.request.key] = one.outcome.error
                    await keep(one)
                if row.key not in self._state.open and row.state == "submitted":
                    await self._journal.batches.close([row.key])

    async def _looked(self, row: BatchRow) -> list[Collected]:
        """Outcomes of a batch; empty while it is open."""
        if row.state != "submitted" or row.batch_id is None:
            self._state.open[row.key] = _Open(row=row, status=row.state)
            return []
        answer = await self._client.call("GET", f"/batches/{row.batch_id}")
        if isinstance(answer, Failed) and answer.status == 404:  # noqa: PLR2004
            about: Mapping[str, Any] = {"status": "unknown to the provider"}
        else:
            about = _good(answer)
        status = str(about.get("status", ""))
        if status in OPEN_STATES:
            self._state.open[row.key] = _looked_at(row, about)
            return []
        return await self._ended(row, about, status)

    async def _ended(self, row: BatchRow, about: Mapping[str, Any], status: str) -> list[Collected]:
        lines: dict[str, Mapping[str, Any]] = {}
        for name in ("output_file_id", "error_file_id"):
            file_id = about.get(name)
            if isinstance(file_id, str) and file_id:
                for line in await self._client.download(file_id):
                    custom_id = line.get("custom_id")
                    if isinstance(custom_id, str):
                        lines.setdefault(custom_id, line)
        why = _why(about, status)
        place = f"{self.endpoint}: batch {row.batch_id}"
        return [
            Collected(
                request=request,
                run=row.run,
                outcome=self._outcome(request, lines.get(request.key), place=place, why=why),
            )
            for request in self._journal.batches.requests_of(row.key)
        ]

    def _outcome(
        self, request: Request, line: Mapping[str, Any] | None, *, place: str, why: str
    ) -> Reply | Failed:
        response = line.get("response") if line else None
        body = response.get("body") if isinstance(response, dict) else None
        status = response.get("status_code") if isinstance(response, dict) else None
        if status == 200 and isinstance(body, dict):  # noqa: PLR2004
            within = openai_format.failure_within(
                body, {}, place=place, settings=self._client.settings
            )
            return within or openai_format.reply_of(body, request, seconds=0.0, place=place)
        said = said_in({"error": line.get("error")}) if line and line.get("error") else ""
        if isinstance(status, int) and not said:
            said = f"HTTP {status}: {said_in(body)}"
        return Failed(error=_failed(f"{place}: {said or why}", said or why), status=None)


def _parts(
    requests: Sequence[Request], line: Callable[[Request], bytes]
) -> Iterator[list[Request]]:
    part: list[Request] = []
    size = 0
    for request in requests:
        length = len(line(request))
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += length
    if part:
        yield part


def _looked_at(row: BatchRow, about: Mapping[str, Any]) -> _Open:
    counts = about.get("request_counts")
    numbers = counts if isinstance(counts, dict) else {}
    done, total = numbers.get("completed"), numbers.get("total")
    return _Open(
        row=row,
        status=str(about.get("status", "submitted")),
        done=done if isinstance(done, int) else None,
        total=total if isinstance(total, int) else None,
    )


def _why(about: Mapping[str, Any], status: str) -> str:
    """Explanation for a request without a reply in an ended batch."""
    errors = about.get("errors")
    listed = _list(errors.get("data")) if isinstance(errors, dict) else []
    said = "; ".join(filter(None, (said_in({"error": one}) for one in listed[:3])))
    if status == "completed":
        return "it is completed, but has no answer to this request"
    return f"{status}{f': {said}' if said else ''}"


def _failed(message: str, why: str) -> TeacherError:
    error = BatchFailedError(message, hint="start the run again to request it in another batch")
    flat = why.lower()
    if "expired" in flat:
        error.ending = "expired"
    elif "cancel" in flat:
        error.ending = "cancelled"
    return error


def _pending(where: str) -> BatchPendingError:
    return BatchPendingError(
        f"waiting for {where}", hint="run the same command again later to collect the replies"
    )


def _good(answer: Mapping[str, Any] | Failed) -> Mapping[str, Any]:
    if isinstance(answer, Failed):
        raise answer.error
    return answer


def _text(about: Mapping[str, Any], name: str, *, what: str) -> str:
    value = about.get(name)
    if not isinstance(value, str) or not value:
        raise TeacherUnreachableError(
            f"the endpoint answered without the {name} of {what}",
            hint="check that base_url offers /files and /batches",
        )
    return value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
