"""File format of the teacher cache, and opening it safely."""

import json
import os
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tutelage.data.databases import write_ahead
from tutelage.errors import JournalError, UnusableReplyError
from tutelage.teacher.protocol import Reply, Request

APPLICATION_ID = 0x7475746C
"""SQLite application id ("tutl"), so that another program's database is never written to."""

VERSION = 3
"""2 added the column `reasoning`, 3 the tables of batches; a journal of an earlier version gets
them when it is opened for writing."""

BUSY_SECONDS = 60.0
"""Seconds to wait for another process that is writing."""

_LAYOUT = """
CREATE TABLE IF NOT EXISTS replies (
    request_key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT, problem TEXT,
    finish_reason TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER,
    cost REAL NOT NULL, currency TEXT, seconds REAL NOT NULL, run TEXT,
    request TEXT NOT NULL, at REAL NOT NULL, reasoning TEXT,
    CHECK ((text IS NULL) <> (problem IS NULL))
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replies_by_run ON replies (run) WHERE run IS NOT NULL;
CREATE TABLE IF NOT EXISTS failures (
    request_key TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS abilities (
    teacher TEXT NOT NULL, endpoint TEXT NOT NULL, obeys_schema INTEGER NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (teacher, endpoint)
);
CREATE TABLE IF NOT EXISTS batches (
    batch_key TEXT PRIMARY KEY, teacher TEXT NOT NULL, endpoint TEXT NOT NULL, run TEXT,
    state TEXT NOT NULL, file_id TEXT, batch_id TEXT, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS batch_requests (
    request_key TEXT PRIMARY KEY, batch_key TEXT NOT NULL, place INTEGER NOT NULL,
    cost_at_most REAL NOT NULL, request TEXT NOT NULL
);
"""


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a journal file, creating it where allowed, and check its format.

    Raises:
        JournalError: It is missing, foreign, damaged, from a later version or not accessible.
    """
    if read_only and not path.is_file():
        raise JournalError(
            f"{path}: there is no teacher cache", hint="check the path, or run with a teacher first"
        )
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            _address(path, read_only=read_only),
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except (OSError, sqlite3.Error) as error:
        raise explained(path, error) from error
    try:
        _check(connection, path, read_only=read_only)
        if not read_only:
            _prepare(connection)
            _check(connection, path, read_only=True)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a message that quotes damaged text
        connection.close()
        raise explained(path, error) from error
    except JournalError:
        connection.close()
        raise
    return connection


def pack(source: sqlite3.Connection, path: Path, *, request_keys: Collection[str] | None) -> int:
    """Copy replies and capabilities into a new file without a write-ahead log.

    Args:
        source: The open journal.
        path: The new file, which must not exist.
        request_keys: The replies to copy; None for all.
    """
    if path.exists():
        raise JournalError(f"{path}: already exists", hint="choose a new file to pack into")
    target = sqlite3.connect(path, isolation_level=None)
    try:
        target.execute("BEGIN")
        for statement in _LAYOUT.split(";"):
            target.execute(statement)
        target.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        target.execute(f"PRAGMA user_version = {VERSION}")
        names = ", ".join(reply_columns(source))
        for row in source.execute(f"SELECT {names} FROM replies ORDER BY request_key"):  # noqa: S608  (our own column names)
            if request_keys is None or row[0] in request_keys:
                marks = ", ".join("?" * len(row))
                target.execute(f"INSERT INTO replies ({names}) VALUES ({marks})", row)  # noqa: S608  (same)
        for row in source.execute("SELECT * FROM abilities ORDER BY teacher"):
            target.execute("INSERT INTO abilities VALUES (?, ?, ?, ?)", row)
        target.execute("COMMIT")
        target.execute("VACUUM")
        return int(target.execute("SELECT count(*) FROM replies").fetchone()[0])
    except sqlite3.Error as error:
        raise explained(path, error) from error
    finally:
        target.close()


def reply_columns(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Columns of the table of replies; `request_key` is the first."""
    return tuple(str(row[1]) for row in connection.execute("PRAGMA table_info(replies)"))


def explained(path: Path, error: Exception) -> JournalError:
    """Error for a failure of SQLite or the file system, with the place and a hint."""
    text = str(error)
    if "not a database" in text or "malformed" in text or isinstance(error, UnicodeDecodeError):
        hint = "move the file away; replies in it may be saved with `sqlite3 FILE .recover`"
    elif "full" in text:
        hint = "make room on the disk and start the run again; what was written is kept"
    elif "locked" in text or "busy" in text:
        hint = f"another process has been writing for {BUSY_SECONDS:g} s; wait for it or end it"
    elif "readonly" in text or "unable to open" in text or isinstance(error, OSError):
        hint = "check that the folder exists and can be written"
    elif "disk I/O" in text:
        hint = "make room on the disk, or give the teacher cache another place (teacher.journal); "
        hint += "what was written is kept"
    else:
        hint = "the file may be damaged; `sqlite3 FILE 'PRAGMA integrity_check'` tells"
    return JournalError(f"{path}: {text}", hint=hint)


def _address(path: Path, *, read_only: bool) -> str:
    address = f"file:{quote(str(path.absolute()))}"
    if not read_only:
        return f"{address}?mode=rwc"
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() and not os.access(path.parent, os.W_OK):
        # Nobody can be writing, and SQLite could not make the files that it shares with writers.
        return f"{address}?mode=ro&immutable=1"
    return f"{address}?mode=ro"


def _check(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    # Tables first: another process may lay the file out between two of these, all at once.
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == 0 and tables == 0 and not read_only:
        return  # new, or another process is about to lay it out
    if application != APPLICATION_ID:
        raise JournalError(
            f"{path}: is a database, but not a teacher cache of tutelage",
            hint="choose another file for the teacher cache; this file was not changed",
        )
    if version > VERSION:
        raise JournalError(
            f"{path}: is a teacher cache of version {version}; this tutelage reads up to {VERSION}",
            hint="install a later tutelage",
        )


def _prepare(connection: sqlite3.Connection) -> None:
    write_ahead(connection, seconds=BUSY_SECONDS)
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    for statement in _LAYOUT.split(";"):
        connection.execute(statement)
    if "reasoning" not in reply_columns(connection):
        connection.execute("ALTER TABLE replies ADD COLUMN reasoning TEXT")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Stored reply with its request.

    Attributes:
        request_key: The key of the request it answers.
        model: The name the server gave for the model that answered.
        text: The reply, or None where the teacher answered without usable text; then `problem`
            says why. Such an answer may have cost money, so it is kept and not asked for again.
        problem: What was wrong with an answer without text.
        finish_reason: As the server said.
        prompt_tokens: As counted by the server, or None.
        completion_tokens: As counted by the server, or None.
        cost: In `currency`; 0 where no prices were given.
        currency: Currency of `cost`, or None without prices.
        seconds: From sending the request to having the reply.
        run: A name for the run that paid, if it gave one.
        reasoning: What the model thought before it answered, or None.
    """

    request_key: str
    model: str
    text: str | None
    finish_reason: str
    problem: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float = 0.0
    currency: str | None = None
    seconds: float = 0.0
    run: str | None = None
    reasoning: str | None = None


def entry_of_row(row: Mapping[str, Any]) -> Entry:
    """Entry from a row of the table of replies."""
    return Entry(**row)


def answer_of(entry: Entry, *, from_journal: bool = True) -> Reply:
    """Reply from an entry.

    Raises:
        UnusableReplyError: The teacher had answered without usable text.
    """
    if entry.text is None:
        error = UnusableReplyError(
            f"{entry.model}: {entry.problem}",
            hint="the answer is in the teacher cache and is not asked for again; change the "
            "request (its prompt, max_tokens or seed) to get another one",
        )
        error.finish_reason = entry.finish_reason
        error.prompt_tokens = entry.prompt_tokens
        error.completion_tokens = entry.completion_tokens
        error.seconds = entry.seconds
        error.reasoning = entry.reasoning
        raise error
    return Reply(
        request_key=entry.request_key,
        model=entry.model,
        text=entry.text,
        finish_reason=entry.finish_reason,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        cost=entry.cost,
        seconds=entry.seconds,
        from_journal=from_journal,
        reasoning=entry.reasoning,
    )


def request_to_json(request: Request) -> str:
    """JSON of a request as it is stored with its reply: the content, not the transport."""
    body: dict[str, object] = {
        "model": request.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "schema": None if request.schema is None else dict(request.schema),
    }
    if request.extra:
        body["extra"] = dict(request.extra)
    if request.omit:
        body["omit"] = list(request.omit)
    return json.dumps(body, ensure_ascii=True)
