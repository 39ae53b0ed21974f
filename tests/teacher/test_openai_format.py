"""Tests of the chat API's spelling."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.errors import (
    TeacherBusyError,
    TeacherError,
    TeacherUnreachableError,
    UnusableReplyError,
)
from tutelage.teacher import Reply, Request, TeacherSettings, openai_format

REQUEST = Request(model="m", messages=(Message(role="user", content="x"),))
SETTINGS = TeacherSettings(model="served-name", base_url="http://127.0.0.1:1/v1")
KEYS = [
    *("choices", "message", "content", "text", "usage", "model", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "error", "refusal"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def reply_of(body: Any) -> Any:
    return openai_format.reply_of(body, REQUEST, seconds=0.5, place="here")


@given(anything)
def test_any_json_becomes_a_reply_or_a_failure(body: Any) -> None:
    data = json.dumps(body).encode()
    parsed = openai_format.parse_body(data, place="here")
    outcome = parsed if isinstance(parsed, openai_format.Failed) else reply_of(parsed)
    assert isinstance(outcome, Reply | openai_format.Failed)


@given(st.binary(max_size=40), st.integers(300, 599))
def test_any_bytes_with_any_status_are_a_failure_with_a_message(data: bytes, status: int) -> None:
    failed = openai_format.failure_of(status, {}, data, place="here", settings=SETTINGS)
    assert str(status) in str(failed.error)
    assert failed.error.hint


@given(st.binary(max_size=40))
def test_any_bytes_can_be_parsed_or_refused(data: bytes) -> None:
    openai_format.parse_body(data, place="here")


def test_nesting_without_end_is_nonsense_not_a_crash() -> None:
    parsed = openai_format.parse_body(b"[" * 100_000, place="here")
    assert isinstance(parsed, openai_format.Failed)


def test_a_reply_has_the_numbers_of_the_server(good: Callable[..., dict[str, Any]]) -> None:
    assert reply_of(good("four", finish="length")) == Reply(
        request_key=REQUEST.key,
        model="served",
        text="four",
        finish_reason="length",
        prompt_tokens=7,
        completion_tokens=3,
        seconds=0.5,
    )


@pytest.mark.parametrize("count", [None, -1, 2**70, True, "7", 7.5])
def test_a_count_that_cannot_be_is_not_taken(
    good: Callable[..., dict[str, Any]], count: Any
) -> None:
    assert reply_of(good(usage={"prompt_tokens": count})).prompt_tokens is None


def test_an_empty_text_is_a_reply(good: Callable[..., dict[str, Any]]) -> None:
    assert reply_of(good("")).text == ""


def test_parts_are_joined(good: Callable[..., dict[str, Any]]) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert reply_of(good(parts)).text == "ab"


@pytest.mark.parametrize(
    ("message", "finish", "words"),
    [
        ({"refusal": "I will not"}, "stop", "refused: I will not"),
        ({"tool_calls": [{"id": "1"}]}, "tool_calls", "called a tool"),
        ({"reasoning_content": "hm"}, "length", "reasoned without answering"),
        ({}, "content_filter", "without text (finish_reason content_filter)"),
    ],
)
def test_an_answer_without_text_says_why_and_keeps_its_count(
    good: Callable[..., dict[str, Any]], message: dict[str, Any], finish: str, words: str
) -> None:
    failed = reply_of(good(None, message=message, finish=finish))
    assert isinstance(failed.error, UnusableReplyError)
    assert words in str(failed.error)
    assert failed.error.finish_reason == ("refusal" if "refusal" in message else finish)
    assert (failed.error.prompt_tokens, failed.error.completion_tokens) == (7, 3)
    assert not failed.error.retryable


def test_no_choice_is_an_answer_without_text(good: Callable[..., dict[str, Any]]) -> None:
    assert isinstance(reply_of(good(choices=[])).error, UnusableReplyError)


@pytest.mark.parametrize("data", [b"<html>hello</html>", b'{"choices": [{"mess', b"", b"[]", b"1"])
def test_a_200_that_is_not_json_may_be_asked_again(data: bytes) -> None:
    failed = openai_format.parse_body(data, place="here")
    assert isinstance(failed, openai_format.Failed)
    assert isinstance(failed.error, TeacherUnreachableError)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {}, TeacherError),
        (403, {}, TeacherError),
        (404, {}, TeacherError),
        (400, {}, TeacherError),
        (422, {}, TeacherError),
        (429, {}, TeacherBusyError),
        (429, {"error": {"message": "m", "code": "insufficient_quota"}}, TeacherError),
        (408, {}, TeacherUnreachableError),
        (500, {}, TeacherUnreachableError),
        (503, {}, TeacherUnreachableError),
        (529, {}, TeacherUnreachableError),
    ],
)
def test_a_status_has_one_meaning(status: int, body: Any, kind: type[TeacherError]) -> None:
    data = json.dumps(body).encode()
    failed = openai_format.failure_of(status, {}, data, place="here", settings=SETTINGS)
    assert type(failed.error) is kind


def test_the_hint_names_the_setting() -> None:
    def hint(status: int) -> str:
        failed = openai_format.failure_of(status, {}, b"", place="here", settings=SETTINGS)
        return failed.error.hint or ""

    assert "api_key_env" in hint(401)
    assert "base_url (http://127.0.0.1:1/v1)" in hint(404)
    assert "model (served-name)" in hint(404)
    assert "concurrency" in hint(429)


def test_the_words_of_the_server_are_shown_but_not_all_of_them() -> None:
    data = json.dumps({"error": {"message": "too\nlong " + "x" * 5000}}).encode()
    failed = openai_format.failure_of(400, {}, data, place="here", settings=SETTINGS)
    assert "HTTP 400: too long x" in str(failed.error)
    assert len(str(failed.error)) < 400


def test_what_a_server_says_about_a_key_is_not_shown() -> None:
    data = json.dumps({"error": {"message": "Incorrect key sk-abc***xyz"}}).encode()
    failed = openai_format.failure_of(401, {}, data, place="here", settings=SETTINGS)
    assert "sk-abc" not in str(failed.error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-2"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert openai_format.retry_after_seconds(headers, now_seconds=100.0) == seconds


def test_a_schema_and_a_seed_are_sent_where_given() -> None:
    bare = openai_format.body_of(REQUEST, SETTINGS)
    assert not {"seed", "response_format"} & bare.keys()
    assert bare["model"] == "served-name"
    whole = openai_format.body_of(
        Request(model="m", messages=REQUEST.messages, seed=0, schema={"type": "object"}), SETTINGS
    )
    assert whole["seed"] == 0
    form = whole["response_format"]
    assert isinstance(form, dict)
    assert form["json_schema"]["schema"] == {"type": "object"}


def test_the_limit_is_called_what_the_endpoint_calls_it() -> None:
    settings = SETTINGS.model_copy(update={"max_tokens_field": "max_completion_tokens"})
    body = openai_format.body_of(REQUEST, settings)
    assert body["max_completion_tokens"] == REQUEST.max_tokens
    assert "max_tokens" not in body


ANSWER = "Seven and five are twelve."


def outcome_of(body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    parsed = openai_format.parse_body(data, place="here")
    if isinstance(parsed, openai_format.Failed):
        return parsed
    within = openai_format.failure_within(parsed, {}, place="here", settings=SETTINGS)
    return within or reply_of(parsed)


def choice(**parts: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": ANSWER}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **parts}]}


def events(*found: object) -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in found).encode()


def delta(content: object, **more: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content, **more}}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "body",
    [
        choice(message={"content": [ANSWER]}),
        choice(message={"content": {"type": "text", "text": ANSWER}}),
        choice(message={"content": [{"type": "text", "content": ANSWER}]}),
        choice(message={"content": [{"type": "text", "text": {"value": ANSWER}}]}),
        choice(message=None, text=ANSWER),
        choice(message=None, delta={"content": ANSWER}),
        choice(message=None, messages=[{"role": "assistant", "content": ANSWER}]),
        {"choices": [{"index": 1, "message": {"content": "other"}}, *choice()["choices"]]},
        [choice()],
        {"code": 0, "data": choice()},
        {"success": True, "errors": [], "result": choice()},
        choice() | {"base_resp": {"status_code": 0, "status_msg": ""}},
        b": processing\n\n: processing\n\n" + json.dumps(choice()).encode(),
        b"\n\n\n" + json.dumps(choice()).encode(),
        b": keep-alive\n\n" + events(delta(ANSWER), END),
        events(choice()) + b"data: [DONE]\n",
        events(delta([{"type": "text", "text": ANSWER}]), END),
    ],
)
def test_the_text_is_found_wherever_a_server_puts_it(body: Any) -> None:
    reply = outcome_of(body)
    assert (reply.text, reply.finish_reason) == (ANSWER, "stop")


@pytest.mark.parametrize(
    "message",
    [
        {"thinking": "hm"},
        {"thoughts": "hm"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
        {"provider_specific_fields": {"reasoning_content": "hm"}},
        {"reasoning": {"content": "hm"}},
    ],
)
def test_paid_reasoning_is_kept_whatever_its_name(message: dict[str, Any]) -> None:
    reply = outcome_of(choice(message={"content": ANSWER, **message}))
    assert (reply.text, reply.reasoning) == (ANSWER, "hm")
    streamed = outcome_of(events(delta("", thinking="hm"), delta(ANSWER), END))
    assert (streamed.text, streamed.reasoning) == (ANSWER, "hm")


@pytest.mark.parametrize(
    ("parts", "finish_reason", "ending"),
    [
        ({"finish_reason": "endturn"}, "endturn", "whole"),
        ({"finish_reason": "null"}, "unknown", "unknown"),
        ({"finish_reason": "FINISH_REASON_UNSPECIFIED"}, "unknown", "unknown"),
        ({"finish_reason": None, "stop_reason": "end_turn"}, "end_turn", "whole"),
        ({"finish_reason": {"type": "max_tokens"}}, "max_tokens", "cut"),
        ({"finish_reason": None, "finish_details": {"type": "stop"}}, "stop", "whole"),
        ({"native_finish_reason": "MAX_TOKENS"}, "MAX_TOKENS", "cut"),
        ({"native_finish_reason": "SAFETY"}, "SAFETY", "filtered"),
        ({"native_finish_reason": "completed"}, "stop", "whole"),
    ],
)
def test_the_reason_to_stop_is_found_wherever_a_server_puts_it(
    parts: dict[str, Any], finish_reason: str, ending: str
) -> None:
    reply = outcome_of(choice(**parts))
    assert reply.finish_reason == finish_reason
    assert openai_format.ending_of(reply.finish_reason) == ending


def test_tokens_are_counted_under_the_names_of_other_apis() -> None:
    reply = outcome_of(choice() | {"usage": {"input_tokens": 7, "output_tokens": 3.0}})
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 3)


@pytest.mark.parametrize(
    "message", [{"content": "", "refusal": "I cannot"}, {"content": "", "tool_calls": [{"id": 1}]}]
)
def test_a_refusal_or_a_call_beside_an_empty_text_is_no_reply(message: dict[str, Any]) -> None:
    assert isinstance(outcome_of(choice(message=message)).error, UnusableReplyError)


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": 18, "error_msg": "Open api qps request limit reached"},
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
        {"detail": "Rate limit exceeded"},
    ],
)
def test_an_error_inside_a_200_is_found_under_other_names(body: Any) -> None:
    assert isinstance(outcome_of(body).error, TeacherBusyError)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}]}, "Gemini's own API"),
        ({"type": "message", "content": [], "stop_reason": "end_turn"}, "Anthropic's own API"),
        ({"message": {"content": "x"}, "done": True}, "Ollama's own API"),
        ({"object": "response", "output": []}, "the Responses API"),
    ],
)
def test_the_answer_of_another_api_is_named(body: Any, words: str) -> None:
    parsed = outcome_of(body)
    assert words in parsed.error.hint


def failure(status: int, message: str, **more: object) -> openai_format.Failed:
    body = json.dumps({"error": {"message": message, **more}}).encode()
    sent = ("model", "messages", "seed", "temperature", "top_p", "max_tokens")
    return openai_format.failure_of(status, {}, body, place="here", settings=SETTINGS, sent=sent)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "The response was filtered due to the content management policy"),
        (400, "Input data may contain inappropriate content."),
        (451, "the text was flagged"),
        (403, "requires moderation: flagged"),
    ],
)
def test_a_text_that_is_filtered_says_nothing_about_the_others(status: int, message: str) -> None:
    failed = failure(status, message)
    assert failed.about_one
    assert failed.error.hint == "the server refuses this text, not the key"


@pytest.mark.parametrize(
    "message",
    ["API key not valid. Please pass a valid API key.", "Incorrect API key provided: xa***ey"],
)
def test_a_400_about_the_key_is_a_refused_key_and_shows_none_of_it(message: str) -> None:
    failed = failure(400, message)
    assert failed.status == 401
    assert "check the key" in str(failed.error.hint)
    assert "xa" not in str(failed.error)


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("'max_tokens' or 'max_completion_tokens' is too large: 9. The context length is 4", "fit"),
        ("`inputs` tokens + `max_new_tokens` must be <= 4097", "fit"),
        ("Unsupported value: 'messages[0].role' does not support 'system'", "no system prompt"),
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_tokens_",
        ),
    ],
)
def test_the_hint_fits_what_the_server_says(message: str, hint: str) -> None:
    assert hint in str(failure(400, message).error.hint)


def test_what_the_provider_behind_a_proxy_said_is_shown() -> None:
    failed = failure(400, "Provider returned error", metadata={"raw": "seed is not supported"})
    assert "seed is not supported" in str(failed.error)
    assert "omit: [seed]" in str(failed.error.hint)
