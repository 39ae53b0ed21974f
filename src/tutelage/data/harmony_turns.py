"""Turns in the format of gpt-oss (harmony) that call a tool: a channel, a recipient, arguments."""

import json
from collections.abc import Mapping

from tutelage.data.content_parts import content_of
from tutelage.data.field_values import UnreadableRowError, shown

HARMONY_TOOLS = "functions."


def recipient_of(turn: Mapping[str, object]) -> str | None:
    """Name of the tool that a turn in harmony's format calls; None for any other turn."""
    to = turn.get("recipient")
    if turn.get("channel") not in ("commentary", "analysis") or not isinstance(to, str):
        return None
    return None if to in ("", "all", "user", "assistant") else to.removeprefix(HARMONY_TOOLS)


def harmony_arguments(value: object, *, place: str) -> object:
    """Arguments that are the content of a call in harmony's format."""
    if isinstance(value, Mapping):
        return value
    text = content_of(value, place=place).text.strip()
    try:
        found: object = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableRowError(
            "unsupported_content",
            f"{place} should hold the arguments of a call as JSON, found {shown(value)}",
        )
    return found
