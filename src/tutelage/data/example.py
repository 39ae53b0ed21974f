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
            trained on, or with the user turn where the row has no response of its own (an
            instruction to be answered, or a pool of candidates).
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
        return next(m.content for m in reversed(self.messages) if m.role == "user")

    @property
    def context(self) -> tuple[Message, ...]:
        """Everything up to and including the last user turn."""
        return context_of(self.messages)


def context_of(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Everything up to and including the last user turn.

    Raises:
        DataError: There is no user turn.
    """
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return messages[: index + 1]
    raise DataError("a conversation without a user turn has no instruction")


def response_of(messages: tuple[Message, ...]) -> str | None:
    """The assistant turn that follows the last user turn, or None where there is none."""
    if messages and messages[-1].role == "assistant":
        return messages[-1].content
    return None
