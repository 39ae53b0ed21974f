"""Items of a task, read from a file, and their results, one row per item.

Which items are sampled depends only on their ids and a seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from tutelage.data import ORIGINAL, Candidate, content_hash, read, read_records
from tutelage.data.item_texts import field_value, item_text
from tutelage.data.schemas import RESULTS
from tutelage.errors import DataError
from tutelage.evaluation.config import TaskKind, TaskSettings
from tutelage.verification import Constraint

# Multiple choice as files hold it: what can be chosen, and which of it is right.
#
# choices: [red, blue]                             answer_index: 1, "1" or B
# choices: {text: [red, blue], label: [A, B]}      answerKey: B         as ARC has it on the hub
# question: {stem: Which?, choices: [{text: red, label: A}, ...]}       as ARC's own files have it


_LEAST_CHOICES = 2
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Choices of an item.

    Attributes:
        texts: At least two.
        labels: What the file calls each of them, or nothing.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()


def choices_of(value: object, *, place: str) -> Choices:
    """Choices of a row.

    Args:
        value: A list of texts, a list of objects with `text` and `label`, or an object with the
            lists `text` and `label`.
        place: File and row, for messages.

    Raises:
        DataError: It is neither, or there are fewer than two.
    """
    if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
        value = {name: [choice.get(name) for choice in value] for name in ("text", "label")}
    if isinstance(value, Mapping):
        texts = _texts(value.get("text"), what="choices.text", place=place)
        labels = _texts(value.get("label"), what="choices.label", place=place)
        if len(labels) != len(texts) or len(set(labels)) != len(labels):
            raise DataError(
                f"{place}: the labels {list(labels)} are not distinct for {len(texts)} choices",
                hint="give each choice its own label",
            )
    else:
        texts, labels = _texts(value, what="choices", place=place), ()
    if len(texts) < _LEAST_CHOICES:
        raise DataError(
            f"{place}: {len(texts)} choices, expected two or more", hint="fix or remove the row"
        )
    return Choices(texts=texts, labels=labels)


def right_index(answer: object, choices: Choices, *, place: str) -> int:
    """Index of the right choice, 0-based.

    A text is a label if the choices have labels, otherwise an index or a letter (A for the first).
    A number is an index; if it is also the label of another choice, the row is an error.

    Args:
        answer: As the row has it.
        choices: Choices of the same row.
        place: File and row, for messages.

    Raises:
        DataError: It names no choice.

    Examples:
        >>> colours = Choices(texts=("red", "blue"))
        >>> [right_index(a, colours, place="row 0") for a in (1, "1", "B")]
        [1, 1, 1]
        >>> right_index("2", Choices(texts=("red", "blue"), labels=("1", "2")), place="row 0")
        1
    """
    index = _index_of(answer, choices)
    if index is None or not 0 <= index < len(choices.texts):
        known = f"labelled {list(choices.labels)}" if choices.labels else "without labels"
        raise DataError(
            f"{place}: answer_index {answer!r} matches none of {len(choices.texts)} choices "
            f"{known}",
            hint="a label, a letter, or an index that counts from 0",
        )
    if not isinstance(answer, str) and str(index) in choices.labels:
        labelled = choices.labels.index(str(index))
        if labelled != index:
            raise DataError(
                f"{place}: answer_index {answer!r} is the index of one choice and the label "
                "of another",
                hint=f'a label is a text: "{index}"',
            )
    return index


def _index_of(answer: object, choices: Choices) -> int | None:
    if isinstance(answer, str):
        given = answer.strip()
        if choices.labels:
            return choices.labels.index(given) if given in choices.labels else None
        if given.isascii() and given.isdigit():
            return int(given)
        letter = given.upper()
        return _LETTERS.index(letter) if len(letter) == 1 and letter in _LETTERS else None
    if isinstance(answer, bool):
        return None
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)  # columns that lack some values hold whole numbers as 1.0
    return answer if isinstance(answer, int) else None


def _texts(value: object, *, what: str, place: str) -> tuple[str, ...]:
    """Texts of a list.

    Raises:
        DataError: It is no list, or holds something else.
    """
    if not isinstance(value, list | tuple):
        raise DataError(
            f"{place}: {what} is {value!r}, expected a list of texts",
            hint="`fields: {choices: FIELD}` says which field it is",
        )
    wrong = [v for v in value if not isinstance(v, str)]
    if wrong:
        raise DataError(
            f"{place}: {what} holds {wrong[0]!r}, expected texts",
            hint="write each choice as a text",
        )
    return tuple(value)


_USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("item_id", "id", "key", "problem_id", "prompt_id"),
    "question": ("question", "instruction", "prompt", "problem", "question_stem"),
    "choices": ("choices", "options", "question.choices"),
    "answer_index": ("answer_index", "label", "answerKey"),
    "answer": ("answer_num", "answer", "final_answer", "reference", "gold"),
    "reasoning": ("reasoning", "rationale"),
    "kinds": ("instruction_id_list",),
    "arguments": ("kwargs",),
}
"""Fields that are searched when the settings name none."""

_Item = TypeVar("_Item", bound="Item | Reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a task.

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
    """Reference answer as a candidate that the student reads."""

    item_id: str
    candidate: Candidate


def read_items(task: TaskSettings, *, seed: int) -> list[Item]:
    """Read the questions of a task.

    Raises:
        DataError: There is no row; a row is not an object, lacks a field, has one that is not
            what it should be, or shares its id with another.
    """
    items = []
    for number, record in enumerate(read_records(str(task.path))):
        if record.problem is not None or not isinstance(record.value, Mapping):
            why = record.problem.detail if record.problem is not None else "not an object"
            raise DataError(f"{task.path}: row {number}: {why}", hint="fix or remove the row")
        items.append(_item(record.value, task, place=f"{task.path}: row {number}"))
    if not items:
        raise DataError(f"{task.path}: contains no rows", hint="is it the right file?")
    _unique(items, place=str(task.path))
    return drawn(items, limit=task.limit, seed=seed)


def read_references(task: TaskSettings, *, seed: int) -> list[Reference]:
    """Read the reference answers of a held-out task, one per row.

    Rows that repeat an earlier one are the same item and are read once.

    Raises:
        DataError: A row has no such version, or there is no row.
    """
    found: dict[str, Reference] = {}
    for row in read(str(task.path)):
        if row.example is None:
            raise DataError(f"{row.detail or row.row}: {row.status}", hint="fix or remove the row")
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
    """Sample of at most `limit` items that does not depend on their order.

    Args:
        items: The items.
        limit: Most items; None for all.
        seed: Seed of the sample.
    """
    if limit is None or len(items) <= limit:
        return list(items)
    ranked = sorted(items, key=lambda item: content_hash("draw", seed, item.item_id))
    kept = {item.item_id for item in ranked[:limit]}
    return [item for item in items if item.item_id in kept]


def _item(row: Mapping[str, Any], task: TaskSettings, *, place: str) -> Item:
    def value(name: str) -> Any:
        found = (field_value(row, own) for own in names(name))
        return next((value for value in found if value is not None), None)

    def names(name: str) -> tuple[str, ...]:
        return (task.fields[name],) if name in task.fields else _USUAL[name]

    def asked() -> str:
        need("question")
        own = next(own for own in names("question") if field_value(row, own) is not None)
        return item_text(row, fields=(own,), place=place)

    def need(name: str) -> Any:
        found = value(name)
        if found is None:
            looked = task.fields.get(name) or " or ".join(_USUAL[name])
            raise DataError(
                f"{place}: has no {name} (looked for {looked})",
                hint=f"say which field it is: `fields: {{{name}: FIELD}}`",
            )
        return found

    question = task.prompt.replace("{question}", asked())
    own_id = value("id")
    of_content = content_hash("item", question, value("choices"))
    item_id = of_content if own_id is None else str(own_id)
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
    """Text of a field; a whole number that a file stores as 51.0 becomes 51."""
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    return str(answer)


def _constraints(kinds: object, arguments: object, *, place: str) -> tuple[Constraint, ...]:
    """Constraints of a row.

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
                f"{place}: the item {item.item_id!r} occurs twice",
                hint="give the items ids of their own: `fields: {id: FIELD}`",
            )
        seen.add(item.item_id)


UNITS: Mapping[TaskKind, str] = {
    "held_out": "log-likelihood, nats per token",
    "gain": "gain from the instruction, nats per token",
    "choice": "margin of the right choice, nats per token",
    "exact_match": "share right",
    "ifeval": "share of constraints met",
    "steps": "nats per answer token that the reasoning saves",
    "lm_eval": "the harness's own metric",
}
"""Meaning of the value, by kind of task. Higher is better in all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """Result of one item.

    Attributes:
        item_id: Item id of the item.
        status: `ok`, `no_answer` (a generated answer holds none: that is wrong), or why there is
            no value.
        value: In the unit of the task, or None.
        correct: Or None.
        text: What the student wrote or chose, or None.
        detail: For people.
    """

    item_id: str
    status: str = "ok"
    value: float | None = None
    correct: bool | None = None
    text: str | None = None
    detail: str | None = None


def results_table(results: Iterable[ItemResult], *, task: str, seed: int) -> pa.Table:
    """Table with the rows of one task.

    Args:
        results: The results.
        task: Name of the task.
        seed: Seed of the evaluation.
    """
    rows: list[dict[str, Any]] = [
        {
            "item_id": r.item_id,
            "task": task,
            "seed": seed,
            "value": r.value,
            "correct": r.correct,
            "status": r.status,
            "text": r.text,
            "detail": r.detail,
        }
        for r in results
    ]
    return pa.Table.from_pylist(rows, schema=RESULTS)
