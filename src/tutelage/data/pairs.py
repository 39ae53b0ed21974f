"""Read a row's own conversation: what is asked, and what is answered."""

from dataclasses import dataclass

from tutelage.data.example import Message
from tutelage.data.fields import FieldName, Fields, Shape
from tutelage.data.turns import (
    UnreadableRowError,
    is_conversation,
    is_list,
    is_scalar,
    split_response,
    text_of,
    turns_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A conversation taken apart.

    Attributes:
        context: Everything up to and including the last user turn.
        response: The assistant turn after it; None where the row has no field for one.
        bare: The instruction before its input was joined to it.
        given: The input that was joined to it; empty where there is none.
    """

    context: tuple[Message, ...]
    response: str | None
    bare: str = ""
    given: str = ""


def text_in(fields: Fields, field: FieldName) -> str | None:
    """The text of one field, which then counts as used; None where it is missing or null.

    Raises:
        UnreadableRowError: The field holds no text.
    """
    name, value = fields.take(field)
    return text_of(value, name=name)


def note_in(fields: Fields, field: FieldName) -> str | None:
    """The text of a field that a row can do without; None where it is blank.

    A value that is no single text is left alone, unless the user said that this is the field.

    Raises:
        UnreadableRowError: `bad_type`, for a field the user named.
    """
    name = fields.name(field)
    if name is None:
        return None
    if not is_scalar(fields.peek(field)):
        if fields.is_mapped(name):
            raise UnreadableRowError("bad_type", f"field {name!r} should be text or a number")
        return None
    text = text_in(fields, field)
    return text if text and text.strip() else None


def pair_of(fields: Fields, shape: Shape) -> Pair:
    """The row's own conversation: its context, and its response if it has a field for one.

    Args:
        fields: The row, seen by our names.
        shape: `messages` insists on turns; any other shape takes turns where there are some.

    Raises:
        UnreadableRowError: There is no instruction, or something that is not text.
    """
    if shape == "messages" or fields.peek("messages") is not None:
        name, value = fields.take("messages")
        if value is None:
            raise fields.missing("list of messages")
        turns = turns_of(value, name=name)
        if turns and turns[0].role != "system":
            turns = (*_system(fields), *turns)
        context, response = split_response(turns, name=name)
        return Pair(context=context, response=response)
    name, value = fields.take("instruction")
    if value is None:
        raise fields.missing("instruction")
    if is_conversation(value):
        context, response = split_response(turns_of(value, name=name), name=name)
        if response is not None:
            raise UnreadableRowError("unexpected_turns", f"field {name!r} should end with a user")
        return Pair(context=context, response=_response(fields))
    instruction = text_of(value, name=name) or ""
    given = text_in(fields, "input") or ""
    context = (
        *_system(fields),
        *_history(fields),
        Message(role="user", content=joined(instruction, given)),
    )
    return Pair(context=context, response=_response(fields), bare=instruction, given=given)


def joined(instruction: str, given: str) -> str:
    """An instruction and the input it is given, with a newline between where both say something."""
    if not given.strip():
        return instruction
    return f"{instruction}\n{given}" if instruction.strip() else given


def _response(fields: Fields) -> str | None:
    """The response; None where the row has no field for one, empty where that field is null."""
    name, value = fields.take("response")
    if value is None:
        # A rationale is an extra beside an answer: where it is null, nothing was to be answered.
        names = {own.lower() for own in fields.names("response")}
        return "" if names - {"rationale"} else None
    if is_conversation(value):
        turns = turns_of(value, name=name)
        if len(turns) != 1 or turns[0].role != "assistant":
            raise UnreadableRowError(
                "unexpected_turns", f"field {name!r} should be one assistant turn"
            )
        return turns[0].content
    return text_of(value, name=name) or ""


def _system(fields: Fields) -> tuple[Message, ...]:
    system = note_in(fields, "system")
    return () if system is None else (Message(role="system", content=system),)


def _history(fields: Fields) -> tuple[Message, ...]:
    """Earlier turns as LLaMA-Factory writes them: a list of [instruction, response] pairs."""
    if not is_list(fields.peek("history")):
        return ()
    name, value = fields.take("history")
    turns: list[Message] = []
    for pair in value if is_list(value) else ():
        if not is_list(pair) or len(pair) != 2:  # noqa: PLR2004  (a pair has two)
            raise UnreadableRowError("bad_type", f"field {name!r} should be a list of pairs")
        for role, said in zip(("user", "assistant"), pair, strict=True):
            turns.append(Message(role=role, content=text_of(said, name=name) or ""))
    return tuple(turns)
