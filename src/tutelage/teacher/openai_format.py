"""Requests and replies in the format of the OpenAI chat API."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

from tutelage.data.redaction import Redactor
from tutelage.errors import TeacherUnreachableError, UnusableReplyError
from tutelage.teacher import http_errors
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.http_errors import (
    REFUSING,
    SHOWN,
    Failed,
    is_object,
    retry_after_seconds,
    status_in,
)
from tutelage.teacher.protocol import Reply, Request

# ----------------------------------------------------------------------------------------------
# Reasons to stop as servers spell them, and what each one means.
# ----------------------------------------------------------------------------------------------


Ending: TypeAlias = Literal["whole", "cut", "filtered", "failed", "unknown"]

UNKNOWN = "unknown"
"""Finish reason of a reply whose server gave none."""

_WHOLE = frozenset(
    (
        *("stop", "stopped", "eos", "eos_token", "eos_found", "end_turn", "stop_sequence"),
        *("stop_token", "stop_str", "end_of_turn", "complete", "completed", "done", "finished"),
        *("end", "finish", "success"),
    )
)
_CUT = frozenset(
    (
        *("length", "max_tokens", "model_length", "max_length", "max_output_tokens", "limit"),
        *("token_limit", "max_new_tokens", "max_completion_tokens", "incomplete", "truncated"),
        *("context_length", "context_length_exceeded", "model_context_window_exceeded"),
        *("error_limit", "max_context"),
    )
)
_FILTERED = frozenset(
    (
        *("content_filter", "content_filtered", "refusal", "refused", "safety", "recitation"),
        *("blocklist", "prohibited_content", "spii", "image_safety", "guardrail_intervened"),
        *("error_toxic", "sensitive", "moderation", "flagged", "language", "blocked"),
    )
)
_FAILED = frozenset(
    (
        *("error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error"),
        *("insufficient_system_resource", "server_error", "internal_error", "overloaded"),
    )
)


def ending_of(finish_reason: str | None) -> Ending:
    """Meaning of a finish reason; case and separators do not matter.

    Examples:
        >>> ending_of("STOP"), ending_of("FinishReason.MAX_TOKENS"), ending_of("content-filter")
        ('whole', 'cut', 'filtered')
        >>> ending_of(None), ending_of("tool_calls")
        ('unknown', 'unknown')
    """
    if finish_reason is None:
        return "unknown"
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", finish_reason.strip().rpartition(".")[2])
    name = re.sub(r"[\s_-]+", "_", spaced.lower()).removeprefix("finish_reason_")
    if name in _WHOLE:
        return "whole"
    if name in _CUT:
        return "cut"
    if name in _FILTERED:
        return "filtered"
    return "failed" if name in _FAILED else "unknown"


# ----------------------------------------------------------------------------------------------
# Openai format.
# ----------------------------------------------------------------------------------------------


# ----------------------------------------------------------------------------------------------
# Answers that a server streams although it was asked for one body.
# ----------------------------------------------------------------------------------------------


def body_of_events(text: str) -> dict[str, object] | None:
    """Chat completion assembled from a stream of events.

    Args:
        text: The body, as `data: {...}` lines.

    Returns:
        One body with the joined text, or None where this is no stream of events or it broke off
        before its end.

    Examples:
        >>> text = 'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}'
        >>> body_of_events(text)["choices"][0]["message"]["content"]
        'Hi'
    """
    lines = [
        line.removeprefix("data:").strip() for line in text.splitlines() if line[:5] == "data:"
    ]
    parts: dict[str, str] = {}
    body: dict[str, object] = {}
    finish: object = None
    for line in lines:
        if line == "[DONE]":
            break
        try:
            event = json.loads(line, strict=False)
        except (ValueError, RecursionError):
            return None
        if not is_object(event):
            return None
        if "error" in event:
            return event
        body |= {name: event[name] for name in ("id", "model", "usage") if event.get(name)}
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if is_object(choice) and choice.get("index", 0) == 0:
                finish = choice.get("finish_reason") or finish
                _join(parts, choice.get("delta"))
    if not lines or (finish is None and lines[-1] != "[DONE]"):
        return None
    message = {"role": "assistant", "content": None, **parts}
    return body | {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _join(parts: dict[str, str], delta: object) -> None:
    if is_object(delta):
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            piece = delta.get(name)
            if isinstance(piece, str):
                parts[name] = parts.get(name, "") + piece


# ----------------------------------------------------------------------------------------------
# Openai format.
# ----------------------------------------------------------------------------------------------


__all__ = [
    "REFUSING",
    "Failed",
    "body_of",
    "failure_of",
    "failure_within",
    "parse_body",
    "reply_of",
    "retry_after_seconds",
]

MOST_TOKENS = 2**40

_NOTHING = Redactor(None)


def body_of(request: Request, settings: TeacherSettings) -> dict[str, object]:
    """JSON body of a request, without `extra_body` and the names in `omit`."""
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
    return {name: value for name, value in body.items() if name not in settings.omit}


def parse_body(
    data: bytes, *, place: str, redactor: Redactor = _NOTHING
) -> dict[str, object] | Failed:
    """JSON object of a reply with status 200, or a failure where the body reports one.

    Half an answer or a proxy's HTML page usually goes away, so it may be asked again. Bytes that
    are no text become U+FFFD, so that one of them does not cost a reply.

    Args:
        data: The body.
        place: The endpoint, for errors.
        redactor: Removes the key.
    """
    body = _decoded(data)
    if isinstance(body, str):
        body = body_of_events(body) or body
    body = redactor.value(body)
    if isinstance(body, list) and len(body) == 1 and is_object(body[0]) and "error" in body[0]:
        body = body[0]
    return body if is_object(body) else _nonsense(body, place=place)


def failure_of(
    status: int,
    headers: Mapping[str, str],
    data: bytes,
    *,
    place: str,
    settings: TeacherSettings,
    sent: Collection[str] = (),
    redactor: Redactor = _NOTHING,
) -> Failed:
    """Failure for an HTTP status other than success; see `http_errors.failure_of`.

    Args:
        status: The HTTP status.
        headers: Its headers.
        data: The body.
        place: The endpoint, for the message.
        settings: The teacher's settings, for the hint.
        sent: Names of optional fields in the request.
        redactor: Removes the key.
    """
    return http_errors.failure_of(
        status,
        headers,
        redactor.value(_decoded(data)),
        place=place,
        settings=settings,
        sent=sent,
    )


def failure_within(
    body: Mapping[str, object],
    headers: Mapping[str, str],
    *,
    place: str,
    settings: TeacherSettings,
    sent: Collection[str] = (),
) -> Failed | None:
    """Failure that the body of a reply with status 200 reports, or None.

    Proxies in front of several providers answer 200 and put the provider's error inside: at the
    top, or in the choice with what the provider had written before it failed.

    Args:
        body: The JSON object.
        headers: The headers.
        place: The endpoint, for the message.
        settings: The teacher's settings, for the hint.
        sent: Names of optional fields in the request.
    """
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = choice.get("error") if is_object(choice) else None
    if not error and not choice:
        error = body.get("error") or body.get("errors")
        if not error and (body.get("object") == "error" or status_in(body) is not None):
            error = body
    if isinstance(error, list) and error:
        error = error[0]
    if not error:
        return None
    status = status_in(error) or status_in(body) or 500
    return http_errors.failure_of(
        status,
        headers,
        {"error": error},
        place=f"{place}: HTTP 200 with an error inside",
        settings=settings,
        sent=sent,
    )


def reply_of(
    body: Mapping[str, object], request: Request, *, seconds: float, place: str
) -> Reply | Failed:
    """Reply in the body of a response with status 200.

    Args:
        body: The JSON object that came.
        request: The request.
        seconds: How long it took.
        place: The endpoint, for messages.

    Returns:
        The reply, or a failure: with `UnusableReplyError` where there is a well-formed answer
        without text.
    """
    choices = body.get("choices")
    if not isinstance(choices, list):
        return _nonsense(dict(body), place=place)
    usage = body.get("usage")
    counts = usage if is_object(usage) else {}
    choice = choices[0] if choices else None
    message = choice.get("message") if is_object(choice) else None
    finish = choice.get("finish_reason") if is_object(choice) else None
    finish_reason = finish if isinstance(finish, str) and finish else UNKNOWN
    if ending_of(finish_reason) == "failed":
        error = TeacherUnreachableError(
            f"{place}: HTTP 200, but the answer broke off (finish_reason {finish_reason})",
            hint="the server or the provider behind it failed while it answered",
        )
        return Failed(error=error, status=200)
    text = _text_in(message.get("content")) if is_object(message) else None
    reasoning = _reasoning_in(message) if is_object(message) else None
    if text is None:
        why, hint = _why_no_text(message, finish_reason)
        unusable = UnusableReplyError(f"{place}: {why}", hint=hint)
        unusable.finish_reason = finish_reason
        unusable.prompt_tokens = _count(counts.get("prompt_tokens"))
        unusable.completion_tokens = _count(counts.get("completion_tokens"))
        unusable.seconds = seconds
        unusable.reasoning = reasoning
        return Failed(error=unusable, status=200)
    model = body.get("model")
    return Reply(
        request_key=request.key,
        model=model if isinstance(model, str) and model else request.model,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        seconds=seconds,
        reasoning=reasoning,
    )


def _decoded(data: bytes) -> object:
    """JSON value of some bytes, or their text where they are not JSON."""
    text = data.decode(json.detect_encoding(data), "replace").removeprefix("\ufeff")
    try:
        value: object = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    return value


def _why_no_text(message: object, finish_reason: str) -> tuple[str, str]:
    if not is_object(message):
        return "answered without any choice", "the server may not speak the chat API"
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return f"refused: {refusal[:SHOWN]}", "the teacher will not answer this example"
    if message.get("tool_calls"):
        return "called a tool instead of answering", "turn tools off on the server"
    if _reasoning_in(message):
        return (
            f"reasoned without answering (finish_reason {finish_reason})",
            "raise max_tokens, or turn reasoning off with extra_body",
        )
    return f"answered without text (finish_reason {finish_reason})", "try another seed or model"


def _text_in(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # some servers send parts
        texts = [part.get("text") for part in content if is_object(part) and not _is_thought(part)]
        parts = [text for text in texts if isinstance(text, str)]
        return "".join(parts) if parts else None
    return None


def _reasoning_in(message: Mapping[str, object]) -> str | None:
    """Thinking of the model, wherever the server puts it; None where there is none."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        text = _thought(message.get(name))
        if text:
            return text
    content = message.get("content")
    parts = content if isinstance(content, list) else message.get("reasoning_details")
    if isinstance(parts, list):
        thoughts = [_thought(part) for part in parts if is_object(part) and _is_thought(part)]
        return "".join(filter(None, thoughts)) or None
    return None


def _is_thought(part: Mapping[str, object]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind.startswith(("thinking", "reasoning"))


def _thought(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_thought, value))
    if is_object(value):
        for name in ("thinking", "text", "reasoning", "summary", "content"):
            text = _thought(value.get(name))
            if text:
                return text
    return ""


def _nonsense(body: object, *, place: str) -> Failed:
    text = body if isinstance(body, str) else json.dumps(body)
    error = TeacherUnreachableError(
        f"{place}: HTTP 200, but not an answer of the chat API: "
        f"{' '.join(text[: 4 * SHOWN].split())[:SHOWN]}",
        hint="check that base_url is the API (it usually ends in /v1), not a web page or a proxy",
    )
    return Failed(error=error, status=200)


def _count(value: object) -> int | None:
    """A plausible token count, or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < MOST_TOKENS else None
