"""Sets of texts to compare with: evaluation sets, target sets, positives and negatives."""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.errors import DataError
from tutelage.filters.settings import TextSource

USUAL_FIELDS = ("instruction", "question", "prompt", "problem", "text", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text of a set.

    Attributes:
        item_id: The row's own id, or `<set>:<row>`, 0-based.
        text: Not empty.
    """

    item_id: str
    text: str


def read_items(source: TextSource) -> list[Item]:
    """Read the texts of a source, in order. Empty texts are an error, not skipped.

    Raises:
        DataError: The file cannot be read, a row lacks the fields, or a text is empty.
    """
    if source.texts is not None:
        name = source.name or "texts"
        return [
            _item(f"{name}:{row}", text, place=f"{name}[{row}]")
            for row, text in enumerate(source.texts)
        ]
    path = source.path or Path()
    name = source.name or path.name.split(".")[0]
    items = []
    for row, (place, content) in enumerate(_rows(path)):
        given = content.get(source.id_field)
        item_id = str(given) if given is not None else f"{name}:{row}"
        items.append(_item(item_id, _text(content, source, place), place=place))
    if not items:
        raise DataError(f"{path}: holds no rows", hint="check the path of the set")
    return items


def _item(item_id: str, text: str, *, place: str) -> Item:
    if not text.strip():
        raise DataError(f"{place}: the text is empty", hint="name other `fields`, or drop the row")
    return Item(item_id=item_id, text=text)


def _text(row: Mapping[str, Any], source: TextSource, place: str) -> str:
    fields = source.fields or tuple(name for name in USUAL_FIELDS if row.get(name))[:1]
    missing = [name for name in fields if row.get(name) is None]
    if missing or not fields:
        wanted = ", ".join(missing) if missing else "any of " + ", ".join(USUAL_FIELDS)
        raise DataError(
            f"{place}: no field {wanted}; the row has {', '.join(row)}",
            hint="name the fields of the set as `fields`",
        )
    return "\n".join(_plain(row[name]) for name in fields)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_plain(part) for part in value)
    return str(value)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with the place it stands at, for messages."""
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    reader = _READERS.get(kind)
    if reader is None:
        raise DataError(
            f"{path}: cannot tell the format from {kind!r}",
            hint=f"use {', '.join(_READERS)}; all but .parquet may be followed by .gz",
        )
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: {error}", hint="check the path and the format") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table: pa.Table = pq.read_table(path)
    for row, content in enumerate(table.to_pylist()):
        yield f"{path}: row {row}", content


def _text_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line, text in _lines(path):
        yield f"{path}:{line}", {"text": text}


def _jsonl_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line, text in _lines(path):
        yield f"{path}:{line}", _object(json.loads(text), f"{path}:{line}")


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    content = json.loads(_read(path))
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a list of objects, got {content!r:.60}")
    for row, entry in enumerate(content):
        yield f"{path}: row {row}", _object(entry, f"{path}: row {row}")


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(_read(path).splitlines(keepends=True))
    for content in reader:
        yield f"{path}:{reader.line_num}", content


_READERS = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
    ".txt": _text_rows,
}


def _object(content: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{place}: expected an object, got {content!r:.60}")
    return content


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for line, text in enumerate(_read(path).split("\n"), start=1):
        if text.strip():
            yield line, text


def _read(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return data.decode("utf-8")
