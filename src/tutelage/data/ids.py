"""Ids are hashes of content, so that the same text has the same id on every machine."""

import hashlib
import json
from collections.abc import Sequence

from tutelage.data.example import Message

ID_HEX_DIGITS = 20
"""80 bits: among 100 million ids the chance of any collision is below 1 in 10^8."""

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
)


def content_hash(*parts: object) -> str:
    """Hash JSON-able parts, in order, to a short hexadecimal id.

    Args:
        *parts: Strings, numbers, None, or nested lists and dicts of them. Dict keys are sorted.

    Returns:
        20 hexadecimal digits (80 bits of BLAKE2b).

    Examples:
        >>> content_hash("a", 1) == content_hash("a", 1)
        True
        >>> content_hash("a", "b") == content_hash("ab")
        False
    """
    data = _ENCODER.encode(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=ID_HEX_DIGITS // 2).hexdigest()


def message_parts(message: Message) -> list[object]:
    """What of a turn belongs to ids and keys: role and content, and what else it has.

    A plain turn gives `[role, content]`, so that plain rows keep the ids of earlier versions.

    Examples:
        >>> message_parts(Message(role="user", content="Hi"))
        ['user', 'Hi']
        >>> message_parts(Message(role="assistant", content="Hi", reasoning="Greet."))
        ['assistant', 'Hi', {'reasoning': 'Greet.'}]
    """
    if (
        message.reasoning is None
        and message.tool_calls is None
        and message.tool_call_id is None
        and message.name is None
        and message.trained
    ):
        return [message.role, message.content]
    more: dict[str, object] = {
        name: value
        for name in ("reasoning", "tool_calls", "tool_call_id", "name")
        if (value := getattr(message, name)) is not None
    }
    if not message.trained:
        more["trained"] = False
    return [message.role, message.content, more]


def example_id_of(
    messages: Sequence[Message], *, reference: str | None = None, tools: str | None = None
) -> str:
    """The id of an example: its original messages, its reference and its tools, if any."""
    parts = [message_parts(m) for m in messages]
    return content_hash("example", parts, reference, *([] if tools is None else [tools]))


def candidate_id_of(
    *,
    example_id: str,
    step: str,
    parent_id: str | None,
    teacher: str | None,
    messages: Sequence[Message],
    distinction: str | None = None,
    tools: str | None = None,
) -> str:
    """The id of a candidate.

    Args:
        example_id: The example it is a version of.
        step: How it came to be, one of `tutelage.data.candidate.STEPS`.
        parent_id: The candidate it was made from, if any.
        teacher: Who wrote it; None for the user's own text.
        messages: Its text; empty for a candidate that failed.
        distinction: What tells two candidates without text apart, such as a request key.
        tools: The tools of its prompt, if any.

    Returns:
        20 hexadecimal digits.
    """
    text = [message_parts(m) for m in messages]
    more = [] if tools is None else [tools]
    return content_hash("candidate", example_id, step, parent_id, teacher, text, distinction, *more)
