"""Reference texts of filters: evaluation sets, target sets, positives and negatives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tutelage.data import ReadSettings, Record, read_records
from tutelage.data.byte_streams import BrokenStreamError, chunks_of, lines_of, packing_of
from tutelage.data.item_texts import item_text
from tutelage.errors import DataError
from tutelage.filters.config import TextSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text of a reference set.

    Attributes:
        item_id: The row's own id, or `<set>:<row>`, 0-based.
        text: Not empty.
    """

    item_id: str
    text: str


def read_items(source: TextSource) -> list[Item]:
    """Texts of a source, in order, read with the reader of training data.

    Raises:
        DataError: The file cannot be read, a row lacks the fields or holds no text in them, a
            text is empty, or there is no row at all.
    """
    if source.texts is not None:
        name = source.name or "texts"
        return [
            Item(
                item_id=f"{name}:{row}",
                text=item_text(text, fields=None, place=f"{name}[{row}]"),
            )
            for row, text in enumerate(source.texts)
        ]
    path = source.path or Path()
    name = source.name or path.name.split(".")[0]
    items = []
    for row, record in enumerate(_records(path, source)):
        place = f"{path}:{record.line}"
        if record.problem is not None:
            raise DataError(
                f"{place}: {record.problem.status}: {record.problem.detail}",
                hint="correct the row or remove it: an item that cannot be read is never found",
            )
        given = record.value.get(source.id_field) if isinstance(record.value, Mapping) else None
        item_id = f"{name}:{row}" if given is None else str(given)
        text = item_text(record.value, fields=source.fields, place=place)
        items.append(Item(item_id=item_id, text=text))
    if not items:
        raise DataError(f"{path}: contains no rows", hint="check the path of the set")
    return items


def _records(path: Path, source: TextSource) -> Iterator[Record]:
    if ".txt" in path.suffixes[-2:]:
        return _lines(path)
    return read_records(path, ReadSettings(split=source.split, subset=source.subset))


def _lines(path: Path) -> Iterator[Record]:
    """Lines of a plain text file that are not blank."""
    try:
        for line, raw in lines_of(chunks_of(path, packing=packing_of(path))):
            if raw is None:
                raise DataError(
                    f"{path}:{line}: the line is too long to read",
                    hint="an evaluation set has one item per line",
                )
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
            if text.strip():
                yield Record(line, text.rstrip("\r"), None)
    except BrokenStreamError as error:
        raise DataError(f"{path}: {error}", hint="check the path and the format") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: {error}",
            hint="convert it to UTF-8, such as: iconv -f UTF-16 -t UTF-8 OLD > NEW",
        ) from error
