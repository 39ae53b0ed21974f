"""Content hashes as ids: the same text has the same id on every machine."""

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from json.encoder import encode_basestring

from tutelage.data.example import Message

ID_HEX_DIGITS = 20
"""80 bits: among 100 million ids the chance of any collision is below 1 in 10^8."""

_DIGEST_BYTES = ID_HEX_DIGITS // 2
_EXAMPLE = blake2b(b'["example",[', digest_size=_DIGEST_BYTES)
_CANDIDATE = blake2b(b'["candidate","', digest_size=_DIGEST_BYTES)
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
    return _hash_of(_ENCODER.encode(parts))


def _hash_of(text: str) -> str:
    data = text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def message_parts(message: Message) -> list[object]:
    """Parts of a message that enter ids and keys: role, content and optional fields.

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


def _turns_json(messages: Iterable[Message]) -> str:
    """JSON text of the `message_parts` of each turn, as `content_hash` would write it."""
    return "[" + ",".join([_turn_json(message) for message in messages]) + "]"


def _turn_json(message: Message) -> str:
    parts = message_parts(message)
    if len(parts) == 2:  # noqa: PLR2004  (role and content)
        return f'["{message.role}",{encode_basestring(message.content)}]'
    return _ENCODER.encode(parts)


def _json_of(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def _more_json(tools: str | None, template_args: str | None) -> str:
    """Additional input of an id, after a comma; rows without it keep their earlier ids."""
    if template_args is not None:
        return f",{_json_of(tools)},{encode_basestring(template_args)}"
    return "" if tools is None else f",{encode_basestring(tools)}"


def example_id_of(
    messages: Sequence[Message],
    *,
    reference: str | None = None,
    tools: str | None = None,
    template_args: str | None = None,
) -> str:
    """The id of an example: its original messages, its reference, its tools and arguments."""
    text = _turns_json(messages)
    more = _more_json(tools, template_args)
    return _hash_of(f'["example",{text},{_json_of(reference)}{more}]')


def original_ids_of(turns: Iterable[tuple[str, str]], *, reference: str | None) -> tuple[str, str]:
    """Ids of a plain example (no tools) and of its original candidate.

    Args:
        turns: Role and content of each turn of the original conversation.
        reference: The known right answer, if any.

    Returns:
        What `example_id_of` and `candidate_id_of` give, in a third of the time.
    """
    text = ",".join([f'["{role}",{encode_basestring(content)}]' for role, content in turns])
    data = text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
    known = b"null" if reference is None else _json_of(reference).encode("utf-8", "surrogatepass")
    # Update by update, from a copy of what all rows begin with: a tenth of all reading is hashing.
    hashed = _EXAMPLE.copy()
    hashed.update(data)
    hashed.update(b"]," + known + b"]")
    example_id = hashed.hexdigest()
    hashed = _CANDIDATE.copy()
    hashed.update(example_id.encode() + b'","original",null,null,[')
    hashed.update(data)
    hashed.update(b"],null]")
    return example_id, hashed.hexdigest()


def candidate_id_of(
    *,
    example_id: str,
    step: str,
    parent_id: str | None,
    teacher: str | None,
    messages: Sequence[Message],
    distinction: str | None = None,
    tools: str | None = None,
    template_args: str | None = None,
) -> str:
    """Id of a candidate, from its example, provenance and messages.

    Args:
        example_id: The example it is a version of.
        step: How it came to be, one of `tutelage.data.example.STEPS`.
        parent_id: The candidate it was made from, if any.
        teacher: The teacher that wrote it; None for the user's own text.
        messages: Its text; empty for a candidate that failed.
        distinction: What tells two candidates without text apart, such as a request key.
        tools: The tools of its prompt, if any.
        template_args: The template arguments of its row, if any.

    Returns:
        20 hexadecimal digits.
    """
    text = _turns_json(messages)
    more = _more_json(tools, template_args)
    of_example, how = encode_basestring(example_id), encode_basestring(step)
    return _hash_of(
        f'["candidate",{of_example},{how},{_json_of(parent_id)},{_json_of(teacher)},{text},'
        f"{_json_of(distinction)}{more}]"
    )
