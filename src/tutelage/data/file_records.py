"""Records of JSONL and CSV files, each with its line, and its value or a reason."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, TypeAlias

from tutelage.data.byte_streams import ROW_BYTES, BrokenStreamError, Chunks, lines_of

BOM = b"\xef\xbb\xbf"

_FIELD_CHARACTERS = ROW_BYTES
"""Longest CSV field, in characters. Python's own limit of 131,072 is too short for some responses.
"""


class Problem(NamedTuple):
    """Reason why a record has no value."""

    status: str
    detail: str


class Record(NamedTuple):
    """One record of a file with its line number.

    Attributes:
        line: 1-based: the line it starts on, or its position in a file without lines.
        value: What it holds; None where there is a problem.
        problem: Why it holds nothing.
    """

    line: int
    value: object
    problem: Problem | None


_new_record = tuple.__new__
"""Constructor of `Record` that skips the Python-level call of a named tuple."""

Records: TypeAlias = Generator[Record, None, None]

DECODER = json.JSONDecoder(parse_constant=lambda _name: None)
"""JSON decoder that reads NaN and the infinities, which data frames write for "missing", as null.
"""

_scan: Callable[[str, int], tuple[object, int]] = vars(DECODER)["scan_once"]
"""JSON scanner: the value that starts at a position, and where it ends; skips no white space."""


def problem_at(line: int, status: str, detail: str) -> Record:
    """Record without a value, with its status and detail.

    Args:
        line: 1-based line.
        status: The reason, as tables have it.
        detail: The same for people.
    """
    return Record(line, None, Problem(status, detail))


def value_of(text: str, *, line: int) -> Record:
    """Record of one JSON value from its text."""
    try:
        value, end = _scan(text, 0)
        if end == len(text) or text[end:] == "\r":
            return _new_record(Record, (line, value, None))
    except (ValueError, RecursionError, StopIteration):
        pass  # `decode` says what is wrong, and skips white space in front
    try:
        return Record(line, DECODER.decode(text), None)
    except RecursionError:
        return problem_at(line, "nested_too_deeply", "brackets nested too deeply")
    except ValueError as error:
        return problem_at(line, "malformed_json", f"{error}; found {excerpt(text)}")


def too_large(line: int) -> Record:
    """Record for a row that is longer than the limit."""
    return problem_at(
        line, "row_too_large", f"longer than {ROW_BYTES >> 20} MiB, which no student could read"
    )


def excerpt(text: str) -> str:
    """Start of a text, short enough for an error message."""
    shown = text.strip()[:60]
    return ascii(shown) if len(shown) == len(text.strip()) else f"{shown!a}..."


def not_utf_8(raw: bytes, error: UnicodeDecodeError, *, line: int) -> Record:
    """Record for a line that is not UTF-8.

    Args:
        raw: The line.
        error: What its decoding raised.
        line: Its number, from 1.
    """
    found = raw[error.start : error.start + 4].hex(" ")
    return problem_at(line, "bad_encoding", f"not UTF-8: the bytes {found} at offset {error.start}")


def broken(line: int, error: BrokenStreamError) -> Record:
    """Record for the unread rest of a damaged file."""
    return problem_at(
        line, "broken_file", f"{error}; whatever follows line {line - 1} could not be read"
    )


def jsonl_records(chunks: Chunks, *, before: int = 0) -> Records:
    """Records of a JSON Lines file; blank lines are skipped.

    Args:
        chunks: The file, or whole lines of it.
        before: How many lines of the file are in front of them.
    """
    line = before
    try:
        for line, raw in lines_of(chunks, before=before):
            if raw is None:
                yield too_large(line)
                continue
            data = raw.removeprefix(BOM) if line == 1 else raw
            if not data or data.isspace():
                continue
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                yield not_utf_8(data, error, line=line)
                continue
            yield value_of(text, line=line)
    except BrokenStreamError as error:
        yield broken(line + 1, error)


def csv_records(chunks: Chunks, *, delimiter: str) -> Records:
    """Records of a CSV file after the header; blank lines are skipped.

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
    """Column names with repeated ones numbered, so that none hides another."""
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
