"""SHA-256 of large files, remembered by path, size and time of change."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from tutelage.data import write_text
from tutelage.errors import DataError
from tutelage.models.cache_paths import cache_folder

_WORTH_REMEMBERING_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 22


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    A file of a megabyte or more is hashed again only when its size or its time of change differs
    from what was noted beside the last digest.
    """
    real = path.resolve()
    stat = real.stat()
    if stat.st_size < _WORTH_REMEMBERING_BYTES:
        return sha256(real)
    note = [str(real), stat.st_size, stat.st_mtime_ns, stat.st_ino]
    name = hashlib.sha256(str(real).encode()).hexdigest()[:32]
    place = cache_folder() / "digests" / f"{name}.json"
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        known = None
    if isinstance(known, dict) and known.get("file") == note:
        return str(known["sha256"])
    digest = sha256(real)
    _remember(place, {"file": note, "sha256": digest})
    return digest


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _remember(place: Path, content: dict[str, object]) -> None:
    """Write a note for the next time; without it, hashing is only slower."""
    with suppress(OSError, DataError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(content))
