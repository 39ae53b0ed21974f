"""Rotary position embeddings whose frequencies depend on the length of the text.

transformers chooses the frequencies of two kinds of rotary position embeddings anew for each
batch, by its longest row:

    longrope   one of two sets: up to the original length, or beyond it
    dynamic    a set for each length beyond the original, kept until a shorter row comes

A row must not depend on its neighbours, so rows are only read together where that changes
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Lengths at which a model changes its frequencies.

    Attributes:
        borders: Original lengths in tokens, increasing; rows on both sides of one must not meet.
        dynamic: Whether the frequencies beyond the smallest border differ with each length.
    """

    borders: tuple[int, ...] = ()
    dynamic: bool = False

    def group(self, tokens: int) -> int:
        """Group of a length; rows of one group may share a batch, unless `alone`."""
        return sum(tokens > border for border in self.borders)

    def alone(self, tokens: int) -> bool:
        """Whether a row of this length must be read by itself."""
        return self.dynamic and self.group(tokens) > 0


def rope_of(config: Any) -> Rope:
    """Length-dependent frequencies of a model's config."""
    text = config.get_text_config()
    given = getattr(text, "rope_parameters", None)
    kinds = _kinds(given)
    borders, dynamic = set(), False
    for kind in kinds:
        name = str(kind.get("rope_type", kind.get("type", "default")))
        if name != "longrope" and "dynamic" not in name:
            continue
        dynamic = dynamic or "dynamic" in name
        longest = _length(getattr(text, "max_position_embeddings", None)) or 0
        length = (
            _length(kind.get("original_max_position_embeddings"))
            or _length(getattr(text, "original_max_position_embeddings", None))
            or longest
        )
        borders.add(length)
        if "dynamic" in name:  # the length up to which nothing is computed anew
            borders.add(longest)
    return Rope(borders=tuple(sorted(borders)), dynamic=dynamic)


def forget_lengths(model: Any) -> None:
    """Reset dynamic frequencies to their initial values."""
    for module in model.modules():
        original = getattr(module, "original_max_seq_len", None)
        if original is None:
            continue
        for name in [n for n in vars(module) if n.endswith("max_seq_len_cached")]:
            setattr(module, name, original)
        buffers = dict(module.named_buffers(recurse=False))
        for name, buffer in buffers.items():
            first = getattr(module, name.replace("inv_freq", "original_inv_freq"), None)
            if name.endswith("inv_freq") and "original" not in name and first is not None:
                module.register_buffer(name, first.to(buffer.device), persistent=False)


def _kinds(given: object) -> list[Mapping[str, Any]]:
    if not isinstance(given, Mapping):
        return []
    nested = [value for value in given.values() if isinstance(value, Mapping)]
    return nested or [given]


def _length(value: object) -> int | None:
    return value if isinstance(value, int) else None
