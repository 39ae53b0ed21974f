"""Example, message and candidate: the data model of one row, and the plain text of its turns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.data.field_values import UnreadableRowError
from tutelage.errors import DataError

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: One of `ROLES`.
        content: The text of the turn; may be empty where an assistant turn only calls tools.
        reasoning: The thinking of an assistant turn that its row keeps apart from the content
            (`reasoning_content`, `thinking`, `reasoning`). Thinking inside the content, as
            `<think>...</think>`, stays there.
        tool_calls: The tool calls of an assistant turn: a JSON list of objects in OpenAI's shape,
            `{"type": "function", "id": ..., "function": {"name": ..., "arguments": {...}}}`.
        tool_call_id: Which call a tool turn answers.
        name: The name of the speaker or of the tool, where the row gives one.
        trained: False for a turn that is never a training target (`weight: 0`, `train: false`).
    """

    role: str
    content: str
    reasoning: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    trained: bool = True

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(
                f"unknown role {self.role!r}", hint=f"roles are {', '.join(ROLES)} inside tutelage"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of the user's data.

    Attributes:
        example_id: Content hash of the original messages and the reference.
        messages: The original conversation. It ends with the assistant turn that would be
            trained on, or with the turn to be answered (of the user, or of a tool) where the row
            has no response of its own.
        reference: A known right answer to check responses against, if there is one.
        source: Where the row came from, as the user named it.
        extra: The row's other fields, as JSON text; kept for provenance, never trained on.
        tools: The tools the assistant may call: a JSON list of tool schemas, or None.
        template_args: Arguments with which a trainer renders this row (`chat_template_kwargs`):
            a JSON object, or None. They win over the settings of the student.
    """

    example_id: str
    messages: tuple[Message, ...]
    reference: str | None = None
    source: str | None = None
    extra: str | None = None
    tools: str | None = None
    template_args: str | None = None

    @property
    def instruction(self) -> str:
        """The last user turn."""
        return instruction_of(self.messages)

    @property
    def context(self) -> tuple[Message, ...]:
        """All messages before the response."""
        return context_of(self.messages)

    @property
    def uses_tools(self) -> bool:
        """Whether the prompt involves tools: schemas, a call or a tool result."""
        return self.tools is not None or uses_tools(self.context)


def context_of(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """All messages before the response; the whole conversation if there is no response.

    Behind the last user turn it may hold calls of tools and what they returned.

    Raises:
        DataError: There is no user turn.
    """
    if not any(message.role == "user" for message in messages):
        raise DataError("a conversation without a user turn has no instruction")
    return messages[:-1] if messages[-1].role == "assistant" else messages


def response_of(messages: tuple[Message, ...]) -> str | None:
    """The text of the assistant turn at the end, or None if the last turn is another role's."""
    if messages and messages[-1].role == "assistant":
        return messages[-1].content
    return None


def instruction_of(messages: tuple[Message, ...]) -> str:
    """The last user turn.

    Raises:
        DataError: There is no user turn.
    """
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise DataError("a conversation without a user turn has no instruction")


def uses_tools(messages: tuple[Message, ...]) -> bool:
    """Whether any turn calls a tool or holds a tool result."""
    return any(turn.role == "tool" or turn.tool_calls is not None for turn in messages)


# The response of a conversation, and everything in front of it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A conversation split into context, response and trailing turns.

    Attributes:
        context: Everything in front of the response.
        response: The assistant turn at the end; None if the last turn is another role's. Where no
            assistant turn may be trained on, it is the last one, and says so.
        behind: Turns behind the last assistant turn that may be trained on; no trainer's loss
            depends on them.
    """

    context: tuple[Message, ...]
    response: Message | None
    behind: tuple[Message, ...] = ()


def split_response(turns: tuple[Message, ...], *, name: str) -> Split:
    """Split a conversation into its context and its response.

    Raises:
        UnreadableRowError: `no_user_turn`, or `unexpected_turns` where something other than
            calls of tools, what they returned, and one answer follows the last user turn.
    """
    last_user = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last_user is None:
        raise UnreadableRowError("no_user_turn", f"field {name!r} has {_roles(turns)}")
    for before, turn in zip(turns[last_user:], turns[last_user + 1 :], strict=False):
        two_answers = before.role == turn.role == "assistant" and not (
            before.tool_calls or turn.tool_calls
        )
        if turn.role == "system" or (two_answers and before.trained and turn.trained):
            raise UnreadableRowError(
                "unexpected_turns",
                f"field {name!r} should end with one assistant turn, has {_roles(turns)}",
            )
    if turns[-1].role != "assistant":
        return Split(context=turns, response=None)
    for end in range(len(turns), 0, -1):
        turn = turns[end - 1]
        if turn.role == "assistant" and turn.trained:
            if any(earlier.role == "user" for earlier in turns[: end - 1]):
                return Split(context=turns[: end - 1], response=turn, behind=turns[end:])
            break
    return Split(context=turns[:-1], response=turns[-1])


def _roles(turns: tuple[Message, ...]) -> str:
    if not turns:
        return "no turns"
    shown_roles = ", ".join(turn.role for turn in turns[-6:])
    ellipsis = "..., " if len(turns) > 6 else ""  # noqa: PLR2004
    return f"the roles {ellipsis}{shown_roles}"


OK = "ok"
"""The only status with which a candidate may be scored and chosen."""

ORIGINAL = "original"
INSTRUCTION_REFLECTION = "instruction_reflection"
RESPONSE_REFLECTION = "response_reflection"
SAMPLE = "sample"
STEPS = (ORIGINAL, INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, SAMPLE)

OWN_ANSWER = "the student's own answer"
"""`Candidate.detail` of a sample that the student wrote itself, for a teacher to rewrite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version of an example, or the record of why there is none.

    Attributes:
        candidate_id: Content hash; see `tutelage.data.ids.candidate_id_of`.
        example_id: The example of which it is a version.
        parent_id: The candidate that it was made from; None for originals and samples.
        step: One of `STEPS`.
        teacher: The teacher that wrote it; None for the user's own text.
        messages: The whole conversation, ending with the response; empty unless status is ok.
        status: `ok`, or a reason in snake_case why there is no text to score.
        finish_reason: Why the teacher stopped writing, as its server reports it.
        detail: The exception's type and message, or what was wrong with a reply.
        criticism: The teacher's critique of the parent, if it wrote one.
        request_key: Key of the reply in the teacher cache, if any.
        tools: The tools that the assistant may call, as in `Example.tools`; part of the prompt.
        template_args: As in `Example.template_args`.
    """

    candidate_id: str
    example_id: str
    parent_id: str | None = None
    step: str = ORIGINAL
    teacher: str | None = None
    messages: tuple[Message, ...] = ()
    status: str = OK
    finish_reason: str | None = None
    detail: str | None = None
    criticism: str | None = None
    request_key: str | None = None
    tools: str | None = None
    template_args: str | None = None

    def __post_init__(self) -> None:
        if self.step not in STEPS:
            raise DataError(f"candidate {self.candidate_id}: unknown step {self.step!r}")
        if (self.status == OK) != bool(self.messages):
            raise DataError(
                f"candidate {self.candidate_id}: status {self.status!r} with "
                f"{len(self.messages)} messages",
                hint="a candidate has text exactly when its status is ok",
            )
        if self.messages and self.messages[-1].role != "assistant":
            raise DataError(f"candidate {self.candidate_id}: does not end with an assistant turn")

    @property
    def context(self) -> tuple[Message, ...]:
        """All messages before the response."""
        return context_of(self.messages)

    @property
    def instruction(self) -> str:
        """The last user turn."""
        return instruction_of(self.messages)

    @property
    def response(self) -> str:
        """Text of the assistant turn that is trained on; empty if that turn only calls tools."""
        response = response_of(self.messages)
        if response is None:
            raise DataError(f"candidate {self.candidate_id}: has no response")
        return response


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Counts of a student's checked attempts at one example.

    Attributes:
        example_id: The example.
        greedy: Checked greedy answers, each with another prompt; at least 0.
        greedy_right: How many of them are right.
        sampled: Checked sampled answers, at least 0.
        sampled_right: How many of them are right.
    """

    example_id: str
    greedy: int = 0
    greedy_right: int = 0
    sampled: int = 0
    sampled_right: int = 0

    def __post_init__(self) -> None:
        counts = (self.greedy_right, self.greedy, self.sampled_right, self.sampled)
        if min(counts) < 0 or counts[0] > counts[1] or counts[2] > counts[3]:
            raise DataError(
                f"example {self.example_id}: these are not valid counts of attempts: {counts}"
            )

    @property
    def checked(self) -> int:
        """Number of checked attempts, greedy and sampled."""
        return self.greedy + self.sampled

    @property
    def pass_rate(self) -> float | None:
        """Share of the sampled answers that are right, in [0, 1].

        Of the greedy ones where none was sampled; None where there is no attempt.
        """
        if self.sampled:
            return self.sampled_right / self.sampled
        return self.greedy_right / self.greedy if self.greedy else None

    @property
    def smoothed_rate(self) -> float | None:
        """Pass rate shrunk towards one half: (right + 1/2) / (attempts + 1).

        The mean of Jeffreys' posterior. With few attempts 0 of 4 is not surely 0.
        """
        if self.sampled:
            return (self.sampled_right + 0.5) / (self.sampled + 1)
        return (self.greedy_right + 0.5) / (self.greedy + 1) if self.greedy else None


def turn_text(turn: Message | Mapping[str, Any]) -> str:
    """Text of a turn with its thinking and calls; a plain turn gives its content.

    Args:
        turn: A message, or a row of the `MESSAGES` type.

    Examples:
        >>> turn_text(Message(role="user", content="Hi"))
        'Hi'
        >>> call = '[{"function": {"name": "clock", "arguments": {"zone": "UTC"}}}]'
        >>> turn_text(Message(role="assistant", content="", tool_calls=call))
        '[call clock] {"zone": "UTC"}'
    """
    found = {name: _part(turn, name) for name in _SHOWN}
    reasoning, calls = found.get("reasoning"), found.get("tool_calls")
    if not reasoning and not calls:
        return str(found["content"])
    parts = []
    if reasoning:
        parts.append(f"[thinking] {reasoning}\n[end of thinking]")
    if found["content"]:
        parts.append(str(found["content"]))
    return "\n".join([*parts, *(_call_text(call) for call in _listed(calls))])


MOST_CONTEXT_CHARACTERS = 16_000
"""Most characters of a conversation that are shown in addition to its last user turn."""
_MOST_TURN_CHARACTERS = 4_000


def asked_text(
    turns: Sequence[Message | Mapping[str, Any]], *, most: int = MOST_CONTEXT_CHARACTERS
) -> tuple[str, bool] | None:
    r"""Text of what a response answers: one user turn, or the conversation in front of it.

    A conversation is shown turn by turn under the roles. The last user turn is whole; other turns
    are shortened in the middle, and the oldest of them are left out, where they are too long. A
    system prompt is kept.

    Args:
        turns: The conversation; an assistant turn at its end is the response, and is left out.
        most: Most characters in addition to the last user turn.

    Returns:
        The text, and whether it is a conversation; None where there is no user turn.

    Examples:
        >>> question = Message(role="user", content="And of Spain?")
        >>> asked_text([question])
        ('And of Spain?', False)
        >>> earlier = Message(role="user", content="Capital of France?")
        >>> print(asked_text([earlier, Message(role="assistant", content="Paris"), question])[0])
        [user]
        Capital of France?
        <BLANKLINE>
        [assistant]
        Paris
        <BLANKLINE>
        [user]
        And of Spain?
    """
    roles = [_part(turn, "role") for turn in turns]
    end = len(turns) - (roles[-1:] == ["assistant"])
    asked = max((at for at in range(end) if roles[at] == "user"), default=None)
    if asked is None:
        return None
    if end == 1:
        return turn_text(turns[0]), False
    shown = {asked: turn_text(turns[asked])}
    left = most
    system = [at for at in range(end) if roles[at] == "system"]
    for at in [*system, *(at for at in reversed(range(end)) if at != asked and at not in system)]:
        text = _shortened(turn_text(turns[at]), min(_MOST_TURN_CHARACTERS, most))
        if len(text) > left:
            break
        shown[at] = text
        left -= len(text)
    parts = [f"[{roles[at]}]\n{shown[at]}" for at in sorted(shown)]
    missing = end - len(shown)
    if missing:
        turns_in_words = "1 earlier turn is" if missing == 1 else f"{missing} earlier turns are"
        parts.insert(sum(at in shown for at in system), f"[{turns_in_words} left out]")
    return "\n\n".join(parts), True


def _part(turn: Message | Mapping[str, Any], name: str) -> Any:
    return turn.get(name) if isinstance(turn, Mapping) else getattr(turn, name)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    gap = f"\n[{len(text) - most:,} characters are left out]\n"
    return text[: most // 2] + gap + text[len(text) - (most - most // 2) :]


_SHOWN = ("content", "reasoning", "tool_calls")


def _listed(calls: str | None) -> list[Any]:
    if not calls:
        return []
    try:
        found = json.loads(calls)
    except (ValueError, RecursionError):  # a table that somebody else wrote
        return [calls]
    return found if isinstance(found, list) else [found]


def _call_text(call: Any) -> str:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return f"[call] {call}"
    arguments = function.get("arguments", {})
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"[call {function.get('name')}] {shown}"
