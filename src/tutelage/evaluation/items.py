"""The items of a task, read from a file; which of them, depends on their ids and a seed alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tutelage.data import ORIGINAL, Candidate, content_hash, read, read_records
from tutelage.errors import DataError
from tutelage.evaluation.config import TaskSettings
from tutelage.evaluation.multiple_choice import choices_of, right_index
from tutelage.verification import Constraint

_USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("item_id", "id", "key", "problem_id", "prompt_id"),
    "question": ("question", "instruction", "prompt", "problem"),
    "choices": ("choices", "options"),
    "answer_index": ("answer_index", "label", "answerKey"),
    "answer": ("answer_num", "answer", "final_answer", "reference", "gold"),
    "reasoning": ("reasoning", "rationale"),
    "kinds": ("instruction_id_list",),
    "arguments": ("kwargs",),
}
"""Where a field is looked for when the settings do not say."""

_Item = TypeVar("_Item", bound="Item | Reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question.

    Attributes:
        item_id: Unique within the task.
        question: As the student is asked, in the task's wording.
        answer: The reference, where there is one.
        choices: The answers to choose from.
        answer_index: Which of them is right.
        constraints: What a program checks.
    """

    item_id: str
    question: str
    answer: str | None = None
    choices: tuple[str, ...] = ()
    answer_index: int | None = None
    constraints: tuple[Constraint, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference answer to be read, as a candidate."""

    item_id: str
    candidate: Candidate


def read_items(task: TaskSettings, *, seed: int) -> list[Item]:
    """The questions of a task.

    Raises:
        DataError: There is no row; a row is not an object, lacks a field, has one that is not
            what it should be, or shares its id with another.
    """
    items = []
    for number, record in enumerate(read_records(str(task.path))):
        if record.problem is not None or not isinstance(record.value, Mapping):
            why = record.problem.detail if record.problem is not None else "not an object"
            raise DataError(f"{task.path}: row {number}: {why}", hint="mend or remove the row")
        items.append(_item(record.value, task, place=f"{task.path}: row {number}"))
    if not items:
        raise DataError(f"{task.path}: holds no rows", hint="is it the right file?")
    _unique(items, place=str(task.path))
    return drawn(items, limit=task.limit, seed=seed)


def read_references(task: TaskSettings, *, seed: int) -> list[Reference]:
    """The reference answers of a held-out task, one a row.

    Rows that repeat an earlier one are the same item and are read once.

    Raises:
        DataError: A row has no such version, or there is no row.
    """
    found: dict[str, Reference] = {}
    for row in read(str(task.path)):
        if row.example is None:
            raise DataError(f"{row.detail or row.row}: {row.status}", hint="mend or remove the row")
        wanted = [
            c
            for c in (*row.candidates, *row.repeated)
            if (c.step == ORIGINAL) == (task.step == "original")
        ]
        if len(wanted) != 1:
            raise DataError(
                f"{row.file}:{row.line}: {len(wanted)} {task.step} versions, expected one",
                hint="`step` says which version is the reference: original or refined",
            )
        item = Reference(item_id=row.example.example_id, candidate=wanted[0])
        found[item.item_id] = item
    return drawn(list(found.values()), limit=task.limit, seed=seed)


def drawn(items: Sequence[_Item], *, limit: int | None, seed: int) -> list[_Item]:
    """At most `limit` items, the same ones whatever order they come in; in the order given."""
    if limit is None or len(items) <= limit:
        return list(items)
    ranked = sorted(items, key=lambda item: content_hash("draw", seed, item.item_id))
    kept = {item.item_id for item in ranked[:limit]}
    return [item for item in items if item.item_id in kept]


def _item(row: Mapping[str, Any], task: TaskSettings, *, place: str) -> Item:
    def value(name: str) -> Any:
        names = (task.fields[name],) if name in task.fields else _USUAL[name]
        return next((row[n] for n in names if row.get(n) is not None), None)

    def need(name: str) -> Any:
        found = value(name)
        if found is None:
            looked = task.fields.get(name) or " or ".join(_USUAL[name])
            raise DataError(
                f"{place}: has no {name} (looked for {looked})",
                hint=f"say which field it is: `fields: {{{name}: FIELD}}`",
            )
        return found

    question = task.prompt.replace("{question}", str(need("question")))
    name = value("id")
    item_id = str(name) if name is not None else content_hash("item", question, value("choices"))
    if task.kind == "choice":
        choices = choices_of(need("choices"), place=place)
        return Item(
            item_id=item_id,
            question=question,
            choices=choices.texts,
            answer_index=right_index(need("answer_index"), choices, place=place),
        )
    if task.kind == "ifeval":
        return Item(
            item_id=item_id,
            question=question,
            constraints=_constraints(need("kinds"), value("arguments"), place=place),
        )
    reasoning = value("reasoning") if "reasoning" in task.fields else None
    return Item(
        item_id=item_id,
        question=question,
        answer=_text(need("answer")),
        extra={} if reasoning is None else {"reasoning": str(reasoning)},
    )


def _text(answer: object) -> str:
    """A whole number that a file holds as 51.0 is the answer 51."""
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    return str(answer)


def _constraints(kinds: object, arguments: object, *, place: str) -> tuple[Constraint, ...]:
    """The constraints of a row.

    Raises:
        DataError: There is none, or they are not what they should be.
    """
    hint = "IFEval's instruction_id_list holds a text, and its kwargs an object, a constraint"
    if not isinstance(kinds, list) or not kinds or not all(isinstance(k, str) for k in kinds):
        raise DataError(f"{place}: the constraints are {kinds!r}, expected one or more", hint=hint)
    given = arguments or [{}] * len(kinds)
    if not isinstance(given, list) or not all(a is None or isinstance(a, Mapping) for a in given):
        raise DataError(f"{place}: the arguments are {arguments!r}, expected objects", hint=hint)
    if len(given) != len(kinds):
        raise DataError(f"{place}: {len(kinds)} constraints but {len(given)} arguments", hint=hint)
    return tuple(
        Constraint(kind=kind, arguments={k: v for k, v in (a or {}).items() if v is not None})
        for kind, a in zip(kinds, given, strict=True)
    )


def _unique(items: Iterable[Item], *, place: str) -> None:
    seen: set[str] = set()
    for item in items:
        if item.item_id in seen:
            raise DataError(
                f"{place}: the item {item.item_id!r} stands twice",
                hint="give the items ids of their own: `fields: {id: FIELD}`",
            )
        seen.add(item.item_id)
