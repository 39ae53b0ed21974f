"""The text of an item of an evaluation set, from a row of any of the shapes that sets have."""

from collections.abc import Iterator, Mapping, Sequence

from tutelage.data.field_values import MEDIA, is_list, is_nothing, value_at
from tutelage.errors import DataError

USUAL_FIELDS = (
    *("instruction", "question", "prompt", "problem", "text", "content"),
    *("query", "input", "inputs", "goal", "question_stem", "question_content", "question_text"),
    *("ctx", "sentence", "turns", "messages", "conversations", "conversation", "doc"),
)
"""Where the text is looked for if no fields are named: the first of them that holds one."""

_TEXT_KEYS = ("stem", "text", "content", "value", *USUAL_FIELDS)
_ASKING = ("user", "human", "prompter")
_SHOWN_FIELDS = 8


def item_text(row: object, *, fields: Sequence[str] | None, place: str) -> str:
    r"""The text of a row: that of its fields, one a line.

    Args:
        row: A text, or an object.
        fields: Which fields; `a.b` is the field b of the object a. None takes the usual ones.
        place: File and line, for messages.

    Raises:
        DataError: A field is missing, or there is no text in it.

    Examples:
        >>> item_text({"question": {"stem": "Why?"}, "id": 3}, fields=None, place="a.jsonl:1")
        'Why?'
    """
    if isinstance(row, str) and fields is None:
        return _not_blank(row, place=place)
    if not isinstance(row, Mapping):
        raise DataError(
            f"{place}: expected an object, got {row!r:.60}", hint="each row is an object or a text"
        )
    names = fields or _usual_field(row, place=place)
    missing = [name for name in names if field_value(row, name) is None]
    if missing:
        raise _missing(row, missing, place=place)
    values = {name: field_value(row, name) for name in names}
    texts = [_text(value, field=name, place=place) for name, value in values.items()]
    if not any(_holds_text(value) for value in values.values()):
        name, value = next(iter(values.items()))
        raise DataError(
            f"{place}: field {name} is {value!r:.60}, not a text",
            hint="name the field that holds the text as `fields`",
        )
    return _not_blank("\n".join(texts), place=place)


def field_value(row: Mapping[str, object], name: str) -> object:
    """The value of a field, by its name in any case; None where the row has none.

    Args:
        row: An object.
        name: Of the field; `a.b` is the field b of the object a, unless there is a field `a.b`.
    """
    if row.get(name) is not None:
        return row[name]
    folded = name.casefold()
    for own, value in row.items():
        if value is not None and str(own).casefold() == folded:
            return value
    return value_at(row, name) if "." in name else None


def _usual_field(row: Mapping[str, object], *, place: str) -> tuple[str, ...]:
    there = []
    for wanted in USUAL_FIELDS:
        for name, value in row.items():
            if str(name).casefold() == wanted:
                if _holds_text(value):
                    return (str(name),)
                there.append(name)
    objects = [name for name in there if not _is_blank(row[name])]
    if objects:
        return (objects[0],)
    if there:
        raise DataError(
            f"{place}: the text is empty: {', '.join(there)}",
            hint="name other `fields`, or drop the row: an item without text is never found",
        )
    raise _missing(row, (), place=place)


def _missing(row: Mapping[str, object], missing: Sequence[str], *, place: str) -> DataError:
    shown = USUAL_FIELDS[:_SHOWN_FIELDS]
    wanted = ", ".join(missing) if missing else "any of " + ", ".join(shown)
    lists = [str(name) for name, value in row.items() if _is_rows(value)]
    texts = {str(name): len(str(value)) for name, value in row.items() if _holds_text(value)}
    if lists:
        hint = f"save the list in {lists[0]} as a file of its own, if its entries are the items"
    elif len(row) > 1 and all(isinstance(value, Mapping) for value in row.values()):
        hint = "save the objects as a list, if each of them is an item"
    elif texts:
        longest = max(texts, key=texts.__getitem__)
        hint = f"name the fields of the set, such as `fields: [{longest}]`; `a.b` names b of a"
    else:
        hint = "name the fields of the set as `fields`; `question.stem` names one of an object"
    return DataError(f"{place}: no field {wanted}; the row has {_names(row)}", hint=hint)


def _is_blank(value: object) -> bool:
    return is_nothing(value) or (isinstance(value, str) and not value.strip())


def _names(row: Mapping[str, object]) -> str:
    return ", ".join(map(str, row)) or "nothing"


def _is_rows(value: object) -> bool:
    """Whether a value is a list of objects that are no turns and no content parts."""
    if not is_list(value) or not len(value):
        return False
    return all(isinstance(v, Mapping) and not {"role", "from", "type"} & v.keys() for v in value)


def _holds_text(value: object) -> bool:
    """Whether a value is a text or holds one where `_text` looks for it."""
    return any(part.strip() for part in _strings(value))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        inner = _inner(value)
        if inner is not None:
            yield from _strings(inner)
    elif is_list(value):
        for part in value:
            yield from _strings(part)


def _text(value: object, *, field: str, place: str) -> str:
    """The text of a field: itself, those of a list, or those that an object holds."""
    if is_list(value):
        turns = [part for part in value if isinstance(part, Mapping)]
        asked = [part for part in turns if (part.get("role") or part.get("from")) in _ASKING]
        written = [part for part in value if not _is_media(part)]
        parts: Sequence[object] = asked or written or value
        return "\n".join(_text(part, field=field, place=place) for part in parts)
    if not isinstance(value, Mapping):
        return str(value)
    inner = _inner(value)
    if inner is not None:
        return _text(inner, field=field, place=place)
    first = next(iter(value), "NAME")
    raise DataError(
        f"{place}: field {field} is an object, not a text; it has {_names(value)}",
        hint=f"name the part of it that holds the text, such as `fields: [{field}.{first}]`",
    )


def _inner(value: Mapping[str, object]) -> object:
    """Text inside an object; None if no field of it is named like a text."""
    return next((value[key] for key in _TEXT_KEYS if value.get(key)), None)


def _is_media(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in MEDIA


def _not_blank(text: str, *, place: str) -> str:
    if not text.strip():
        raise DataError(f"{place}: the text is empty", hint="name other `fields`, or drop the row")
    return text
