"""Turn what a row calls text or a conversation into our own messages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

import numpy as np

from tutelage.data.example import Message

ROLE_OF = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
"""Role names in the wild (OpenAI, ShareGPT, OASST, Gemini), and which of ours each means."""

_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value", "text")


class UnreadableRowError(ValueError):
    """This row cannot become an example; `read` turns it into a row with this status.

    Args:
        status: Why, in snake_case.
        detail: What was found.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def clean_text(text: str) -> str:
    r"""The same text, with each lone surrogate (half of a broken `\ud83d\ude00`) as U+FFFD.

    A lone surrogate has no UTF-8 form, so no file could hold it.

    Examples:
        >>> clean_text("caf\u00e9 \ud83d")
        'café �'
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Two halves written as separate escapes become one character; the rest are replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def text_of(value: object, *, name: str) -> str | None:
    """The text of a field: a string, a number as JSON writes it, or joined text parts.

    Parts are `{"type": "text", "text": ...}`. A list of strings is not text: it could as well
    be several texts to choose from.

    Args:
        value: The field's value. None and NaN (how data frames write "missing") give None.
        name: The field's name, for the reason.

    Raises:
        UnreadableRowError: `bad_type` or `unsupported_content`.
    """
    if isinstance(value, str):
        return clean_text(value)
    if value is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int | float):
        return _number_text(value, name=name)
    if is_list(value):
        return "".join(_part_text(part, name=name) for part in value)
    raise UnreadableRowError("bad_type", f"field {name!r} should be text, found {_show(value)}")


def _number_text(value: float, *, name: str) -> str | None:
    if value != value or isinstance(value, bool):  # noqa: PLR0124  (only NaN differs from itself)
        return json.dumps(value) if isinstance(value, bool) else None
    try:
        return json.dumps(value)
    except ValueError as error:  # an integer with more than 4300 digits
        raise UnreadableRowError("bad_type", f"field {name!r}: {error}") from error


def _part_text(part: object, *, name: str) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        kind = part.get("type", "text")
        if kind in ("text", "input_text", "output_text"):
            return clean_text(part["text"])
    raise UnreadableRowError(
        "unsupported_content", f"field {name!r} holds something other than text: {_show(part)}"
    )


def is_scalar(value: object) -> bool:
    """Whether the value is one text, number or truth value."""
    return isinstance(value, str | int | float | np.generic)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether the value is a list of things (not text, not bytes)."""
    if value is None or isinstance(value, str | bytes | bytearray):  # most values: asked first
        return False
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence)


def is_conversation(value: object) -> TypeGuard[Sequence[object]]:
    """Whether the value is a non-empty list of turns: mappings that name a role."""
    if not is_list(value) or len(value) == 0:
        return False
    return all(isinstance(turn, Mapping) and any(k in turn for k in _ROLE_KEYS) for turn in value)


def turns_of(value: object, *, name: str) -> tuple[Message, ...]:
    """The turns of a conversation in any of the spellings `ROLE_OF` knows.

    Args:
        value: A list of mappings with role and content (or from and value), or such a list
            as JSON text, which is how CSV files hold it.
        name: The field's name, for the reason.

    Raises:
        UnreadableRowError: `bad_type`, `unsupported_role` or `unsupported_content`.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UnreadableRowError("bad_type", f"field {name!r} is not JSON: {error}") from error
    if not is_list(value):
        raise UnreadableRowError(
            "bad_type", f"field {name!r} should be a list of turns, found {_show(value)}"
        )
    return tuple(_turns(value, name=name))


def _turns(turns: Sequence[object], *, name: str) -> Iterator[Message]:
    for index, turn in enumerate(turns):
        place = f"{name}[{index}]"
        if not isinstance(turn, Mapping):
            raise UnreadableRowError("bad_type", f"{place} should be a turn, found {_show(turn)}")
        spelled = next((turn[k] for k in _ROLE_KEYS if turn.get(k) is not None), None)
        role = ROLE_OF.get(spelled.strip().lower()) if isinstance(spelled, str) else None
        if role is None:
            raise UnreadableRowError(
                "unsupported_role",
                f"{place} has the role {_show(spelled)}; known: {', '.join(ROLE_OF)}",
            )
        if turn.get("tool_calls") or turn.get("function_call"):
            raise UnreadableRowError("unsupported_content", f"{place} calls a tool")
        content = next((turn[k] for k in _CONTENT_KEYS if turn.get(k) is not None), None)
        yield Message(role=role, content=text_of(content, name=place) or "")


def split_response(
    turns: tuple[Message, ...], *, name: str
) -> tuple[tuple[Message, ...], str | None]:
    """Split a conversation into its context and its response.

    Returns:
        Everything up to and including the last user turn, and the assistant turn after it
        (None where there is none).

    Raises:
        UnreadableRowError: `no_user_turn`, or `unexpected_turns` where something other than
            one assistant turn follows the last user turn.
    """
    last_user = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last_user is None:
        raise UnreadableRowError("no_user_turn", f"field {name!r} has {_roles(turns)}")
    context, rest = turns[: last_user + 1], turns[last_user + 1 :]
    if not rest:
        return context, None
    if len(rest) > 1 or rest[0].role != "assistant":
        raise UnreadableRowError(
            "unexpected_turns",
            f"field {name!r} should end with one assistant turn, has {_roles(turns)}",
        )
    return context, rest[0].content


def _roles(turns: tuple[Message, ...]) -> str:
    if not turns:
        return "no turns"
    shown = ", ".join(turn.role for turn in turns[-6:])
    return f"the roles ..., {shown}" if len(turns) > 6 else f"the roles {shown}"  # noqa: PLR2004


def _show(value: object) -> str:
    """A value as short text for a reason, with its type where that says more."""
    if value is None:
        return "null"
    text = ascii(value) if isinstance(value, str) else f"{type(value).__name__} {value!r:.200}"
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004
