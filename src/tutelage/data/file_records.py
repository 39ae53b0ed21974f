"""Records of a file one by one: each is a value with its line, or the reason it is none."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, TypeAlias

from tutelage.data.byte_streams import ROW_BYTES, BrokenStreamError, Chunks, lines_of

BOM = b"\xef\xbb\xbf"

_FIELD_CHARACTERS = ROW_BYTES
"""The most a CSV field may hold. Python's own limit of 131,072 is shorter than some responses."""


class Problem(NamedTuple):
    """Why a record is not a value."""

    status: str
    detail: str


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        line: 1-based: the line it starts on, or its position in a file without lines.
        value: What it holds; None where there is a problem.
        problem: Why it holds nothing.
    """

    line: int
    value: object
    problem: Problem | None


_new_record = tuple.__new__
"""Makes a record without the call that a named tuple puts in front of this."""

Records: TypeAlias = Generator[Record, None, None]

DECODER = json.JSONDecoder(parse_constant=lambda _name: None)
"""Strict JSON, but NaN and the infinities, which data frames write for "missing", are null."""

_scan: Callable[[str, int], tuple[object, int]] = vars(DECODER)["scan_once"]
"""A value that starts right here, and where it ends: `decode` without a look for white space."""


def problem_at(line: int, status: str, detail: str) -> Record:
    """A record that holds nothing, and why."""
    return Record(line, None, Problem(status, detail))


def value_of(text: str, *, line: int) -> Record:
    """One JSON value from its text."""
    try:
        value, end = _scan(text, 0)
        if end == len(text) or text[end:] == "\r":
            return _new_record(Record, (line, value, None))
    except (ValueError, RecursionError, StopIteration):
        pass  # `decode` says what is wrong, and skips white space in front
    try:
        return Record(line, DECODER.decode(text), None)
    except RecursionError:
        return problem_at(line, "nested_too_deeply", "brackets within brackets without end")
    except ValueError as error:
        return problem_at(line, "malformed_json", f"{error}; found {excerpt(text)}")


def too_large(line: int) -> Record:
    """The record that stands for a row that is longer than any row may be."""
    return problem_at(
        line, "row_too_large", f"longer than {ROW_BYTES >> 20} MiB, which no student could read"
    )


def excerpt(text: str) -> str:
    """The start of a text, as an error message can show it."""
    shown = text.strip()[:60]
    return ascii(shown) if len(shown) == len(text.strip()) else f"{shown!a}..."


def decoded(raw: bytes, *, line: int) -> str | Record:
    """The text of some bytes, or a record that says that they are not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        found = raw[error.start : error.start + 4].hex(" ")
        return problem_at(
            line, "bad_encoding", f"not UTF-8: the bytes {found} at offset {error.start}"
        )


def broken(line: int, error: BrokenStreamError) -> Record:
    """The record that stands for all that is missing after a break."""
    return problem_at(
        line, "broken_file", f"{error}; whatever follows line {line - 1} could not be read"
    )


def jsonl_records(chunks: Chunks) -> Records:
    """One record for each line that is not blank."""
    line = 0
    try:
        for line, raw in lines_of(chunks):
            if raw is None:
                yield too_large(line)
                continue
            data = raw.removeprefix(BOM) if line == 1 else raw
            if not data or data.isspace():
                continue
            text = decoded(data, line=line)
            yield value_of(text, line=line) if isinstance(text, str) else text
    except BrokenStreamError as error:
        yield broken(line + 1, error)


def csv_records(chunks: Chunks, *, delimiter: str) -> Records:
    """One record for each CSV record after the header; blank lines are none.

    Fields may be quoted and hold newlines. A record with more or fewer fields than the header
    is a problem, and so is one that is not UTF-8.
    """
    csv.field_size_limit(_FIELD_CHARACTERS)
    reader = csv.reader(_csv_lines(chunks), delimiter=delimiter)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield (
                too_large(line)
                if "field limit" in str(error)
                else problem_at(line, "malformed_csv", str(error))
            )
            continue
        except BrokenStreamError as error:
            yield broken(line, error)
            return
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = _distinct([name.strip() for name in cells])
        else:
            yield _csv_record(cells, header, line=line)


def _csv_lines(chunks: Chunks) -> Iterator[str]:
    for line, raw in lines_of(chunks):
        if raw is None:  # the CSV reader refuses it as it would the line: only its record is lost
            yield "x" * (_FIELD_CHARACTERS + 1)
            continue
        data = raw.removeprefix(BOM) if line == 1 else raw
        # Bytes that are no UTF-8 travel as lone surrogates, so that only their record is lost.
        yield data.decode(errors="surrogateescape") + "\n"


def _distinct(names: list[str]) -> list[str]:
    """The names of the columns; one that comes again is numbered, so that none hides another."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return numbered


def _csv_record(cells: list[str], header: list[str], *, line: int) -> Record:
    if len(cells) != len(header):
        return problem_at(
            line,
            "malformed_csv",
            f"{len(cells)} fields where the header has {len(header)}; "
            f"found {excerpt(','.join(cells))}",
        )
    if not all(map(str.isascii, cells)):
        try:
            "".join(cells).encode()
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) - 0xDC00
            return problem_at(line, "bad_encoding", f"not UTF-8: the byte {byte:02x}")
    return Record(line, dict(zip(header, cells, strict=True)), None)
