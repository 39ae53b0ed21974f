"""Streaming JSON parser: the values of a file one by one, in bounded memory."""

import codecs
import json
import re

from tutelage.data.byte_streams import ROW_BYTES, BrokenStreamError, Chunks
from tutelage.data.file_records import (
    DECODER,
    Record,
    Records,
    broken,
    excerpt,
    problem_at,
    too_large,
)

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
