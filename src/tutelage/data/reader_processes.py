"""Processes that read large files together: each parses pieces of a file, the reader joins them.

    reader                                  a reader process
    cuts the file into segments     --->    parses the rows of a segment; makes the ids
    builds rows in order; finds     <---    plain rows as texts, all others as they were read
    duplicates; reads the others;
    parses a segment while it waits

The rows are the same as without them. They are programs of their own, not forked and not started
through `multiprocessing`, so they may be used from any thread, from a notebook, and from a script
without a main guard. Where one does not start or dies, its segments are read here.
"""

import marshal
import os
import pickle
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self, TypeAlias

import pyarrow as pa

from tutelage.data.byte_streams import ROW_BYTES, BrokenStreamError, Chunks, chunks_of
from tutelage.data.field_aliases import FieldMap
from tutelage.data.file_formats import DataFile
from tutelage.data.file_records import (
    Problem,
    Record,
    Records,
    broken,
    csv_records,
    json_records,
    jsonl_records,
)
from tutelage.data.row_parser import PlainTexts, plain_texts
from tutelage.data.sources import (
    Part,
    Piece,
    arrow_pieces,
    batch_records,
    is_whole,
    parquet_pieces,
)
from tutelage.errors import DataError

PROCESSES_VARIABLE: Final = "TUTELAGE_READ_PROCESSES"
"""Environment variable that limits the processes, the caller's included; 1 starts no other."""

LARGE_BYTES: Final = 64 << 20
"""Size from which a file of plain text is worth the start of processes (half a second each)."""
LARGE_PACKED_BYTES: Final = 16 << 20
"""The same for a compressed file."""
FEW_ROWS: Final = 50_000
"""A limit of rows up to this one is read without other processes."""
SEGMENT_BYTES: Final = 1 << 20
_MOST: Final = 3
"""Two processes hand the reader as much as it can take."""
_AHEAD: Final = 4
"""Segments that the reader parses at most while it waits for an earlier one."""
_COMMAND: Final = "from tutelage.data.reader_processes import serve; serve()"
_LENGTH_BYTES: Final = 8
_MARSHAL, _PICKLE, _DECLINED = b"M", b"P", b"-"

Item: TypeAlias = Record | tuple[int, PlainTexts]
"""A record to be read here, or the line and the texts of a plain row."""


# Segments: pieces of a file that can be read without what is in front of them.


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a JSONL file, behind `before` others."""

    block: bytes
    before: int

    def records(self) -> Iterator[Record]:
        """Records of the lines."""
        return jsonl_records((block for block in (self.block,)), before=self.before)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a table, behind `before` others, as an Arrow stream."""

    stream: pa.Buffer
    before: int

    def records(self) -> Iterator[Record]:
        """Records of the rows."""
        with pa.ipc.open_stream(self.stream) as reader:
            batch = reader.read_next_batch()
        return batch_records(batch, before=self.before)


@dataclass(frozen=True, slots=True)
class Values:
    """Records of a file that one process must take apart from its start: JSON and CSV."""

    found: list[Record]

    def records(self) -> Iterator[Record]:
        """Records as they were found."""
        return iter(self.found)


Segment: TypeAlias = Lines | Batch | Values
Segments: TypeAlias = Generator[Segment | Iterator[Record], None, None]
"""Segments in order; an iterator of records where only this process can go on."""


def is_large(part: Part) -> bool:
    """Whether a part is a file that is worth the start of processes."""
    if part.file is None:
        return False
    plain = part.file.packing == "none" and part.file.format != "parquet"
    try:
        size = part.file.path.stat().st_size
    except OSError:
        return False  # opening it says what is wrong
    return size >= (LARGE_BYTES if plain else LARGE_PACKED_BYTES)


def segments_of(file: DataFile) -> Segments:
    """Segments of a file."""
    if file.format == "parquet":
        return _batches(parquet_pieces(file.path))
    if file.format == "arrow":
        return _batches(arrow_pieces(file.path))
    chunks = chunks_of(file.path, packing=file.packing)
    if file.format == "jsonl":
        return _lines(chunks)
    if file.format == "json":
        return _values(chunks, json_records)
    return _values(chunks, lambda found: csv_records(found, delimiter=file.delimiter))


def _batches(pieces: Generator[Piece, None, None]) -> Segments:
    for piece in pieces:
        if isinstance(piece, Record):
            yield iter((piece,))
            continue
        before, batch = piece
        if batch.nbytes > ROW_BYTES or not is_whole(batch):
            yield batch_records(batch, before=before)
            continue
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield Batch(sink.getvalue(), before)


def _lines(chunks: Chunks) -> Segments:
    before, size = 0, 0
    held: list[bytes] = []
    try:
        for chunk in chunks:
            size += len(chunk)
            cut = chunk.rfind(b"\n") + 1 if size >= SEGMENT_BYTES else 0
            if cut:
                block = b"".join((*held, chunk[:cut]))
                held, size = [chunk[cut:]], len(chunk) - cut
                yield Lines(block, before)
                before += block.count(b"\n")
                continue
            held.append(chunk)
            if size > ROW_BYTES:  # a line too long to hold: `lines_of` finds its end
                rest = chain(held, chunks)
                yield jsonl_records((one for one in rest), before=before)
                return
    except BrokenStreamError as error:
        block = b"".join(held)
        whole = block[: block.rfind(b"\n") + 1]  # the end of the last line is unknown
        if whole:
            yield Lines(whole, before)
        yield iter((broken(before + whole.count(b"\n") + 1, error),))
        return
    if size:
        yield Lines(b"".join(held), before)


def _values(chunks: Chunks, records_of: Callable[[Chunks], Records]) -> Segments:
    taken = 0

    def metered() -> Chunks:
        nonlocal taken
        for chunk in chunks:
            taken += len(chunk)
            yield chunk

    found: list[Record] = []
    before = 0
    for record in records_of(metered()):
        found.append(record)
        if taken - before >= SEGMENT_BYTES:
            yield Values(found)
            found, before = [], taken
    if found:
        yield Values(found)


def serve() -> None:
    """Answer the segments that come on the standard input until it ends."""
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    fields = FieldMap(**pickle.load(requests))  # noqa: S301  (from the process that started this)
    reply = b""  # it is ready
    while True:
        replies.write(len(reply).to_bytes(_LENGTH_BYTES, "big"))
        replies.write(reply)
        replies.flush()
        try:
            segment, source = pickle.load(requests)  # noqa: S301
        except EOFError:
            return
        reply = reply_of(segment, fields=fields, source=source)


def reply_of(segment: Segment, *, fields: FieldMap, source: str | None) -> bytes:
    """The rows of a segment: plain ones as texts, all others as they were read.

    The first row of each set of columns is handed over as it was read, so that who asked sees
    each of them too.

    Args:
        segment: The segment.
        fields: Names of the fields, and the columns seen in the segments before.
        source: For rows that do not name one.
    """
    found = parsed(segment, fields=fields, source=source)
    if found is None:
        return _DECLINED
    try:
        return _MARSHAL + marshal.dumps(found)
    except ValueError:  # a value that is not JSON's, such as a date
        return _PICKLE + pickle.dumps(found)


def parsed(
    segment: Segment, *, fields: FieldMap, source: str | None
) -> list[tuple[Any, ...]] | None:
    """The rows of a segment: the line and texts of plain ones, the parts of other records.

    Args:
        segment: The segment.
        fields: Names of the fields, and the columns seen in the segments before.
        source: For rows that do not name one.

    Returns:
        None where a record must be read by `parse_row`, which gives the reason.
    """
    try:
        return [_item(record, fields, source) for record in segment.records()]
    except (ValueError, RecursionError):  # of one record: it has a reason when it is read again
        return None


def _item(record: Record, fields: FieldMap, source: str | None) -> tuple[Any, ...]:
    line, value, problem = record
    if type(value) is dict and "parent_id" not in value:
        columns = fields.columns_of(value)
        if columns is None:
            fields.open(value)
        else:
            texts = plain_texts(value, columns, source=source)
            if texts is not None:
                return line, texts
    return line, value, None if problem is None else tuple(problem)


def items_of(reply: bytes) -> Iterator[Item] | None:
    """Items of a reply; None where the segment must be read here."""
    kind, body = reply[:1], memoryview(reply)[1:]
    if kind == _DECLINED:
        return None
    # Made by a process that this one started.
    return _items(marshal.loads(body) if kind == _MARSHAL else pickle.loads(body))  # noqa: S301, S302


def _items(found: list[tuple[Any, ...]]) -> Iterator[Item]:
    return (one if len(one) == 2 else _record(*one) for one in found)  # noqa: PLR2004


def _record(line: int, value: object, problem: tuple[str, str] | None) -> Record:
    return Record(line, value, None if problem is None else Problem(*problem))


def process_count() -> int:
    """Number of processes that read a large file, this one included: one a core, at most three.

    Raises:
        DataError: The environment variable that limits them is no number.
    """
    asked = os.environ.get(PROCESSES_VARIABLE, "").strip()
    if asked and not (asked.isascii() and asked.isdigit()):
        raise DataError(
            f"{PROCESSES_VARIABLE} is {asked!r}, not a number",
            hint="set it to the maximum number of processes; 1 starts no other process",
        )
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(cores, _MOST, int(asked) if asked else _MOST)


class _Held:
    """A segment whose rows are still to be given.

    Attributes:
        segment: The segment.
        process: The process that has it, or None.
        found: Its rows, where this process has parsed them.
    """

    __slots__ = ("found", "process", "segment")

    def __init__(
        self,
        segment: Segment | Iterator[Record],
        process: "_Process | None" = None,
        found: list[tuple[Any, ...]] | None = None,
    ) -> None:
        self.segment = segment
        self.process = process
        self.found = found

    def items(self) -> Iterator[Item]:
        """Its rows, once they are there; the process that had it is free then."""
        if self.found is not None:
            return _items(self.found)
        reply = None if self.process is None else self.process.reply()
        found = None if reply is None else items_of(reply)
        return _read_here(self.segment) if found is None else found


class ReaderProcesses:
    """Processes that parse the segments of large files; they start with the first one.

    Args:
        processes: How many, this one included.
        fields: Arguments of the `FieldMap` of each.
    """

    def __init__(self, *, processes: int, fields: Mapping[str, Any]) -> None:
        self._others = max(0, processes - 1) if sys.executable else 0
        self._naming = dict(fields)
        self._fields = FieldMap(**fields)
        self._started: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.end()

    def items(self, part: Part, *, source: str | None) -> Iterator[Item]:
        """Items of a part, in order.

        Args:
            part: A file that is large, or anything else: that is read here.
            source: For rows that do not name one.
        """
        if not self._others or part.file is None or not is_large(part):
            return part.open()
        return self._shared(segments_of(part.file), source)

    def _shared(self, segments: Segments, source: str | None) -> Iterator[Item]:
        first = next(segments, None)
        if first is None:
            return
        self._start()
        # The first rows are read here, while the processes start.
        yield from _read_here(first)
        held: deque[_Held] = deque()
        while True:
            self._hand_out(segments, held, source)
            if not held:  # none is ready yet, or there are no more
                following = next(segments, None)
                if following is None:
                    return
                held.append(_Held(following))
            waits = self._waits(held) and not self._ends_here(held)
            if waits and self._help(segments, held, source):
                continue
            items = held.popleft().items()
            self._hand_out(segments, held, source)  # before the rows are used: that takes long
            yield from items

    def _start(self) -> None:
        while len(self._started) < self._others:
            try:
                self._started.append(_Process(self._naming))
            except OSError:  # no more processes may be started: those there are read
                self._others = len(self._started)

    def _hand_out(self, segments: Segments, held: deque[_Held], source: str | None) -> None:
        """Give every process that waits a segment, as long as there are any.

        Behind rows that must be read here none is taken: they may be large, and are not copied.
        """
        for process in self._started:
            if process.is_free() and not self._ends_here(held):
                segment = next(segments, None)
                if segment is None:
                    return
                sent = isinstance(segment, Lines | Batch | Values) and process.ask(segment, source)
                held.append(_Held(segment, process if sent else None))

    @staticmethod
    def _waits(held: deque[_Held]) -> bool:
        """Whether the next rows are still being parsed by a process."""
        process = held[0].process
        ahead = sum(one.process is None for one in held)
        return process is not None and ahead < _AHEAD and not process.has_replied()

    @staticmethod
    def _ends_here(held: deque[_Held]) -> bool:
        """Whether the last segment is one of which only this process can read the rows."""
        return bool(held) and held[-1].process is None and held[-1].found is None

    def _help(self, segments: Segments, held: deque[_Held], source: str | None) -> bool:
        """Parse a segment here; False where there are no more."""
        segment = next(segments, None)
        if segment is None:
            return False
        found = None
        if isinstance(segment, Lines | Batch | Values):
            found = parsed(segment, fields=self._fields, source=source)
        held.append(_Held(segment, found=found))
        return True


def _read_here(segment: Segment | Iterator[Record]) -> Iterator[Record]:
    return segment.records() if isinstance(segment, Lines | Batch | Values) else segment


class _Process:
    """A reader process with its two pipes: it has one segment at a time."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            # -P: a file of the user's that is called json.py must not be imported
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the reader, which ends the processes itself
        )
        self._state = "starting" if self._write(pickle.dumps(fields)) else "lost"

    def is_free(self) -> bool:
        """Whether it has started and has no segment."""
        if self._state == "starting" and self.has_replied():
            self._state = "lost" if self._read() is None else "free"
        return self._state == "free"

    def has_replied(self) -> bool:
        """Whether it has made something of its segment, or died."""
        if self._process.stdout is None:
            raise RuntimeError("the process has no output")  # Popen was told to make one
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(0))

    def ask(self, segment: Segment, source: str | None) -> bool:
        """Give it a segment; False where it cannot have it."""
        try:
            request = pickle.dumps((segment, source))
        except RecursionError:  # brackets nested so deeply that they can be read, not copied
            return False
        self._state = "busy" if self._write(request) else "lost"
        return self._state == "busy"

    def reply(self) -> bytes | None:
        """Result of its segment; None where the process died."""
        found = self._read()
        self._state = "lost" if found is None else "free"
        return found

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what was still to be written has no reader
                    pipe.close()

    def _write(self, request: bytes) -> bool:
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("the process has no input")  # Popen was told to make one
        try:
            stdin.write(request)
            stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def _read(self) -> bytes | None:
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("the process has no output")  # Popen was told to make one
        length = stdout.read(_LENGTH_BYTES)
        if len(length) < _LENGTH_BYTES:
            return None
        size = int.from_bytes(length, "big")
        found = stdout.read(size)
        return found if len(found) == size else None
