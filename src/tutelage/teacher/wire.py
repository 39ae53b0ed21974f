"""Requests and answers as the OpenAI chat API spells them, and what its errors mean here."""

import email.utils
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from tutelage.errors import (
    TeacherBusyError,
    TeacherError,
    TeacherUnreachableError,
    UnusableReplyError,
)
from tutelage.teacher.ask import Reply, Request
from tutelage.teacher.settings import TeacherSettings

MOST_TOKENS = 2**40
_SHOWN = 300
"""Characters of a server's own words that are repeated in a message."""

REFUSING = frozenset((401, 403, 404))
"""Statuses that will be the same for every request: a wrong key, model or address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One attempt that brought no reply.

    Attributes:
        error: What to raise if no other attempt follows; its class says whether one may.
        status: The HTTP status, or None where there was no answer.
        wait_seconds: How long the server asks to wait, or None.
    """

    error: TeacherError
    status: int | None = None
    wait_seconds: float | None = None


def body_of(request: Request, settings: TeacherSettings) -> dict[str, object]:
    """The JSON body of a request, without what the settings add."""
    body: dict[str, object] = {
        "model": settings.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        settings.max_tokens_field: request.max_tokens,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None:
        schema = {"name": "reply", "strict": True, "schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def parse_body(data: bytes, *, place: str) -> dict[str, object] | Failed:
    """The JSON object of a 200, or the failure of a server that says 200 and means something else.

    Half an answer or a proxy's HTML page usually goes away, so it may be asked again.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return _nonsense(data, place=place)
    return body if _is_object(body) else _nonsense(data, place=place)


def reply_of(
    body: Mapping[str, object], request: Request, *, seconds: float, place: str
) -> Reply | Failed:
    """The reply in the body of a 200.

    Args:
        body: The JSON object that came.
        request: What was asked.
        seconds: How long it took.
        place: The endpoint, for messages.

    Returns:
        The reply, or a failure: with `UnusableReplyError` where there is a well-formed answer
        without text.
    """
    choices = body.get("choices")
    if not isinstance(choices, list):
        return _nonsense(json.dumps(body).encode(), place=place)
    usage = body.get("usage")
    counts = usage if _is_object(usage) else {}
    choice = choices[0] if choices else None
    message = choice.get("message") if _is_object(choice) else None
    finish = choice.get("finish_reason") if _is_object(choice) else None
    finish_reason = finish if isinstance(finish, str) and finish else "unknown"
    text = _text_in(message.get("content")) if _is_object(message) else None
    if text is None:
        why, hint = _why_no_text(message, finish_reason)
        error = UnusableReplyError(f"{place}: {why}", hint=hint)
        error.finish_reason = finish_reason
        error.prompt_tokens = _count(counts.get("prompt_tokens"))
        error.completion_tokens = _count(counts.get("completion_tokens"))
        error.seconds = seconds
        return Failed(error=error, status=200)
    model = body.get("model")
    return Reply(
        request_key=request.key,
        model=model if isinstance(model, str) and model else request.model,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        seconds=seconds,
    )


def failure_of(
    status: int, headers: Mapping[str, str], data: bytes, *, place: str, settings: TeacherSettings
) -> Failed:
    """What an HTTP status other than success means.

    Args:
        status: 300 or above.
        headers: With names in lower case.
        data: The body; a little of it is shown where it cannot hold the key.
        place: The endpoint, for messages.
        settings: To name the setting that may be wrong.
    """
    wait_seconds = retry_after_seconds(headers)
    said = _said(data)
    what = f"{place}: HTTP {status}{f': {said}' if said else ''}"
    if status in (401, 403):
        key = settings.api_key_env or "no key was sent: api_key_env is not set"
        error = TeacherError(f"{place}: HTTP {status}: not allowed", hint=f"check the key ({key})")
    elif status == 404:  # noqa: PLR2004  (an HTTP status)
        error = TeacherError(
            what,
            hint=f"check base_url ({settings.base_url}) and model ({settings.model}); "
            "base_url usually ends in /v1",
        )
    elif status == 429 and ("insufficient_quota" in said or "billing" in said):  # noqa: PLR2004
        error = TeacherError(what, hint="the account has no credit left; waiting does not help")
    elif status == 429:  # noqa: PLR2004
        error = TeacherBusyError(
            what, hint="lower concurrency, or set requests_per_minute or tokens_per_minute"
        )
    elif status >= 500 or status in (408, 409, 425):  # noqa: PLR2004
        error = TeacherUnreachableError(what, hint="look at the server's own log")
    else:
        error = TeacherError(
            what,
            hint="the server does not accept this request: check the sampling settings, "
            "extra_body, max_tokens_field and the length of the prompt",
        )
    return Failed(error=error, status=status, wait_seconds=wait_seconds)


def retry_after_seconds(
    headers: Mapping[str, str], *, now_seconds: float | None = None
) -> float | None:
    """How long a server asks to wait.

    Args:
        headers: With names in lower case; `retry-after-ms`, or `retry-after` in seconds or as an
            HTTP date.
        now_seconds: Of the Unix clock; by default, now.

    Returns:
        Seconds, at least 0; or None where nothing usable was said.

    Examples:
        >>> retry_after_seconds({"retry-after": "7"})
        7.0
        >>> retry_after_seconds({"retry-after": "Thu, 01 Jan 1970 00:01:30 GMT"}, now_seconds=60)
        30.0
    """
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / divisor
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    when = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if when is None:
        return None
    now = time.time() if now_seconds is None else now_seconds
    try:
        return max(0.0, float(email.utils.mktime_tz(when) - now))
    except (ValueError, OverflowError):
        return None


def _why_no_text(message: object, finish_reason: str) -> tuple[str, str]:
    if not _is_object(message):
        return "answered without any choice", "the server may not speak the chat API"
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return f"refused: {refusal[:_SHOWN]}", "the teacher will not answer this example"
    if message.get("tool_calls"):
        return "called a tool instead of answering", "turn tools off on the server"
    if message.get("reasoning_content") or message.get("reasoning"):
        return (
            f"reasoned without answering (finish_reason {finish_reason})",
            "raise max_tokens, or turn reasoning off with extra_body",
        )
    return f"answered without text (finish_reason {finish_reason})", "try another seed or model"


def _text_in(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # some servers send parts
        texts = [part.get("text") for part in content if _is_object(part)]
        parts = [text for text in texts if isinstance(text, str)]
        return "".join(parts) if parts else None
    return None


def _nonsense(data: bytes, *, place: str) -> Failed:
    error = TeacherUnreachableError(
        f"{place}: HTTP 200, but not an answer of the chat API: {_start(data)}",
        hint="check that base_url is the API (it usually ends in /v1), not a web page or a proxy",
    )
    return Failed(error=error, status=200)


def _said(data: bytes) -> str:
    """The server's own message, from the usual places in its JSON, or the start of its text."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return _start(data)
    inner = body.get("error") if _is_object(body) else None
    if _is_object(inner):
        parts = [inner.get("message"), inner.get("code"), inner.get("type")]
        words = " ".join(part for part in parts if isinstance(part, str))
        return " ".join(words.split())[:_SHOWN] or _start(data)
    return " ".join(inner.split())[:_SHOWN] if isinstance(inner, str) else _start(data)


def _start(data: bytes) -> str:
    return " ".join(data[: 4 * _SHOWN].decode("utf-8", "replace").split())[:_SHOWN]


def _count(value: object) -> int | None:
    """A plausible number of tokens, or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < MOST_TOKENS else None


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)
