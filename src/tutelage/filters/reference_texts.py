"""Reference texts of filters: evaluation sets, target sets, positives and negatives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.data import ReadSettings, Record, read_records
from tutelage.data.byte_streams import BrokenStreamError, chunks_of, lines_of, packing_of
from tutelage.errors import DataError
from tutelage.filters.config import TextSource

USUAL_FIELDS = ("instruction", "question", "prompt", "problem", "text", "content")
"""Fields searched for the text of a row if none are named; the first non-empty one is used."""

_OTHER_FIELDS = ("query", "input", "goal", "messages", "conversations", "conversation")
_ANY_FIELD = {*USUAL_FIELDS, *_OTHER_FIELDS}
_TEXT_KEYS = ("stem", "text", "content", "value", *USUAL_FIELDS, *_OTHER_FIELDS)
_ASKING = ("user", "human", "prompter")


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
            _item(f"{name}:{row}", text, place=f"{name}[{row}]")
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
        items.append(_item(item_id, _text(record.value, source, place), place=place))
    if not items:
        raise DataError(f"{path}: holds no rows", hint="check the path of the set")
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
                    hint="an evaluation set holds one item a line",
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


def _item(item_id: str, text: str, *, place: str) -> Item:
    if not text.strip():
        raise DataError(f"{place}: the text is empty", hint="name other `fields`, or drop the row")
    return Item(item_id=item_id, text=text)


def _text(row: object, source: TextSource, place: str) -> str:
    if isinstance(row, str) and source.fields is None:
        return row
    if not isinstance(row, Mapping):
        raise DataError(
            f"{place}: expected an object, got {row!r:.60}", hint="each row is an object or a text"
        )
    fields = source.fields or _usual_field(row)
    missing = [name for name in fields if _value_at(row, name) is None]
    empty = [str(name) for name in row if str(name).casefold() in _ANY_FIELD]
    if not fields and empty:
        raise DataError(
            f"{place}: the text is empty: {', '.join(empty)}",
            hint="name other `fields`, or drop the row: an item without text is never found",
        )
    if missing or not fields:
        wanted = ", ".join(missing) if missing else "any of " + ", ".join(USUAL_FIELDS)
        raise DataError(
            f"{place}: no field {wanted}; the row has {', '.join(map(str, row))}",
            hint="name the fields of the set as `fields`; `question.stem` names one of an object",
        )
    return "\n".join(_spread(_value_at(row, name), field=name, place=place) for name in fields)


def _usual_field(row: Mapping[str, object]) -> tuple[str, ...]:
    for wanted in (*USUAL_FIELDS, *_OTHER_FIELDS):
        for name, value in row.items():
            if str(name).casefold() == wanted and value:
                return (name,)
    return ()


def _value_at(row: Mapping[str, object], name: str) -> object:
    """Value of a field; `a.b` is the field b of the object a, unless a field is called `a.b`."""
    if row.get(name) is not None:
        return row[name]
    outer, _, inner = name.partition(".")
    value = row.get(outer) if inner else None
    return _value_at(value, inner) if isinstance(value, Mapping) else None


def _spread(value: object, *, field: str, place: str) -> str:
    """Texts of a field: a text, the items of a list, or the values of an object."""
    if isinstance(value, list | tuple):
        turns = [part for part in value if isinstance(part, Mapping)]
        asked = [part for part in turns if (part.get("role") or part.get("from")) in _ASKING]
        parts: Sequence[object] = asked or value
        return "\n".join(_spread(part, field=field, place=place) for part in parts)
    if not isinstance(value, Mapping):
        return str(value)
    for key in _TEXT_KEYS:
        if value.get(key):
            return _spread(value[key], field=field, place=place)
    keys = ", ".join(map(str, value)) or "nothing"
    first = next(iter(value), "NAME")
    raise DataError(
        f"{place}: field {field} is an object, not a text; it has {keys}",
        hint=f"name the part with the text, such as `fields: [{field}.{first}]`",
    )
