"""Field values: conversion to text, type checks and short forms for messages."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np

MEDIA = frozenset(
    (
        *("image", "images", "image_url", "input_image", "video", "videos", "video_url"),
        *("audio", "audios", "audio_url", "input_audio", "file", "input_file", "document"),
    )
)
"""Types of content parts that are not text, and names of columns that hold such parts."""

_TEXT_PARTS = ("text", "input_text", "output_text")
_TEXT_KEYS = ("text", "value", "content")


class UnreadableRowError(ValueError):
    """Error for a row that cannot become an example; `read` reports it with this status.

    Args:
        status: Why, in snake_case.
        detail: Description of the problem.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def clean_text(text: str) -> str:
    r"""Text with each lone surrogate (half of a broken `\ud83d\ude00`) replaced by U+FFFD.

    A lone surrogate has no UTF-8 form, so no file could hold it.

    Examples:
        >>> clean_text("caf\u00e9 \ud83d")
        'café �'
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Two halves written as separate escapes become one character; the rest are replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def text_of(value: object, *, name: str) -> str | None:
    """Text of a field: a string, a number as JSON writes it, or joined text parts.

    Parts are `{"type": "text", "text": ...}`, in LLaMA-Factory's second format
    `{"type": "text", "value": ...}`. A list of several strings is not text: they could as well be
    texts to choose from.

    Args:
        value: The field's value. None and NaN (how data frames write "missing") give None.
        name: The field's name, for the reason.

    Raises:
        UnreadableRowError: `bad_type` or `unsupported_content`.
    """
    if isinstance(value, str):
        return clean_text(value)
    if value is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int | float):
        return _number_text(value, name=name)
    if is_list(value):
        if len(value) > 1 and any(isinstance(part, str) for part in value):
            raise UnreadableRowError(
                "bad_type",
                f"field {name!r} holds {len(value)} texts where one is expected"
                + (
                    ""
                    if "[" in name
                    else f"; if they are several responses: --map responses={name}"
                ),
            )
        return "".join(_part_text(part, name=name) for part in value)
    raise UnreadableRowError("bad_type", f"field {name!r} should be text, found {shown(value)}")


def _number_text(value: float, *, name: str) -> str | None:
    if value != value or isinstance(value, bool):  # noqa: PLR0124  (only NaN differs from itself)
        return json.dumps(value) if isinstance(value, bool) else None
    try:
        return json.dumps(value)
    except ValueError as error:  # an integer with more than 4300 digits
        raise UnreadableRowError("bad_type", f"field {name!r}: {error}") from error


def _part_text(part: object, *, name: str) -> str:
    text = text_of_part(part)
    if text is None:
        raise not_text(part, name=name)
    return text


def text_of_part(part: object) -> str | None:
    """Text of a content part; None for a part of another type."""
    if isinstance(part, str):
        return clean_text(part)
    if not isinstance(part, Mapping) or part.get("type", "text") not in _TEXT_PARTS:
        return None
    text = next((part[k] for k in _TEXT_KEYS if isinstance(part.get(k), str)), None)
    return None if text is None else clean_text(text)


def not_text(part: object, *, name: str) -> UnreadableRowError:
    """Error for a content part that is not text."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    what = f"holds {kind}" if kind in MEDIA else "holds something other than text"
    why = "; images, sound and video cannot be scored" if kind in MEDIA else ""
    return UnreadableRowError("unsupported_content", f"field {name!r} {what}: {shown(part)}{why}")


def is_scalar(value: object) -> bool:
    """Whether a value is a single string, number or boolean."""
    return isinstance(value, str | int | float | np.generic)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether a value is a list, tuple or array, but not text or bytes."""
    if value is None or isinstance(value, str | bytes | bytearray):  # most values: asked first
        return False
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence)


def value_at(row: Mapping[str, object], path: str) -> object:
    """Value of a dotted name; None where the row has none.

    Examples:
        >>> value_at({"meta": {"answers": ["4", "5"]}}, "meta.answers.1")
        '5'
    """
    value: object = row
    for step in path.split("."):
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        if isinstance(value, Mapping):
            value = value.get(step)
        elif is_list(value) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def is_nothing(value: object) -> bool:
    """Whether a value is empty: null, or an empty text, list or object."""
    if is_list(value) or isinstance(value, str | bytes | Mapping):
        return len(value) == 0
    return value is None


def shown(value: object) -> str:
    """Short text of a value for messages, with its type where that helps."""
    if value is None:
        return "null"
    text = ascii(value) if isinstance(value, str) else f"{type(value).__name__} {value!r:.200}"
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004
