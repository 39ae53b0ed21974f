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

# Reasons to stop as servers spell them, and what each one means.


Ending: TypeAlias = Literal["whole", "cut", "filtered", "failed", "unknown"]

UNKNOWN = "unknown"
"""Finish reason of a reply whose server gave none."""

_WHOLE = frozenset(
    (
        *("stop", "stopped", "eos", "eos_token", "eos_found", "end_turn", "stop_sequence"),
        *("stop_token", "stop_str", "end_of_turn", "complete", "completed", "done", "finished"),
        *("end", "finish", "success", "normal", "eot", "eos_id"),
    )
)
_CUT = frozenset(
    (
        *("length", "max_tokens", "model_length", "max_length", "max_output_tokens", "limit"),
        *("token_limit", "max_new_tokens", "max_completion_tokens", "incomplete", "truncated"),
        *("context_length", "context_length_exceeded", "model_context_window_exceeded"),
        *("error_limit", "max_context", "time_limit", "timelimit", "token_budget", "max_time"),
    )
)
_FILTERED = frozenset(
    (
        *("content_filter", "content_filtered", "refusal", "refused", "safety", "recitation"),
        *("blocklist", "prohibited_content", "spii", "image_safety", "guardrail_intervened"),
        *("error_toxic", "sensitive", "moderation", "flagged", "language", "blocked"),
        *("moderated", "content_policy", "content_policy_violation", "responsible_ai_policy"),
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
    return _ENDINGS.get(_flat(finish_reason or ""), "unknown")


def _flat(name: str) -> str:
    """A reason to stop without case and separators."""
    flat = re.sub(r"[\W_]+", "", name.strip().rpartition(".")[2].lower())
    return flat.removeprefix("finishreason")


_NAMES: tuple[tuple[Collection[str], Ending], ...] = (
    (_WHOLE, "whole"),
    (_CUT, "cut"),
    (_FILTERED, "filtered"),
    (_FAILED, "failed"),
)
_ENDINGS = {_flat(name): ending for names, ending in _NAMES for name in names}
_NO_REASON = frozenset(("", "null", "none", "nil", "unknown", "unspecified", "undefined"))
"""What servers write, without case and separators, where they know no reason to stop."""


def finish_reason_in(choice: Mapping[str, object]) -> str:
    """Why a choice ended, or `UNKNOWN`, wherever the server says so.

    A proxy may call every ending `stop` and give the provider's own in another field; the
    provider's counts where it says that the reply is not whole.

    Examples:
        >>> finish_reason_in({"finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"})
        'MAX_TOKENS'
        >>> finish_reason_in({"finish_reason": "null", "stop_reason": "end_turn"})
        'end_turn'
    """
    names = ("finish_reason", "finishReason", "stop_reason", "native_finish_reason", "done_reason")
    details = choice.get("finish_details")
    values = [choice.get(name) for name in names] + [details]
    said = [
        value
        for value in (v.get("type") if is_object(v) else v for v in values)
        if isinstance(value, str) and _flat(value) not in _NO_REASON
    ]
    if not said:
        return UNKNOWN
    native = choice.get("native_finish_reason")
    if ending_of(said[0]) == "whole" and isinstance(native, str):
        return native if ending_of(native) in ("cut", "filtered", "failed") else said[0]
    return said[0]


# Answers that a server streams although it was asked for one body.


_REASONING_FIELDS = (
    *("reasoning_content", "reasoning", "thinking", "thinking_blocks", "reasoning_text"),
    *("thought", "thoughts"),
)
"""Where servers put what the model thought before it answered."""


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
                _join(parts, choice.get("delta") or choice.get("message"))
    if not lines or (finish is None and lines[-1] != "[DONE]"):
        return None
    message = {"role": "assistant", "content": None, **parts}
    return body | {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _join(parts: dict[str, str], delta: object) -> None:
    if is_object(delta):
        pieces = {name: delta.get(name) for name in (*_REASONING_FIELDS, "refusal")}
        pieces["content"] = _text_in(delta.get("content"))
        for name, piece in pieces.items():
            if isinstance(piece, str):
                parts[name] = parts.get(name, "") + piece


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
_KEEP_ALIVE = re.compile(r"\A(?:\s*:[^\n]*\n)+")


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
    if isinstance(body, list) and len(body) == 1 and is_object(body[0]):
        body = body[0]
    if is_object(body) and "choices" not in body:
        for name in ("data", "result", "response"):
            inner = body.get(name)
            if is_object(inner) and "choices" in inner:
                body = inner
                break
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
        error = body.get("error") or body.get("errors") or _base_resp(body)
        names_one = body.get("object") == "error" or "error_msg" in body or status_in(body)
        if not error and (names_one or ("detail" in body and "choices" not in body)):
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


def _base_resp(body: Mapping[str, object]) -> object:
    """Error in the form of MiniMax, next to choices that are null; None if there is none."""
    found = body.get("base_resp")
    return found if is_object(found) and found.get("status_code") not in (None, 0) else None


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
    choice = _first(choices)
    message = _message_in(choice)
    finish_reason = UNKNOWN if choice is None else finish_reason_in(choice)
    if ending_of(finish_reason) == "failed":
        error = TeacherUnreachableError(
            f"{place}: HTTP 200, but the answer broke off (finish_reason {finish_reason})",
            hint="the server or the provider behind it failed while it answered",
        )
        return Failed(error=error, status=200)
    text = None if message is None else _text_in(message.get("content"))
    reasoning = None if message is None else _reasoning_in(message)
    prompt_tokens, completion_tokens = _tokens_in(body.get("usage"))
    instead = message is not None and (_refusal_in(message) or message.get("tool_calls"))
    if text is None or (instead and not text.strip()):
        why, hint = _why_no_text(message, finish_reason)
        unusable = UnusableReplyError(f"{place}: {why}", hint=hint)
        refused = message is not None and _refusal_in(message)
        unusable.finish_reason = "refusal" if refused else finish_reason
        unusable.prompt_tokens = prompt_tokens
        unusable.completion_tokens = completion_tokens
        unusable.seconds = seconds
        unusable.reasoning = reasoning
        return Failed(error=unusable, status=200)
    model = body.get("model")
    return Reply(
        request_key=request.key,
        model=model if isinstance(model, str) and model else request.model,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        seconds=seconds,
        reasoning=reasoning,
    )


def _first(choices: list[object]) -> dict[str, object] | None:
    """The choice with the lowest index, which need not come first."""
    found = [choice for choice in choices if is_object(choice)]

    def index(choice: dict[str, object]) -> int:
        value = choice.get("index")
        return value if isinstance(value, int) else 0

    return min(found, key=index) if found else None


def _message_in(choice: Mapping[str, object] | None) -> dict[str, object] | None:
    """The message of a choice, under any of the names that servers give it."""
    if choice is None:
        return None
    for name in ("message", "delta"):
        found = choice.get(name)
        if is_object(found):
            return found
    several = choice.get("messages")
    if isinstance(several, list) and several and is_object(several[-1]):
        return several[-1]
    text = choice.get("text")
    return {"content": text} if isinstance(text, str) else None


def _refusal_in(message: Mapping[str, object]) -> str | None:
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) and refusal else None


def _tokens_in(usage: object) -> tuple[int | None, int | None]:
    """The tokens of prompt and completion, under the names of several APIs."""
    counts = usage if is_object(usage) else {}

    def count(*names: str) -> int | None:
        return next((n for name in names if (n := _count(counts.get(name))) is not None), None)

    return (
        count("prompt_tokens", "input_tokens"),
        count("completion_tokens", "output_tokens", "generated_tokens"),
    )


def _decoded(data: bytes) -> object:
    """The JSON value of some bytes, or their text where they are no JSON.

    Comments that keep a connection alive (`: processing`) may precede it.
    """
    text = data.decode(json.detect_encoding(data), "replace").removeprefix("\ufeff")
    text = _KEEP_ALIVE.sub("", text, count=1)
    try:
        value: object = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    return value


def _why_no_text(message: object, finish_reason: str) -> tuple[str, str]:
    if not is_object(message):
        return "answered without any choice", "the server may not speak the chat API"
    refusal = _refusal_in(message)
    if refusal is not None:
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
    """The text of a message: a text, or parts of which thoughts are left out."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [_text_in(part) for part in content if not (is_object(part) and _is_thought(part))]
        parts = [text for text in texts if text is not None]
        return "".join(parts) if parts else None
    if is_object(content):
        for name in ("text", "content", "value", "parts"):
            text = _text_in(content.get(name))
            if text is not None:
                return text
    return None


def _reasoning_in(message: Mapping[str, object]) -> str | None:
    """Reasoning before the answer, wherever the server puts it; None if there is none."""
    apart = message.get("provider_specific_fields")
    for held in (message, apart if is_object(apart) else {}):
        for name in _REASONING_FIELDS:
            text = _thought(held.get(name))
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


_NATIVE = {
    "candidates": ("Gemini's own API", "/v1beta/openai"),
    "stop_reason": ("Anthropic's own API", "/v1"),
    "done": ("Ollama's own API", "/v1"),
    "output": ("the Responses API", "/v1"),
    "generated_text": ("a text generation API", "/v1"),
}
"""Fields by which the answers of other APIs are known, and how the right address ends."""


def _nonsense(body: object, *, place: str) -> Failed:
    text = body if isinstance(body, str) else json.dumps(body)
    hint = "check that base_url is the API (it usually ends in /v1), not a web page or a proxy"
    for name, (api, end) in _NATIVE.items():
        if is_object(body) and name in body and "choices" not in body:
            hint = f"this is an answer of {api}: give the OpenAI-compatible base_url (... {end})"
            break
    error = TeacherUnreachableError(
        f"{place}: HTTP 200, but not an answer of the chat API: "
        f"{' '.join(text[: 4 * SHOWN].split())[:SHOWN]}",
        hint=hint,
    )
    return Failed(error=error, status=200)


def _count(value: object) -> int | None:
    """A plausible number of tokens, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < MOST_TOKENS else None
