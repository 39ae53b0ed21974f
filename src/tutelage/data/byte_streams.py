"""Byte streams of files, decompressed where their content is compressed."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Literal, Protocol, Self, TypeAlias, cast

import pyarrow as pa

from tutelage.errors import DataError

Packing: TypeAlias = Literal["none", "gzip", "zstd", "bzip2", "xz"]

Chunks: TypeAlias = Generator[bytes, None, None]

_MAGIC: tuple[tuple[bytes, Packing], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_MAGIC_BYTES = 6
_CHUNK_BYTES = 1 << 20
_ZSTD_CHUNK_BYTES = 1 << 16
_BOMB_BYTES = 1 << 30
_BOMB_RATIO = 250
"""Above one gigabyte, a file that expands by more than this factor is rejected as damaged: text
compresses 3 to 20 times, one row repeated over and over about 100 times.
"""

ROW_BYTES = 1 << 25
"""Longest row that is read, 32 MiB. A student reads 100 kB at most."""


class BrokenStreamError(ValueError):
    """Error for a file that breaks off or is damaged; everything read before it is good."""


class _Reader(Protocol):
    def read1(self, size: int, /) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...


def packing_of(path: Path) -> Packing:
    """Compression format of a file, detected from its first bytes and not from its name.

    Raises:
        DataError: The file cannot be opened.
    """
    with _open(path, "none") as file:
        magic = file.read1(_MAGIC_BYTES)
    return next((packing for start, packing in _MAGIC if magic.startswith(start)), "none")


def head_of(path: Path, *, packing: Packing, size: int) -> bytes:
    """First bytes of a file's content, decompressed.

    Args:
        path: The file.
        packing: How it is packed.
        size: How many bytes to return at most; fewer where the file is shorter or breaks off.

    Raises:
        DataError: The file cannot be opened.
    """
    head = bytearray()
    with closing(chunks_of(path, packing=packing)) as chunks:
        try:
            for chunk in chunks:
                head += chunk
                if len(head) >= size:
                    break
        except BrokenStreamError:
            return bytes(head[:size])  # reading the rows reports the damage at its place
    return bytes(head[:size])


def chunks_of(path: Path, *, packing: Packing) -> Chunks:
    """Content of a file, decompressed, in chunks of at most about one megabyte.

    Raises:
        BrokenStreamError: The file breaks off or is damaged. All that could be unpacked before
            has been given.
        DataError: The file cannot be opened.
    """
    chunks = _zstd_chunks(path) if packing == "zstd" else _chunks(path, packing)
    return chunks if packing == "none" else _bounded(chunks, path)


def _bounded(chunks: Chunks, path: Path) -> Chunks:
    """Chunks of a file, with an error once it expands to implausibly many bytes."""
    most = max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size)
    given = 0
    with closing(chunks):
        for chunk in chunks:
            given += len(chunk)
            if given > most:
                raise BrokenStreamError(f"it unpacks to more than {_BOMB_RATIO} times its own size")
            yield chunk


def _open(path: Path, packing: Packing) -> _Reader:
    try:
        match packing:
            case "gzip":
                return cast("_Reader", gzip.open(path, "rb"))
            case "bzip2":
                return cast("_Reader", bz2.open(path, "rb"))
            case "xz":
                return cast("_Reader", lzma.open(path, "rb"))
            case _:
                return cast("_Reader", path.open("rb"))
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    """Error for a file that exists but cannot be opened."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return DataError(f"{path}: cannot be read: {reason}", hint="check the path and its permissions")


def _chunks(path: Path, packing: Packing) -> Chunks:
    with _open(path, packing) as file:
        while True:
            try:
                # read1 and not read: where a packed file breaks off, read would throw away what
                # it had unpacked just before the break.
                chunk = file.read1(_CHUNK_BYTES)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                raise BrokenStreamError(f"{packing} data: {error}") from error
            if not chunk:
                return
            yield chunk


def _zstd_chunks(path: Path) -> Chunks:
    """Decompressed chunks of a zstd file, read with Arrow, the only dependency that reads zstd.

    Its read throws away what it had unpacked just before a break, so from the last good place
    on the file is read again byte by byte.
    """
    given = 0
    try:
        with _open_zstd(path) as file:
            while chunk := file.read(_ZSTD_CHUNK_BYTES):
                given += len(chunk)
                yield chunk
    except OSError as error:
        broken = error
    else:
        return
    rest = bytearray()
    try:
        with _open_zstd(path) as file:
            for _ in range(given // _ZSTD_CHUNK_BYTES):
                file.read(_ZSTD_CHUNK_BYTES)
            while byte := file.read(1):
                rest += byte
    except OSError as error:
        broken = error
    if rest:
        yield bytes(rest)
    raise BrokenStreamError(f"zstd data: {broken}") from broken


def _open_zstd(path: Path) -> pa.CompressedInputStream:
    return pa.CompressedInputStream(native_file(path), "zstd")


def native_file(path: Path) -> pa.NativeFile:
    """File opened for Arrow, which cannot open a path that is not valid UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return pa.PythonFile(path.open("rb"), mode="r")
    return pa.OSFile(str(path), "rb")


def lines_of(chunks: Chunks, *, before: int = 0) -> Generator[tuple[int, bytes | None], None, None]:
    r"""Lines without their `\n`, each with its 1-based number; None for a line that is too long.

    An unfinished line before a break is not given, because its end is unknown.

    Args:
        chunks: The content.
        before: How many lines are in front of it.

    Raises:
        BrokenStreamError: As `chunks` raises it, after the last whole line.
    """
    number = before + 1
    unfinished: list[bytes] = []
    length = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        length += len(first)
        if length > ROW_BYTES:  # what came of it so far is let go; its end is still looked for
            unfinished.clear()
        else:
            unfinished.append(first)
        if not others:
            continue
        yield number, None if length > ROW_BYTES else b"".join(unfinished)
        number += 1
        last = others.pop()
        for line in others:
            yield number, line
            number += 1
        unfinished, length = [last], len(last)
    if length > ROW_BYTES:
        yield number, None
    elif any(unfinished):
        yield number, b"".join(unfinished)
