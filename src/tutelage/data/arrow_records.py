"""Records of Parquet and Arrow files, and of Arrow tables in memory, batch by batch."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data.byte_streams import native_file
from tutelage.data.file_records import Record, Records, problem_at
from tutelage.errors import DataError

_BATCH_ROWS = 1024
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What Arrow raises on a damaged file; names in it that are not UTF-8 are a ValueError."""


def parquet_records(path: Path) -> Records:
    """One record for each row of a Parquet file.

    Raises:
        DataError: It is no Parquet file.
    """
    opened = None if _is_utf_8(path) else path.open("rb")  # Arrow opens no such name
    try:
        file = pq.ParquetFile(path if opened is None else opened)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    with file, opened or nullcontext():
        yield from _records(file.iter_batches(batch_size=_BATCH_ROWS))


def arrow_records(path: Path) -> Records:
    """One record for each row of an Arrow file or stream, as `datasets` saves them.

    Raises:
        DataError: It is neither.
    """
    try:
        file = pa.memory_map(str(path)) if _is_utf_8(path) else native_file(path)
        is_stream = file.read(6) != b"ARROW1"
        file.seek(0)
        batches = iter(pa.ipc.open_stream(file)) if is_stream else _file_batches(file)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    with file:
        yield from _records(batches)


def _is_utf_8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _file_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(file)
    return (reader.get_batch(index) for index in range(reader.num_record_batches))


def stream_records(stream: Any) -> Records:
    """One record for each row of anything that gives an Arrow stream: a table, a data frame.

    Raises:
        DataError: Arrow has no type for one of its columns.
    """
    try:
        reader = pa.RecordBatchReader.from_stream(stream)
    except _DAMAGE as error:
        raise DataError(f"this {type(stream).__name__} cannot be read: {error}") from error
    with reader:
        yield from _records(iter(reader))


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read: {error}", hint="is the file complete?")


def _records(batches: Iterator[pa.RecordBatch]) -> Records:
    before = 0
    while True:
        try:
            batch = next(batches, None)
        except _DAMAGE as error:
            yield problem_at(
                before + 1, "broken_file", f"{error}; nothing after row {before} could be read"
            )
            return
        if batch is None:
            return
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield from _rows(batch.slice(start, _BATCH_ROWS), before + start)
        before += batch.num_rows


def _rows(batch: pa.RecordBatch, before: int) -> Records:
    """The rows of a small batch; where one cannot be turned into Python, only that one is lost."""
    try:
        # Offsets in a damaged Arrow file point anywhere; without this the process would crash.
        batch.validate(full=True)
        rows = batch.to_pylist()
    except _DAMAGE as error:
        if batch.num_rows > 1:
            for index in range(batch.num_rows):
                yield from _rows(batch.slice(index, 1), before + index)
            return
        bad_text = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
        status = "bad_encoding" if bad_text else "bad_type"
        yield problem_at(before + 1, status, str(error))
        return
    for index, row in enumerate(rows, start=before + 1):
        yield Record(index, row, None)
