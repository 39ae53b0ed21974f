"""Fast path for plain rows: their texts and ids without parsing each field.

Each set of column names is analyzed once (`TextColumns`). A row that has plain texts in these
columns becomes an example here, in a fifth of the time. Any other row gives None and is read field
by field by `parse_row`, which gives the same result for plain rows.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from tutelage.data.chat_messages import ROLE_OF
from tutelage.data.conversation_pairs import joined
from tutelage.data.example import OK, ORIGINAL, Candidate, Example, Message
from tutelage.data.field_aliases import is_null
from tutelage.data.field_values import clean_text
from tutelage.data.ids import original_ids_of
from tutelage.data.row_parser import extra_of
from tutelage.data.text_columns import TextColumns

Turns: TypeAlias = tuple[tuple[str, str], ...]
"""Role and content of each turn."""

PlainTexts: TypeAlias = tuple[
    str, str, Turns, str | None, str | None, str | None, dict[str, object] | None
]
"""A plain row as texts, which another process can hand over at little cost.

The ids of the example and of its candidate, the turns, the reference, the source, the other fields
as JSON, and the values that `Findings` looks at beside the texts.
"""

Plain: TypeAlias = tuple[Example, tuple[Candidate]]

_TURN_KEYS = (("role", "content"), ("from", "value"))
_SPEAKERS = ("user", "assistant")
_MARK_CHARACTERS: Final = 20
"""Characters of a response within which "Human:" marks a whole conversation."""


def plain_texts(
    row: Mapping[str, object], columns: TextColumns, *, source: str | None
) -> PlainTexts | None:
    """Texts and ids of a plain row.

    Args:
        row: The row as it was read; it has the columns that were planned.
        columns: Where its texts are.
        source: For rows that do not name one.

    Returns:
        None for a row that must be read field by field: a value of it is no text, a text is
        blank, or it may hold a whole conversation.
    """
    if columns.required and any(row[name] is None for name in columns.required):
        return None
    reference = None if columns.reference is None else row[columns.reference]
    if columns.source is not None:
        named = row[columns.source]
        if named is not None and type(named) is not str:
            return None
        source = _note(named) or source
    if reference is not None and type(reference) is not str:
        return None
    turns = _pair(row, columns) if columns.turns is None else _conversation(row, columns)
    if turns is None:
        return None
    reference, extra = _note(reference), None
    if columns.rest:
        rest = {name: row[name] for name in columns.rest if not is_null(row[name])}
        extra = extra_of(rest) if rest else None
    example_id, candidate_id = original_ids_of(turns, reference=reference)
    possible = (
        {name: row[name] for name in columns.possible_texts} if columns.possible_texts else None
    )
    return example_id, candidate_id, turns, reference, source, extra, possible


def plain_parts(texts: PlainTexts) -> Plain:
    """Example and original candidate of the texts of a plain row."""
    example_id, candidate_id, turns, reference, source, extra, _ = texts
    messages = tuple([_message(role, content) for role, content in turns])
    example = _example(example_id, messages, reference=reference, source=source, extra=extra)
    return example, (_original(candidate_id, example_id, messages),)


def _note(text: str | None) -> str | None:
    """Optional text; None where it is blank."""
    return clean_text(text) if text and text.strip() else None


def _pair(row: Mapping[str, object], columns: TextColumns) -> Turns | None:
    asked, said = row[columns.instruction], row[columns.response]
    given = None if columns.given is None else row[columns.given]
    system = None if columns.system is None else row[columns.system]
    if type(asked) is not str or type(said) is not str:
        return None
    if given is not None and type(given) is not str:
        return None
    if system is not None and type(system) is not str:
        return None
    asked = clean_text(asked)
    if given:
        asked = joined(asked, clean_text(given))
    if (
        not asked.strip()
        or not said.strip()
        or "Human:" in said[:_MARK_CHARACTERS]
        or (columns.unused and not all(_is_unused(row[name]) for name in columns.unused))
    ):
        return None
    pair = (("user", asked), ("assistant", clean_text(said)))
    instructed = _note(system) if system else None
    return pair if instructed is None else (("system", instructed), *pair)


def _is_unused(value: object) -> bool:
    return value is None or (type(value) is list and not value)


def _conversation(row: Mapping[str, object], columns: TextColumns) -> Turns | None:
    """Turns of a conversation that alternates strictly between user and assistant."""
    turns = row[columns.turns] if columns.turns is not None else None
    if type(turns) is not list or any(row[name] is not None for name in columns.unused):
        return None
    found: list[tuple[str, str]] = []
    expected = 0
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2:  # noqa: PLR2004  (role and content)
            return None
        role_key, content_key = _TURN_KEYS["from" in turn]
        content = turn.get(content_key)
        spelled = turn.get(role_key)
        if type(content) is not str or type(spelled) is not str:
            return None
        role = ROLE_OF.get(spelled)
        if role is None or (role != _SPEAKERS[expected] and (role != "system" or found)):
            return None
        if role != "system":
            expected = 1 - expected
        found.append((role, clean_text(content)))
    if expected or len(found) < len(_SPEAKERS):  # ends with a user, or holds no pair
        return None
    return tuple(found) if found[-1][1].strip() and found[-2][1].strip() else None


def blank_of(frozen: type[Any]) -> Any:
    """Class with the slots of a frozen dataclass, which can be filled like any object.

    An object of it becomes one of the frozen class by `__class__`. That takes a quarter of the time
    of the class's own `__init__`, which also checks the values: use it only for values that are
    known to be right.
    """
    return type(f"Blank{frozen.__name__}", (), {"__slots__": frozen.__slots__})


_BlankMessage = blank_of(Message)
_BlankExample = blank_of(Example)
_BlankCandidate = blank_of(Candidate)


def _message(role: str, content: str) -> Message:
    made = _BlankMessage()
    made.role = role
    made.content = content
    made.reasoning = made.tool_calls = made.tool_call_id = made.name = None
    made.trained = True
    made.__class__ = Message
    return cast("Message", made)


def _example(
    example_id: str,
    messages: tuple[Message, ...],
    *,
    reference: str | None,
    source: str | None,
    extra: str | None,
) -> Example:
    made = _BlankExample()
    made.example_id = example_id
    made.messages = messages
    made.reference = reference
    made.source = source
    made.extra = extra
    made.tools = made.template_args = None
    made.__class__ = Example
    return cast("Example", made)


def _original(candidate_id: str, example_id: str, messages: tuple[Message, ...]) -> Candidate:
    made = _BlankCandidate()
    made.candidate_id = candidate_id
    made.example_id = example_id
    made.step = ORIGINAL
    made.messages = messages
    made.status = OK
    made.parent_id = made.teacher = made.finish_reason = made.detail = None
    made.criticism = made.request_key = made.tools = made.template_args = None
    made.__class__ = Candidate
    return cast("Candidate", made)
