"""File locks: one process at a time holds the lock of a file."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tutelage.errors import RunError


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
