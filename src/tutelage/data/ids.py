"""Ids are hashes of content, so that the same text has the same id on every machine."""

import hashlib
import json
from collections.abc import Sequence

from tutelage.data.example import Message

ID_HEX_DIGITS = 20
"""80 bits: among 100 million ids the chance of any collision is below 1 in 10^8."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


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


def example_id_of(messages: Sequence[Message], *, reference: str | None = None) -> str:
    """The id of an example: its original messages and, where there is one, its reference."""
    return content_hash("example", [[m.role, m.content] for m in messages], reference)


def candidate_id_of(
    *,
    example_id: str,
    step: str,
    parent_id: str | None,
    teacher: str | None,
    messages: Sequence[Message],
    distinction: str | None = None,
) -> str:
    """The id of a candidate.

    Args:
        example_id: The example it is a version of.
        step: How it came to be, one of `tutelage.data.candidate.STEPS`.
        parent_id: The candidate it was made from, if any.
        teacher: Who wrote it; None for the user's own text.
        messages: Its text; empty for a candidate that failed.
        distinction: What tells two candidates without text apart, such as a request key.

    Returns:
        20 hexadecimal digits.
    """
    text = [[m.role, m.content] for m in messages]
    return content_hash("candidate", example_id, step, parent_id, teacher, text, distinction)
