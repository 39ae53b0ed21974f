"""Plain text of a turn: its thinking, content and tool calls; and of what a response answers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.data.example import Message


def turn_text(turn: Message | Mapping[str, Any]) -> str:
    """Text of a turn with its thinking and calls; a plain turn gives its content.

    Args:
        turn: A message, or a row of the `MESSAGES` type.

    Examples:
        >>> turn_text(Message(role="user", content="Hi"))
        'Hi'
        >>> call = '[{"function": {"name": "clock", "arguments": {"zone": "UTC"}}}]'
        >>> turn_text(Message(role="assistant", content="", tool_calls=call))
        '[call clock] {"zone": "UTC"}'
    """
    found = {name: _part(turn, name) for name in _SHOWN}
    reasoning, calls = found.get("reasoning"), found.get("tool_calls")
    if not reasoning and not calls:
        return str(found["content"])
    parts = []
    if reasoning:
        parts.append(f"[thinking] {reasoning}\n[end of thinking]")
    if found["content"]:
        parts.append(str(found["content"]))
    return "\n".join([*parts, *(_call_text(call) for call in _listed(calls))])


MOST_CONTEXT_CHARACTERS = 16_000
"""Most characters of a conversation that are shown beside its last user turn."""
_MOST_TURN_CHARACTERS = 4_000


def asked_text(
    turns: Sequence[Message | Mapping[str, Any]], *, most: int = MOST_CONTEXT_CHARACTERS
) -> tuple[str, bool] | None:
    r"""Text of what a response answers: one user turn, or the conversation in front of it.

    A conversation is shown turn by turn under the roles. The last user turn is whole; other turns
    are shortened in the middle, and the oldest of them are left out, where they are too long. A
    system prompt is kept.

    Args:
        turns: The conversation; an assistant turn at its end is the response, and is left out.
        most: Most characters beside the last user turn.

    Returns:
        The text, and whether it is a conversation; None where there is no user turn.

    Examples:
        >>> question = Message(role="user", content="And of Spain?")
        >>> asked_text([question])
        ('And of Spain?', False)
        >>> earlier = Message(role="user", content="Capital of France?")
        >>> print(asked_text([earlier, Message(role="assistant", content="Paris"), question])[0])
        [user]
        Capital of France?
        <BLANKLINE>
        [assistant]
        Paris
        <BLANKLINE>
        [user]
        And of Spain?
    """
    roles = [_part(turn, "role") for turn in turns]
    end = len(turns) - (roles[-1:] == ["assistant"])
    asked = max((at for at in range(end) if roles[at] == "user"), default=None)
    if asked is None:
        return None
    if end == 1:
        return turn_text(turns[0]), False
    shown = {asked: turn_text(turns[asked])}
    left = most
    system = [at for at in range(end) if roles[at] == "system"]
    for at in [*system, *(at for at in reversed(range(end)) if at != asked and at not in system)]:
        text = _shortened(turn_text(turns[at]), min(_MOST_TURN_CHARACTERS, most))
        if len(text) > left:
            break
        shown[at] = text
        left -= len(text)
    parts = [f"[{roles[at]}]\n{shown[at]}" for at in sorted(shown)]
    missing = end - len(shown)
    if missing:
        turns_in_words = "1 earlier turn is" if missing == 1 else f"{missing} earlier turns are"
        parts.insert(sum(at in shown for at in system), f"[{turns_in_words} left out]")
    return "\n\n".join(parts), True


def _part(turn: Message | Mapping[str, Any], name: str) -> Any:
    return turn.get(name) if isinstance(turn, Mapping) else getattr(turn, name)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    gap = f"\n[{len(text) - most:,} characters are left out]\n"
    return text[: most // 2] + gap + text[len(text) - (most - most // 2) :]


_SHOWN = ("content", "reasoning", "tool_calls")


def _listed(calls: str | None) -> list[Any]:
    if not calls:
        return []
    try:
        found = json.loads(calls)
    except (ValueError, RecursionError):  # a table that somebody else wrote
        return [calls]
    return found if isinstance(found, list) else [found]


def _call_text(call: Any) -> str:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return f"[call] {call}"
    arguments = function.get("arguments", {})
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"[call {function.get('name')}] {shown}"
