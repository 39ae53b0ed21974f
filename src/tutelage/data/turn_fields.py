"""Reader of the other fields of a turn: its thinking, its media, and its training switches."""

import json
from collections.abc import Mapping

import numpy as np

from tutelage.data.field_aliases import is_media_column
from tutelage.data.field_values import UnreadableRowError, clean_text, is_list, shown

_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning", "thought", "thoughts", "think")
_LISTED_THOUGHTS = ("reasoning_details", "thinking_blocks")
_THOUGHT_KEYS = ("text", "thinking", "reasoning", "content", "value")
_SWITCHES = (
    "train",
    "trained",
    "training",
    "trainable",
    "loss",
    "weight",
    "loss_mask",
    "loss_weight",
    "loss_scale",
    "output_with_loss",
    "is_trained",
    "is_training",
    "train_on",
    "compute_loss",
    "use_loss",
)
"""Fields of a turn that say whether it is trained on."""
_MASKS = ("masked", "is_masked", "loss_masked", "mask_loss", "ignore_loss", "no_loss")
"""Fields of a turn that say whether it is left out of the loss (torchtune's `masked`)."""
_ON = frozenset((1, 1.0, True, "1", "1.0", "true", "yes", "on"))
_OFF = frozenset((0, 0.0, False, "0", "0.0", "false", "no", "off"))
_SPANS = ("train_detail", "training_detail")
_SPAN_KEYS = frozenset(("begin_offset", "end_offset", "train"))


def refuse_media(fields: Mapping[str, object], *, place: str) -> None:
    """Refuse a turn that names images, sound or video in a field of its own."""
    for key, value in fields.items():
        if is_media_column(str(key)):
            raise UnreadableRowError(
                "unsupported_content",
                f"{place}.{key} holds {shown(value)}; images, sound and video cannot be scored",
            )


def is_trained(turn: Mapping[str, object], used: set[str]) -> bool:
    """Whether a turn is trained on; the fields that say so are marked as used."""
    trained = True
    for key in (*_SWITCHES, *_MASKS):
        value = turn.get(key)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):
            value = value.strip().lower()
        if isinstance(value, str | int | float):
            trained = trained and value not in (_ON if key in _MASKS else _OFF)
            if value in _ON or value in _OFF:
                used.add(key)
    return trained


def is_trained_whole(
    turn: Mapping[str, object], used: set[str], value: object, *, place: str
) -> bool:
    """Whether the spans of a turn that are trained on (axolotl's `train_detail`) hold its text.

    The field is known by its items, since its name is a setting there. `end_offset` is the last
    character.

    Args:
        turn: The turn.
        used: Names of its fields that were read; the field of the spans is added.
        value: Its content.
        place: Where it is, for the reason.

    Returns:
        True without such a field; False where no character is in a span that is trained on.

    Raises:
        UnreadableRowError: `partly_trained`: a part of the text is trained on.
    """
    for key, given in turn.items():
        spans = _listed_spans(given)
        if is_list(spans) and len(spans) == 0 and key in _SPANS:
            return any(turn.get(switch) is not None for switch in _SWITCHES)  # as in axolotl
        if not is_list(spans) or not any(
            isinstance(span, Mapping) and set(span) >= _SPAN_KEYS for span in spans
        ):
            continue
        used.add(key)
        if not isinstance(value, str):
            raise UnreadableRowError(
                "partly_trained", f"{place}.{key}: the spans of {shown(value)} are not known"
            )
        inside = [False] * len(value)
        for span in spans:
            begin, end, trained = _span(span, place=f"{place}.{key}")
            inside[begin:end] = [trained] * len(inside[begin:end])
        said = [known for known, character in zip(inside, value, strict=True) if character.strip()]
        if any(said) and not all(said):
            raise UnreadableRowError(
                "partly_trained",
                f"{place}.{key} trains on {sum(said)} of {len(said)} characters; "
                "only whole turns can be scored",
            )
        return any(said)
    return True


def _listed_spans(value: object) -> object:
    """Spans that a row holds as JSON text, as a list; any other value as it is."""
    if isinstance(value, str) and "begin_offset" in value and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _span(span: object, *, place: str) -> tuple[int, int, bool]:
    """Span of characters as a half-open range, and whether it is trained on."""
    found = span if isinstance(span, Mapping) else {}
    ends = [found.get("begin_offset"), found.get("end_offset")]
    numbers = [
        int(end)
        for end in ends
        if isinstance(end, int | float | np.number) and end >= 0 and end == int(end)
    ]
    if len(numbers) != len(ends) or isinstance(ends[0], bool) or isinstance(ends[1], bool):
        raise UnreadableRowError(
            "bad_type", f"{place} should hold a begin_offset and an end_offset, found {shown(span)}"
        )
    return numbers[0], numbers[1] + 1, is_trained(found, set())


def reasoning_of(turn: Mapping[str, object], used: set[str]) -> str | None:
    """Thinking that a turn keeps in a field of its own."""
    for key in (*_REASONING_KEYS, *_LISTED_THOUGHTS):
        value = turn.get(key)
        if isinstance(value, Mapping):
            value = [value]
        if is_list(value):
            parts = [_thought_of(part) for part in value]
            said = [part for part in parts if part is not None]
            value = "\n".join(said) if len(said) == len(parts) else None
        if isinstance(value, str) and value.strip():
            used.add(key)
            return clean_text(value)
    return None


def _thought_of(part: object) -> str | None:
    """Text of one part of a thought; None where it has none, such as an encrypted one."""
    if isinstance(part, Mapping):
        part = next((part[k] for k in _THOUGHT_KEYS if isinstance(part.get(k), str)), None)
    return part if isinstance(part, str) else None
