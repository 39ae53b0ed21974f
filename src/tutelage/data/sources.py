"""Sources of data: files, folders, hub datasets, tables and rows as one stream of records."""

import importlib
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data.byte_streams import chunks_of, native_file
from tutelage.data.file_formats import DataFile, Format, chosen_split, files_of, is_data_name, sniff
from tutelage.data.file_records import (
    Record,
    Records,
    csv_records,
    json_records,
    jsonl_records,
    problem_at,
)
from tutelage.errors import DataError, MissingExtraError

# Records of Parquet and Arrow files, and of Arrow tables in memory, batch by batch.


_BATCH_ROWS = 1024
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""Exceptions that Arrow raises on a damaged file; names that are not UTF-8 raise ValueError."""


Piece: TypeAlias = tuple[int, pa.RecordBatch] | Record
"""A small batch behind the number of rows in front of it, or the record that ends a damaged file.
"""


def parquet_pieces(path: Path) -> Generator[Piece, None, None]:
    """Rows of a Parquet file in small batches.

    Raises:
        DataError: It is no Parquet file.
    """
    opened = None if _is_utf_8(path) else path.open("rb")  # Arrow opens no such name
    try:
        file = pq.ParquetFile(path if opened is None else opened)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    with file, opened or nullcontext():
        yield from _pieces(file.iter_batches(batch_size=_BATCH_ROWS))


def arrow_pieces(path: Path) -> Generator[Piece, None, None]:
    """Rows of an Arrow file or stream as `datasets` saves it, in small batches.

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
        yield from _pieces(batches)


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
    """Records of anything that gives an Arrow stream (a table, a data frame), one per row.

    Raises:
        DataError: Arrow has no type for one of its columns.
    """
    try:
        reader = pa.RecordBatchReader.from_stream(stream)
    except _DAMAGE as error:
        raise DataError(f"this {type(stream).__name__} cannot be read: {error}") from error
    with reader:
        yield from _records(_pieces(iter(reader)))


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read: {error}", hint="is the file complete?")


def _pieces(batches: Iterator[pa.RecordBatch]) -> Generator[Piece, None, None]:
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
            yield before + start, batch.slice(start, _BATCH_ROWS)
        before += batch.num_rows


def _records(pieces: Iterator[Piece]) -> Records:
    for piece in pieces:
        if isinstance(piece, Record):
            yield piece
        else:
            yield from batch_records(piece[1], before=piece[0])


def is_whole(batch: pa.RecordBatch) -> bool:
    """Whether a batch may be copied: offsets in a damaged file point anywhere."""
    try:
        batch.validate(full=True)
    except _DAMAGE:
        return False
    return True


def batch_records(batch: pa.RecordBatch, *, before: int) -> Records:
    """Records of a small batch; a row that cannot be converted to Python is lost alone.

    Args:
        batch: The rows.
        before: How many rows of the file are in front of them.
    """
    try:
        # Offsets in a damaged Arrow file point anywhere; without this the process would crash.
        batch.validate(full=True)
        rows = batch.to_pylist()
    except _DAMAGE as error:
        if batch.num_rows > 1:
            for index in range(batch.num_rows):
                yield from batch_records(batch.slice(index, 1), before=before + index)
            return
        bad_text = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
        status = "bad_encoding" if bad_text else "bad_type"
        yield problem_at(before + 1, status, str(error))
        return
    for index, row in enumerate(rows, start=before + 1):
        yield Record(index, row, None)


Source: TypeAlias = str | Path | Iterable[str | Path] | Iterable[Mapping[str, Any]]
"""Types of sources: paths, folders, patterns, a hub dataset id, a table, a `datasets` object or
rows.
"""

IN_MEMORY = "<rows>"
"""File name of rows that were given in Python."""

_HUB_ID = re.compile(r"(?:hf://datasets/)?([\w-][\w.-]*/[\w-][\w.-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file, or rows in memory, that gives records.

    Attributes:
        name: Name of the file as the user wrote it, of the hub dataset, or `IN_MEMORY`.
        source: What rows that name no source come from: the file's stem; None in memory.
        same_columns: Whether all rows have the same columns, as in a table.
        open: Starts to read from the first record.
        revision: Revision of a hub dataset: the commit that is read, where the hub says it.
        file: The file, if it is one.
    """

    name: str
    source: str | None
    same_columns: bool = False
    open: Callable[[], Iterator[Record]]
    revision: str | None = None
    file: DataFile | None = None


def parts_of(
    source: Source,
    *,
    forced: Format,
    split: str | None,
    subset: str | None,
    revision: str | None = None,
) -> tuple[Part, ...]:
    """List the parts of a source; files are looked at, but not read.

    Args:
        source: Anything of `Source`.
        forced: The format that all files must have, or `auto`.
        split: Which split of a dataset with several.
        subset: Which configuration of a hub dataset with several.
        revision: Which commit, branch or tag of a hub dataset; by default its newest commit.

    Raises:
        DataError: There is no such thing, or nothing that can be read.
        MissingExtraError: It is no file but may be a hub dataset, and the library that loads
            those is not installed.
    """
    if isinstance(source, str | Path):
        hub_id = _hub_id(source)
        if hub_id is not None:
            return (_loaded(hub_id, split=split, subset=subset, revision=revision),)
        return tuple(_file_part(sniff(p, forced=forced)) for p in files_of(source, split=split))
    if (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(item, str | Path) for item in source)
    ):
        return tuple(
            part
            for item in source
            for part in parts_of(item, forced=forced, split=split, subset=subset, revision=revision)
        )
    return (_memory_part(source, split=split),)


def _file_part(file: DataFile) -> Part:
    name = _printable(file.path.name)
    return Part(
        name=_printable(str(file.path)),
        source=name.lstrip(".").split(".", 1)[0] or name,
        same_columns=file.format in ("csv", "parquet", "arrow"),
        open=lambda: _file_records(file),
        file=file,
    )


def _printable(name: str) -> str:
    r"""File name that every table can hold: bytes that are not UTF-8 are written as `\xff`."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _file_records(file: DataFile) -> Records:
    match file.format:
        case "parquet":
            return _records(parquet_pieces(file.path))
        case "arrow":
            return _records(arrow_pieces(file.path))
        case "csv":
            chunks = chunks_of(file.path, packing=file.packing)
            return csv_records(chunks, delimiter=file.delimiter)
        case "jsonl":
            return jsonl_records(chunks_of(file.path, packing=file.packing))
        case "json":
            return json_records(chunks_of(file.path, packing=file.packing))


def _memory_part(source: object, *, split: str | None, name: str = IN_MEMORY) -> Part:
    if isinstance(source, Mapping):
        splits = [str(key) for key in source]
        if not splits or not all(hasattr(rows, "column_names") for rows in source.values()):
            raise DataError(
                f"a single mapping with the keys {', '.join(splits[:8])} is not a source",
                hint="pass a list of rows, even for one row: [row]",
            )
        source = source[chosen_split(splits, split=split, place=name)]
    if hasattr(source, "__arrow_c_stream__"):
        table: Any = source
        return Part(name=name, source=None, same_columns=True, open=lambda: stream_records(table))
    if isinstance(source, str | bytes) or not isinstance(source, Iterable):
        raise DataError(
            f"cannot read rows from {type(source).__name__}",
            hint="pass a path, a hub dataset id, a table, or an iterable of mappings",
        )
    return Part(name=name, source=None, open=_Opener(source))


class _Opener:
    """Opener of rows in memory, which raises an error if a one-time iterator is read again."""

    def __init__(self, rows: Iterable[object]) -> None:
        self._rows = rows
        self._opened = False

    def __call__(self) -> Iterator[Record]:
        iterator = iter(self._rows)
        if iterator is self._rows and self._opened:
            raise DataError(
                "these rows can be read only once, and were already read",
                hint="pass a list, or something that starts again when it is iterated again",
            )
        self._opened = True
        return (Record(line, row, None) for line, row in enumerate(iterator, start=1))


def _hub_id(source: str | Path) -> str | None:
    """Hub dataset id of a source, unless a file of that name exists."""
    match = _HUB_ID.fullmatch(str(source))
    if match is None:
        return None
    if str(source).startswith("hf://"):
        return match[1]
    path = Path(source)
    if path.exists() or path.parent.exists() or is_data_name(path.name):
        return None
    return match[1]


def hub_commit(source: str | Path, *, revision: str | None) -> str | None:
    """Commit of a hub dataset.

    Args:
        source: What a user calls data.
        revision: A commit, a branch or a tag; by default the newest commit.

    Returns:
        The hash of the commit; None where the source is no hub dataset, or where the hub cannot
        be asked: what was downloaded before can be read without it.
    """
    hub_id = _hub_id(source)
    if hub_id is None:
        return None
    try:
        hub: Any = importlib.import_module("huggingface_hub")
        errors: Any = importlib.import_module("huggingface_hub.errors")
    except ImportError:
        return None  # `_loaded` says what is missing
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        found = api.dataset_info(hub_id, revision=revision).sha
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _loaded(hub_id: str, *, split: str | None, subset: str | None, revision: str | None) -> Part:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingExtraError(
            f"{hub_id}: no such file or folder, and hub datasets cannot be loaded",
            hint="check the path; to read it from the hub: pip install 'tutelage[datasets]'",
        ) from error
    commit = hub_commit(f"hf://datasets/{hub_id}", revision=revision)
    try:
        loaded = datasets.load_dataset(hub_id, subset, split=split, revision=commit or revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{hub_id}: no such file, and the hub dataset cannot be loaded: {error}",
            hint="check the path, or the name and the connection",
        ) from error
    part = _memory_part(loaded, split=split, name=hub_id)
    return replace(part, source=hub_id.rsplit("/", 1)[-1], revision=commit)
