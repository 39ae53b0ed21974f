"""Text columns of plain rows, worked out once for each set of column names."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_FIELDS_BEYOND_TURNS = frozenset(
    (
        *("refined_instruction", "refined_input", "refined_response", "refined_messages"),
        *("responses", "candidates", "tools", "label", "template_args"),
    )
)
"""Fields with which a row is more than its turns."""

THINKING = frozenset(
    (
        *("reasoning", "cot", "chain_of_thought", "thought", "thoughts", "think", "rationale"),
        *("reasoning_trace", "thinking_process", "scratchpad", "analysis"),
    )
)
"""Columns that may hold the thinking of the response; only the user knows."""
OF_THE_PROMPT = frozenset(
    ("choices", "options", "documents", "passages", "passage", "contexts", "article", "paragraph")
)
"""Columns that may belong to the instruction."""
OF_TOOLS = frozenset(
    (
        *("function", "tool", "apis", "api_list", "tool_list", "function_list", "tools_json"),
        *("tool_schemas", "function_schemas", "tool_definitions", "function_definitions"),
    )
)
"""Columns that may hold the tools of the prompt."""
_POSSIBLE_TEXTS = THINKING | OF_THE_PROMPT | OF_TOOLS


class TextColumns(NamedTuple):
    """Text columns of a plain row: one pair, or one list of turns.

    Each name is the one that `Fields.take` would choose, taking one field after another in the
    order in which `parse_row` does, if the row has a text there.

    Attributes:
        turns: The list of turns; None for a pair.
        instruction: Instruction of a pair; empty where there are turns.
        response: Of a pair; empty where there are turns.
        given: The input of a pair, if there is a column for it; likewise the next three.
        system: The system prompt of a pair.
        reference: The known right answer.
        source: Where the row came from.
        unused: Columns that hold nothing in a plain row: null or an empty list.
        required: Columns that hold a text in a plain row: where they are null, another column
            takes their place.
        rest: All other columns, in the row's own order.
        possible_texts: Columns of `THINKING`, `OF_THE_PROMPT` and `OF_TOOLS`, used or not.
    """

    turns: str | None
    instruction: str
    response: str
    given: str | None
    system: str | None
    reference: str | None
    source: str | None
    unused: tuple[str, ...]
    required: frozenset[str]
    rest: tuple[str, ...]
    possible_texts: tuple[str, ...]


@dataclass(slots=True)
class _Taking:
    """Columns tried one after another, the first non-empty one being used."""

    known: Mapping[Any, tuple[str, ...]]
    claimed: frozenset[str]
    used: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)

    def take(self, wanted: str) -> str | None:
        names = self.known.get(wanted, ())
        free = [name for name in names if name not in self.used or name in self.claimed]
        if not free:
            return None
        self.used.add(free[0])
        if len(free) > 1:
            self.required.add(free[0])
        return free[0]


def pair_columns(
    names: Collection[str], known: Mapping[Any, tuple[str, ...]], *, claimed: frozenset[str]
) -> TextColumns | None:
    """Columns of rows that hold one pair; None where a half is missing.

    Args:
        names: All columns.
        known: For each of our fields, the columns that may hold it, the likeliest first.
        claimed: Columns that the user mapped; one may serve for several fields.
    """
    taking = _Taking(known, claimed)
    instruction, given, system = map(taking.take, ("instruction", "input", "system"))
    unused = known.get("history", ())
    response, reference, source = map(taking.take, ("response", "reference", "source"))
    if instruction is None or response is None or not taking.used.isdisjoint(unused):
        return None
    return TextColumns(
        turns=None,
        instruction=instruction,
        response=response,
        given=given,
        system=system,
        reference=reference,
        source=source,
        unused=unused,
        required=frozenset(taking.required),
        rest=tuple(n for n in names if n not in taking.used and n not in unused),
        possible_texts=tuple(n for n in names if n in _POSSIBLE_TEXTS),
    )


def turn_columns(
    names: Collection[str], known: Mapping[Any, tuple[str, ...]], *, claimed: frozenset[str]
) -> TextColumns | None:
    """Columns of rows that hold one list of turns and nothing else; otherwise None.

    Args:
        names: All columns.
        known: For each of our fields, the columns that may hold it, the likeliest first.
        claimed: Columns that the user mapped; one may serve for several fields.
    """
    if not _FIELDS_BEYOND_TURNS.isdisjoint(known):
        return None
    taking = _Taking(known, claimed)
    turns, reference, source = map(taking.take, ("messages", "reference", "source"))
    unused = known.get("system", ())
    if turns is None or not taking.used.isdisjoint(unused):
        return None
    return TextColumns(
        turns=turns,
        instruction="",
        response="",
        given=None,
        system=None,
        reference=reference,
        source=source,
        unused=unused,
        required=frozenset(taking.required),
        rest=tuple(n for n in names if n not in taking.used and n not in unused),
        possible_texts=tuple(n for n in names if n in _POSSIBLE_TEXTS),
    )
