"""Content of one turn: a text, or a list of typed parts with thinking, calls and results."""

import json
from collections.abc import Iterable, Mapping
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
from tutelage.data.tool_calls import CALL_IDS, NAMES, Call, calls_of, is_void


@dataclass(slots=True, kw_only=True)
class Content:
    """Parsed content of one turn.

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
    """Parse the content of a turn.

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
        if isinstance(part, Mapping):
            if text is not None:
                _add_text(found, part, text, place=place)
            if not _add_keyed(found, part, place=place) and text is None:
                _add_part(found, part, place=place)
        elif text is not None:
            found.text += text
        else:
            raise not_text(part, name=place)
    return found


_KEYED_CALLS = ("functionCall", "function_call")


_KEYED_RESULTS = ("functionResponse", "function_response")


_KEYED_OTHERS = (
    *("reasoningContent", "reasoning_content", "toolUse", "toolResult", "inlineData"),
    *("inline_data", "fileData", "file_data", "executableCode", "executable_code"),
    *("codeExecutionResult", "code_execution_result"),
)
"""Keys of parts in the style of Gemini and Bedrock, where the key says what a part holds."""


_RESULT_TYPES = ("tool_result", "tool_response")


def _add_text(found: Content, part: Mapping[str, object], text: str, *, place: str) -> None:
    """Add a text part, which may be marked as a thought, or also hold one in another field."""
    if any(not is_void(part.get(key)) for key in _KEYED_OTHERS):
        raise not_text(part, name=place)
    thought = part.get("thought")
    thoughts = [v for v in (part.get("thinking"), thought) if isinstance(v, str | Mapping)]
    for said in thoughts:
        found.reasoning = (found.reasoning or "") + (text_of(said, name=place) or "") or None
    if thought and not isinstance(thought, str | Mapping):
        found.reasoning = (found.reasoning or "") + text
    else:
        found.text += text


def _add_keyed(found: Content, part: Mapping[str, object], *, place: str) -> bool:
    """Add the call or the result that a part holds under a key of its own, as Gemini's do."""
    calls = [part[key] for key in _KEYED_CALLS if not is_void(part.get(key))]
    results = [part[key] for key in _KEYED_RESULTS if not is_void(part.get(key))]
    for call in calls:
        found.calls += calls_of(call, name=place)
    for result in results:
        said = result.get("response") if isinstance(result, Mapping) else None
        if not isinstance(result, Mapping) or said is None:
            raise not_text(part, name=place)
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        made_id = first_of(result, CALL_IDS)
        found.results.append(
            Message(
                role="tool",
                content=clean_text(text),
                tool_call_id=None if made_id is None else str(made_id),
                name=name_of(result),
            )
        )
    return bool(calls or results)


def first_of(fields: Mapping[str, object], keys: Iterable[str]) -> object:
    """First value under these keys that is not empty; None where there is none."""
    return next((fields[key] for key in keys if not is_nothing(fields.get(key))), None)


def _add_part(found: Content, part: Mapping[str, object], *, place: str) -> None:
    """Add a content part that is not text: thinking, a tool call or a tool result."""
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
        case kind if kind in _RESULT_TYPES:
            said = next(
                (part[k] for k in ("content", "value", "text") if not is_nothing(part.get(k))), ""
            )
            made_id = first_of(part, ("tool_use_id", "tool_call_id", "call_id"))
            found.results.append(
                Message(
                    role="tool",
                    content=text_of(said, name=place) or "",
                    tool_call_id=None if made_id is None else str(made_id),
                )
            )
        case _:
            raise not_text(part, name=place)


def is_keyed_result(part: Mapping[str, object]) -> bool:
    """Whether a content part is a result by its type, or by its key, as Gemini's are."""
    is_keyed = any(not is_void(part.get(key)) for key in _KEYED_RESULTS)
    return is_keyed or part.get("type") in _RESULT_TYPES


def name_of(turn: Mapping[str, object], used: set[str] | None = None) -> str | None:
    """Name of a speaker; with `used`, of a tool, whose field is added to it."""
    keys = NAMES[:1] if used is None else NAMES
    for key in keys:
        name = turn.get(key)
        if isinstance(name, str) and name.strip():
            if used is not None:
                used.add(key)
            return clean_text(name)
    return None
