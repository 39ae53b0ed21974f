"""Parser of rows: one row of any known shape becomes an example and its candidates.

    shape              what the row holds                      what comes of it
    messages           messages | conversations                the original
    prompt_completion  prompt, completion (text or turns)      the original
    alpaca             instruction[, input], output            the original
    question_answer    question, answer                        the original
    refined            the above and refined_* fields          the original and one reflection
    pool               instruction, model, output (long)       one sample
                       instruction, responses (wide)           samples, and the original if there
    candidates         messages, candidates (our own export)   what was exported

A row without any response is an example without an original. An original or a candidate whose
text is empty keeps its place with a status and has no text.

Plain rows have a fast path: each set of column names is analysed once (`TextColumns`), and a row
that has plain texts in these columns becomes an example in a fifth of the time. Any other row is
read field by field; for plain rows both ways give the same result.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, cast

import numpy as np

from tutelage.data.chat_messages import ROLE_OF, is_conversation, turns_in, turns_of
from tutelage.data.conversation_pairs import (
    Pair,
    answer,
    joined,
    note_in,
    pair_of,
    reference_in,
    rendered_prompt,
    text_in,
    with_thoughts,
)
from tutelage.data.example import OK, ORIGINAL, SAMPLE, Candidate, Example, Message, split_response
from tutelage.data.exported_candidates import (
    Version,
    candidate_of,
    is_blank,
    listed_candidates,
    refinement_of,
)
from tutelage.data.field_aliases import Fields, Shape, TextColumns, is_null
from tutelage.data.field_values import UnreadableRowError, clean_text, is_list, is_scalar, text_of
from tutelage.data.ids import example_id_of, original_ids_of

_NO_SAMPLE = ("original", "chosen")
"""Prefixes of field names that hold the row's own responses."""
_ITEM_RESPONSES = (
    "response",
    "output",
    "text",
    "completion",
    "content",
    "generated_text",
    "answer",
)
_INT_BITS = 10_000
"""Largest integer that is written as a number: Python converts at most 4300 digits (14,000 bit)."""
_ITEM_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
_ITEM_MODELS = ("model", "teacher", "generator", "model_name", "response_model")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRow:
    """Parsed content of one row.

    Attributes:
        example: The row as an example.
        candidates: Its versions, a parent before what was made from it; may be empty.
    """

    example: Example
    candidates: tuple[Candidate, ...]


def parse_row(
    fields: Fields, *, shape: Shape, source: str | None, teacher: str | None
) -> ParsedRow:
    """Turn one row into an example and its candidates.

    Args:
        fields: The row, seen by our names.
        shape: The shape it must have, or `auto` to go by its fields.
        source: For rows that do not name one.
        teacher: The teacher that wrote the refinements or samples of rows that do not say.

    Raises:
        UnreadableRowError: With one of the statuses `missing_fields`, `bad_type`,
            `no_user_turn`, `unexpected_turns`, `unsupported_role`, `unsupported_content`,
            `partly_trained`, `bad_candidates`.
    """
    found = _shape_of(fields) if shape == "auto" else shape
    pair = pair_of(fields, found)
    match found:
        case "refined":
            return _refined(fields, pair, source=source, teacher=teacher)
        case "pool" | "samples":
            return _pool(fields, pair, source=source, teacher=teacher)
        case "candidates":
            return _listed(fields, pair, source=source)
        case _:
            example = _example(fields, pair, source=source)
            return ParsedRow(example=example, candidates=_originals(example, pair))


def _shape_of(fields: Fields) -> Shape:
    """Shape suggested by the fields; a pair under any names is called `alpaca` here."""
    if fields.is_plain:
        return "alpaca"
    if _has_listed(fields):
        return "candidates"
    if _has_refined(fields):
        return "refined"
    if is_list(fields.peek("responses")):
        _refuse_steps(fields)
        return "pool"
    if fields.peek("messages") is not None:
        return "messages"
    response = fields.name("response")
    named = is_scalar(fields.peek("model")) or _is_number(fields.peek("sample"))
    # What is called the original stays one, whatever teacher the row names.
    is_sample = response is not None and not response.lower().startswith(_NO_SAMPLE)
    return "pool" if named and is_sample else "alpaca"


def _refuse_steps(fields: Fields) -> None:
    """Raise an error for the steps of one answer, each with a label, as for reward models."""
    steps, labels = fields.peek("responses"), fields.raw("labels")
    if is_list(steps) and is_list(labels) and len(labels) == len(steps) > 0:
        name = fields.name("responses")
        raise UnreadableRowError(
            "bad_type",
            f"field 'labels' has one label for each of {name!r}: these look like the steps of one "
            "answer, not like several answers",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _has_listed(fields: Fields) -> bool:
    listed = fields.peek("candidates")
    return is_list(listed) and any(isinstance(c, Mapping) and "step" in c for c in listed)


def _has_refined(fields: Fields) -> bool:
    return (
        fields.peek("refined_response") is not None
        or fields.peek("refined_instruction") is not None
        or fields.peek("refined_messages") is not None
        or (fields.has("refined_response") and fields.peek("instruction") is not None)
    )


def _example(fields: Fields, pair: Pair, *, source: str | None) -> Example:
    """Example of a row whose other fields have been taken."""
    reference = reference_in(fields)
    named = note_in(fields, "source")
    own = pair.response
    untold = own is None or is_blank(own) or not own.trained
    messages = pair.context if own is None or untold else (*pair.context, own)
    extra = fields.rest()
    for name, note in pair.notes.items():
        extra.setdefault(name, note)
    return Example(
        example_id=example_id_of(
            messages, reference=reference, tools=pair.tools, template_args=pair.template_args
        ),
        messages=messages,
        reference=reference,
        source=named or source,
        extra=extra_of(extra),
        tools=pair.tools,
        template_args=pair.template_args,
    )


def _originals(example: Example, pair: Pair) -> tuple[Candidate, ...]:
    if pair.response is None:
        return ()
    version = _version(pair, pair.response, step=ORIGINAL, detail=pair.detail)
    return (candidate_of(version, example_id=example.example_id),)


def _version(
    pair: Pair,
    response: Message,
    *,
    step: str,
    teacher: str | None = None,
    detail: str | None = None,
) -> Version:
    return Version(
        step=step,
        context=pair.context,
        response=response,
        teacher=teacher,
        detail=detail,
        tools=pair.tools,
        template_args=pair.template_args,
    )


def _refined(fields: Fields, pair: Pair, *, source: str | None, teacher: str | None) -> ParsedRow:
    response = answer("") if pair.response is None else pair.response
    old = replace(pair, response=response)
    name, turns = fields.take("refined_messages")
    if turns is not None:
        found = turns_of(turns, name=name, tools=pair.tools is not None)
        split = split_response(found.turns, name=name)
        context, refined = split.context, split.response or answer("")
    elif fields.has("refined_response") or fields.peek("refined_instruction") is not None:
        context = _with_instruction(old.context, _refined_instruction(fields, old))
        refined = answer(text_in(fields, "refined_response") or "")
    else:
        raise fields.missing("refined response")
    refiner = note_in(fields, "model") or teacher
    example = _example(fields, old, source=source)
    (original,) = _originals(example, old)
    refinement = refinement_of(
        _version(old, response, step=ORIGINAL),
        context=context,
        response=refined,
        parent_id=original.candidate_id,
        teacher=refiner,
        example_id=example.example_id,
    )
    return ParsedRow(example=example, candidates=(original, refinement))


def _with_instruction(context: tuple[Message, ...], content: str) -> tuple[Message, ...]:
    """Context with its last user turn replaced.

    Calls of tools that followed the old one stay only where the instruction is the same.
    """
    at = max(i for i, turn in enumerate(context) if turn.role == "user")
    last = context[at]
    behind = context[at + 1 :] if content.split() == last.content.split() else ()
    return (*context[:at], Message(role="user", content=content, name=last.name), *behind)


def _refined_instruction(fields: Fields, pair: Pair) -> str:
    """Refined instruction with its input; the original's input where the row has no other.

    A row without a refined input keeps the original input; an empty one takes it away.
    """
    instruction = text_in(fields, "refined_instruction") or ""
    given = text_in(fields, "refined_input")
    if not instruction.strip() and not (given or "").strip():
        return pair.instruction
    bare = instruction if instruction.strip() else (pair.bare or pair.instruction)
    return joined(bare, pair.given if given is None else given)


def _pool(fields: Fields, pair: Pair, *, source: str | None, teacher: str | None) -> ParsedRow:
    writer = note_in(fields, "model") or teacher
    responses = fields.peek("responses")
    if not is_list(responses):
        if pair.response is None:
            raise fields.missing("response, and no list of responses")
        example = _example(fields, replace(pair, response=None), source=source)
        version = _version(pair, pair.response, step=SAMPLE, teacher=writer, detail=pair.detail)
        sample = candidate_of(version, example_id=example.example_id)
        return ParsedRow(example=example, candidates=(sample,))
    name, _ = fields.take("responses")
    written = [_item(item, name=f"{name}[{i}]", teacher=writer) for i, item in enumerate(responses)]
    thoughts = fields.peek("reasoning")
    if is_list(thoughts) and len(thoughts) == len(written):
        fields.take("reasoning")
        written = [
            replace(item, response=with_thoughts(item.response, thought))
            if isinstance(thought, str) and thought.strip()
            else item
            for item, thought in zip(written, thoughts, strict=True)
        ]
    if any(item.fields for item in written):
        notes = {**pair.notes, name: [dict(item.fields) for item in written]}
        pair = replace(pair, notes=notes)
    example = _example(fields, pair, source=source)
    samples = (
        candidate_of(
            _version(pair, item.response, step=SAMPLE, teacher=item.teacher),
            example_id=example.example_id,
        )
        for item in written
    )
    return ParsedRow(example=example, candidates=(*_originals(example, pair), *samples))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One response of a list, with its author and its other fields."""

    response: Message
    teacher: str | None
    fields: Mapping[str, object]


def _item(item: object, *, name: str, teacher: str | None) -> _Item:
    if is_conversation(item):
        turns = turns_of(item, name=name).turns
        if turns[-1].role != "assistant" or sum(t.role == "assistant" for t in turns) > 1:
            raise UnreadableRowError(
                "unexpected_turns", f"{name} should be one assistant turn, behind its prompt"
            )
        return _Item(response=turns[-1], teacher=teacher, fields={})
    if not isinstance(item, Mapping):
        return _Item(response=answer(text_of(item, name=name) or ""), teacher=teacher, fields={})
    key = next((k for k in _ITEM_RESPONSES if item.get(k) is not None), None)
    if key is None and not any(k in item for k in _ITEM_RESPONSES):
        raise UnreadableRowError(
            "bad_type", f"{name} has none of the fields {', '.join(_ITEM_RESPONSES)}"
        )
    model = next((k for k in _ITEM_MODELS if item.get(k) is not None), None)
    thinking = next((k for k in _ITEM_THOUGHTS if isinstance(item.get(k), str)), None)
    response = answer("" if key is None else text_of(item[key], name=name) or "")
    if thinking is not None and item[thinking].strip():
        response = with_thoughts(response, item[thinking])
    writer = None if model is None else text_of(item[model], name=name)
    used = {key, model, thinking, "role"}
    rest = {k: v for k, v in item.items() if k not in used and v is not None}
    return _Item(response=response, teacher=writer or teacher, fields=rest)


def _listed(fields: Fields, pair: Pair, *, source: str | None) -> ParsedRow:
    name, listed = fields.take("candidates")
    if not is_list(listed):
        raise fields.missing("list of candidates")
    example = _example(fields, pair, source=source)
    originals = _originals(example, pair)
    rest = listed_candidates(
        listed, name=name, pair=pair, originals=originals, example_id=example.example_id
    )
    return ParsedRow(example=example, candidates=(*originals, *rest))


def extra_of(rest: Mapping[str, object]) -> str | None:
    """JSON text of the remaining fields; values without a JSON type are written as text or null."""
    if not rest:
        return None
    try:
        text = _ENCODER.encode(rest)
    except (ValueError, TypeError):  # not a number, keys that are no text, a circle, a huge int
        text = json.dumps(_plain(rest), ensure_ascii=False)
    return clean_text(text)


def _plain(value: object, inside: tuple[int, ...] = ()) -> object:
    """Closest value that JSON can express."""
    if id(value) in inside:
        return "(a circle)"
    deeper = (*inside, id(value))
    match value:
        case Mapping():
            return {str(k): _plain(v, deeper) for k, v in value.items()}
        case _ if is_list(value):
            return [_plain(v, deeper) for v in value]
        case np.generic():
            return _plain(value.item(), deeper)
        case _:
            return _plain_scalar(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def _plain_scalar(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case int() if value.bit_length() > _INT_BITS:
            return f"(an integer of {value.bit_length()} bits)"
        case bytes() | bytearray():
            return f"({len(value)} bytes)"
        case None | str() | int():
            return value
        case _:
            return str(value)


Turns: TypeAlias = tuple[tuple[str, str], ...]
"""Role and content of each turn."""

PlainTexts: TypeAlias = tuple[
    str, str, Turns, str | None, str | None, str | None, dict[str, object] | None
]
"""A plain row as texts, which another process can hand over at little cost.

The ids of the example and of its candidate, the turns, the reference, the source, the other fields
as JSON, and the values that `Findings` looks at in addition to the texts.
"""

Plain: TypeAlias = tuple[Example, tuple[Candidate]]

_TURN_KEYS = (("role", "content"), ("from", "value"))
_SPEAKERS = ("user", "assistant")
_MARK_CHARACTERS: Final = 20
"""Characters of a response within which "Human:" marks a whole conversation."""


def plain_texts(
    row: Mapping[str, object], columns: TextColumns, *, source: str | None
) -> PlainTexts | None:
    """Texts and ids of a plain row.

    Args:
        row: The row as it was read; it has the columns that were planned.
        columns: Where its texts are.
        source: For rows that do not name one.

    Returns:
        None for a row that must be read field by field: a value of it is no text, a text is
        blank, or it may hold a whole conversation.
    """
    if columns.required and any(row[name] is None for name in columns.required):
        return None
    reference = None if columns.reference is None else row[columns.reference]
    if columns.source is not None:
        named = row[columns.source]
        if named is not None and type(named) is not str:
            return None
        source = _note(named) or source
    if reference is not None and type(reference) is not str:
        return None
    turns = _pair(row, columns) if columns.turns is None else _conversation(row, columns)
    if turns is None:
        return None
    reference, extra = _note(reference), None
    if columns.rest:
        rest = {name: row[name] for name in columns.rest if not is_null(row[name])}
        extra = extra_of(rest) if rest else None
    example_id, candidate_id = original_ids_of(turns, reference=reference)
    possible = (
        {name: row[name] for name in columns.possible_texts} if columns.possible_texts else None
    )
    return example_id, candidate_id, turns, reference, source, extra, possible


def plain_parts(texts: PlainTexts) -> Plain:
    """Example and original candidate of the texts of a plain row."""
    example_id, candidate_id, turns, reference, source, extra, _ = texts
    messages = tuple([_message(role, content) for role, content in turns])
    example = _plain_example(example_id, messages, reference=reference, source=source, extra=extra)
    return example, (_original(candidate_id, example_id, messages),)


def _note(text: str | None) -> str | None:
    """Optional text; None where it is blank."""
    return clean_text(text) if text and text.strip() else None


def _pair(row: Mapping[str, object], columns: TextColumns) -> Turns | None:
    asked, said = row[columns.instruction], row[columns.response]
    given = None if columns.given is None else row[columns.given]
    system = None if columns.system is None else row[columns.system]
    if type(asked) is not str or type(said) is not str or _may_be_turns(asked, said):
        return None
    if given is not None and type(given) is not str:
        return None
    if system is not None and type(system) is not str:
        return None
    asked = clean_text(asked)
    if given:
        asked = joined(asked, clean_text(given))
    if (
        not asked.strip()
        or not said.strip()
        or "Human:" in said[:_MARK_CHARACTERS]
        or (columns.unused and not all(_is_unused(row[name]) for name in columns.unused))
    ):
        return None
    pair = (("user", asked), ("assistant", clean_text(said)))
    instructed = _note(system) if system else None
    return pair if instructed is None else (("system", instructed), *pair)


def _may_be_turns(asked: str, said: str) -> bool:
    """Whether the text of an instruction or of a response may be turns."""
    return (
        (asked.lstrip().startswith("[") and turns_in(asked) is not None)
        or (said.startswith("[") and turns_in(said) is not None)
        or rendered_prompt(asked) is not None
    )


def _is_unused(value: object) -> bool:
    return value is None or (type(value) is list and not value)


def _conversation(row: Mapping[str, object], columns: TextColumns) -> Turns | None:
    """Turns of a conversation that alternates strictly between user and assistant."""
    turns = row[columns.turns] if columns.turns is not None else None
    if type(turns) is not list or any(row[name] is not None for name in columns.unused):
        return None
    found: list[tuple[str, str]] = []
    expected = 0
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2:  # noqa: PLR2004  (role and content)
            return None
        role_key, content_key = _TURN_KEYS["from" in turn]
        content = turn.get(content_key)
        spelled = turn.get(role_key)
        if type(content) is not str or type(spelled) is not str:
            return None
        role = ROLE_OF.get(spelled)
        if role is None or (role != _SPEAKERS[expected] and (role != "system" or found)):
            return None
        if role != "system":
            expected = 1 - expected
        found.append((role, clean_text(content)))
    if expected or len(found) < len(_SPEAKERS):  # ends with a user, or holds no pair
        return None
    return tuple(found) if found[-1][1].strip() and found[-2][1].strip() else None


def blank_of(frozen: type[Any]) -> Any:
    """Class with the slots of a frozen dataclass, which can be filled like any object.

    An object of it becomes one of the frozen class by `__class__`. That takes a quarter of the time
    of the class's own `__init__`, which also checks the values: use it only for values that are
    known to be right.
    """
    return type(f"Blank{frozen.__name__}", (), {"__slots__": frozen.__slots__})


_BlankMessage = blank_of(Message)
_BlankExample = blank_of(Example)
_BlankCandidate = blank_of(Candidate)


def _message(role: str, content: str) -> Message:
    made = _BlankMessage()
    made.role = role
    made.content = content
    made.reasoning = made.tool_calls = made.tool_call_id = made.name = None
    made.trained = True
    made.__class__ = Message
    return cast("Message", made)


def _plain_example(
    example_id: str,
    messages: tuple[Message, ...],
    *,
    reference: str | None,
    source: str | None,
    extra: str | None,
) -> Example:
    made = _BlankExample()
    made.example_id = example_id
    made.messages = messages
    made.reference = reference
    made.source = source
    made.extra = extra
    made.tools = made.template_args = None
    made.__class__ = Example
    return cast("Example", made)


def _original(candidate_id: str, example_id: str, messages: tuple[Message, ...]) -> Candidate:
    made = _BlankCandidate()
    made.candidate_id = candidate_id
    made.example_id = example_id
    made.step = ORIGINAL
    made.messages = messages
    made.status = OK
    made.parent_id = made.teacher = made.finish_reason = made.detail = None
    made.criticism = made.request_key = made.tools = made.template_args = None
    made.__class__ = Candidate
    return cast("Candidate", made)
