"""The content of one turn: a text, or a list of typed parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tutelage.data.example import Message
from tutelage.data.field_values import (
    clean_text,
    is_list,
    is_nothing,
    not_text,
    text_of,
    text_of_part,
)
from tutelage.data.tool_calls import Call, calls_of


@dataclass(slots=True, kw_only=True)
class Content:
    """What the content of a turn holds.

    Attributes:
        text: Its text parts, joined.
        reasoning: Its thinking, or None.
        calls: Its calls of tools.
        results: What tools returned, as turns of their own.
    """

    text: str = ""
    reasoning: str | None = None
    calls: list[Call] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def content_of(value: object, *, place: str) -> Content:
    """What the content of a turn holds.

    Raises:
        UnreadableRowError: `bad_type`, or `unsupported_content` for images, sound and video.
    """
    if isinstance(value, str):
        return Content(text=clean_text(value))
    if not is_list(value):
        return Content(text=text_of(value, name=place) or "")
    found = Content()
    for part in value:
        text = text_of_part(part)
        if text is not None:
            found.text += text
        elif isinstance(part, Mapping):
            _add_part(found, part, place=place)
        else:
            raise not_text(part, name=place)
    return found


def _add_part(found: Content, part: Mapping[str, object], *, place: str) -> None:
    """A part that is not text: thinking, a call, or what a tool returned."""
    match part.get("type"):
        case "thinking" | "reasoning" | "thought":
            said = next(
                (
                    part[k]
                    for k in ("thinking", "reasoning", "value", "text", "content")
                    if not is_nothing(part.get(k))
                ),
                "",
            )
            found.reasoning = (found.reasoning or "") + (text_of(said, name=place) or "")
        case "tool_call" | "tool_use" | "function_call" | "tool_calls":
            said = next(
                (part[k] for k in ("tool_call", "value", "content") if not is_nothing(part.get(k))),
                part,
            )
            found.calls += calls_of(said, name=place)
        case "tool_result" | "tool_response":
            said = next(
                (part[k] for k in ("content", "value", "text") if not is_nothing(part.get(k))), ""
            )
            made_id = part.get("tool_use_id") or part.get("tool_call_id")
            found.results.append(
                Message(
                    role="tool",
                    content=text_of(said, name=place) or "",
                    tool_call_id=None if made_id is None else str(made_id),
                )
            )
        case _:
            raise not_text(part, name=place)
