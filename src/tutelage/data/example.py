"""An example: one row of the user's data."""

from dataclasses import dataclass

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
    """

    example_id: str
    messages: tuple[Message, ...]
    reference: str | None = None
    source: str | None = None
    extra: str | None = None
    tools: str | None = None

    @property
    def instruction(self) -> str:
        """The last user turn."""
        return instruction_of(self.messages)

    @property
    def context(self) -> tuple[Message, ...]:
        """Everything in front of the response."""
        return context_of(self.messages)

    @property
    def uses_tools(self) -> bool:
        """Whether tools belong to the prompt: their schemas, a call, or what one returned."""
        return self.tools is not None or uses_tools(self.context)


def context_of(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Everything in front of the response; the whole conversation where it has none.

    Behind the last user turn it may hold calls of tools and what they returned.

    Raises:
        DataError: There is no user turn.
    """
    if not any(message.role == "user" for message in messages):
        raise DataError("a conversation without a user turn has no instruction")
    return messages[:-1] if messages[-1].role == "assistant" else messages


def response_of(messages: tuple[Message, ...]) -> str | None:
    """The text of the assistant turn at the end, or None where another turn stands there."""
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
    """Whether a turn calls a tool or holds what one returned."""
    return any(turn.role == "tool" or turn.tool_calls is not None for turn in messages)
