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

from tutelage.data.content_parts import (
    Content,
    content_of,
    first_of,
    is_keyed_result,
    name_of,
)
from tutelage.data.example import Message
from tutelage.data.field_values import (
    UnreadableRowError,
    clean_text,
    is_list,
    is_nothing,
    is_scalar,
    shown,
    text_of,
    text_of_part,
)
from tutelage.data.harmony_turns import HARMONY_TOOLS, harmony_arguments, recipient_of
from tutelage.data.marked_text import marked_turns
from tutelage.data.thinking import split_thinking
from tutelage.data.tool_calls import (
    ARGUMENTS,
    NAMES,
    Call,
    calls_in,
    calls_of,
    calls_text,
    is_void,
    results_in,
    tools_text,
    with_ids,
)
from tutelage.data.turn_fields import is_trained, is_trained_whole, reasoning_of, refuse_media

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
    "tool_output": "tool",
    "tool_outputs": "tool",
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
_RESULT_KEYS = (
    *("output", "outputs", "result", "results", "response", "observation"),
    *("tool_result", "tool_results", "tool_response", "tool_output"),
)
"""Fields of a turn of a tool that hold what it returned where it has no content."""
_RESULT_IDS = ("tool_call_id", "tool_call_ids", "call_id", "tool_use_id", "id")
_ABOUT_RESULTS = frozenset(
    (
        *("id", "uuid", "type", "status", "timestamp", "created_at", "time", "date"),
        *("metadata", "meta", "source", "channel", "recipient", "model"),
    )
)
"""Fields of a turn of a tool that are not what it returned."""
_USED = frozenset((*ROLE_KEYS, "name", "tool_call_id", *_CALL_KEYS))


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
        and any(key in turn for key in (*_CONTENT_KEYS, *_CALL_KEYS, *_RESULT_KEYS))
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
    """State of parsing one conversation: the turns so far and the calls that wait for a result.

    `thoughts` are turns of thinking (harmony's channel `analysis`), each with its index, which
    wait for the assistant turn that they belong to.
    """

    name: str
    tools: bool
    turns: list[Message] = field(default_factory=list)
    fields: list[Mapping[str, object]] = field(default_factory=list)
    waiting: list[Call] = field(default_factory=list)
    known_ids: set[str] = field(default_factory=set)
    thoughts: list[tuple[int, str]] = field(default_factory=list)
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
            if role == "user" and self.waiting and isinstance(content, str):
                role = role if results_in(content) is None else "tool"  # as Qwen's template does
            if self.thoughts and role in ("system", "user"):
                self.fields += [{"turn": i, "analysis": said} for i, said in self.thoughts]
                self.thoughts = []
            # Most turns are this and no more.
            if isinstance(content, str) and len(turn) == 2 and role in ("system", "user"):  # noqa: PLR2004
                self.turns.append(Message(role=role, content=clean_text(content)))
            else:
                self._add(turn, role, content, key=key, place=place, index=index)
        if self.thoughts:
            raise UnreadableRowError(
                "unsupported_content",
                f"{self.name}[{self.thoughts[-1][0]}] is thinking (channel 'analysis') that no "
                "answer follows",
            )
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
            self._add_result(turn, used, value, place=place)
        elif role == _CALLS:
            thoughts = self._thought_before(reasoning_of(turn, used))
            calls = _calls_of_turn(turn, used, value, place=place)
            self._add_calls(*calls, place=place, trained=trained, reasoning=thoughts)
        elif role == "assistant" and (to := recipient_of(turn)) is not None:
            used |= {"channel", "recipient"}
            thoughts = self._thought_before(reasoning_of(turn, used))
            call = {"name": to, "arguments": harmony_arguments(value, place=place)}
            self._add_calls(None, [call], place=place, trained=trained, reasoning=thoughts)
        elif role == "assistant":
            found = _said_in(turn, used, value, place=place)
            if turn.get("channel") == "analysis" and not found.calls:
                used.add("channel")
                self.thoughts.append((index, found.reasoning or ""))
            else:
                found.reasoning = self._thought_before(found.reasoning)
                self._add_answer(found, turn, trained=trained)
        else:
            self._add_asked(turn, used, role, value, place=place)
        rest = {k: v for k, v in turn.items() if k not in used and not is_nothing(v)}
        if rest:
            refuse_media(rest, place=place)
            self.fields.append({"turn": index, **rest})

    def _add_asked(
        self, turn: Mapping[str, object], used: set[str], role: str, value: object, *, place: str
    ) -> None:
        """Add a system or user turn, and the results of tools that it holds."""
        found = content_of(value, place=place)
        self._list_tools(turn, used, place=place)
        if found.calls:
            raise UnreadableRowError(
                "unsupported_content", f"{place} is a turn of the {role} that calls a tool"
            )
        for result in found.results:
            self._answered(result)
        if found.text or not found.results:
            name = name_of(turn)
            self.turns.append(Message(role=role, content=found.text, name=name))

    def _thought_before(self, thoughts: str | None) -> str | None:
        """Thinking of a turn, with that of the turns of thinking in front of it."""
        said = [text for _, text in self.thoughts if text.strip()]
        self.thoughts = []
        return _joined_thoughts("\n\n".join(said) or None, thoughts)

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
            name=name_of(turn),
            trained=trained,
        )
        self.turns.append(message)

    def _add_calls(
        self,
        value: object,
        listed: Sequence[object] = (),
        *,
        place: str,
        trained: bool,
        reasoning: str | None,
    ) -> None:
        """Attach tool calls to the preceding assistant turn, or to a new turn of their own.

        Args:
            value: The content of a turn of calls.
            listed: Its calls in other fields.
            place: Where the turn is, for the reason.
            trained: Whether it is trained on.
            reasoning: Its thinking.
        """
        if isinstance(value, str) and not value.lstrip().startswith(("{", "[")):
            thinking = split_thinking(value)
            reasoning, value = _joined_thoughts(reasoning, thinking.thoughts), thinking.answer
        calls = calls_of(value, name=place)
        others = calls_of(listed, name=place)
        if calls and others and [c["function"] for c in calls] != [c["function"] for c in others]:
            raise UnreadableRowError(
                "unsupported_content",
                f"{place} has different calls in its content and in another field",
            )
        calls = others or calls
        if not calls:
            raise UnreadableRowError(
                "unsupported_content", f"{place} should hold a call of a tool, has none"
            )
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
        self.known_ids.update(call["id"] for call in self.waiting)
        return calls_text(self.waiting)

    def _add_result(
        self, turn: Mapping[str, object], used: set[str], value: object, *, place: str
    ) -> None:
        if is_nothing(value):
            value = _result_beside(turn, used, value, place=place)
        if is_list(value) and any(_is_result(part) for part in value):
            self._add_results(value, place=place)
            return
        if isinstance(value, str):
            text = clean_text(value)
        elif is_list(value) and all(text_of_part(part) is not None for part in value):
            text = text_of(value, name=place) or ""
        else:
            text = "" if value is None else clean_text(json.dumps(value, ensure_ascii=False))
        made_id, name = self._id_of_result(turn, used), name_of(turn, used)
        texts = (results_in(text) if self.waiting else None) or [text]
        if len(texts) > max(len(self.waiting), 1):
            texts = [text]
        for one in texts:
            own_id = made_id if len(texts) == 1 else None
            self._answered(Message(role="tool", content=one, tool_call_id=own_id, name=name))

    def _add_results(self, parts: Sequence[object], *, place: str) -> None:
        """Add results that one turn lists, each with the id of its call or as a typed part."""
        for part in parts:
            if not isinstance(part, Mapping) or not _is_result(part):
                raise UnreadableRowError(
                    "unsupported_content",
                    f"{place} holds results of tools and something else: {shown(part)}",
                )
            if is_keyed_result(part):
                for result in content_of([part], place=place).results:
                    self._answered(result)
            else:
                said = first_of(part, (*_CONTENT_KEYS, *_RESULT_KEYS))
                self._add_result(part, set(), said, place=place)

    def _id_of_result(self, turn: Mapping[str, object], used: set[str]) -> str | None:
        """Id that a result repeats from its call; one in `id` may be that of the turn itself."""
        given: dict[str, str] = {}
        for key in _RESULT_IDS:
            value = turn.get(key)
            one = value[0] if is_list(value) and len(value) == 1 else value
            if is_scalar(one) and one != "":
                given[key] = str(one)
        found = next((k for k in given if given[k] in self.known_ids), None)
        found = found or next((k for k in given if k != "id"), None)
        if found is None:
            return None
        used.add(found)
        return given[found]

    def _answered(self, result: Message) -> None:
        """Add a tool result and link it to its call: by its id, its name or its position."""
        waiting = self.waiting
        if result.tool_call_id in self.known_ids:
            self.waiting = [call for call in waiting if call["id"] != result.tool_call_id]
        elif waiting:
            name = (result.name or "").removeprefix(HARMONY_TOOLS)
            named = [c for c in waiting if c["function"]["name"] in (name, result.name)]
            call = (named or waiting)[0]
            self.waiting = [other for other in waiting if other is not call]
            result = replace(result, tool_call_id=call["id"])
        self.turns.append(result)


def _calls_of_turn(
    turn: Mapping[str, object], used: set[str], value: object, *, place: str
) -> tuple[object, list[object]]:
    """Content of a turn of calls, and the calls in its other fields; or in the turn itself."""
    listed: list[object] = []
    for key in _CALL_KEYS:
        found = turn.get(key)
        if not is_void(found):
            listed += calls_of(found, name=f"{place}.{key}")
    own = [key for key in (*ARGUMENTS, "function") if turn.get(key) is not None]
    if is_void(value) and not listed and own:
        used.update((*own, *NAMES))
        listed = [{k: v for k, v in turn.items() if k not in ROLE_KEYS}]
    return value, listed


def _said_in(turn: Mapping[str, object], used: set[str], value: object, *, place: str) -> Content:
    """What an assistant turn says, thinks and calls; all text of a turn of thinking is thought."""
    found = content_of(value, place=place)
    if found.results:
        raise UnreadableRowError(
            "unsupported_content", f"{place} is an assistant turn that holds the result of a tool"
        )
    found.reasoning = reasoning_of(turn, used) or found.reasoning
    for more in _CALL_KEYS:
        if not is_nothing(turn.get(more)):
            found.calls += calls_of(turn[more], name=f"{place}.{more}")
    if turn.get("channel") == "analysis":
        found.reasoning = _joined_thoughts(found.reasoning, found.text or None)
        found.text = ""
    return found


def _is_result(part: object) -> bool:
    """Whether an item of a list is a result by its type, or repeats the id of its call."""
    if not isinstance(part, Mapping):
        return False
    has_id = any(not is_nothing(part.get(key)) for key in _RESULT_IDS if key != "id")
    has_text = any(part.get(key) is not None for key in (*_CONTENT_KEYS, *_RESULT_KEYS))
    return is_keyed_result(part) or (has_id and has_text)


def _result_beside(
    turn: Mapping[str, object], used: set[str], value: object, *, place: str
) -> object:
    """Result that a turn of a tool without content has in another field.

    Raises:
        UnreadableRowError: `unsupported_content`: it may be in a field that is not known.
    """
    key = next((k for k in _RESULT_KEYS if not is_void(turn.get(k))), None)
    if key is not None:
        used.add(key)
        return turn[key]
    known = used | _ABOUT_RESULTS | {*_RESULT_IDS, *NAMES}
    for other, said in turn.items():
        holds = isinstance(said, str | Mapping) or is_list(said)
        if value is None and other not in known and holds and not is_void(said):
            raise UnreadableRowError(
                "unsupported_content",
                f"{place} is a tool result without content, but with the unknown field "
                f"{clean_text(str(other))!r}: {shown(said)}",
            )
    return value


def _role_of(spelled: object) -> str | None:
    if not isinstance(spelled, str):
        return None
    return ROLE_OF.get(spelled) or ROLE_OF.get(spelled.strip().lower().replace("-", "_"))


def _joined_thoughts(one: str | None, other: str | None) -> str | None:
    """Thinking of two places as one text; None where there is none."""
    if one is None or other is None:
        return other if one is None else one
    return f"{one}\n\n{other}"
