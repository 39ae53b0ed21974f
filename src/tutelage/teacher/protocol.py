"""Teacher protocol: requests, replies and the `ask` method."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tutelage.data import Message, content_hash
from tutelage.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to a teacher. Equal requests have equal keys on every machine.

    Attributes:
        model: The model's name as its server knows it.
        messages: The conversation so far; ends with a user turn.
        temperature: At least 0; 0 is greedy.
        top_p: In (0, 1].
        max_tokens: The most tokens the reply may have, at least 1.
        seed: For servers that take one. Sample i of N is a request of its own with its own seed.
        schema: A JSON schema the reply should obey, where the server supports it, or None. It is
            part of the key: a reply under a schema is another reply.
        extra: What the teacher's settings add to the body of every request, or None. A journaled
            teacher fills it in; others leave it alone.
        omit: Names that the teacher's settings leave out of the body. Filled in like `extra`. A
            seed that is not sent still tells sample 1 from sample 2, so it stays in the key.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    schema: Mapping[str, object] | None = None
    extra: Mapping[str, object] | None = None
    omit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "user":
            raise DataError("a request to a teacher ends with a user turn")
        if not (math.isfinite(self.temperature) and self.temperature >= 0 and 0 < self.top_p <= 1):
            raise DataError(
                f"cannot sample with temperature {self.temperature} and top_p {self.top_p}",
                hint="temperature is at least 0; top_p is above 0 and at most 1",
            )
        if self.max_tokens < 1:
            raise DataError(f"max_tokens must be at least 1, got {self.max_tokens}")

    @property
    def key(self) -> str:
        """Content hash of everything that can change the reply; no address, no secret."""
        parts: list[object] = [
            self.model,
            [[m.role, m.content] for m in self.messages],
            float(self.temperature) + 0.0,  # 0, 0.0 and -0.0 are equal, so they hash alike
            float(self.top_p),
            self.max_tokens,
            self.seed,
            None if self.schema is None else dict(self.schema),
        ]
        if self.extra:
            parts.append(dict(self.extra))
        if self.omit:
            parts.append(["omit", *sorted(self.omit)])
        return content_hash("request", *parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A teacher's reply, with its token counts.

    Attributes:
        request_key: The key of the request it answers.
        model: The name the server gave for the model that answered.
        text: The reply; may be empty.
        finish_reason: `stop`, `length`, `content_filter`, or whatever the server said.
        prompt_tokens: As counted by the server, or None where it did not say.
        completion_tokens: As counted by the server, or None where it did not say.
        cost: In the currency of the user's prices; 0 where no prices were given.
        seconds: From sending the request to having the reply, of the attempt that worked.
        from_journal: True where nothing was sent because the reply was already there.
        reasoning: What the model thought before it answered, where the server keeps it apart from
            the text (`reasoning_content`, `reasoning`, `thinking`), or None.
    """

    request_key: str
    model: str
    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float = 0.0
    seconds: float = 0.0
    from_journal: bool = False
    reasoning: str | None = None


class Teacher(Protocol):
    """Protocol of everything that can answer a request."""

    @property
    def name(self) -> str:
        """Name stored with every candidate that this teacher wrote; also `Request.model`."""
        ...

    @property
    def supports_schema(self) -> bool:
        """Whether a request may carry a JSON schema that the teacher follows."""
        ...

    async def ask(self, request: Request) -> Reply:
        """Reply to one request.

        Raises:
            TeacherError: No usable reply could be had. Retrying has already been done.
            TeacherStoppedError: No further request can succeed.
            JournalError: Replies cannot be kept, so no further request is sent.
        """
        ...
