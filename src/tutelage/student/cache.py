"""Cache of token statistics in one SQLite file that several processes can share.

Two tables, both keyed by content:

    passages    scope + token ids  ->  the statistics of the targets
    sides       scope + text       ->  the keys of its passages, or why it has none

`scope` names everything else that decides the numbers: the student's weights, tokenizer and
template, the dtype, the limits. The second table is why a text that was read before needs no
tokenizer, and so neither torch nor transformers.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data import Candidate
from tutelage.data.databases import write_ahead
from tutelage.data.ids import message_parts
from tutelage.errors import StudentError
from tutelage.student.passages import Measured, Passage, Refusal, SideName

KEY_BYTES = 16
_VERSION = 2
"""Sides without flags belong to an older scoring contract and are dropped."""
_BUSY_SECONDS = 60.0
_KEYS_PER_QUERY = 500
_PASSAGES = "SELECT key, logprobs FROM passages"
_FULL_PASSAGES = "SELECT key, logprobs, ranks, entropies, sum_squares FROM passages"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS passages (
    key BLOB PRIMARY KEY, engine TEXT NOT NULL, logprobs BLOB NOT NULL,
    ranks BLOB, entropies BLOB, sum_squares BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sides (
    key BLOB PRIMARY KEY, given BLOB NOT NULL, alone BLOB NOT NULL, straddles INTEGER NOT NULL,
    truncated INTEGER NOT NULL, starts BLOB NOT NULL, reason TEXT, detail TEXT,
    stripped INTEGER NOT NULL DEFAULT 0, control_tokens INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRecord:
    """Passage keys of one side of a candidate.

    Attributes:
        given: Keys of the passages with context.
        alone: Keys of the passages after the header.
        straddles: As in `EncodedSide`.
        truncated: As in `EncodedSide`.
        starts_T: As in `EncodedSide`.
        stripped: As in `EncodedSide`.
        control_tokens_in_data: As in `EncodedSide`.
    """

    given: tuple[bytes, ...]
    alone: tuple[bytes, ...]
    straddles: bool
    truncated: bool
    starts_T: NDArray[np.int32]
    stripped: bool = False
    control_tokens_in_data: bool = False


class Cache:
    """Cache of token statistics in a file.

    It may be deleted at any time, and shared by processes: each writes a batch in one
    transaction, so that a crash leaves whole batches. Safe to use from several threads.

    Args:
        path: The file; made with its folders when first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def get_passages(self, keys: Iterable[bytes], *, full: bool) -> dict[bytes, Measured]:
        """Stored passages; with `full` only those that have all four statistics."""
        query = _FULL_PASSAGES if full else _PASSAGES
        found = {}
        for row in self._select(query, keys):
            if full and row[2] is None:
                continue
            found[bytes(row[0])] = Measured(
                logprobs_T=np.frombuffer(row[1], dtype="<f4"),
                ranks_T=np.frombuffer(row[2], dtype=np.uint8) if full else None,
                # A server gives ranks without them; its readings are filed under its own scope.
                entropies_T=_floats(row[3]) if full else None,
                sum_squares_T=_floats(row[4]) if full else None,
            )
        return found

    def put_passages(self, measured: Mapping[bytes, Measured], *, engine: str) -> None:
        """Store passages in one transaction. Full statistics replace bare log-probabilities."""
        rows = [
            (
                key,
                engine,
                _blob(m.logprobs_T, "<f4"),
                _blob(m.ranks_T, "u1"),
                _blob(m.entropies_T, "<f4"),
                _blob(m.sum_squares_T, "<f4"),
            )
            for key, m in measured.items()
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "engine = excluded.engine, logprobs = excluded.logprobs, ranks = excluded.ranks, "
                "entropies = excluded.entropies, sum_squares = excluded.sum_squares "
                "WHERE passages.ranks IS NULL AND excluded.ranks IS NOT NULL",
                rows,
            )

    def get_sides(self, keys: Iterable[bytes]) -> dict[bytes, SideRecord | Refusal]:
        """Stored sides of candidates."""
        found: dict[bytes, SideRecord | Refusal] = {}
        for row in self._select("SELECT * FROM sides", keys):
            if row[6] is not None:
                found[bytes(row[0])] = Refusal(reason=row[6], detail=row[7])
                continue
            found[bytes(row[0])] = SideRecord(
                given=_split_keys(row[1]),
                alone=_split_keys(row[2]),
                straddles=bool(row[3]),
                truncated=bool(row[4]),
                starts_T=np.frombuffer(row[5], dtype="<i4"),
                stripped=bool(row[8]),
                control_tokens_in_data=bool(row[9]),
            )
        return found

    def put_sides(self, sides: Mapping[bytes, SideRecord | Refusal]) -> None:
        """Store sides in one transaction."""
        rows: list[tuple[object, ...]] = []
        for key, side in sides.items():
            if isinstance(side, Refusal):
                rows.append((key, b"", b"", 0, 0, b"", side.reason, side.detail, 0, 0))
                continue
            given, alone = b"".join(side.given), b"".join(side.alone)
            starts = _blob(side.starts_T, "<i4")
            flags = (int(side.straddles), int(side.truncated))
            more = (int(side.stripped), int(side.control_tokens_in_data))
            rows.append((key, given, alone, *flags, starts, None, None, *more))
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO sides VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    def close(self) -> None:
        """Close the file; it is opened again when it is used again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _select(self, query: str, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            part = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            with self._lock, self._explained():
                rows = self._open().execute(f"{query} WHERE key IN ({marks})", part).fetchall()
            yield from rows

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        write_ahead(connection, seconds=_BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = NORMAL")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == 1:
            connection.execute("DROP TABLE IF EXISTS sides")
        elif found not in (0, _VERSION):
            connection.close()
            raise StudentError(
                f"{self.path}: has readings of version {found}; this release has {_VERSION}",
                hint="delete the file, or set cache_path to another one",
            )
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        self._connection = connection
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StudentError(
                f"{self.path}: the cache cannot be used: {error}",
                hint="free disk space, delete the file, or set use_cache: false",
            ) from error


def _floats(blob: bytes | None) -> NDArray[np.float32] | None:
    return None if blob is None else np.frombuffer(blob, dtype="<f4")


def _blob(values: NDArray[np.generic] | None, kind: str) -> bytes | None:
    return None if values is None else np.ascontiguousarray(values, dtype=kind).tobytes()


def _split_keys(blob: bytes) -> tuple[bytes, ...]:
    return tuple(blob[at : at + KEY_BYTES] for at in range(0, len(blob), KEY_BYTES))


# Under what a reading is filed: everything that can change it, and nothing else.


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Everything besides the text that decides the numbers: student, dtype, template, limits.

    Attributes:
        model: Hash of weights, architecture and tokenizer, with dtype, kind of device and backend.
        encoding: The same with the template and the settings that turn text into token ids.
    """

    model: str
    encoding: str

    def passage_key(self, passage: Passage) -> bytes:
        """Key of a passage, 16 bytes."""
        return _hash(self.model.encode(), passage.key)

    def side_key(self, candidate: Candidate, side: SideName) -> bytes:
        """Key of one side of a candidate, 16 bytes."""
        text = [message_parts(m) for m in candidate.messages]
        more: list[str | None] = [] if candidate.tools is None else [candidate.tools]
        if candidate.template_args is not None:
            more = [candidate.tools, candidate.template_args]
        return _hash(self.encoding.encode(), _bytes([side, text, *more]))

    def pair_key(self, context: str, target: str) -> bytes:
        """Key of a context and target without a template, 16 bytes."""
        return _hash(self.encoding.encode(), _bytes(["pair", context, target]))


def _bytes(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
