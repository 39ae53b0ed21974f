"""Capabilities of an endpoint, found by test requests rather than by its status codes.

Some servers take a JSON schema, a seed, `n` or `logprobs`, ignore them and answer 200. So each
ability is tried with a request whose answer cannot come out right by chance.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from tutelage.errors import TeacherError
from tutelage.teacher.http_errors import REFUSING, Failed

Post: TypeAlias = Callable[[dict[str, object]], Awaitable[dict[str, object] | Failed]]

_WORDS = ("quexil", "dravop")
"""Nonsense keys: a reply that has one of them followed the schema."""

_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": list(_WORDS)}},
    "required": ["verdict"],
    "additionalProperties": False,
}
PROBE_TOKENS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """Detected capabilities of an endpoint.

    Attributes:
        schema: A reply obeyed a JSON schema.
        seed: The same seed gave the same text twice, and another seed another text.
        n: Two choices came when two were asked for.
        logprobs: Log-probabilities of the reply's tokens came when asked for.
    """

    schema: bool
    seed: bool
    n: bool
    logprobs: bool


async def obeys_schema(post: Post) -> bool:
    """Whether an endpoint enforces a JSON schema; sends one short request.

    Args:
        post: Sends a body without model and token limit.

    Raises:
        TeacherError: The endpoint could not be asked at all.
    """
    schema = {"name": "verdict", "strict": True, "schema": _SCHEMA}
    text = await _first_text(
        post,
        _body("Write one short sentence about the rain.", temperature=0.0)
        | {"response_format": {"type": "json_schema", "json_schema": schema}},
    )
    try:
        reply = json.loads(text or "")
    except (ValueError, RecursionError):
        return False
    return isinstance(reply, dict) and list(reply) == ["verdict"] and reply["verdict"] in _WORDS


async def probe(post: Post) -> Abilities:
    """Detect all capabilities; sends six short requests.

    Args:
        post: Sends a body without model and token limit.

    Raises:
        TeacherError: The endpoint could not be asked at all.
    """
    tale = _body("Invent a name for a ship and say why.", temperature=1.0)
    first = await _first_text(post, tale | {"seed": 11})
    again = await _first_text(post, tale | {"seed": 11})
    other = await _first_text(post, tale | {"seed": 12})
    two = _choices(await _ask(post, tale | {"n": 2}))
    with_logprobs = _choices(await _ask(post, tale | {"logprobs": True}))
    return Abilities(
        schema=await obeys_schema(post),
        seed=bool(first) and first == again and first != other,
        n=len(two) == 2,  # noqa: PLR2004  (the n that was asked for)
        logprobs=bool(with_logprobs) and _has_logprobs(with_logprobs[0]),
    )


def _body(text: str, *, temperature: float) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "temperature": temperature}


async def _ask(post: Post, body: dict[str, object]) -> dict[str, object]:
    """Reply to a test request, or an empty one where the endpoint rejects it."""
    outcome = await post(body)
    if not isinstance(outcome, Failed):
        return outcome
    not_accepted = outcome.status is not None and outcome.status not in REFUSING
    if not_accepted and not outcome.error.retryable:
        return {}
    raise _said(outcome.error)


def _said(error: TeacherError) -> TeacherError:
    return type(error)(f"could not find out what the endpoint can do: {error}", hint=error.hint)


async def _first_text(post: Post, body: dict[str, object]) -> str | None:
    choices = _choices(await _ask(post, body))
    message = choices[0].get("message") if choices else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else None


def _choices(answer: dict[str, object]) -> list[dict[str, object]]:
    choices = answer.get("choices")
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []


def _has_logprobs(choice: dict[str, object]) -> bool:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    return isinstance(content[0].get("logprob"), int | float)
