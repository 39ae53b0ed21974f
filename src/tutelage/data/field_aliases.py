"""Field aliases: which field of a row is the instruction, the response, the reference, ..."""

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from tutelage.data.field_values import UnreadableRowError, clean_text, value_at

_FIELDS_BEYOND_TURNS = frozenset(
    (
        *("refined_instruction", "refined_input", "refined_response", "refined_messages"),
        *("responses", "candidates", "tools", "label", "template_args", "reasoning"),
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
    (
        "choices",
        "options",
        "documents",
        "passages",
        "passage",
        "contexts",
        "article",
        "paragraph",
        "instructions",
    )
)
"""Columns that may belong to the instruction."""
OF_TOOLS = frozenset(
    (
        *("function", "tool", "apis", "api_list", "tool_list", "function_list", "tools_json"),
        *("tool_schemas", "function_schemas", "tool_definitions", "function_definitions"),
    )
)
"""Columns that may hold the tools of the prompt."""
ASKING = frozenset(("instruction", "question", "prompt", "query", "problem"))
"""Columns that hold an instruction, of which a row may have several."""
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
        possible_texts: Columns of `THINKING`, `OF_THE_PROMPT` and `OF_TOOLS`, used or not, and
            unused ones of `ASKING`.
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
    used: set[str] = dataclasses.field(default_factory=set)
    required: set[str] = dataclasses.field(default_factory=set)

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
        known: For each of our fields, the columns that may hold it, most likely first.
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
        possible_texts=tuple(
            n for n in names if n in _POSSIBLE_TEXTS or (n in ASKING and n not in taking.used)
        ),
    )


def turn_columns(
    names: Collection[str], known: Mapping[Any, tuple[str, ...]], *, claimed: frozenset[str]
) -> TextColumns | None:
    """Columns of rows that hold one list of turns and nothing else; otherwise None.

    Args:
        names: All columns.
        known: For each of our fields, the columns that may hold it, most likely first.
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
        possible_texts=tuple(n for n in names if n in _POSSIBLE_TEXTS or n in ASKING),
    )


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
    "sample",
    "reference",
    "source",
    "tools",
    "reasoning",
    "label",
    "template_args",
]
"""Tutelage's names for the parts of a row; the keys of `ReadSettings.fields`."""


Shape: TypeAlias = Literal[
    "auto",
    "messages",
    "prompt_completion",
    "alpaca",
    "question_answer",
    "refined",
    "pool",
    "samples",
    "candidates",
]

_RESPONSES = ("response", "output", "completion", "solution", "rationale", "answer")
_BY_A_MODEL = ("attempt", "deepseek_attempt")
"""Names of a model's answer in sets where `solution` is the reference (s1K)."""
_INSTRUCTIONS = (
    *("instruction", "question", "prompt", "query", "problem", "instructions"),
    *("definition", "input", "inputs"),  # Natural Instructions: a definition and its input
)
_ASKS = ("instruction", "question", "prompt", "query", "problem")
_REFINED = ("refined", "revised")

ALIASES: Mapping[FieldName, tuple[str, ...]] = {
    "instruction": (
        *(f"original_{name}" for name in ("instruction", "question", "prompt")),
        *_INSTRUCTIONS,
    ),
    "input": ("original_input", "input", "inputs", "context"),
    "response": (
        *(f"original_{name}" for name in _RESPONSES),
        *("response", "output", "completion", "chosen", "chosen_messages"),
        *("generated_solution", "deepseek_solution", "r1_generation", *_BY_A_MODEL),
        *("solution", "rationale", "answer", "targets", "target"),
    ),
    "system": (
        "system",
        "system_prompt",
        "systeminstruction",
        "system_instruction",
        "system_message",
        *("systemprompt", "system_instructions"),
    ),
    "history": ("history",),
    "messages": ("messages", "conversations", "conversation", "dialog", "dialogue", "contents"),
    "refined_instruction": tuple(
        f"{how}_{name}" for how in _REFINED for name in ("instruction", "question", "prompt")
    ),
    "refined_input": tuple(f"{how}_input" for how in _REFINED),
    "refined_response": tuple(f"{how}_{name}" for how in _REFINED for name in _RESPONSES),
    "refined_messages": tuple(f"{how}_messages" for how in _REFINED),
    "responses": ("responses", "outputs", "completions", "samples", "generations", "candidates"),
    "candidates": ("candidates",),
    "model": ("teacher", "refiner", "model", "generator", "teacher_model", "model_name"),
    "sample": (
        *("sample", "sample_index", "sample_idx", "sample_number", "generation_index"),
        *("generation_idx", "response_index", "response_idx", "completion_index", "rollout_index"),
    ),
    "reference": (
        "reward_model.ground_truth",
        "reference",
        "reference_answer",
        "reference_output",
        "gold",
        "gold_answer",
        "ground_truth",
        "ground_truth_solution",
        "correct_answer",
        "expected_answer",
        "answer",
        "final_answer",
    ),
    "source": ("source", "source_dataset", "dataset", "data_source"),
    "tools": ("tools", "functions", "available_tools"),
    "reasoning": (
        *("reasoning_content", "thinking", "deepseek_reasoning", "complex_cot"),
        *("deepseek_thinking_trajectory", "thinking_trajectories"),
    ),
    "label": ("label", "kto_tag"),
    "template_args": ("chat_template_kwargs",),
}
"""Aliases of each field, most likely first. Case does not matter."""

_FORCED: Mapping[Shape, Mapping[FieldName, tuple[str, ...]]] = {
    "prompt_completion": {"instruction": ("prompt",), "response": ("completion",)},
    "alpaca": {"instruction": ("instruction",), "response": ("output", "response")},
    "question_answer": {"instruction": ("question",), "response": ("answer",)},
}
"""Narrower aliases of the instruction and the response where a shape is set explicitly."""


def is_null(value: object) -> bool:
    """Whether a value is missing: null, or NaN, which data frames write for null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


_MEDIA_COLUMN = re.compile(
    r"(image|img|picture|photo|video|audio|pixel_value)s?"
    r"([_-]?\d+)?([_-]?(path|url|uri|file|filename|file_name|bytes|base64|list)s?)?([_-]?\d+)?",
    re.IGNORECASE,
)
"""Name of a column that is part of a prompt and holds no text."""


def is_media_column(name: str) -> bool:
    """Whether a column is named as one of images, sound or video.

    Examples:
        >>> [is_media_column(name) for name in ("image", "image_0", "video_url", "image_id")]
        [True, True, True, False]
    """
    return _MEDIA_COLUMN.fullmatch(name.strip()) is not None


_PLAIN: frozenset[FieldName] = frozenset(
    ("instruction", "input", "response", "system", "history", "reference", "source")
)
"""Fields with which a row is certainly a plain pair."""
_PAIRS = ("auto", "prompt_completion", "alpaca", "question_answer")
"""Shapes of rows with one instruction and one response."""
_REFINEMENT = {"refined_instruction", "refined_response", "refined_messages"}
_PLANS_KEPT = 256
_NAMES_KEPT = 1000
_NESTED = ("reward_model.ground_truth",)
"""Nested fields that are found without a mapping."""


class _Plan(NamedTuple):
    """Meaning of a set of column names, worked out once.

    Attributes:
        known: For each of our fields, the row's own names for it, most likely first.
        media: Columns that hold images, sound or video.
        is_plain: Whether there are no fields but those of one pair.
        columns: Where a plain row has its texts; None where rows are read field by field.
    """

    known: Mapping[FieldName, tuple[str, ...]]
    media: tuple[str, ...]
    is_plain: bool
    columns: TextColumns | None


class FieldMap:
    """Mapping from fields to the names that rows use, cached for each set of column names.

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
        self._shape = shape
        self._claimed = frozenset(mapping.values())
        self._aliases = {**ALIASES, **_FORCED.get(shape, {}), **dict.fromkeys(without, ())}
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._paths = tuple(name for name in (*mapping.values(), *_NESTED) if "." in name)
        self._roots = frozenset(path.partition(".")[0] for path in self._paths)
        self._found: set[str] = set()
        self.names: dict[str, None] = {}
        """Names of the fields of the rows so far; those inside objects are dotted."""

    def open(self, row: Mapping[str, object]) -> "Fields":
        """The fields of one row."""
        inner = self._inner(row) if not self._roots.isdisjoint(row) else {}
        whole = {**row, **inner} if inner else row
        names = tuple(whole)
        plan = self._plans.get(names)
        if plan is None:
            if len(self._plans) >= _PLANS_KEPT:  # rows that all differ must not fill the memory
                self._plans.clear()
            plan = self._plans[names] = self._planned(names)
            self._note(row, names)
        return Fields(whole, plan, claimed=self._claimed, inner=frozenset(inner))

    def columns_of(self, row: Mapping[str, object]) -> TextColumns | None:
        """Columns of a plain row that hold its texts; None where the row must be parsed in full.

        The first row of each set of column names must be.
        """
        plan = self._plans.get(tuple(row))
        return None if plan is None else plan.columns

    def _planned(self, names: tuple[str, ...]) -> _Plan:
        known = self._plan(names)
        media = tuple(n for n in names if is_media_column(n) and n not in self._claimed)
        is_plain, columns = known.keys() <= _PLAIN, None
        if not media and self._roots.isdisjoint(names):
            if is_plain and self._shape in _PAIRS:
                columns = pair_columns(names, known, claimed=self._claimed)
            elif self._shape in ("auto", "messages"):
                columns = turn_columns(names, known, claimed=self._claimed)
        return _Plan(known=known, media=media, is_plain=is_plain, columns=columns)

    def _inner(self, row: Mapping[str, object]) -> dict[str, object]:
        """Values of dotted names, such as `reward_model.ground_truth`."""
        found = {}
        for path in self._paths:
            if path not in row:
                value = value_at(row, path)
                if value is not None:
                    found[path] = value
        return found

    def _note(self, row: Mapping[str, object], names: Iterable[object]) -> None:
        self._found |= self._claimed & set(names)
        if len(self.names) < _NAMES_KEPT:
            self.names |= dict.fromkeys(clean_text(str(name)) for name in names)
            self.names |= dict.fromkeys(
                clean_text(f"{name}.{key}")
                for name, value in row.items()
                if isinstance(value, Mapping)
                for key in list(value)[:_PLANS_KEPT]
            )

    def excuse_roots(self) -> None:
        """Count a dotted name as found where its first part exists: its value may be null."""
        roots = {name for name in self._claimed if name.partition(".")[0] in self.names}
        self._found |= roots

    @property
    def unfound(self) -> dict[FieldName, str]:
        """Mapped names that no row so far has had."""
        return {ours: own for ours, own in self._mapping.items() if own not in self._found}

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
        if not _REFINEMENT & plan.keys():
            self._as_seeds(plan, spelled)
        responses = plan.get("response", ("",))
        if responses[0].lower() in _BY_A_MODEL and "reference" not in self._mapping:
            known = tuple(name for name in responses if name.lower() == "solution")
            plan["reference"] = (*plan.get("reference", ()), *known)
        if "model" in plan and "model" not in self._mapping and not _REFINEMENT & plan.keys():
            # A refiner wrote the refinement; a row that has none is not a row of a pool.
            plan["model"] = tuple(n for n in plan["model"] if n.lower() != "refiner")
        if plan.get("model") and "reference" not in self._mapping:
            # Beside a model's name the final answer is what the model said, not what is right.
            references = plan.get("reference", ())
            plan["reference"] = tuple(n for n in references if n.lower() != "final_answer")
        return plan

    def _as_seeds(self, plan: dict[FieldName, tuple[str, ...]], spelled: Mapping[str, str]) -> None:
        """Treat the fields of the original as the row itself where the row has no refinement.

        It is read only where the row has nothing else for that half. An original response never
        joins another instruction than its own, nor a new response the original instruction.
        """
        seeds = {name for own in plan.values() for name in own if _is_seed(name)}
        if not seeds:
            return
        asks = [name for name in plan.get("instruction", ()) if not _is_seed(name)]
        others = [n for n in spelled if not _is_seed(n) and any(ask in n for ask in _ASKS)]
        for ours in ("instruction", "response", "input"):
            if ours in self._mapping or ours not in plan:
                continue
            plain = tuple(name for name in plan[ours] if name not in seeds)
            own = tuple(name for name in plan[ours] if name in seeds)
            if ours == "instruction":
                found = plain or own
            elif asks or "instruction" in self._mapping:
                found = plain or (() if _asks_originally(spelled) else own)
            else:  # the original is all that is asked
                found = own if own or others else plain
            plan[ours] = found
            if not found:
                del plan[ours]


def _asks_originally(spelled: Mapping[str, str]) -> bool:
    """Whether a row has an original instruction, under any name."""
    return any(_is_seed(name) and any(ask in name for ask in _ASKS) for name in spelled)


def _is_seed(name: str) -> bool:
    return name.strip().lower().startswith("original_")


class Fields:
    """One row, read by field; unread fields are its `rest`.

    Args:
        row: The row as it was read.
        plan: Meaning of its column names.
        claimed: The row's names that the user mapped; one may serve for several of our fields.
        inner: Dotted names that were added to the row for values inside its fields.
    """

    __slots__ = ("_claimed", "_inner", "_plan", "_row", "_used", "is_plain", "media")

    def __init__(
        self,
        row: Mapping[str, object],
        plan: _Plan,
        *,
        claimed: frozenset[str] = frozenset(),
        inner: frozenset[str] = frozenset(),
    ) -> None:
        self._row = row
        self._inner = inner
        self._claimed = claimed
        self._plan = plan.known
        self.media = plan.media
        self.is_plain = plan.is_plain
        self._used: set[str] = set()

    def has(self, field: FieldName) -> bool:
        """Whether the row has the field, even with the value null."""
        return field in self._plan

    def names(self, field: FieldName) -> tuple[str, ...]:
        """The row's own names for a field, most likely first, even those with null values."""
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
        """First value that is neither null nor used; None where there is none."""
        if field not in self._plan:
            return None
        name = self.name(field)
        return None if name is None else self._row[name]

    def take(self, field: FieldName) -> tuple[str, object]:
        """The row's own name for a field and its value, which is then marked as used.

        Returns:
            The name and the value; our own name and None where there is no value.
        """
        name = self.name(field)
        if name is None:
            return field, None
        self._used.add(name)
        return name, self._row[name]

    def raw(self, name: str) -> object:
        """Value of a field by the row's own name; None where it is missing, null or used."""
        value = self._row.get(name)
        taken = name in self._used or name in self._claimed
        return None if taken or is_null(value) else value

    def use(self, name: str) -> None:
        """Mark a field as used, by the row's own name."""
        self._used.add(name)

    def is_mapped(self, name: str) -> bool:
        """Whether the user's mapping names this field of the row."""
        return name in self._claimed

    def rest(self) -> dict[str, object]:
        """Fields that were not used and are not null, in the row's own order."""
        used = self._used | self._inner if self._inner else self._used
        return {k: v for k, v in self._row.items() if k not in used and not is_null(v)}

    def missing(self, wanted: str) -> UnreadableRowError:
        """Error for a row that lacks a field its shape needs."""
        found = ", ".join(sorted(map(str, self._row))[:20]) or "none"
        return UnreadableRowError("missing_fields", f"no {wanted}; fields found: {found}")
