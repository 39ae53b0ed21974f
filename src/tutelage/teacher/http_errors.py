"""Classification of server errors: which are temporary, and which setting may be wrong."""

import email.utils
import json
import math
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from tutelage.errors import TeacherBusyError, TeacherError, TeacherUnreachableError
from tutelage.teacher.config import TeacherSettings

SHOWN = 300
"""Most characters of a server's message that are repeated in ours."""

KEY_REFUSED = frozenset((401, 402, 403))
"""Statuses of a wrong key or an empty account, which every further request gets too."""

REFUSING = KEY_REFUSED | {404}
"""Statuses that every request gets: a wrong key, model or address."""

_STATUS_OF_NAME = {
    "rate_limit": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "throttl": 429,
    "overloaded": 503,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "timeout": 504,
    "internal": 500,
    "server_error": 500,
    "unauthenticated": 401,
    "authentication": 401,
    "invalid_api_key": 401,
    "insufficient_quota": 402,
    "insufficient_balance": 402,
    "insufficient_credit": 402,
    "permission_denied": 403,
    "not_found": 404,
    "invalid_request": 400,
    "invalid_argument": 400,
    "bad_request": 400,
}
"""Parts of error names that servers send in place of an HTTP status."""

_BUSY_WORDS = re.compile(
    r"rate.?limit|too many requests|overloaded|try again (?:later|in)|quota exceeded"
    r"|(?:request|qps|rpm|tpm)\w* limit|limit reached|concurrency limit|server (?:is )?busy",
    re.IGNORECASE,
)
_MODERATED = re.compile(r"moderat|flagged|content polic|safety", re.IGNORECASE)
_FILTERED = re.compile(
    r"moderation|flagged|content.{0,12}polic|content[ _-]?filter|responsible ?ai"
    r"|data_?inspection|(?:sensitive|inappropriate|prohibited|unsafe) (?:content|words?)"
    r"|\u654f\u611f|\u4e0d\u5b89\u5168",
    re.IGNORECASE,
)
"""The same where the status alone says nothing of a refusal, such as Azure's 400."""
_BAD_KEY = re.compile(
    r"(?:invalid|incorrect|expired|missing|wrong|malformed|no)\b.{0,20}\bapi[ _-]?key"
    r"|api[ _-]?key\b.{0,40}(?:not valid|invalid|not found|expired|missing|incorrect|required)",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"insufficient_quota|billing|credit|balance|payment", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context.{0,12}(?:length|window|size)|maximum.{0,20}tokens|too long|too large|too many tokens"
    r"|tokens?.{0,40}must be (?:<=|less|at most)|exceeds?.{0,30}(?:context|tokens|token limit)",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(r"system[ _-]?(?:role|prompt|message)|role.{0,24}system", re.IGNORECASE)
_OMITTED = ("seed", "top_p", "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Failure of one attempt.

    Attributes:
        error: What to raise if no other attempt follows; its class says whether one may.
        status: The HTTP status, or None where there was no answer.
        wait_seconds: How long the server asks to wait, or None.
        about_one: The refusal is about this one text, though its status is about every request.
    """

    error: TeacherError
    status: int | None = None
    wait_seconds: float | None = None
    about_one: bool = False


def failure_of(
    status: int,
    headers: Mapping[str, str],
    body: object,
    *,
    place: str,
    settings: TeacherSettings,
    sent: Collection[str] = (),
) -> Failed:
    """Classify an HTTP status other than success.

    Args:
        status: 300 or above; of the response, or named in the body of a 200.
        headers: With names in lower case.
        body: What came: a JSON value, or text where it was none. A little of it is shown.
        place: The endpoint, for messages.
        settings: To name the setting that may be wrong.
        sent: The names in the request's body, so that a hint can name the one that was refused.
    """
    said = said_in(body)
    what = f"{place}: HTTP {status}{f': {said}' if said else ''}"
    about_one = is_moderation(status, said)
    error: TeacherError
    if about_one:
        error = TeacherError(what, hint="the server refuses this text, not the key")
    elif status in (401, 403) or (status == 400 and _BAD_KEY.search(said)):  # noqa: PLR2004
        key = settings.api_key_env or "no key was sent: api_key_env is not set"
        # The server's words are not shown: they may hold a part of the key.
        header = f", sent as {settings.key_header}" if settings.api_key_env else ""
        error = TeacherError(
            f"{place}: HTTP {status}: not allowed", hint=f"check the key ({key}{header})"
        )
        status = 401 if status == 400 else status  # noqa: PLR2004  (Gemini says 400 for a bad key)
    elif status == 402 or (status == 429 and _NO_CREDIT.search(said)):  # noqa: PLR2004
        error = TeacherError(what, hint="the account has no credit left; waiting does not help")
    elif status == 404:  # noqa: PLR2004  (an HTTP status)
        error = TeacherError(
            what,
            hint=f"check base_url ({settings.base_url}) and model ({settings.model}); "
            "base_url usually ends in /v1",
        )
    elif status in (429, 498):
        error = TeacherBusyError(
            what, hint="lower concurrency, or set requests_per_minute or tokens_per_minute"
        )
    elif status >= 500 or status in (408, 409, 425):  # noqa: PLR2004
        error = TeacherUnreachableError(what, hint="look at the server's own log")
    elif status < 400:  # noqa: PLR2004
        error = TeacherError(
            f"{what}: the server redirects to another address, which is not followed",
            hint=f"check base_url ({settings.base_url}): give the final address",
        )
    else:
        error = TeacherError(what, hint=hint_of_refusal(said, sent=sent))
    wait_seconds = retry_after_seconds(headers)
    return Failed(error=error, status=status, wait_seconds=wait_seconds, about_one=about_one)


def is_moderation(status: int, said: str) -> bool:
    """Whether a refusal is about this one text.

    Args:
        status: Of the response.
        said: The server's own words.

    Examples:
        >>> is_moderation(400, "The response was filtered (code content_filter)")
        True
        >>> is_moderation(401, "content_filter")
        False
    """
    if status == 403:  # noqa: PLR2004
        return _MODERATED.search(said) is not None or _FILTERED.search(said) is not None
    return status in (400, 422, 451) and _FILTERED.search(said) is not None


def hint_of_refusal(said: str, *, sent: Collection[str] = ()) -> str:
    """Hint with the setting to change when a server rejects a request.

    Args:
        said: The server's own words.
        sent: The names in the request's body.

    Examples:
        >>> hint_of_refusal("body.seed: Extra inputs are not permitted")
        'the server refuses seed: leave it out with omit: [seed] (--omit seed)'
    """
    return _hint_of_sampling(said, sent) or _hint_of_form(said) or _hint_of_others(said, sent)


def _hint_of_sampling(said: str, sent: Collection[str]) -> str | None:
    if _TOO_LONG.search(said) and not any(_names(name, said) for name in _OMITTED):
        return None
    if _names("max_tokens", said) and _names("max_completion_tokens", said):
        wanted = "max_completion_tokens" if "max_tokens" in sent else "max_tokens"
        return f"set max_tokens_field: {wanted} (--max-tokens-field {wanted})"
    named = [name for name in _OMITTED if _names(name, said)]
    if {"temperature", "top_p"} <= set(named):
        return (
            "the server refuses temperature together with top_p: leave one out with "
            "omit: [top_p] (--omit top_p)"
        )
    if named:
        return (
            f"the server refuses {named[0]}: leave it out with omit: [{named[0]}] "
            f"(--omit {named[0]})"
        )
    return None


def _hint_of_form(said: str) -> str | None:
    if _names("response_format", said) or _names("json_schema", said):
        return "the server refuses response_format: set supports_schema: no"
    if _TOO_LONG.search(said):
        return "prompt and reply do not fit the model's context: lower max_tokens"
    for field, other in (
        ("max_tokens", "max_completion_tokens"),
        ("max_completion_tokens", "max_tokens"),
    ):
        if _names(field, said):
            return (
                f"the server refuses {field}: lower max_tokens, or set max_tokens_field: {other} "
                f"(--max-tokens-field {other})"
            )
    return None


def _hint_of_others(said: str, sent: Collection[str]) -> str:
    if _NO_SYSTEM.search(said):
        return "the model takes no system prompt: set none, and give rows without a system turn"
    others = [name for name in sent if name not in ("model", "messages") and _names(name, said)]
    if others:
        return f"the server refuses {', '.join(others)}: take it out of extra_body"
    return (
        "the server does not accept this request: check the sampling settings, extra_body, "
        "max_tokens_field and the length of the prompt; omit leaves settings out"
    )


def _names(field: str, said: str) -> bool:
    spelled = re.escape(field).replace("_", "[_ ]?")
    return re.search(rf"(?<![a-z_]){spelled}(?![a-z_])", said, re.IGNORECASE) is not None


def status_in(error: object) -> int | None:
    """HTTP status inside an error object of a body, or None where there is none.

    Examples:
        >>> status_in({"code": 429, "message": "slow"}), status_in({"type": "overloaded_error"})
        (429, 503)
        >>> status_in("Rate limit reached"), status_in("no such thing")
        (429, None)
    """
    if is_object(error):
        for name in ("code", "status", "status_code", "http_status"):
            value = error.get(name)
            if isinstance(value, str) and value.strip().isdigit():
                value = int(value)
            if isinstance(value, int) and 400 <= value < 600:  # noqa: PLR2004
                return value
    for word in _words(error):
        flat = re.sub(r"[\s-]+", "_", word.lower())
        for part, status in _STATUS_OF_NAME.items():
            if part in flat:
                return status
    return 429 if any(_BUSY_WORDS.search(word) for word in _words(error)) else None


def _words(error: object) -> Iterator[str]:
    if isinstance(error, str):
        yield error
    elif is_object(error):
        for name in ("code", "status", "type", "message", "detail", "error_msg", "status_msg"):
            value = error.get(name)
            if isinstance(value, str):
                yield value


def said_in(body: object) -> str:
    """Message of the server, from the usual places in its JSON, or the start of its text.

    Examples:
        >>> said_in({"detail": [{"loc": ["body", "seed"], "msg": "not permitted"}]})
        'body.seed: not permitted'
    """
    inner = body[0] if isinstance(body, list) and body else body
    if is_object(inner):
        for name in ("error", "errors", "detail", "message", "msg", "error_msg", "status_msg"):
            text = _message_in(inner.get(name))
            if text:
                code = inner.get("code") if name == "message" else None
                return _start(f"{text} {code}" if isinstance(code, str) else text)
    return _start(body if isinstance(body, str) else json.dumps(body)) if body else ""


def _message_in(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_message_in, value[:5])))
    if not is_object(value):
        return ""
    metadata = value.get("metadata")
    behind = metadata.get("raw") if is_object(metadata) else None  # what a proxy's provider said
    place = value.get("loc")
    names = ("message", "msg", "detail", "error_msg", "status_msg")
    message = next((value[name] for name in names if value.get(name)), None)
    parts = [message, value.get("param"), value.get("code"), value.get("type"), behind]
    if isinstance(place, list):
        where = ".".join(str(part) for part in place)
        return f"{where}: {message}" if isinstance(message, str) else where
    words = " ".join(part for part in parts if isinstance(part, str))
    return words or (_message_in(value.get("error")) if "error" in value else "")


def retry_after_seconds(
    headers: Mapping[str, str], *, now_seconds: float | None = None
) -> float | None:
    """Seconds that a server asks to wait.

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


def _start(text: str) -> str:
    return " ".join(text[: 4 * SHOWN].split())[:SHOWN]


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Whether a value is a JSON object."""
    return isinstance(value, dict)
