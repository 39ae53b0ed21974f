"""Atomic writers of JSONL and Parquet, and file locks: a file is either complete or absent."""

import errno
import fcntl
import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data.field_values import clean_text
from tutelage.errors import DataError, RunError

Gathered = TypeVar("Gathered")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BATCH_ROWS = 8192
_TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context manager that gives a temporary path and renames it to `path` on success.

    What was at `path` stays there until the new file is whole and on disk. If the block fails,
    or the program is stopped, the temporary file is removed; if the program is killed, a hidden
    file ending in `.tmp` stays behind until `path` is written again, and `path` is untouched.

    Args:
        path: The name the file is to have. Its folder must exist.

    Raises:
        DataError: The file cannot be written.
    """
    _remove_leftovers_of(path)
    with temporary_path(path) as temporary:
        yield temporary
        with writing(path):
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Context manager that gives an unused path next to `path` and removes it at the end."""
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless they exist.

    Raises:
        DataError: It cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def remove_leftovers(folder: Path) -> list[str]:
    """Remove the temporary files that killed programs left in a run folder.

    Temporary files of a program that still runs stay. Links are removed, not followed.

    Args:
        folder: Such as a run folder whose lock is held.

    Returns:
        The names of the files that were removed.
    """
    removed = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".part", ".tmp") or (path.is_dir() and not path.is_symlink()):
            continue
        named = _TEMPORARY.fullmatch(path.name)
        if named is not None and _is_running(int(named[1])):
            continue
        with writing(path):
            path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed


def remove_leftovers_below(folder: Path) -> None:
    """Remove the temporary files that killed programs left in a folder or in those in it.

    Only files that are named as this package names them go, since a folder may hold other things.
    Those of a program that still runs stay. Links are not followed.

    Args:
        folder: It need not be there.
    """
    for path in folder.rglob(".*.tmp"):
        named = _TEMPORARY.fullmatch(path.name)
        if named is not None and path.is_file() and not _is_running(int(named[1])):
            with writing(path):
                path.unlink(missing_ok=True)


def _remove_leftovers_of(path: Path) -> None:
    """Remove the temporary files that killed programs left when they wrote this file."""
    start = f".{path.name[:200]}."
    for left in path.parent.glob(f"{glob.escape(start)}*.tmp"):
        named = _TEMPORARY.fullmatch(left.name)
        ours = named is not None and left.name.startswith(f"{start}{named[1]}.")
        if named is not None and ours and not left.is_dir() and not _is_running(int(named[1])):
            with suppress(OSError):  # another program removed it, or it may not be removed
                left.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    """Flush a file to the disk, not only to the operating system."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context manager that turns write errors of the system into an error that names the file.

    Raises:
        DataError: The disk is full, or the file cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(
                f"{path}: cannot be written: the disk is full",
                hint="free some space and run again; nothing was left half-written",
            ) from error
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="check that the folder exists and may be written to",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8.

    Raises:
        DataError: The file cannot be written.
    """
    with replacing(path) as temporary, _opened(temporary, path=path) as file, writing(path):
        file.write(clean_text(text).encode())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically.

    Raises:
        DataError: The source cannot be read, or the target cannot be written.
    """
    with replacing(target) as temporary, writing(target):
        shutil.copyfile(source, temporary)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write a JSON Lines file atomically, in UTF-8.

    Args:
        path: The file; an existing one is replaced.
        rows: What JSON can hold. Lone surrogates become U+FFFD.

    Returns:
        How many lines were written.

    Raises:
        DataError: A row holds something JSON has no word for, such as NaN, or the file cannot
            be written.
    """
    count = 0
    with replacing(path) as temporary, _opened(temporary, path=path) as file:
        for row in rows:
            line = _line(row, path=path, number=count + 1)
            with writing(path):
                file.write(line)
            count += 1
    return count


@contextmanager
def _opened(temporary: Path, *, path: Path) -> Iterator[BinaryIO]:
    with writing(path):
        file = temporary.open("xb")
    try:
        yield file
    except BaseException:
        with suppress(OSError):  # closing writes what is still waiting, and may fail again
            file.close()
        raise
    with writing(path):
        file.close()


def _line(row: Mapping[str, object], *, path: Path, number: int) -> bytes:
    try:
        text = _ENCODER.encode(row)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}:{number}: cannot be written as JSON: {error}") from error
    return clean_text(text).encode() + b"\n"


class TableWriter:
    """Writer of a Parquet table in batches; the file appears when it is complete.

    Use it as a context manager. If the block fails, nothing is left behind.

        with TableWriter(path, ROWS) as table:
            table.append([{"row": 0, "file": "a.jsonl", ...}])

    Args:
        path: The file; an existing one is replaced.
        schema: Schema of everything that is appended.

    Attributes:
        rows: How many rows have been appended.

    Raises:
        DataError: What is appended does not fit the schema, or the file cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.rows = 0
        self._columns = frozenset(schema.names)
        self._waiting: list[Mapping[str, object]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            with writing(self.path):
                # Never through a link that somebody put there, and under any name.
                self._sink = temporary.open("xb")
                self._file = pq.ParquetWriter(
                    self._sink, self.schema, compression="zstd", write_page_checksum=True
                )
            stack.callback(self._abandon)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is None:
                self._flush()
                with writing(self.path):
                    self._file.close()
                    self._sink.close()
            else:
                raise error

    def _abandon(self) -> None:
        """Close the file whose rows do not matter any more, or which is closed already."""
        for file in (self._file, self._sink):
            with suppress(OSError, ValueError, pa.ArrowException):  # the disk is still full
                file.close()

    def append(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append rows to the table. Missing columns are null; unknown ones are an error."""
        for row in rows:
            if not self._columns.issuperset(row):
                unknown = ", ".join(sorted(set(row) - self._columns))
                raise DataError(f"{self.path}: the table has no column {unknown}")
            self._waiting.append(row)
            self.rows += 1
            if len(self._waiting) >= _BATCH_ROWS:
                self._flush()

    def append_table(self, table: pa.Table) -> None:
        """Append a whole table; its columns may be in another order."""
        self._flush()
        try:
            fitting = table.select(self.schema.names).cast(self.schema)
        except (pa.ArrowException, KeyError) as error:
            raise DataError(f"{self.path}: does not fit the table: {error}") from error
        with writing(self.path):
            self._file.write_table(fitting)
        self.rows += table.num_rows

    def append_columns(self, columns: "Mapping[str, Sequence[object] | pa.Array[Any]]") -> None:
        """Append rows that are given column by column, all columns of the table."""
        self._flush()
        try:
            batch = pa.RecordBatch.from_arrays(
                [_column_of(columns[field.name], field.type) for field in self.schema],
                schema=self.schema,
            )
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{self.path}: a row does not fit the table: {error}") from error
        with writing(self.path):
            self._file.write_batch(batch)
        self.rows += batch.num_rows

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            batch = pa.RecordBatch.from_pylist(self._waiting, schema=self.schema)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{self.path}: a row does not fit the table: {error}") from error
        with writing(self.path):
            self._file.write_batch(batch)
        self._waiting = []


def _column_of(values: "Sequence[object] | pa.Array[Any]", kind: pa.DataType) -> "pa.Array[Any]":
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


class GatheredRows(Generic[Gathered]):
    """Values that become rows of a table a batch at a time, column by column.

    Rows of nested texts that go through dictionaries cost several times as much.

    Args:
        table: The table.
        columns: From some values to their columns.
    """

    def __init__(
        self,
        table: TableWriter,
        columns: "Callable[[Sequence[Gathered]], Mapping[str, Sequence[object] | pa.Array[Any]]]",
    ) -> None:
        self._table = table
        self._columns = columns
        self._waiting: list[Gathered] = []

    def add(self, value: Gathered) -> None:
        """Value that becomes the next row."""
        self._waiting.append(value)
        if len(self._waiting) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Append the rows that wait to the table."""
        if self._waiting:
            self._table.append_columns(self._columns(self._waiting))
            self._waiting = []


def write_table(path: Path, table: pa.Table) -> None:
    """Write a whole table to a Parquet file atomically.

    Raises:
        DataError: The file cannot be written.
    """
    with TableWriter(path, table.schema) as writer:
        writer.append_table(table)


# File locks: one process at a time holds the lock of a file.


def open_guarded(path: Path, *, flags: int) -> int:
    """Open a file that this package owns, without following a symbolic link.

    Args:
        path: The file; it is created where it is missing, and never truncated.
        flags: Such as `os.O_RDWR | os.O_APPEND`.

    Returns:
        A file descriptor.

    Raises:
        RunError: It is a symbolic link, or cannot be opened.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunError(
                f"{path}: is a symbolic link, which is not followed",
                hint="remove the link; what it points to was not touched",
            ) from error
        raise RunError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="the folder must be writable and its disk not full; choose another --out, or "
            "copy the folder to a place that is",
        ) from error


@contextmanager
def lock_file(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a file while the block runs; it is released if the process ends.

    Args:
        path: The lock's file.

    Yields:
        Whether the lock was free; if not, another process holds it.

    Raises:
        RunError: The file is a symbolic link, or cannot be opened.
    """
    descriptor = open_guarded(path, flags=os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
