"""Records of JSONL, CSV and JSON files, each with its line, and its value or a reason."""

import codecs
import csv
import json
import re
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
        if raw is None:  # the CSV reader rejects it as it would the line: only its record is lost
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


HEAD_CHARACTERS = 1 << 16
"""Characters into an object within which its list of rows must begin."""

_ROW_LISTS = ("data", "rows", "examples", "instances")
_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*')
_LIST_OF_ROWS = re.compile(r'\[\s*(?:\]|\{(?!\s*"(?:role|from|content|value)"))')
_COMMA = re.compile(r"\s*,")
_SPACE = " \t\n\r"
_NEAR_END = 12
"""Most characters between a literal, number or escape that is cut off and where it is reported."""
_SLIDE_CHARACTERS = 1 << 16


def list_of_rows(head: str) -> int | None:
    """Position at which the list of rows of an object like `{"version": 1, "data": [...]}` begins.

    Args:
        head: The start of the file, from the object's brace on.

    Returns:
        The offset of the list's bracket, or None where the object is a row itself: it has no
        such list, or the list is the conversation of one row.
    """
    at = 1
    while match := _KEY.match(head, at):
        at = match.end()
        if match[1] in _ROW_LISTS and _LIST_OF_ROWS.match(head, at):
            return at
        try:
            _, at = DECODER.raw_decode(head, at)
        except (ValueError, RecursionError):
            return None
        comma = _COMMA.match(head, at)
        if comma is None:
            return None
        at = comma.end()
    return None


class _MalformedError(ValueError):
    """Error for text that is not JSON, after which no further value can be found."""


class _TooLargeError(ValueError):
    """Error for a value that is longer than the limit of a row."""


class _Window:
    """Sliding window over the text of a file."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._line = 1
        self._line_at = 0
        self._ended = False
        self._break: BrokenStreamError | None = None

    @property
    def line(self) -> int:
        """1-based line of the next character."""
        self._line += self._text.count("\n", self._line_at, self._at)
        self._line_at = self._at
        return self._line

    def peek(self) -> str:
        """Next character that is not white space; empty at the end of the file.

        Raises:
            BrokenStreamError: The file breaks off before one comes.
        """
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _SPACE:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if not self._more():
                return ""

    def skip(self, characters: int = 1) -> None:
        """Skip characters that have been looked at."""
        self._at += characters

    def head(self) -> str:
        """Up to `HEAD_CHARACTERS` next characters, without consuming them."""
        while len(self._text) - self._at < HEAD_CHARACTERS and not self._ended:
            self._more()
        return self._text[self._at : self._at + HEAD_CHARACTERS]

    def value(self) -> tuple[object, str]:
        """Value that starts here, with its text.

        Raises:
            BrokenStreamError: The file breaks off inside it.
            _MalformedError: It is not JSON.
            _TooLargeError: It is longer than a row may be.
            RecursionError: It is nested too deeply.
        """
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string")
                if (cut or error.pos >= len(self._text) - _NEAR_END) and self._more(grow=True):
                    continue
                raise _MalformedError(
                    f"{error.msg}; found {excerpt(self._text[error.pos : error.pos + 80])}"
                ) from error
            except ValueError as error:  # an integer of more than 4300 digits
                raise _MalformedError(str(error)) from error
            # A number that ends where the window ends may go on behind it.
            cut = self._text[end - 1] not in '}]"' and end >= len(self._text) - _NEAR_END
            if cut and self._more():
                continue
            text = self._text[self._at : end]
            self._at = end
            return value, text

    def _more(self, *, grow: bool = False) -> bool:
        """Read more text; with `grow` the window doubles: a long value takes linear time."""
        if self._break is not None:
            raise self._break
        if self._ended:
            return False
        if grow and len(self._text) - self._at > ROW_BYTES:
            raise _TooLargeError
        if self._at > _SLIDE_CHARACTERS:
            self._line, self._text = self.line, self._text[self._at :]
            self._at = self._line_at = 0
        pieces = [self._text]
        wanted = len(self._text) if grow else 1
        while wanted > 0 and not self._ended:
            pieces.append(self._next_piece())
            wanted -= len(pieces[-1])
        self._text = "".join(pieces)
        return True

    def _next_piece(self) -> str:
        try:
            chunk = next(self._chunks, None)
        except BrokenStreamError as error:
            # What is in the window is still good; the break is raised when it is used up.
            self._break, self._ended = error, True
            return ""
        if chunk is None:
            self._ended = True
            return self._decoder.decode(b"", final=True)
        return self._decoder.decode(chunk)


def json_records(chunks: Chunks) -> Records:
    """Elements of an array, of the list in `{"data": [...]}`, or a sequence of values.

    What is malformed cannot be skipped here, since nothing tells where the next value starts:
    it gives one record with the reason and ends the file.
    """
    window = _Window(chunks)
    try:
        yield from _records(window)
    except _MalformedError as error:
        yield problem_at(
            window.line,
            "malformed_json",
            f"{error}; nothing after this place could be read "
            "(in a file with one row a line, only that row would be lost)",
        )
    except _TooLargeError:
        record = too_large(window.line)
        if record.problem is not None:
            detail = f"{record.problem.detail}; nothing after this place could be read"
            yield problem_at(record.line, record.problem.status, detail)
    except RecursionError:
        yield problem_at(
            window.line,
            "nested_too_deeply",
            "brackets nested too deeply; nothing after this place could be read",
        )
    except BrokenStreamError as error:
        yield broken(window.line, error)


def _records(window: _Window) -> Records:
    if window.peek() == "\ufeff":
        window.skip()
    first = window.peek()
    start = list_of_rows(window.head()) if first == "{" else None
    if start is not None:
        window.skip(start)
        yield from _elements(window)  # what else the object says is about the file, not a row
        return
    if first == "[":
        yield from _elements(window)
    while window.peek():
        yield _record(window)


def _elements(window: _Window) -> Records:
    window.skip()
    if window.peek() == "]":
        window.skip()
        return
    while True:
        window.peek()
        yield _record(window)
        mark = window.peek()
        if mark not in ("]", ","):
            raise _MalformedError(f"expected ',' or ']' after a row, found {mark!r}")
        window.skip()
        if mark == "]":
            return


def _record(window: _Window) -> Record:
    line = window.line
    value, text = window.value()
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) - 0xDC00
            return problem_at(line, "bad_encoding", f"not UTF-8: the byte {byte:02x}")
    return Record(line, value, None)
