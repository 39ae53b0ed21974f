"""Answers that a server streams although it was asked for one body."""

import json

from tutelage.teacher.http_errors import is_object


def body_of_events(text: str) -> dict[str, object] | None:
    """The chat completion that a whole stream of events spells.

    Args:
        text: The body, as `data: {...}` lines.

    Returns:
        One body with the joined text, or None where this is no stream of events or it broke off
        before its end.

    Examples:
        >>> text = 'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}'
        >>> body_of_events(text)["choices"][0]["message"]["content"]
        'Hi'
    """
    lines = [
        line.removeprefix("data:").strip() for line in text.splitlines() if line[:5] == "data:"
    ]
    parts: dict[str, str] = {}
    body: dict[str, object] = {}
    finish: object = None
    for line in lines:
        if line == "[DONE]":
            break
        try:
            event = json.loads(line, strict=False)
        except (ValueError, RecursionError):
            return None
        if not is_object(event):
            return None
        if "error" in event:
            return event
        body |= {name: event[name] for name in ("id", "model", "usage") if event.get(name)}
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if is_object(choice) and choice.get("index", 0) == 0:
                finish = choice.get("finish_reason") or finish
                _join(parts, choice.get("delta"))
    if not lines or (finish is None and lines[-1] != "[DONE]"):
        return None
    message = {"role": "assistant", "content": None, **parts}
    return body | {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _join(parts: dict[str, str], delta: object) -> None:
    if is_object(delta):
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            piece = delta.get(name)
            if isinstance(piece, str):
                parts[name] = parts.get(name, "") + piece
