"""File discovery and format detection by content."""

import csv
import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tutelage.data.byte_streams import Packing, head_of, packing_of, unreadable
from tutelage.data.file_records import BOM, DECODER, list_of_rows
from tutelage.errors import DataError

Format: TypeAlias = Literal["auto", "json", "jsonl", "csv", "tsv", "parquet", "arrow"]

_HEAD_BYTES = 1 << 18
_DELIMITERS = ",\t;|"
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
_ENDINGS = tuple(
    suffix + packed
    for suffix in _SUFFIXES
    for packed in ("", ".gz", ".zst", ".zstd", ".bz2", ".xz")
)
_ABOUT_A_DATASET = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_NAME_CHARACTERS = 100
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A data file with the format in which it is read.

    Attributes:
        path: Where it is, as the user wrote it.
        format: Format of the content.
        packing: How it is packed.
        delimiter: Delimiter of CSV and TSV; empty for other formats.
    """

    path: Path
    format: Literal["json", "jsonl", "csv", "parquet", "arrow"]
    packing: Packing = "none"
    delimiter: str = ""


def files_of(source: str | Path, *, split: str | None) -> list[Path]:
    """Files of a path: the file itself, those in a folder, or those that match a pattern.

    Args:
        source: A file, a folder, a saved `datasets` folder, or a glob pattern.
        split: Which split of a saved `datasets` folder with several.

    Returns:
        The files in the order of their names; those of a saved dataset in its own order.

    Raises:
        DataError: There is nothing.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return _files_in(path, split=split)
        if path.exists():
            return [path]
        # Path.glob takes no absolute pattern.
        matched = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise unreadable(path, error) from error
    files = [Path(match) for match in matched if Path(match).is_file()]
    if not files:
        raise DataError(f"{source}: no such file or folder", hint="check the path")
    return files


def is_data_name(name: str) -> bool:
    """Whether a file of this name is read when a whole folder is given."""
    return name.lower().endswith(_ENDINGS)


def _files_in(folder: Path, *, split: str | None) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        splits = _json_object(folder / "dataset_dict.json").get("splits")
        names = [str(name) for name in splits] if isinstance(splits, list) else []
        return _saved(folder / chosen_split(names, split=split, place=str(folder)))
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = sorted(
        path
        for path in folder.rglob("*")
        if is_data_name(path.name)
        and path.name not in _ABOUT_A_DATASET
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not files:
        raise DataError(
            f"{folder}: contains no data files",
            hint=f"looked for {', '.join(_SUFFIXES)}, also compressed",
        )
    return files


def chosen_split(names: Sequence[str], *, split: str | None, place: str) -> str:
    """Name of the split to read: the requested one, or the only one.

    Args:
        names: Splits that the source has.
        split: The requested split; None for the only one.
        place: The source, for the error.

    Raises:
        DataError: It does not exist, or there are several and none was asked for.
    """
    if split is None and len(names) == 1:
        return names[0]
    if split is None or split not in names:
        asked = "" if split is None else f", not {split!r}"
        raise DataError(
            f"{place}: has the splits {', '.join(names) or '(none)'}{asked}",
            hint="choose one of them with `split`",
        )
    return split


def _saved(folder: Path) -> list[Path]:
    state = _json_object(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            f"{folder}: was saved with an index over its rows",
            hint="save it again after `.flatten_indices()`",
        )
    listed = state.get("_data_files")
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    files = [folder / str(name) for name in names if name]
    if not files:
        raise DataError(f"{folder}: state.json names no data files")
    return files


def _json_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object")
    return value


def sniff(path: Path, *, forced: Format = "auto") -> DataFile:
    """Detect the format of a file from its content, and from its name where that is ambiguous.

    Args:
        path: The file.
        forced: The format the user insists on.

    Raises:
        DataError: The file cannot be opened, or is in no format that can be read.
    """
    packing = packing_of(path)
    head = head_of(path, packing=packing, size=_HEAD_BYTES)
    binary = _binary_format(head)
    if binary is not None and packing != "none":
        raise DataError(
            f"{path}: is {binary} packed with {packing}",
            hint="decompress it first; the format has its own compression",
        )
    text = head.removeprefix(BOM).decode(errors="replace")
    match forced:
        case "parquet" | "arrow" | "json" | "jsonl":
            return DataFile(path=path, format=forced, packing=packing)
        case "csv" | "tsv":
            delimiter = "\t" if forced == "tsv" else _delimiter(text) or ","
            return DataFile(path=path, format="csv", packing=packing, delimiter=delimiter)
        case "auto":
            if binary is not None:
                return DataFile(path=path, format=binary)
            return _text_file(path, head, text, packing=packing)


def _binary_format(head: bytes) -> Literal["parquet", "arrow"] | None:
    if head.startswith(b"PAR1"):
        return "parquet"
    # An Arrow file, or an Arrow stream: what `datasets` saves.
    return "arrow" if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) else None


def _text_file(path: Path, head: bytes, text: str, *, packing: Packing) -> DataFile:
    if head.startswith(_UTF_16):
        raise DataError(
            f"{path}: is UTF-16 text", hint="convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"
        )
    whole = len(head) < _HEAD_BYTES
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        if whole and not head.strip():
            # No rows; or a packed file that breaks off at once, which reading lines will say.
            return DataFile(path=path, format="jsonl", packing=packing)
        raise _unknown(path, head)
    start = text.lstrip()[0]
    if start in "[{":
        is_json = _is_json(text.lstrip(), lines, whole=whole)
        return DataFile(path=path, format="json" if is_json else "jsonl", packing=packing)
    name = path.name.lower()
    says_json = any(f"{suffix}" in name for suffix in (".json", ".ndjson"))
    if says_json and (len(lines) == 1 or any(line.lstrip().startswith("{") for line in lines[1:])):
        return DataFile(path=path, format="jsonl", packing=packing)
    delimiter = _delimiter(lines[0])
    if delimiter is None and any(suffix in name for suffix in (".csv", ".tsv")):
        delimiter = ","  # a single column
    if delimiter is not None and b"\0" not in head:
        return DataFile(path=path, format="csv", packing=packing, delimiter=delimiter)
    if any(line.lstrip().startswith("{") for line in lines):
        return DataFile(path=path, format="jsonl", packing=packing)
    raise _unknown(path, head)


def _is_json(text: str, lines: Sequence[str], *, whole: bool) -> bool:
    """Whether text that starts with a bracket is one JSON document rather than JSON lines."""
    if text[0] == "[":
        several = len(lines) > 1 and all(line.lstrip().startswith("[") for line in lines[:3])
        return not (several and _is_value(lines[0]))
    if len(lines) > 1 and lines[1].startswith("{"):
        return False
    return list_of_rows(text) is not None or _spans_lines(text, lines[0], whole=whole)


def _spans_lines(text: str, first_line: str, *, whole: bool) -> bool:
    """Whether the first JSON value continues after its first line."""
    try:
        _, end = DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        # A value longer than the head: its first line is fine, and it just does not end.
        return not whole and error.pos > len(first_line)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[:end]


def _is_value(text: str) -> bool:
    try:
        DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _delimiter(text: str) -> str | None:
    """Delimiter of a header line, or None where it does not look like a header."""
    header = text.lstrip("\n").split("\n", 1)[0].strip("\r")
    best = max(_DELIMITERS, key=header.count)
    if best not in header:
        return None
    try:
        names = [name.strip() for name in next(csv.reader([header], delimiter=best), [])]
    except csv.Error:
        return None
    # One name may be empty: data frames write their index without one.
    distinct = len(names) > 1 and len(set(names)) == len(names)
    return best if distinct and all(len(name) <= _NAME_CHARACTERS for name in names) else None


def _unknown(path: Path, head: bytes) -> DataError:
    return DataError(
        f"{path}: has no supported format; it starts with {ascii(head[:16])[1:]}",
        hint="it can be JSON, JSONL, CSV or TSV (plain, gzip, zstd, bzip2, xz), Parquet or Arrow",
    )
