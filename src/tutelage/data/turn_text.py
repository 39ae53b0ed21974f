"""Plain text of a turn: its thinking, its content and its tool calls, one after the other."""

import json
from collections.abc import Mapping
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
    found = turn if isinstance(turn, Mapping) else {n: getattr(turn, n) for n in _SHOWN}
    reasoning, calls = found.get("reasoning"), found.get("tool_calls")
    if not reasoning and not calls:
        return str(found["content"])
    parts = []
    if reasoning:
        parts.append(f"[thinking] {reasoning}\n[end of thinking]")
    if found["content"]:
        parts.append(str(found["content"]))
    return "\n".join([*parts, *(_call_text(call) for call in _listed(calls))])


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
