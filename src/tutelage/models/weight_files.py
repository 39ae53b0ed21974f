"""Weight files of a model folder: selection, integrity checks and hashes.

Checked without torch. An index decides which files transformers opens, so it may name nothing
but safetensors files inside the folder; and a safetensors file says in its header how long it is,
so that a copy that was cut short is found before anything is loaded.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tutelage.data import write_text
from tutelage.errors import DataError, StudentError
from tutelage.models.config import cache_folder

_SINGLE = "model.safetensors"
_SAFE_INDEX = "model.safetensors.index.json"
_PICKLE_INDEX = "pytorch_model.bin.index.json"
_HEADER_LENGTH_BYTES = 8
_LAYER = re.compile(
    r"(?:model\.|transformer\.|language_model\.|model\.language_model\.|language_model\.model\.)?"
    r"(?:layers|h)\.(\d+)\."
)
_SPARE_LAYERS = 1
"""Of layers that only predict further tokens, which transformers leaves out."""
_WHOLE_NUMBERS = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"})
"""Types of safetensors in which no model has its matrices unless it is quantised."""
_SCALES = (".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".weight.absmax")
"""Endings of tensors that are stored with quantised matrices."""
_LARGEST_HEADER_BYTES = 100_000_000
"""Largest header of a safetensors file, as the format sets it."""


def weight_files(path: Path, *, config: Mapping[str, Any], pickle: bool) -> tuple[Path, ...]:
    """Files that transformers loads weights from, with their index.

    Args:
        path: The model's folder.
        config: Its config.json; `transformers_weights` there names a file.
        pickle: Whether .bin files may be loaded where there are no safetensors files.

    Raises:
        StudentError: There are none, an index names what may not be loaded, or a file is cut.
    """
    _check_indexes(path, pickle=pickle)
    weights = _named_in_config(path, config) or _safe_files(path)
    if not weights and pickle:
        weights = _pickles(path)
    if not weights:
        raise StudentError(
            f"{path}: has no weights as safetensors",
            hint="loading a pickle can run code; to load it anyway, set weights: pickle"
            if _pickles(path)
            else "save the model with model.save_pretrained(folder)",
        )
    names = [n for file in weights if file.suffix == ".safetensors" for n in check_whole(file)]
    _check_layers(path, config, names)
    return tuple(weights)


def _check_layers(path: Path, config: Mapping[str, Any], names: Iterable[str]) -> None:
    """Compare the number of layers of the config with those of the weights.

    Layers that the config does not count would be left out without a word, and building many more
    than there are takes hours and all memory.

    Raises:
        StudentError: They differ by more than layers that only predict further tokens.
    """
    names = list(names)
    inner = config.get("text_config")
    of_text = inner if isinstance(inner, Mapping) else config
    layers = of_text.get("num_hidden_layers")
    if not names or isinstance(layers, bool) or not isinstance(layers, int):
        return
    found = [int(match[1]) + 1 for name in names if (match := _LAYER.match(name))]
    extra = of_text.get("num_nextn_predict_layers")
    spare = max(_SPARE_LAYERS, extra if isinstance(extra, int) else 0)
    stored = max(found, default=layers)
    if layers > len(names) or stored > layers + spare or layers < 1:
        raise StudentError(
            f"{path / 'config.json'}: num_hidden_layers is {layers}, but the weights have "
            + (f"{stored} layers" if found else f"{len(names)} tensors"),
            hint="are config.json and the weights those of one model?",
        )


def stored_weights(files: Iterable[Path]) -> tuple[int, int]:
    """Number and bytes of the weights in safetensors files.

    Nothing but their headers is read. Other files count with their size, as weights of two bytes.
    """
    count = size = 0
    for file in files:
        if file.suffix != ".safetensors":
            size += file.stat().st_size if file.suffix == ".bin" else 0
            count += file.stat().st_size // 2 if file.suffix == ".bin" else 0
            continue
        for entry in _tensors(file).values():
            start, end = entry["data_offsets"]
            size += end - start
            count += math.prod(entry["shape"])
    return count, size


def quantized_tensor(files: Iterable[Path]) -> str | None:
    """Name of a tensor that only a quantised model has, or None.

    A matrix of whole numbers, or the scale that belongs to a matrix of few bits.
    """
    for file in files:
        tensors = _tensors(file) if file.suffix == ".safetensors" else {}
        for name, entry in tensors.items():
            shape = entry.get("shape")
            matrix = isinstance(shape, list) and len(shape) > 1
            whole = matrix and entry.get("dtype") in _WHOLE_NUMBERS
            if (whole and name.endswith(".weight")) or name.endswith(_SCALES):
                return name
    return None


def _tensors(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        length = int.from_bytes(content.read(_HEADER_LENGTH_BYTES), "little")
        header = json.loads(content.read(length))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def check_whole(file: Path) -> list[str]:
    """Compare a safetensors file with its own header.

    Returns:
        The names of its tensors.

    Raises:
        StudentError: It is not a safetensors file, or shorter or longer than its header says.
    """
    try:
        with file.open("rb") as content:
            size = file.stat().st_size
            length = int.from_bytes(content.read(_HEADER_LENGTH_BYTES), "little")
            if not 1 < length <= min(size, _LARGEST_HEADER_BYTES):
                raise _damaged(file, "its header is longer than the file")
            header = json.loads(content.read(length))
            ends = {
                name: int(entry["data_offsets"][1])
                for name, entry in header.items()
                if name != "__metadata__"
            }
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error
    expected = _HEADER_LENGTH_BYTES + length + max(ends.values(), default=0)
    if size != expected:
        raise _damaged(file, f"it has {size} bytes, its header says {expected}")
    return list(ends)


def _damaged(file: Path, why: str) -> StudentError:
    return StudentError(
        f"{file}: not a complete safetensors file: {why}", hint="copy or download it again"
    )


def _named_in_config(path: Path, config: Mapping[str, Any]) -> list[Path]:
    name = config.get("transformers_weights")
    if name is None:
        return []
    if not isinstance(name, str) or not name.endswith((".safetensors", ".safetensors.index.json")):
        raise StudentError(
            f"{path / 'config.json'}: transformers_weights is {name!r}, no safetensors file",
            hint="remove the entry, or name a file in the folder",
        )
    file = _inside(path, name, place=path / "config.json")
    if not name.endswith(".json"):
        return [file]
    return [file, *_members(file, pickle=False)]


def _safe_files(path: Path) -> list[Path]:
    """Single weight file that transformers prefers, or the shards of an index."""
    if (path / _SINGLE).is_file():
        return [path / _SINGLE]
    if (path / _SAFE_INDEX).is_file():
        return [path / _SAFE_INDEX, *_members(path / _SAFE_INDEX, pickle=False)]
    return []


def _pickles(path: Path) -> list[Path]:
    if (path / "pytorch_model.bin").is_file():
        return [path / "pytorch_model.bin"]
    return sorted([*path.glob("pytorch_model*.bin"), *path.glob(_PICKLE_INDEX)])


def _check_indexes(path: Path, *, pickle: bool) -> None:
    for index in sorted(path.glob("*.index.json")):
        # The other index is only read where pickles are, but may not point outside either.
        _members(index, pickle=pickle or index.name == _PICKLE_INDEX)


def _members(index: Path, *, pickle: bool) -> list[Path]:
    """Files that an index names, each once.

    Raises:
        StudentError: It is no index, or names a file that is missing or may not be loaded.
    """
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in named.values()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StudentError(
            f"{index}: not an index of weights: {type(error).__name__}: {error}",
            hint="copy or download it again",
        ) from error
    endings = (".safetensors", ".bin") if pickle else (".safetensors",)
    found = []
    for name in names:
        if not name.endswith(endings):
            raise StudentError(
                f"{index}: names {name!r}, which is not a safetensors file",
                hint="loading a pickle can run code; to load it anyway, set weights: pickle"
                if name.endswith(".bin")
                else "an index names the safetensors files of its own folder",
            )
        found.append(_inside(index.parent, name, place=index))
    return [] if index.name == _PICKLE_INDEX and not pickle else found


def _inside(folder: Path, name: str, *, place: Path) -> Path:
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name:
        raise StudentError(
            f"{place}: names {name!r}, which is outside the model's folder",
            hint="an index names the safetensors files of its own folder",
        )
    if not _is_there(file):
        if name.endswith(".bin"):
            return file  # an index that is not read may name what was not fetched
        raise StudentError(
            f"{place}: names {name!r}, which is not in the folder",
            hint="the folder is incomplete: copy or download it again",
        )
    real = file.resolve()
    if not any(real.is_relative_to(root) for root in (folder.resolve(), *_hub_blobs(folder))):
        raise StudentError(
            f"{place}: names {name!r}, a link to {real} outside the model's folder",
            hint="replace the link with the file",
        )
    return file


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def _hub_blobs(folder: Path) -> list[Path]:
    """Files in the hub's cache that a snapshot's links point to."""
    repository = folder.absolute().parent.parent
    is_snapshot = folder.absolute().parent.name == "snapshots"
    if is_snapshot and re.match(r"(models|datasets|spaces)--", repository.name):
        return [(repository / "blobs").resolve()]
    return []


# SHA-256 of large files, remembered by path, size and time of change.


_WORTH_REMEMBERING_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 22


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    A file of a megabyte or more is hashed again only when its size or its time of change differs
    from what was stored with the last digest.
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
    """Store a hash for next time; if that fails, hashing is only slower."""
    with suppress(OSError, DataError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(content))
