"""Batches in the teacher cache: which requests wait at a provider, and the state of each batch.

A request waits in at most one batch, whichever process planned it: its key is the primary key of
the table of waiting requests.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tutelage.data import Message
from tutelage.teacher.journal_file import request_to_json
from tutelage.teacher.protocol import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch that has not been collected.

    Attributes:
        key: Its name here, which is also in its metadata at the provider.
        state: `planned`, `submitting` or `submitted`; see `batch_api`.
        run: The run that pays.
        requests: How many requests wait in it.
        file_id: The provider's name of its file, once it is uploaded.
        batch_id: The provider's name of the batch, once it is known.
    """

    key: str
    state: str
    run: str | None
    requests: int
    file_id: str | None
    batch_id: str | None


class Durable(Protocol):
    """Journal operations that the batches need."""

    def select(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        """Rows of a query."""
        ...

    async def write(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        """Execute statements in order and wait until all are durable."""
        ...


class JournalBatches:
    """The tables `batches` and `batch_requests` of a journal.

    Args:
        journal: Reads and writes them.
    """

    def __init__(self, journal: Durable) -> None:
        self._journal = journal

    def rows(self, *, teacher: str, endpoint: str) -> list[BatchRow]:
        """Uncollected batches of a teacher, oldest first."""
        found = self._journal.select(
            "SELECT b.batch_key, b.state, b.run, count(r.request_key), b.file_id, b.batch_id "
            "FROM batches b LEFT JOIN batch_requests r ON r.batch_key = b.batch_key "
            "WHERE b.teacher = ? AND b.endpoint = ? GROUP BY b.batch_key ORDER BY b.at",
            (teacher, endpoint),
        )
        return [
            BatchRow(
                key=str(key),
                state=str(state),
                run=None if run is None else str(run),
                requests=int(str(count)),
                file_id=None if file_id is None else str(file_id),
                batch_id=None if batch_id is None else str(batch_id),
            )
            for key, state, run, count, file_id, batch_id in found
        ]

    def requests_of(self, batch_key: str) -> list[Request]:
        """Requests of a batch, in the order in which they were planned."""
        found = self._journal.select(
            "SELECT request FROM batch_requests WHERE batch_key = ? ORDER BY place", (batch_key,)
        )
        return [request_from_json(str(text)) for (text,) in found]

    def batch_of(self, request_key: str) -> str | None:
        """Batch in which a request waits, or None."""
        found = self._journal.select(
            "SELECT batch_key FROM batch_requests WHERE request_key = ?", (request_key,)
        )
        return str(found[0][0]) if found else None

    def cost_at_most(self, *, run: str | None) -> float:
        """Worst-case cost of everything a run is waiting for."""
        ((total,),) = self._journal.select(
            "SELECT coalesce(sum(r.cost_at_most), 0.0) FROM batch_requests r "
            "JOIN batches b ON b.batch_key = r.batch_key WHERE b.run IS ?",
            (run,),
        )
        return float(str(total))

    async def plan(
        self,
        batch_key: str,
        *,
        teacher: str,
        endpoint: str,
        run: str | None,
        requests: Sequence[tuple[Request, float]],
    ) -> None:
        """Reserve requests for a batch; one that already waits stays in its batch.

        Args:
            batch_key: A name that no other batch has.
            teacher: The teacher that is asked.
            endpoint: Where.
            run: The run that pays.
            requests: Each with the most it can cost.
        """
        new = (
            "INSERT INTO batches (batch_key, teacher, endpoint, run, state, at) "
            "VALUES (?, ?, ?, ?, 'planned', ?)"
        )
        waiting = (
            "INSERT OR IGNORE INTO batch_requests "
            "(request_key, batch_key, place, cost_at_most, request) VALUES (?, ?, ?, ?, ?)"
        )
        first = (
            new,
            (batch_key, teacher, endpoint, run, time.time()),
        )
        each = [
            (
                waiting,
                (request.key, batch_key, place, cost, request_to_json(request)),
            )
            for place, (request, cost) in enumerate(requests)
        ]
        await self._journal.write([first, *each])

    async def note(
        self,
        batch_key: str,
        *,
        state: str,
        file_id: str | None = None,
        batch_id: str | None = None,
    ) -> None:
        """Store the state of a batch.

        Args:
            batch_key: The batch.
            state: Its state.
            file_id: The provider's id of its file, if known.
            batch_id: The provider's id of the batch, if known.
        """
        statement = (
            "UPDATE batches SET state = ?, file_id = coalesce(?, file_id), "
            "batch_id = coalesce(?, batch_id) WHERE batch_key = ?"
        )
        await self._journal.write([(statement, (state, file_id, batch_id, batch_key))])

    async def close(self, batch_keys: Sequence[str]) -> None:
        """Remove batches with all outcomes known; what has no reply can then be sent again."""
        statements: list[tuple[str, tuple[object, ...]]] = []
        for key in batch_keys:
            statements.append(("DELETE FROM batch_requests WHERE batch_key = ?", (key,)))
            statements.append(("DELETE FROM batches WHERE batch_key = ?", (key,)))
        await self._journal.write(statements)


def request_from_json(text: str) -> Request:
    """Request from the JSON that `request_to_json` made."""
    body = json.loads(text)
    return Request(
        model=body["model"],
        messages=tuple(Message(role=m["role"], content=m["content"]) for m in body["messages"]),
        temperature=body["temperature"],
        top_p=body["top_p"],
        max_tokens=body["max_tokens"],
        seed=body["seed"],
        schema=body["schema"],
        extra=body.get("extra"),
        omit=tuple(body.get("omit", ())),
    )
