"""Conversion of a row's conversation, in any known format, to messages.

    a list of     {"role", "content"} or {"from", "value"}, in any spelling of the roles
                  texts: user and assistant by turns (LIMA, UltraChat)
                  {"input", "output"}: a pair of turns each (Capybara, XTuner)
                  {"role", "parts"}: Gemini's turns
    text          such a list as JSON; or turns marked "### Human:", "USER:", "### Instruction:",
                  "[INST]" or "<|im_start|>user"

Tool calls may be in `tool_calls`, in `function_call`, in a separate turn with that role, or in a
content part.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from tutelage.data.example import Message
from tutelage.data.field_values import (
    UnreadableRowError,
    clean_text,
    is_list,
    is_nothing,
    not_text,
    shown,
    text_of,
    text_of_part,
)
from tutelage.data.thinking import split_thinking
from tutelage.data.tool_calls import (
    Call,
    calls_in,
    calls_of,
    calls_text,
    result_in,
    tools_text,
    with_ids,
)
from tutelage.data.turn_fields import is_trained, is_trained_whole, reasoning_of, refuse_media

# The content of one turn: a text, or a list of typed parts.


@dataclass(slots=True, kw_only=True)
class Content:
    """Parsed content of one turn.

    Attributes:
        text: Its text parts, joined.
        reasoning: Its thinking, or None.
        calls: Its calls of tools.
        results: What tools returned, as turns of their own.
    """

    text: str = ""
    reasoning: str | None = None
    calls: list[Call] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def content_of(value: object, *, place: str) -> Content:
    """Parse the content of a turn.

    Raises:
        UnreadableRowError: `bad_type`, or `unsupported_content` for images, sound and video.
    """
    if isinstance(value, str):
        return Content(text=clean_text(value))
    if not is_list(value):
        return Content(text=text_of(value, name=place) or "")
    found = Content()
    for part in value:
        text = text_of_part(part)
        if text is not None:
            found.text += text
        elif isinstance(part, Mapping):
            _add_part(found, part, place=place)
        else:
            raise not_text(part, name=place)
    return found


def _add_part(found: Content, part: Mapping[str, object], *, place: str) -> None:
    """Add a content part that is not text: thinking, a tool call or a tool result."""
    match part.get("type"):
        case "thinking" | "reasoning" | "thought":
            said = next(
                (
                    part[k]
                    for k in ("thinking", "reasoning", "value", "text", "content")
                    if not is_nothing(part.get(k))
                ),
                "",
            )
            found.reasoning = (found.reasoning or "") + (text_of(said, name=place) or "")
        case "tool_call" | "tool_use" | "function_call" | "tool_calls":
            said = next(
                (part[k] for k in ("tool_call", "value", "content") if not is_nothing(part.get(k))),
                part,
            )
            found.calls += calls_of(said, name=place)
        case "tool_result" | "tool_response":
            said = next(
                (part[k] for k in ("content", "value", "text") if not is_nothing(part.get(k))), ""
            )
            made_id = part.get("tool_use_id") or part.get("tool_call_id")
            found.results.append(
                Message(
                    role="tool",
                    content=text_of(said, name=place) or "",
                    tool_call_id=None if made_id is None else str(made_id),
                )
            )
        case _:
            raise not_text(part, name=place)


_CALLS = "calls"  # no role of a message: such a turn belongs to the assistant
ROLE_OF = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "environment": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_call": _CALLS,
    "tool_call": _CALLS,
    "tool_calls": _CALLS,
}
"""Role names of other formats (OpenAI, ShareGPT, OASST, Gemini) with our role for each.
"""

ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value", "text", "parts")
_OPENS_TURNS = re.compile(r"\s*\[\s*\{")
_CALL_KEYS = ("tool_calls", "function_call", "function_calls")
_USED = frozenset((*ROLE_KEYS, "name", "tool_call_id", *_CALL_KEYS))
_MARKS = (
    re.compile(r"(?:###\s*|\n\s*\n)(Human|Assistant)\s*:\s?"),
    re.compile(r"\n\s*\n(USER|ASSISTANT|FUNCTION RESPONSE)\s*:\s?"),
    re.compile(r"(?:^|\n)\s*###\s*(Instruction|Input|Response)\s*:[ \t]*\n?"),
)
"""What marks the turns of a text, each kind by itself."""
_MARKED_ROLES = {"FUNCTION RESPONSE": "tool", "Instruction": "user", "Response": "assistant"}
_BAR = (
    r"<\|(system|user|assistant)\|>\s*(.*?)"
    r"(?:</s>|<\|end\|>|(?=<\|(?:user|assistant)\|>)|$)"
)
_TAGGED = {
    "<|im_start|>": r"<\|im_start\|>[ \t]*(\w+)\n(.*?)(?:<\|im_end\|>\s*|$)",
    "<|start_header_id|>": (
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*(.*?)(?:<\|eot_id\|>|$)"
    ),
    "<start_of_turn>": r"<start_of_turn>(\w+)\n(.*?)(?:<end_of_turn>\s*|$)",
    "<|system|>": _BAR,
    "<|user|>": _BAR,
}
"""Turns in the control tokens of ChatML, Llama 3, Gemma, Zephyr and Phi, by how a text starts."""
_STARTS = re.compile(r"(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>)\s*")
_INST = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?:</s>\s*(?:<s>\s*)?|(?=\[INST\])|$)", re.DOTALL)
_SYS = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
_END = re.compile(r"\s*(?:<\|endoftext\|>|</s>)\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns of a row, with what else its conversation says.

    Attributes:
        turns: In order.
        fields: Fields of turns that a message has no place for, with the index of the turn;
            for provenance.
        tools: The tools that system or user turns list, as JSON text, or None.
    """

    turns: tuple[Message, ...]
    fields: tuple[Mapping[str, object], ...] = ()
    tools: str | None = None


def is_conversation(value: object) -> TypeGuard[Sequence[object]]:
    """Whether a value is a conversation: a non-empty list of mappings that each name a role."""
    if not is_list(value) or len(value) == 0:
        return False
    return all(isinstance(turn, Mapping) and any(k in turn for k in ROLE_KEYS) for turn in value)


def turns_in(text: str) -> Sequence[object] | None:
    """Turns that a text holds as JSON or in Python's notation; None for any other text."""
    if _OPENS_TURNS.match(text) is None:
        return None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        found = _python_list(text)
    if not is_conversation(found):
        return None
    turns = [turn for turn in found if isinstance(turn, Mapping)]
    is_read = all(
        any(_role_of(turn.get(key)) for key in ROLE_KEYS)
        and any(key in turn for key in (*_CONTENT_KEYS, "tool_calls"))
        for turn in turns
    )
    return turns if is_read else None


def turns_of(value: object, *, name: str, tools: bool = False) -> Conversation:
    """Parse the turns of a conversation in any known format.

    Args:
        value: The field's value.
        name: The field's name, for the reason.
        tools: Whether the row lists its tools: only then are calls that are written into a text
            taken out of it, since the template writes both in its own way.

    Raises:
        UnreadableRowError: `bad_type`, `unsupported_role`, `unsupported_content` or
            `partly_trained`.
    """
    if isinstance(value, str):
        value = listed_in(value, name=name)
    if not is_list(value):
        raise UnreadableRowError(
            "bad_type", f"field {name!r} should be a list of turns, found {shown(value)}"
        )
    if len(value) > 1 and all(isinstance(turn, str) for turn in value):
        return Conversation(turns=tuple(_alternating(value)))
    if len(value) and all(_is_exchange(turn) for turn in value):
        return _exchanges(value, name=name)
    return _Reading(name=name, tools=tools).read(value)


def listed_in(text: str, *, name: str) -> object:
    """List that a text holds as JSON or in Python's notation, or its marked turns."""
    if text.lstrip().startswith("["):
        try:
            found: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            found = _python_list(text)
            if found is None:
                raise UnreadableRowError(
                    "bad_type", f"field {name!r} is not JSON: {error}"
                ) from error
        return found
    return marked_turns(text) or text


def _python_list(text: str) -> object:
    """List in Python's own notation, as pandas writes it into a CSV file; None for other text."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def marked_turns(text: str) -> list[dict[str, str]] | None:
    """Turns of a text that marks them, such as "Human:" or "### Instruction:".

    Returns:
        None where the text does not start with such a mark, or holds no answer.
    """
    plain = text.strip()
    tagged = _STARTS.sub("", plain, count=1) if plain.startswith("<") else ""
    for start, form in _TAGGED.items():
        if tagged.startswith(start):
            found = re.finditer(form, tagged, re.DOTALL)
            return _answered_turns(("assistant" if m[1] == "model" else m[1], m[2]) for m in found)
    if plain.removeprefix("<s>").lstrip().startswith("[INST]"):
        return _answered_turns(_instructed(plain))
    for mark in _MARKS:
        parts = mark.split(text if text.startswith("\n") else f"\n\n{text.lstrip()}")
        preamble = "Input" in mark.pattern and parts[0].lstrip().startswith("Below is")
        if len(parts) < 3 or (parts[0].strip() and not preamble):  # noqa: PLR2004  (a mark and a text)
            continue
        return _answered_turns(zip(parts[1::2], parts[2::2], strict=True))
    return None


def _instructed(text: str) -> Iterator[tuple[str, str]]:
    """The turns of a text in the form of Llama 2."""
    for match in _INST.finditer(text):
        system = _SYS.match(match[1])
        if system is not None:
            yield "system", system[1]
        yield "user", match[1][system.end() :] if system is not None else match[1]
        yield "assistant", match[2]


def _answered_turns(said: Iterable[tuple[str, str]]) -> list[dict[str, str]] | None:
    turns: list[dict[str, str]] = []
    for spelled, content in said:
        text = _END.sub("", content.strip())
        if spelled == "Input" and turns:
            turns[-1]["content"] += f"\n{text}" if text else ""
            continue
        role = _MARKED_ROLES.get(spelled, spelled.lower())
        turns.append({"role": role, "content": text})
    return turns if any(turn["role"] == "assistant" for turn in turns) else None


def _alternating(texts: Sequence[object]) -> Iterator[Message]:
    for place, text in enumerate(texts):
        yield Message(role="assistant" if place % 2 else "user", content=clean_text(str(text)))


def _is_exchange(turn: object) -> bool:
    return isinstance(turn, Mapping) and "input" in turn and "output" in turn


def _exchanges(turns: Sequence[object], *, name: str) -> Conversation:
    """Turns of pairs of a question and its answer, each with a system prompt of its own or none."""
    found: list[Message] = []
    fields: list[Mapping[str, object]] = []
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            continue
        used = {"system", "input", "output"}
        place = f"{name}[{index}]"
        system = text_of(turn.get("system"), name=place) or ""
        if system.strip():
            found.append(Message(role="system", content=system))
        asked = text_of(turn["input"], name=place) or ""
        answer = Message(
            role="assistant",
            content=text_of(turn["output"], name=place) or "",
            reasoning=reasoning_of(turn, used),
            trained=is_trained(turn, used),
        )
        found += (Message(role="user", content=asked), answer)
        rest = {k: v for k, v in turn.items() if k not in used and not is_nothing(v)}
        if rest:
            refuse_media(rest, place=place)
            fields.append({"turn": index, **rest})
    return Conversation(turns=tuple(found), fields=tuple(fields))


@dataclass(slots=True, kw_only=True)
class _Reading:
    """State of parsing one conversation: the turns so far and the calls that wait for a result."""

    name: str
    tools: bool
    turns: list[Message] = field(default_factory=list)
    fields: list[Mapping[str, object]] = field(default_factory=list)
    waiting: list[Call] = field(default_factory=list)
    made: int = 0
    listed: str | None = None

    def read(self, turns: Iterable[object]) -> Conversation:
        for index, turn in enumerate(turns):
            place = f"{self.name}[{index}]"
            if not isinstance(turn, Mapping):
                raise UnreadableRowError(
                    "bad_type", f"{place} should be a turn, found {shown(turn)}"
                )
            spelled = next((turn[k] for k in ROLE_KEYS if turn.get(k) is not None), None)
            role = _role_of(spelled)
            if role is None and spelled is None:
                raise UnreadableRowError(
                    "unsupported_role",
                    f"{place} has no {' or '.join(ROLE_KEYS)}; its fields: "
                    f"{', '.join(clean_text(str(k)) for k in turn) or 'none'}",
                )
            if role is None:
                raise UnreadableRowError(
                    "unsupported_role",
                    f"{place} has the role {shown(spelled)}; known: {', '.join(ROLE_OF)}",
                )
            key = next((k for k in _CONTENT_KEYS if turn.get(k) is not None), "")
            content = turn[key] if key else None
            # Most turns are this and no more.
            if isinstance(content, str) and len(turn) == 2 and role in ("system", "user"):  # noqa: PLR2004
                self.turns.append(Message(role=role, content=clean_text(content)))
            else:
                self._add(turn, role, content, key=key, place=place, index=index)
        return Conversation(turns=tuple(self.turns), fields=tuple(self.fields), tools=self.listed)

    def _add(
        self,
        turn: Mapping[str, object],
        role: str,
        value: object,
        *,
        key: str,
        place: str,
        index: int,
    ) -> None:
        used = {*_USED, key}
        trained = is_trained(turn, used)
        if trained and role in ("assistant", _CALLS):
            trained = is_trained_whole(turn, used, value, place=place)
        if role == "tool":
            self._add_result(turn, value, place=place)
        elif role == _CALLS:
            thoughts = reasoning_of(turn, used)
            self._add_calls(value, place=place, trained=trained, reasoning=thoughts)
        else:
            found = content_of(value, place=place)
            if role == "assistant":
                found.reasoning = reasoning_of(turn, used) or found.reasoning
                for more in _CALL_KEYS:
                    if not is_nothing(turn.get(more)):
                        found.calls += calls_of(turn[more], name=f"{place}.{more}")
                self._add_answer(found, turn, trained=trained)
            else:
                self._list_tools(turn, used, place=place)
                for result in found.results:
                    self._answered(result)
                if found.text or not found.results:
                    name = _name_of(turn)
                    self.turns.append(Message(role=role, content=found.text, name=name))
        rest = {k: v for k, v in turn.items() if k not in used and not is_nothing(v)}
        if rest:
            refuse_media(rest, place=place)
            self.fields.append({"turn": index, **rest})

    def _list_tools(self, turn: Mapping[str, object], used: set[str], *, place: str) -> None:
        """Tools that a system or user turn lists, as OLMo's data does; those of the row win."""
        for key in ("functions", "tools"):
            if self.tools or is_nothing(turn.get(key)):
                continue
            self.listed = tools_text(turn[key], name=f"{place}.{key}") or self.listed
            self.tools = self.listed is not None
            used.add(key)

    def _add_answer(self, found: Content, turn: Mapping[str, object], *, trained: bool) -> None:
        written = calls_in(found.text) if self.tools and not found.calls else None
        if written is not None:
            found.text, found.calls = written
        message = Message(
            role="assistant",
            content=found.text,
            reasoning=found.reasoning,
            tool_calls=self._calls_text(found.calls),
            name=_name_of(turn),
            trained=trained,
        )
        self.turns.append(message)

    def _add_calls(
        self, value: object, *, place: str, trained: bool, reasoning: str | None
    ) -> None:
        """Attach tool calls to the preceding assistant turn, or to a new turn of their own."""
        if isinstance(value, str) and not value.lstrip().startswith(("{", "[")):
            thinking = split_thinking(value)
            reasoning, value = _joined_thoughts(reasoning, thinking.thoughts), thinking.answer
        calls = calls_of(value, name=place)
        if self.turns and self.turns[-1].role == "assistant" and trained == self.turns[-1].trained:
            before = self.turns.pop()
            earlier = self.waiting if before.tool_calls else []
            self.turns.append(
                replace(
                    before,
                    reasoning=_joined_thoughts(before.reasoning, reasoning),
                    tool_calls=self._calls_text([*earlier, *calls]),
                )
            )
            return
        text = self._calls_text(calls)
        self.turns.append(
            Message(
                role="assistant", content="", reasoning=reasoning, tool_calls=text, trained=trained
            )
        )

    def _calls_text(self, calls: list[Call]) -> str | None:
        """JSON text of a turn's calls, which are then matched with the results that follow."""
        self.waiting = with_ids(calls, made=self.made)
        self.made += sum("id" not in call for call in calls)
        return calls_text(self.waiting)

    def _add_result(self, turn: Mapping[str, object], value: object, *, place: str) -> None:
        if isinstance(value, str):
            text = clean_text(value)
        elif is_list(value) and all(text_of_part(part) is not None for part in value):
            text = text_of(value, name=place) or ""
        else:
            text = "" if value is None else clean_text(json.dumps(value, ensure_ascii=False))
        made_id = turn.get("tool_call_id")
        self._answered(
            Message(
                role="tool",
                content=result_in(text) if self.waiting else text,
                tool_call_id=None if made_id is None else str(made_id),
                name=_name_of(turn),
            )
        )

    def _answered(self, result: Message) -> None:
        """Add a tool result and link it to its call."""
        waiting = self.waiting
        if result.tool_call_id is not None:
            self.waiting = [call for call in waiting if call["id"] != result.tool_call_id]
        elif waiting:
            named = [c for c in waiting if c["function"]["name"] == result.name]
            call = (named or waiting)[0]
            self.waiting = [other for other in waiting if other is not call]
            result = replace(result, tool_call_id=call["id"])
        self.turns.append(result)


def _role_of(spelled: object) -> str | None:
    if not isinstance(spelled, str):
        return None
    return ROLE_OF.get(spelled) or ROLE_OF.get(spelled.strip().lower().replace("-", "_"))


def _joined_thoughts(one: str | None, other: str | None) -> str | None:
    """Thinking of two places as one text; None where there is none."""
    if one is None or other is None:
        return other if one is None else one
    return f"{one}\n\n{other}"


def _name_of(turn: Mapping[str, object]) -> str | None:
    name = turn.get("name")
    return clean_text(name) if isinstance(name, str) and name.strip() else None
