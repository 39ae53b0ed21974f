"""Teacher cache (journal): every reply is stored on disk before it is used.

One SQLite file, which several runs and several processes may share. Replies are paid for, so they
are written with `synchronous=FULL` by one thread that commits whatever is waiting together, and
`keep` returns only after that commit. Nothing secret is stored: a request holds no address and no
key.

Batches that wait at a provider are stored as well. A request waits in at most one batch, whichever
process planned it: its key is the primary key of the table of waiting requests.
"""

import asyncio
import atexit
import contextlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeAlias

from tutelage.data import Message
from tutelage.errors import JournalError
from tutelage.teacher import journal_file
from tutelage.teacher.journal_file import Entry, entry_of_row, request_to_json
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


GROUP = 256
"""Most writes in one commit."""


_COLUMNS = tuple(Entry.__dataclass_fields__)
_INSERT = (
    f"INSERT OR IGNORE INTO replies ({', '.join(_COLUMNS)}, request, at) "  # noqa: S608  (same)
    f"VALUES ({', '.join('?' * (len(_COLUMNS) + 2))})"
)
_KEYS_AT_ONCE = 500

_Statement: TypeAlias = tuple[str, tuple[object, ...]]
_Write: TypeAlias = tuple[_Statement, "Future[None]"]


class Journal:
    """An open teacher cache, to be closed or used as a context manager.

    Safe to use from several threads and event loops; several processes may open the same file.

    Args:
        path: The file; it is created if missing, unless `read_only`.
        read_only: Never write, not even next to the file; for journals inside packages.

    Raises:
        JournalError: The file is missing, is not a journal, is damaged or cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._reader = journal_file.connect(path, read_only=read_only)
        self._reading = threading.Lock()
        try:
            there = journal_file.reply_columns(self._reader)  # one that is only read may be old
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._reader.close()
            raise journal_file.explained(path, error) from error
        wanted = (name if name in there else f"NULL AS {name}" for name in _COLUMNS)
        self._select = f"SELECT {', '.join(wanted)} FROM replies"  # noqa: S608  (our own field names)
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._unsaved: list[_Write] = []
        self._broken: str | None = None
        self._submitting = threading.Lock()
        self._closed = False
        self._writer: threading.Thread | None = None
        if not read_only:
            writer = journal_file.connect(path, read_only=False)
            self._writer = threading.Thread(
                target=self._write_all, args=(writer,), name="tutelage-journal", daemon=True
            )
            self._writer.start()
            atexit.register(self.close)

    def get(self, request_key: str) -> Entry | None:
        """Stored reply to a request, or None."""
        rows = self._rows(f"{self._select} WHERE request_key = ?", (request_key,))
        return entry_of_row(dict(zip(_COLUMNS, rows[0], strict=True))) if rows else None

    def known(self, request_keys: Iterable[str]) -> set[str]:
        """Keys of requests that have a stored reply."""
        wanted = list(dict.fromkeys(request_keys))
        found: set[str] = set()
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            some = wanted[start : start + _KEYS_AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._rows(
                f"SELECT request_key FROM replies WHERE request_key IN ({marks})",  # noqa: S608  (question marks only)
                tuple(some),
            )
            found.update(str(key) for (key,) in rows)
        return found

    def __len__(self) -> int:
        """Number of stored replies."""
        ((count,),) = self._rows("SELECT count(*) FROM replies", ())
        return int(str(count))

    def spent(self, *, run: str, currency: str) -> float:
        """Cost of a run so far, in a currency."""
        ((total,),) = self._rows(
            "SELECT coalesce(sum(cost), 0.0) FROM replies WHERE run = ? AND currency = ?",
            (run, currency),
        )
        return float(str(total))

    def pace(self, *, teacher: str) -> tuple[int, float]:
        """Number of a teacher's replies and their mean duration in seconds.

        Args:
            teacher: Its name, as in requests.
        """
        ((count, seconds),) = self._rows(
            "SELECT count(*), coalesce(avg(seconds), 0.0) FROM replies "
            "WHERE json_extract(request, '$.model') = ? AND seconds > 0",
            (teacher,),
        )
        return int(str(count)), float(str(seconds))

    def failures(self) -> Mapping[str, int]:
        """Number of failed attempts since the journal was created, by kind of error."""
        rows = self._rows("SELECT kind, count(*) FROM failures GROUP BY kind ORDER BY kind", ())
        return {str(kind): int(str(count)) for kind, count in rows}

    async def keep(self, request: Request, entry: Entry) -> Entry:
        """Store a reply and wait until it is durable.

        Cancelling the caller does not take the write back.

        Returns:
            What the journal holds for this request: `entry`, or what another process wrote
            before.

        Raises:
            JournalError: It could not be written. It stays in memory and is tried again with the
                next write and on closing.
        """
        values = tuple(getattr(entry, name) for name in _COLUMNS)
        done = self._submit(_INSERT, (*values, request_to_json(request), time.time()))
        await asyncio.shield(asyncio.wrap_future(done))
        return self.get(entry.request_key) or entry

    async def note_failure(self, request: Request, *, kind: str, message: str) -> None:
        """Record a failed attempt; the request will be sent again.

        Args:
            request: The request.
            kind: The kind of error.
            message: The error in words.
        """
        done = self._submit(
            "INSERT INTO failures (request_key, kind, message, at) VALUES (?, ?, ?, ?)",
            (request.key, kind, message, time.time()),
        )
        await asyncio.shield(asyncio.wrap_future(done))

    def obeys_schema(self, *, teacher: str, endpoint: str | None = None) -> bool | None:
        """Whether a teacher was found to follow JSON schemas; None where this was never tested.

        Args:
            teacher: Its name.
            endpoint: Where it was asked; by default wherever it was asked last.
        """
        rows = self._rows(
            "SELECT obeys_schema FROM abilities "
            "WHERE teacher = ? AND endpoint = coalesce(?, endpoint) ORDER BY at DESC LIMIT 1",
            (teacher, endpoint),
        )
        return bool(rows[0][0]) if rows else None

    async def keep_ability(self, *, teacher: str, endpoint: str, obeys_schema: bool) -> None:
        """Store whether a teacher follows JSON schemas, so that a replay sends the same requests.

        Args:
            teacher: Its name.
            endpoint: The address at which it was tested.
            obeys_schema: The result.
        """
        done = self._submit(
            "INSERT OR REPLACE INTO abilities (teacher, endpoint, obeys_schema, at) "
            "VALUES (?, ?, ?, ?)",
            (teacher, endpoint, int(obeys_schema), time.time()),
        )
        await asyncio.shield(asyncio.wrap_future(done))

    @property
    def batches(self) -> JournalBatches:
        """Requests that wait in a provider's batches; see `has_batches`."""
        return JournalBatches(self)

    @property
    def has_batches(self) -> bool:
        """Whether there are tables of batches: a file of an early version has none."""
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'batch_requests'", ()))

    def select(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        """Rows of a query over the journal's own tables."""
        return self._rows(sql, values)

    async def write(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        """Execute statements in order and wait until all are durable.

        Raises:
            JournalError: Some of it could not be written.
        """
        done = [self._submit(sql, values) for sql, values in statements]
        await asyncio.gather(*(asyncio.shield(asyncio.wrap_future(one)) for one in done))

    async def check_writable(self) -> None:
        """Raise an error after a failed write, before more money is spent.

        Raises:
            JournalError: The journal is closed or read-only, or a write failed and fails again.
        """
        if self.read_only or self._closed or self._broken:
            done = self._submit("SELECT 1", ())  # takes along what could not be written before
            await asyncio.shield(asyncio.wrap_future(done))

    def close(self) -> None:
        """Write what is pending and close; may be called twice."""
        with self._submitting:
            if self._closed:
                return
            self._closed = True
            self._writes.put(None)
        atexit.unregister(self.close)
        if self._writer is not None:
            self._writer.join()
        with self._reading:
            self._reader.close()
        if self._unsaved:
            raise JournalError(
                f"{self.path}: {len(self._unsaved)} writes were lost: {self._broken}",
                hint="free disk space and start the run again; lost replies are requested again",
            )

    def pack(self, path: Path, *, request_keys: Collection[str] | None = None) -> int:
        """Copy replies into a new single file that can be distributed and read without writing.

        Args:
            path: The new file; must not exist.
            request_keys: Which answers; all of them by default.

        Returns:
            How many answers it holds.
        """
        with self._reading:
            return journal_file.pack(self._reader, path, request_keys=request_keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        if self._closed:
            raise JournalError(f"{self.path}: the teacher cache is closed")
        with self._reading:
            try:
                return self._reader.execute(sql, values).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise journal_file.explained(self.path, error) from error

    def _submit(self, sql: str, values: tuple[object, ...]) -> "Future[None]":
        if self.read_only:
            raise JournalError(
                f"{self.path}: the teacher cache was opened for reading only",
                hint="a replay cannot record; choose a teacher cache that can be written",
            )
        done: Future[None] = Future()
        write = ((sql, tuple(_storable(value) for value in values)), done)
        with self._submitting:
            if self._closed:
                raise JournalError(f"{self.path}: the teacher cache is closed")
            self._writes.put(write)
        return done

    def _write_all(self, connection: sqlite3.Connection) -> None:
        """Writer thread: commits pending writes together until the teacher cache is closed."""
        open_ = True
        while open_:
            batch = self._unsaved
            first = self._writes.get()
            open_ = first is not None
            if first is not None:
                batch.append(first)
            while len(batch) < GROUP and open_:
                try:
                    more = self._writes.get_nowait()
                except queue.Empty:
                    break
                open_ = more is not None
                if more is not None:
                    batch.append(more)
            if batch:
                self._commit(connection, batch)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: list[_Write]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for (sql, values), _ in batch:
                connection.execute(sql, values)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            why = journal_file.explained(self.path, error)
            self._broken = str(error)
            self._unsaved = batch
            for _, done in batch:
                if not done.done():
                    done.set_exception(why)
            return
        self._broken = None
        self._unsaved = []
        for _, done in batch:
            if not done.done():
                done.set_result(None)


def _storable(value: object) -> object:
    # A server may send half a surrogate pair, which is no text that a file could hold.
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
