"""Which field of a row is the instruction, which the response? Foreign names stop here."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from tutelage.data.turns import UnreadableRowError

FieldName: TypeAlias = Literal[
    "instruction",
    "input",
    "response",
    "system",
    "history",
    "messages",
    "refined_instruction",
    "refined_input",
    "refined_response",
    "refined_messages",
    "responses",
    "candidates",
    "model",
    "reference",
    "source",
]
"""Our own names for what a row can hold; the keys of `ReadSettings.fields`."""

FIELD_NAMES: tuple[FieldName, ...] = get_args(FieldName)

Shape: TypeAlias = Literal[
    "auto",
    "messages",
    "prompt_completion",
    "alpaca",
    "question_answer",
    "refined",
    "pool",
    "candidates",
]

_RESPONSES = ("response", "output", "completion", "solution", "rationale", "answer")
_REFINED = ("refined", "revised")

ALIASES: Mapping[FieldName, tuple[str, ...]] = {
    "instruction": (
        *(f"original_{name}" for name in ("instruction", "question", "prompt")),
        *("instruction", "question", "prompt", "query", "problem", "input"),
    ),
    "input": ("original_input", "input", "context"),
    "response": (*(f"original_{name}" for name in _RESPONSES), *_RESPONSES),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "messages": ("messages", "conversations", "conversation"),
    "refined_instruction": tuple(
        f"{how}_{name}" for how in _REFINED for name in ("instruction", "question", "prompt")
    ),
    "refined_input": tuple(f"{how}_input" for how in _REFINED),
    "refined_response": tuple(f"{how}_{name}" for how in _REFINED for name in _RESPONSES),
    "refined_messages": tuple(f"{how}_messages" for how in _REFINED),
    "responses": ("responses", "outputs", "completions", "samples", "generations", "candidates"),
    "candidates": ("candidates",),
    "model": ("teacher", "refiner", "model", "generator", "teacher_model", "model_name"),
    "reference": (
        "reference",
        "reference_answer",
        "reference_output",
        "gold",
        "gold_answer",
        "ground_truth",
        "correct_answer",
        "expected_answer",
        "answer",
        "final_answer",
    ),
    "source": ("source", "source_dataset", "dataset", "data_source"),
}
"""The names each field goes by, the likeliest first. Case does not matter."""

_FORCED: Mapping[Shape, Mapping[FieldName, tuple[str, ...]]] = {
    "prompt_completion": {"instruction": ("prompt",), "response": ("completion",)},
    "alpaca": {"instruction": ("instruction",), "response": ("output", "response")},
    "question_answer": {"instruction": ("question",), "response": ("answer",)},
}
"""A shape that is named leaves only its own names for the pair."""


def is_null(value: object) -> bool:
    """Whether a value says "missing": null, or NaN, which is how data frames spell it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


_REFINEMENT = {"refined_instruction", "refined_response", "refined_messages"}
_PLANS_KEPT = 256


class FieldMap:
    """Finds our fields in rows; remembers the answer for each set of column names.

    Args:
        mapping: The user's own mapping, from our name to the row's. It wins over every alias,
            and a field named in it serves for nothing else.
        shape: A forced shape narrows the aliases of the pair.
        without: Fields to be found by the mapping only, not by an alias.
    """

    def __init__(
        self,
        mapping: Mapping[FieldName, str],
        *,
        shape: Shape = "auto",
        without: Sequence[FieldName] = (),
    ) -> None:
        self._mapping = dict(mapping)
        self._claimed = frozenset(mapping.values())
        self._aliases = {**ALIASES, **_FORCED.get(shape, {}), **dict.fromkeys(without, ())}
        self._plans: dict[tuple[str, ...], dict[FieldName, tuple[str, ...]]] = {}

    def open(self, row: Mapping[str, object]) -> "Fields":
        """The fields of one row."""
        names = tuple(row)
        plan = self._plans.get(names)
        if plan is None:
            if len(self._plans) >= _PLANS_KEPT:  # rows that all differ must not fill the memory
                self._plans.clear()
            plan = self._plans[names] = self._plan(names)
        return Fields(row, plan, claimed=self._claimed)

    def _plan(self, names: tuple[str, ...]) -> dict[FieldName, tuple[str, ...]]:
        free = [name for name in names if name not in self._claimed]
        spelled = {name.strip().lower(): name for name in reversed(free)}
        plan: dict[FieldName, tuple[str, ...]] = {}
        for field, aliases in self._aliases.items():
            mapped = self._mapping.get(field)
            if mapped is None:
                found = tuple(spelled[alias] for alias in aliases if alias in spelled)
            else:
                found = tuple(name for name in names if name == mapped)
            if found:
                plan[field] = found
        if "model" in plan and "model" not in self._mapping and not _REFINEMENT & plan.keys():
            # A refiner wrote the refinement; a row that has none is not a row of a pool.
            plan["model"] = tuple(n for n in plan["model"] if n.lower() != "refiner")
        if plan.get("model") and "reference" not in self._mapping:
            # Beside a model's name the final answer is what the model said, not what is right.
            references = plan.get("reference", ())
            plan["reference"] = tuple(n for n in references if n.lower() != "final_answer")
        return plan


class Fields:
    """One row seen by our names. What nobody asked for is the row's `rest`.

    Args:
        row: The row as it was read.
        plan: For each of our fields, the row's own names for it, the likeliest first.
        claimed: The row's names that the user mapped; one may serve for several of our fields.
    """

    __slots__ = ("_claimed", "_plan", "_row", "_used")

    def __init__(
        self,
        row: Mapping[str, object],
        plan: Mapping[FieldName, tuple[str, ...]],
        *,
        claimed: frozenset[str] = frozenset(),
    ) -> None:
        self._row = row
        self._claimed = claimed
        self._plan = plan
        self._used: set[str] = set()

    def has(self, field: FieldName) -> bool:
        """Whether the row has the field at all, be it null."""
        return field in self._plan

    def names(self, field: FieldName) -> tuple[str, ...]:
        """The row's own names for a field, the likeliest first, be their values null."""
        return self._plan.get(field, ())

    def name(self, field: FieldName) -> str | None:
        """The row's own name for the value that `peek` would give."""
        names = self._plan.get(field)
        if names is None:
            return None
        for name in names:
            if not is_null(self._row[name]) and (name not in self._used or name in self._claimed):
                return name
        return None

    def peek(self, field: FieldName) -> object:
        """The first value that is not null and not used yet; None where there is none."""
        name = self.name(field)
        return None if name is None else self._row[name]

    def take(self, field: FieldName) -> tuple[str, object]:
        """The row's own name for a field and its value, which then counts as used.

        Returns:
            The name and the value; our own name and None where there is no value.
        """
        name = self.name(field)
        if name is None:
            return field, None
        self._used.add(name)
        return name, self._row[name]

    def is_mapped(self, name: str) -> bool:
        """Whether the user said what this field of the row is."""
        return name in self._claimed

    def rest(self) -> dict[str, object]:
        """The fields that were not used and are not null, in the row's own order."""
        used = self._used
        return {k: v for k, v in self._row.items() if k not in used and not is_null(v)}

    def missing(self, wanted: str) -> UnreadableRowError:
        """The reason for a row without what its shape needs."""
        found = ", ".join(sorted(self._row)[:20]) or "none"
        return UnreadableRowError("missing_fields", f"no {wanted}; fields found: {found}")
