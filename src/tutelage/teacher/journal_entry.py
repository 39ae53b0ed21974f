"""What the journal keeps of a request and of its answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.errors import UnusableReplyError
from tutelage.teacher.protocol import Reply, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer as the journal keeps it.

    Attributes:
        request_key: The key of the request it answers.
        model: The name the server gave for the model that answered.
        text: The reply, or None where the teacher answered without usable text; then `problem`
            says why. Such an answer may have cost money, so it is kept and not asked for again.
        problem: What was wrong with an answer without text.
        finish_reason: As the server said.
        prompt_tokens: As counted by the server, or None.
        completion_tokens: As counted by the server, or None.
        cost: In `currency`; 0 where no prices were given.
        currency: Of `cost`, or None where no prices were given.
        seconds: From sending the request to having the reply.
        run: A name for the run that paid, if it gave one.
        reasoning: What the model thought before it answered, or None.
    """

    request_key: str
    model: str
    text: str | None
    finish_reason: str
    problem: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float = 0.0
    currency: str | None = None
    seconds: float = 0.0
    run: str | None = None
    reasoning: str | None = None


def entry_of_row(row: Mapping[str, Any]) -> Entry:
    """A row of the journal's table of replies, whose columns are the fields of an entry."""
    return Entry(**row)


def answer_of(entry: Entry, *, from_journal: bool = True) -> Reply:
    """An entry as the reply it was.

    Raises:
        UnusableReplyError: The teacher had answered without usable text.
    """
    if entry.text is None:
        error = UnusableReplyError(
            f"{entry.model}: {entry.problem}",
            hint="the answer is in the teacher cache and is not asked for again; change the "
            "request (its prompt, max_tokens or seed) to get another one",
        )
        error.finish_reason = entry.finish_reason
        error.prompt_tokens = entry.prompt_tokens
        error.completion_tokens = entry.completion_tokens
        error.seconds = entry.seconds
        error.reasoning = entry.reasoning
        raise error
    return Reply(
        request_key=entry.request_key,
        model=entry.model,
        text=entry.text,
        finish_reason=entry.finish_reason,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        cost=entry.cost,
        seconds=entry.seconds,
        from_journal=from_journal,
        reasoning=entry.reasoning,
    )


def request_to_json(request: Request) -> str:
    """A request as it is kept beside its reply: what was asked, and nothing about how."""
    body: dict[str, object] = {
        "model": request.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "schema": None if request.schema is None else dict(request.schema),
    }
    if request.extra:
        body["extra"] = dict(request.extra)
    if request.omit:
        body["omit"] = list(request.omit)
    return json.dumps(body, ensure_ascii=True)
