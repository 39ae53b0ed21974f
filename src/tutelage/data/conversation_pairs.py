"""Splitting of a row's conversation into the prompt and the response."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tutelage.data.chat_messages import (
    Conversation,
    is_conversation,
    listed_in,
    turns_in,
    turns_of,
)
from tutelage.data.content_parts import content_of
from tutelage.data.example import Message, split_response
from tutelage.data.field_aliases import FieldName, Fields, Shape
from tutelage.data.field_values import (
    UnreadableRowError,
    clean_text,
    is_list,
    is_nothing,
    is_scalar,
    shown,
    text_of,
)
from tutelage.data.marked_text import marked_turns
from tutelage.data.thinking import split_thinking
from tutelage.data.tool_calls import calls_of, calls_text, describes_tools, tools_text, with_ids

_SAME = 200
"""First characters of an instruction that a whole conversation has to repeat."""

_PROBE = "(the answer)"
_ENDING = 60
"""Last characters of a rendered prompt, among which the mark of the answer is."""

ANSWER_MARKS = (
    *("Assistant:", "ASSISTANT:", "### Response:", "[/INST]", "<|assistant|>"),
    *("<|im_start|>assistant", "assistant<|end_header_id|>", "<start_of_turn>model"),
)
"""Ends of prompts that were written with a template."""

_END_OF_TURN = re.compile(
    r"\s*(?:<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<\|end\|>|<end_of_turn>|</s>)\s*$"
)

_MAY_BE_INDEX = ("attempt", "chosen")
"""Columns of a response that in other sets hold the number of an answer."""

_OF_THE_TURN = ("response", "output", "completion", "chosen", "chosen_messages")
"""Names of a response that may occur next to the turns it answers; others name a reference."""
SET_BY_TRAINER = frozenset(
    (
        *("messages", "tools", "add_generation_prompt", "chat_template"),
        *("continue_final_message", "tokenize", "raise_exception", "strftime_now"),
    )
)
"""What a row's own template arguments may not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A row's conversation split into its context and its response.

    Attributes:
        context: Everything in front of the response.
        response: The assistant turn at the end; None where the row has no field for one.
        bare: The instruction before its input was joined to it.
        given: The input that was joined to it; empty where there is none.
        tools: The tools of the row, as JSON text, or None.
        template_args: The template arguments of the row, as JSON text, or None.
        notes: What the turns hold that no message has room for; kept for provenance.
        detail: For people: why the response is no training target, where it is none.
    """

    context: tuple[Message, ...]
    response: Message | None
    bare: str = ""
    given: str = ""
    tools: str | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    detail: str | None = None
    template_args: str | None = None

    @property
    def instruction(self) -> str:
        """The last user turn."""
        return next(turn.content for turn in reversed(self.context) if turn.role == "user")


def text_in(fields: Fields, field_name: FieldName) -> str | None:
    """Text of one field, which is then marked as used; None where it is missing or null.

    Raises:
        UnreadableRowError: The field holds no text.
    """
    name, value = fields.take(field_name)
    return text_of(value, name=name)


def note_in(fields: Fields, field_name: FieldName) -> str | None:
    """Text of an optional field; None where it is blank.

    A value that is no single text is left alone, unless the user said that this is the field.

    Raises:
        UnreadableRowError: `bad_type`, for a field the user named.
    """
    name = fields.name(field_name)
    if name is None:
        return None
    if not is_scalar(fields.peek(field_name)):
        if fields.is_mapped(name):
            raise UnreadableRowError("bad_type", f"field {name!r} should be text or a number")
        return None
    text = text_in(fields, field_name)
    return text if text and text.strip() else None


def reference_in(fields: Fields) -> str | None:
    """Reference answer; None where there is none, or more than one.

    Rows of reinforcement learning write it as a list, too, or as the JSON text of a list of texts:
    a list of one is read.
    """
    name, value = fields.name("reference"), fields.peek("reference")
    if name is not None and name.endswith("ground_truth"):
        one = _only_item(value)
        if one is not None:
            fields.take("reference")
            return text_of(one, name=name)
    return note_in(fields, "reference")


def _only_item(value: object) -> object:
    listed = value
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if is_list(listed) and len(listed) == 1 and is_scalar(listed[0]):
        return listed[0]
    return None


def answer(text: str) -> Message:
    """Assistant turn with this text."""
    return Message(role="assistant", content=text)


def pair_of(fields: Fields, shape: Shape) -> Pair:
    """Context and response of a row; the response is None where the row has no field for one.

    Args:
        fields: The row, seen by our names.
        shape: `messages` insists on turns; any other shape takes turns where there are some.

    Raises:
        UnreadableRowError: The row lacks an instruction, a field is not text, or there is media.
    """
    _refuse_media(fields)
    tools = _tools(fields)
    template_args = _template_args(fields)
    pair = _conversation(fields, shape, tools=tools is not None)
    if tools is None:
        tools, pair = pair.tools, replace(pair, tools=None)
    if tools is not None and any(
        turn.role == "system" and describes_tools(turn.content, tools) for turn in pair.context
    ):
        # The system prompt describes them already: rendering them again would repeat them.
        pair = replace(pair, notes={**pair.notes, "tools": tools})
        tools = None
    if tools is not None:
        pair = replace(pair, tools=tools)
    if template_args is not None:
        pair = replace(pair, template_args=template_args)
    return _labelled(fields, pair)


def _refuse_media(fields: Fields) -> None:
    for name in fields.media:
        value = fields.raw(name)
        if not is_nothing(value):
            raise UnreadableRowError(
                "unsupported_content",
                f"field {name!r} holds {shown(value)}; images, sound and video cannot be scored",
            )


def _tools(fields: Fields) -> str | None:
    if fields.peek("tools") is None:
        return None
    name, value = fields.take("tools")
    return tools_text(value, name=name)


def _template_args(fields: Fields) -> str | None:
    """The arguments with which a trainer renders this row, as JSON text; None where it has none.

    Nulls are kept: TRL hands them to the template as None.

    Raises:
        UnreadableRowError: `bad_type`: it is no object, or sets what only a trainer sets.
    """
    if fields.peek("template_args") is None:
        return None
    name, value = fields.take("template_args")
    try:
        found = json.loads(value) if isinstance(value, str) and value.strip() else value
    except (ValueError, RecursionError) as error:
        raise UnreadableRowError("bad_type", f"field {name!r} is not JSON: {error}") from error
    if not found or is_nothing(found):
        return None
    if not isinstance(found, Mapping):
        raise UnreadableRowError(
            "bad_type", f"field {name!r} should be an object of arguments, found {shown(value)}"
        )
    taken = sorted(SET_BY_TRAINER & set(found))
    if taken:
        raise UnreadableRowError(
            "bad_type",
            f"field {name!r} sets {taken[0]!r}, which is not an argument of a row"
            + (": use the column tools" if taken[0] == "tools" else ""),
        )
    return clean_text(json.dumps({key: found[key] for key in sorted(found)}, ensure_ascii=False))


def _labelled(fields: Fields, pair: Pair) -> Pair:
    """Pair whose response is marked as not to be trained on where its label is false (KTO)."""
    if pair.response is None:
        return pair
    said = _label_of(fields)
    if said is False:
        name, _ = fields.take("label")
        response = replace(pair.response, trained=False)
        return replace(pair, response=response, detail=f"{name} is false")
    if said is True:
        fields.take("label")
    if not pair.response.trained:
        return replace(pair, detail="every assistant turn is marked as not to be trained on")
    return pair


def _label_of(fields: Fields) -> bool | None:
    """Label of the response (true or false); None where the row has none.

    Numbers are read where only KTO has such a column: next to `prompt` and `completion`, by the
    name `kto_tag`, or where the user says so. Elsewhere 0 and 1 may be classes of the row.
    """
    value = fields.peek("label")
    value = value.item() if isinstance(value, np.generic) else value
    said = value.strip().lower() if isinstance(value, str) else value
    if isinstance(said, bool):
        return said
    if said in ("true", "false"):
        return said == "true"
    name = fields.name("label")
    pair = {*fields.names("instruction"), *fields.names("response")}
    if name is None or not (
        name.lower() == "kto_tag" or fields.is_mapped(name) or {"prompt", "completion"} <= pair
    ):
        return None
    if isinstance(said, int | float | str) and said in (0, 1, "0", "1", "0.0", "1.0"):
        return said in (1, "1", "1.0")
    return None


def _conversation(fields: Fields, shape: Shape, *, tools: bool) -> Pair:
    if shape == "messages" or fields.peek("messages") is not None:
        name, value = fields.take("messages")
        if value is None:
            raise fields.missing("list of messages")
        pair = _of_turns(fields, turns_of(value, name=name, tools=tools), name=name)
        if pair.response is not None:
            return replace(pair, response=_thought_through(fields, pair.response))
        column = (fields.name("response") or "").lower()
        thoughts = fields.raw("reasoning")
        if column in _OF_THE_TURN:
            return replace(pair, response=_response(fields, tools=tools))
        if column == "answer" and isinstance(thoughts, str) and thoughts.strip():  # dolphin-r1
            response = _response(fields, tools=tools) or answer("")
            fields.use("reasoning")
            return replace(pair, response=with_thoughts(response, thoughts))
        return pair
    if fields.peek("instruction") is None:
        return _without_instruction(fields, tools=tools)
    return _with_instruction(fields, tools=tools)


def _with_instruction(fields: Fields, *, tools: bool) -> Pair:
    name, value = fields.take("instruction")
    if isinstance(value, Mapping) and is_list(value.get("replies")):
        return _of_turns(fields, Conversation(turns=tuple(_best_thread(value))), name=name)
    prompt = turns_in(value) if isinstance(value, str) else value  # a text in a CSV file
    if is_conversation(prompt):
        return _of_prompt(fields, prompt, name=name, tools=tools)
    instruction = text_of(value, name=name) or ""
    rendered = rendered_prompt(instruction)
    said = fields.peek("response")
    repeats = not isinstance(said, str) or _words(instruction)[:_SAME] in _words(said)
    whole = _whole_response(fields, tools=tools) if repeats or rendered is not None else None
    if whole is not None:  # a preference set repeats its prompt in front of the answer
        return whole
    if rendered is not None:
        return _of_rendered(fields, rendered, name=name, tools=tools)
    earlier = _earlier_turns(fields)
    given = "" if earlier else text_in(fields, "input") or ""
    context = (
        *_system(fields),
        *_history(fields),
        *earlier,
        Message(role="user", content=joined(instruction, given)),
    )
    response = _response(fields, tools=tools)
    return Pair(context=context, response=response, bare=instruction, given=given)


def _earlier_turns(fields: Fields) -> tuple[Message, ...]:
    """Turns in front of the instruction that a row keeps in its input column, as HelpSteer3."""
    value = fields.peek("input")
    if not is_conversation(value):
        return ()
    name, _ = fields.take("input")
    return turns_of(value, name=name).turns


def rendered_prompt(text: str) -> list[dict[str, str]] | None:
    r"""Turns of a prompt that was written with a template, up to where the answer begins.

    Returns:
        None for a text that does not end with the mark of an answer.

    Examples:
        >>> rendered_prompt("Human: How warm is it?\n\nAssistant:")
        [{'role': 'human', 'content': 'How warm is it?'}]
    """
    if not text[-_ENDING:].rstrip().endswith(ANSWER_MARKS):
        return None
    turns = marked_turns(f"{text.rstrip()}\n{_PROBE}")
    if turns is None or (turns[-1]["role"], turns[-1]["content"].strip()) != ("assistant", _PROBE):
        return None
    return turns[:-1] if any(turn["role"] in ("user", "human") for turn in turns) else None


def _of_rendered(
    fields: Fields, turns: Sequence[dict[str, str]], *, name: str, tools: bool
) -> Pair:
    pair = _of_turns(fields, turns_of(turns, name=name, tools=tools), name=name)
    response = _response(fields, tools=tools)
    if response is not None:
        response = replace(response, content=_END_OF_TURN.sub("", response.content))
    return replace(pair, response=response, bare=pair.instruction)


def _of_prompt(fields: Fields, value: Sequence[object], *, name: str, tools: bool) -> Pair:
    """Pair of a row whose prompt is a list of turns."""
    pair = _of_turns(fields, turns_of(value, name=name, tools=tools), name=name)
    if pair.response is not None:
        raise UnreadableRowError("unexpected_turns", f"field {name!r} should end with a user turn")
    whole = _whole_response(fields, tools=tools) or _continued(fields, value, name, tools=tools)
    if whole is not None:
        return whole
    # As in TRL, only the completion is trained on, whoever spoke in the prompt.
    context = tuple(replace(t, trained=t.role != "assistant") for t in pair.context)
    response = _response(fields, tools=tools, beside_turns=True)
    return replace(pair, context=context, response=response)


def _continued(fields: Fields, prompt: Sequence[object], name: str, *, tools: bool) -> Pair | None:
    """Pair of a prompt and a completion of several turns, as of an agent that calls tools.

    Args:
        fields: The row, seen by our names.
        prompt: The turns of the prompt.
        name: The name of its field.
        tools: Whether the row lists its tools.

    Returns:
        None where the completion is one turn, or does not end with an answer.
    """
    completion = fields.peek("response")
    if not is_conversation(completion) or len(completion) == 1:
        return None
    found = turns_of([*map(_untrained, prompt), *completion], name=name, tools=tools)
    if found.turns[-1].role != "assistant":
        return None
    fields.take("response")
    return _of_turns(fields, found, name=name)


def _untrained(turn: object) -> object:
    """Turn of a prompt, which is no training target, as `turns_of` reads it."""
    return {**turn, "train": False} if isinstance(turn, Mapping) else turn


def _of_turns(fields: Fields, found: Conversation, *, name: str) -> Pair:
    turns = found.turns
    if turns and turns[0].role != "system":
        turns = (*_system(fields), *turns)
    split = split_response(turns, name=name)
    notes: dict[str, object] = {}
    if found.fields:
        notes["turn_fields"] = list(found.fields)
    if split.behind:
        notes["turns_behind"] = [
            {"role": turn.role, "content": turn.content} for turn in split.behind
        ]
    if split.response is not None and not split.response.trained:
        notes["untrained_response"] = split.response.content
    return Pair(context=split.context, response=split.response, notes=notes, tools=found.tools)


def _without_instruction(fields: Fields, *, tools: bool) -> Pair:
    """Pair of a row that holds a whole conversation and no instruction field."""
    whole = _whole_response(fields, tools=tools)
    if whole is not None:
        return whole
    for name in ("data", "text", "chat"):
        value = fields.raw(name)
        turns: Any = marked_turns(value) if isinstance(value, str) else value
        texts = is_list(turns) and len(turns) > 1 and all(isinstance(t, str) for t in turns)
        if turns is not None and (texts or is_conversation(turns)):
            fields.use(name)
            return _of_turns(fields, turns_of(turns, name=name, tools=tools), name=name)
    raise fields.missing("instruction")


def _whole_response(fields: Fields, *, tools: bool) -> Pair | None:
    """Pair of a response field that holds the whole conversation, as preference sets do."""
    value = fields.peek("response")
    turns = value
    if isinstance(value, str):
        name = fields.name("response") or ""
        turns = marked_turns(value) if "Human:" in value[:20] else _chosen_turns(name, value)
    if not is_conversation(turns) or len(turns) == 1:
        return None
    found = turns_of(turns, name="response", tools=tools)
    if not any(turn.role == "user" for turn in found.turns):
        return None  # a completion of several turns goes on with the prompt
    name, _ = fields.take("response")
    return _of_turns(fields, found, name=name)


def _chosen_turns(name: str, text: str) -> object:
    """Turns that a preference set writes as JSON; any other text as it is."""
    return (turns_in(text) if name.lower().startswith("chosen") else None) or text


def _best_thread(root: Mapping[str, object]) -> list[Message]:
    """Conversation along the best-ranked reply at each turn of a tree of replies."""
    turns: list[Message] = []
    node: object = root
    while isinstance(node, Mapping):
        role = "assistant" if node.get("role") == "assistant" else "user"
        turns.append(Message(role=role, content=text_of(node.get("text"), name="text") or ""))
        replies = node.get("replies")
        known = [r for r in replies if isinstance(r, Mapping)] if is_list(replies) else []
        node = min(known, key=_rank, default=None)
    if turns[-1].role == "user" and len(turns) > 1:
        turns.pop()  # a question without an answer
    return turns


def _rank(reply: Mapping[str, object]) -> float:
    rank = reply.get("rank")
    return float(rank) if isinstance(rank, int | float) else 0.0


def joined(instruction: str, given: str) -> str:
    """Instruction and input joined by a newline; a blank one is left out."""
    if not given.strip():
        return instruction
    return f"{instruction}\n{given}" if instruction.strip() else given


def _response(fields: Fields, *, tools: bool, beside_turns: bool = False) -> Message | None:
    """Response turn; None where the row has no such field, empty where the field is null.

    Args:
        fields: The row, seen by our names.
        tools: Whether the row lists its tools.
        beside_turns: Whether the prompt is a list of turns, so that the response may be one that is
            written as a text.
    """
    name, value = _take_response(fields)
    if isinstance(value, str):
        value = (turns_in(value) or value) if beside_turns else _chosen_turns(name, value)
    if value is None:
        calls = _calls_as_answer(fields) if tools else None
        if calls is not None:
            return calls
        # A rationale is an addition to an answer: where it is null, nothing was to be answered.
        names = {own.lower() for own in fields.names("response")}
        return answer("") if names - {"rationale"} else None
    if isinstance(value, Mapping) and is_conversation([value]):
        value = [value]
    if is_conversation(value):
        turns = turns_of(value, name=name, tools=tools).turns
        if len(turns) != 1 or turns[0].role != "assistant":
            raise UnreadableRowError(
                "unexpected_turns", f"field {name!r} should be one assistant turn"
            )
        return _thought_through(fields, turns[0])
    return _thought_through(fields, answer(text_of(value, name=name) or ""))


def _thought_through(fields: Fields, response: Message) -> Message:
    """Response joined with the thinking that the row keeps in a separate column."""
    value = fields.peek("reasoning")
    if is_list(value) and len(value):
        value = value[0]  # several attempts; the response is the first one's
    if response.reasoning is not None or not isinstance(value, str) or not value.strip():
        return response
    fields.take("reasoning")
    return with_thoughts(response, value)


def _words(text: str) -> str:
    """Text with single spaces."""
    return " ".join(text.split())


def with_thoughts(response: Message, thoughts: str) -> Message:
    """Response with its thinking, unless its text holds it already."""
    found = clean_text(thoughts)
    held = split_thinking(response.content).thoughts
    if response.reasoning is not None or (held is not None and _words(held) == _words(found)):
        return response
    return replace(response, reasoning=found)


def _take_response(fields: Fields) -> tuple[str, object]:
    """The row's own name for its response and the value; an index of an answer is none."""
    first = fields.name("response") or ""
    value = fields.peek("response")
    if first.lower() in _MAY_BE_INDEX and not isinstance(value, str) and is_scalar(value):
        texts = [n for n in fields.names("response") if isinstance(fields.raw(n), str)]
        if texts and not fields.is_mapped(first):
            said = fields.raw(texts[0])
            fields.use(texts[0])
            return texts[0], said
    return fields.take("response")


def _calls_as_answer(fields: Fields) -> Message | None:
    """Tool calls that a row of xLAM or APIGen gives as its expected answer."""
    value = fields.raw("answers")
    if value is None:
        return None
    fields.use("answers")
    calls = with_ids(calls_of(value, name="answers"))
    return Message(role="assistant", content="", tool_calls=calls_text(calls))


def _system(fields: Fields) -> tuple[Message, ...]:
    value = fields.peek("system")
    name = fields.name("system") or ""
    parts = _system_parts(value)
    if parts is not None:
        fields.take("system")
        text = content_of(parts, place=name).text
        return (Message(role="system", content=text),) if text.strip() else ()
    system = note_in(fields, "system")
    return () if system is None else (Message(role="system", content=system),)


def _system_parts(value: object) -> object:
    """Parts of a system prompt that is a list or an object; None for any other value."""
    if is_list(value):
        return value if len(value) else None
    if not isinstance(value, Mapping):
        return None
    found = next((value[k] for k in ("parts", "content", "text") if value.get(k) is not None), None)
    return [found] if isinstance(found, Mapping) else found


def _history(fields: Fields) -> tuple[Message, ...]:
    """Earlier turns in LLaMA-Factory's format: a list of [instruction, response] pairs."""
    value = fields.peek("history")
    is_written = isinstance(value, str) and value.lstrip().startswith("[")
    if not is_written and not is_list(value):
        return ()
    name, value = fields.take("history")
    if isinstance(value, str):  # as in a CSV file
        value = listed_in(value, name=name)
    turns: list[Message] = []
    for pair in value if is_list(value) else ():
        if not is_list(pair) or len(pair) != 2:  # noqa: PLR2004  (a pair has two)
            raise UnreadableRowError("bad_type", f"field {name!r} should be a list of pairs")
        for role, said in zip(("user", "assistant"), pair, strict=True):
            turns.append(Message(role=role, content=text_of(said, name=name) or ""))
    return tuple(turns)
