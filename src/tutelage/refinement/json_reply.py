"""Replies laid out as a JSON object: read exactly, or not at all."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

_MAX_ATTEMPTS = 50  # opening braces tried, so that a reply full of braces stays cheap to reject
# \f, \b, \r and \t are valid JSON escapes, so a LaTeX command with a single backslash decodes
# without an error into a control character and the rest of its name: \frac -> form feed + "rac".
_EATEN_COMMAND = re.compile(
    r"[\x08\x0c]|\r(?:ho|ight|angle)|\t(?:imes|ext|heta|frac|ilde|riangle|an\b|au\b|o\b)|\x00"
)


class _DuplicateKeyError(ValueError):
    """The object names a key twice, so it says two things."""


def schema_of(keys: Sequence[str]) -> dict[str, object]:
    """The JSON schema of an object with exactly these keys, all strings, in this order."""
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }


def read_object(
    text: str, *, keys: Sequence[str]
) -> tuple[Mapping[str, object], None] | tuple[None, str]:
    """Find the one JSON object in a reply.

    A code fence and text around the object are tolerated; two different objects are not.

    Args:
        text: The reply.
        keys: An object counts where it has at least one of these keys.

    Returns:
        The object and None, or None and what is wrong.
    """
    try:
        found = [o for o in _objects(text) if any(key in o for key in keys)]
    except _DuplicateKeyError as error:
        return None, str(error)
    if not found:
        return None, "no JSON object with the keys that were asked for"
    if any(other != found[0] for other in found[1:]):
        return None, f"{len(found)} different JSON objects"
    return found[0], None


def eaten_escape(text: str) -> str | None:
    r"""Say where a decoded string shows that a backslash was lost, or return None.

    Examples:
        >>> eaten_escape("one\x0crac{1}{2}")
        "a LaTeX command lost its backslash near 'one\\x0crac{1}{2}'"
    """
    found = _EATEN_COMMAND.search(text)
    if found is None:
        return None
    near = text[max(0, found.start() - 10) : found.end() + 10]
    return f"a LaTeX command lost its backslash near {near!r}"


def _objects(text: str) -> Iterator[dict[str, object]]:
    position = 0
    for _ in range(_MAX_ATTEMPTS):
        position = text.find("{", position)
        if position < 0:
            return
        try:
            value, position = _DECODER.raw_decode(text, position)
        except _DuplicateKeyError:
            raise
        except (ValueError, RecursionError):
            position += 1
            continue
        if isinstance(value, dict):
            yield value


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(f"the key {key!r} stands there twice")
        result[key] = value
    return result


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_unique)
