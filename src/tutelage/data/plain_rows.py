"""Fast path for plain rows: their example and candidate without parsing each field.

Each set of column names is analyzed once (`TextColumns`). A row that has plain texts in these
columns becomes an example here, in a fifth of the time. Any other row gives None and is read field
by field by `parse_row`, which gives the same result for plain rows.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from tutelage.data.chat_messages import ROLE_OF
from tutelage.data.conversation_pairs import joined
from tutelage.data.example import OK, ORIGINAL, Candidate, Example, Message
from tutelage.data.field_aliases import is_null
from tutelage.data.field_values import clean_text
from tutelage.data.ids import original_ids_of
from tutelage.data.row_parser import extra_of
from tutelage.data.text_columns import TextColumns

Plain: TypeAlias = tuple[Example, tuple[Candidate]]

_TURN_KEYS = (("role", "content"), ("from", "value"))
_SPEAKERS = ("user", "assistant")
_MARK_CHARACTERS: Final = 20
"""Characters of a response within which "Human:" marks a whole conversation."""


def plain_row(
    row: Mapping[str, object], columns: TextColumns, *, source: str | None
) -> Plain | None:
    """Example and original candidate of a plain row.

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
    named = None if columns.source is None else row[columns.source]
    if reference is not None and type(reference) is not str:
        return None
    if named is not None and type(named) is not str:
        return None
    messages = _pair(row, columns) if columns.turns is None else _turns(row, columns)
    if messages is None:
        return None
    reference, extra = _note(reference), None
    if columns.rest:
        rest = {name: row[name] for name in columns.rest if not is_null(row[name])}
        extra = extra_of(rest) if rest else None
    example_id, candidate_id = original_ids_of(messages, reference=reference)
    came_from = _note(named) or source
    example = _example(example_id, messages, reference=reference, source=came_from, extra=extra)
    return example, (_original(candidate_id, example_id, messages),)


def _note(text: str | None) -> str | None:
    """Optional text; None where it is blank."""
    return clean_text(text) if text and text.strip() else None


def _pair(row: Mapping[str, object], columns: TextColumns) -> tuple[Message, ...] | None:
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
    pair = (_message("user", asked), _message("assistant", clean_text(said)))
    instructed = _note(system)
    return pair if instructed is None else (_message("system", instructed), *pair)


def _is_unused(value: object) -> bool:
    return value is None or (type(value) is list and not value)


def _turns(row: Mapping[str, object], columns: TextColumns) -> tuple[Message, ...] | None:
    """Turns of a conversation that alternates strictly between user and assistant."""
    turns = row[columns.turns] if columns.turns is not None else None
    if type(turns) is not list or any(row[name] is not None for name in columns.unused):
        return None
    messages: list[Message] = []
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
        if role is None or (role != _SPEAKERS[expected] and (role != "system" or messages)):
            return None
        if role != "system":
            expected = 1 - expected
        messages.append(_message(role, clean_text(content)))
    if expected or len(messages) < len(_SPEAKERS):  # ends with a user, or holds no pair
        return None
    said = messages[-1].content.strip() and messages[-2].content.strip()
    return tuple(messages) if said else None


Setter: TypeAlias = Callable[[object, object], None]


def setters_of(frozen: type[Any]) -> list[Setter]:
    """Setter of each slot of a frozen dataclass, in the order of its fields.

    An object made with `object.__new__` and these takes a third of the time of the class's own
    `__init__`, which also checks the values: use it only for values that are known to be right.
    """
    return [vars(frozen)[name].__set__ for name in frozen.__slots__]


_new = object.__new__
_TURN = setters_of(Message)
_EXAMPLE = setters_of(Example)
_CANDIDATE = setters_of(Candidate)
_set_role, _set_content, _set_reasoning, _set_calls, _set_call_id, _set_name, _set_trained = _TURN
_set_id, _set_messages, _set_reference, _set_source, _set_extra, *_set_rest = _EXAMPLE
_set_own_id, _set_example_id, _set_parent, _set_step, _set_teacher, _set_texts = _CANDIDATE[:6]
_set_status, _set_finish, _set_detail, _set_criticism, _set_key, *_set_more = _CANDIDATE[6:]


def _message(role: str, content: str) -> Message:
    made = _new(Message)
    _set_role(made, role)
    _set_content(made, content)
    _set_reasoning(made, None)
    _set_calls(made, None)
    _set_call_id(made, None)
    _set_name(made, None)
    _set_trained(made, True)
    return made


def _example(
    example_id: str,
    messages: tuple[Message, ...],
    *,
    reference: str | None,
    source: str | None,
    extra: str | None,
) -> Example:
    made = _new(Example)
    _set_id(made, example_id)
    _set_messages(made, messages)
    _set_reference(made, reference)
    _set_source(made, source)
    _set_extra(made, extra)
    for unset in _set_rest:  # tools, template arguments
        unset(made, None)
    return made


def _original(candidate_id: str, example_id: str, messages: tuple[Message, ...]) -> Candidate:
    made = _new(Candidate)
    _set_own_id(made, candidate_id)
    _set_example_id(made, example_id)
    _set_parent(made, None)
    _set_step(made, ORIGINAL)
    _set_teacher(made, None)
    _set_texts(made, messages)
    _set_status(made, OK)
    _set_finish(made, None)
    _set_detail(made, None)
    _set_criticism(made, None)
    _set_key(made, None)
    for unset in _set_more:
        unset(made, None)
    return made
