"""Seventy and more ways an endpoint can behave, each with what has to come of it.

Whatever a server does: a reply is kept once and never asked for again, a failure is an error with a
hint and never a reply, and the key that was sent is found nowhere.
"""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import (
    TeacherBusyError,
    TeacherError,
    TeacherUnreachableError,
    UnusableReplyError,
)
from tutelage.teacher import (
    Abilities,
    Journal,
    OpenAITeacher,
    Reply,
    Request,
    TeacherSettings,
    open_teacher,
)
from tutelage.teacher.openai_client import MOST_REDIRECTS

SECRET = "sk-modes-" + "9876543210abcdef"
ATTEMPTS = 2
Answers = list[dict[str, Any]]


def body(text: Any = "four", *, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def stream(*deltas: str, end: str = "data: [DONE]\n\n") -> bytes:
    events = [{"choices": [{"delta": {"content": delta}}]} for delta in deltas]
    return ("".join(f"data: {json.dumps(event)}\n\n" for event in events) + end).encode()


def ok(**answer: Any) -> Answers:
    return [answer]


GOOD: dict[str, Any] = {"body": body()}
REPLIES: dict[str, tuple[Answers, str]] = {
    "a plain reply": (ok(body=body()), "four"),
    "finish reason in capitals": (ok(body=body(finish="STOP")), "four"),
    "finish reason null": (ok(body=body(finish=None)), "four"),
    "finish reason missing": (ok(body={"choices": [{"message": {"content": "four"}}]}), "four"),
    "finish reason a number": (ok(body=body(finish=7)), "four"),
    "finish reason length": (ok(body=body(finish="length")), "four"),
    "an empty text": (ok(body=body("")), ""),
    "text in parts": (ok(body=body([{"type": "text", "text": "four"}])), "four"),
    "thinking in parts": (
        ok(body=body([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "four"}])),
        "four",
    ),
    "reasoning_content": (ok(body=body(reasoning_content="hm")), "four"),
    "no usage": (ok(body=body() | {"usage": None}), "four"),
    "usage that cannot be": (ok(body=body() | {"usage": {"prompt_tokens": -1}}), "four"),
    "usage that is a text": (ok(body=body() | {"usage": "many"}), "four"),
    "no model": (ok(body=body() | {"model": None}), "four"),
    "unknown fields": (ok(body=body() | {"x": {"y": [1, None]}}), "four"),
    "a field nested 900 deep": (ok(body=json.dumps(body()).encode()[:-1] + b',"x":' + b"[" * 900 + b"]" * 900 + b"}"), "four"),  # noqa: E501
    "an error of null": (ok(body=body() | {"error": None}), "four"),
    "two choices": (ok(body=body() | {"choices": body()["choices"] * 2}), "four"),
    "a wrong content type": (ok(body=body(), headers={"content-type": "text/html"}), "four"),
    "a byte order mark": (ok(body=b"\xef\xbb\xbf" + json.dumps(body()).encode()), "four"),
    "UTF-16": (ok(body=json.dumps(body()).encode("utf-16")), "four"),
    "one invalid byte": (ok(body=json.dumps(body("fo*ur")).encode().replace(b"*", b"\xff")), "fo\ufffdur"),  # noqa: E501
    "a raw line feed in a string": (ok(body=json.dumps(body("a*b")).encode().replace(b"*", b"\n")), "a\nb"),  # noqa: E501
    "white space around": (ok(body=b" \n" + json.dumps(body()).encode() + b"\n\n"), "four"),
    "compressed": (
        ok(body=gzip.compress(json.dumps(body()).encode()), headers={"content-encoding": "gzip"}),
        "four",
    ),
    "a stream nobody asked for": (ok(body=stream("fo", "ur")), "four"),
    "control characters": (ok(body=body("\x1b[2Jfour\x9b\u202e")), "\x1b[2Jfour\x9b\u202e"),
    "a redirect on the same host": ([{"status": 307, "headers": {"location": "/v2/chat"}}, GOOD], "four"),  # noqa: E501
    "the key in the text": (ok(body=body(f"your key is {SECRET}")), "your key is [key]"),
    "the key in capitals": (ok(body=body(f"it is {SECRET.upper()}")), "it is [key]"),
    "the key in two fields": (ok(body=body(f"a {SECRET[:9]}", reasoning=SECRET[9:])), "a [key]"),
    "the key as the model": (ok(body=body() | {"model": SECRET}), "four"),
    "busy, then a reply": ([{"status": 429}, GOOD], "four"),
    "busy for a moment": ([{"status": 429, "headers": {"retry-after-ms": "1"}}, GOOD], "four"),
    "a 500, then a reply": ([{"status": 500, "body": b"<h1>oops</h1>"}, GOOD], "four"),
    "a dropped connection, then a reply": ([{"drop": True}, GOOD], "four"),
    "half a body, then a reply": ([{"body": body(), "cut": True}, GOOD], "four"),
    "half a stream, then a reply": ([{"body": stream("fo", end="")}, GOOD], "four"),
    "a 429 inside a 200, then a reply": ([{"body": error("slow", code=429)}, GOOD], "four"),
    "a broken choice, then a reply": ([{"body": body("fo", finish="error")}, GOOD], "four"),
}  # fmt: skip

FAILURES: dict[str, tuple[Answers, type[TeacherError], str]] = {
    "429": (ok(status=429, body=error("slow down")), TeacherBusyError, "slow down"),
    "429 without a body": (ok(status=429), TeacherBusyError, "429"),
    "429 for an hour": (
        ok(status=429, headers={"retry-after": "3600"}), TeacherBusyError, "429"),
    "429 without credit": (
        ok(status=429, body=error("x", code="insufficient_quota")), TeacherError, "insufficient"),
    "429 inside a 200": (ok(body=error("rate limit", code=429)), TeacherBusyError, "rate limit"),
    "429 as text inside a 200": (ok(body=error("slow", code="429")), TeacherBusyError, "slow"),
    "busy in words inside a 200": (
        ok(body={"error": "Too many requests"}), TeacherBusyError, "Too many"),
    "busy by its type inside a 200": (
        ok(body={"error": {"type": "rate_limit_error"}}), TeacherBusyError, "rate_limit"),
    "busy in a list inside a 200": (
        ok(body=[error("x", status="RESOURCE_EXHAUSTED")]), TeacherBusyError, "x"),
    "busy in the choice of a 200": (
        ok(body={"choices": [{"error": {"code": 429, "message": "slow"}}]}),
        TeacherBusyError, "slow"),
    "a 502 in the choice of a 200": (
        ok(body={"choices": [{"error": {"code": 502}, "message": {"content": "The"}}]}),
        TeacherUnreachableError, "502"),
    "an old error object inside a 200": (
        ok(body={"object": "error", "message": "overloaded", "code": 503}),
        TeacherUnreachableError, "overloaded"),
    "a wrong key inside a 200": (ok(body=error("bad key", code=401)), TeacherError, "401"),
    "an answer that broke off": (
        ok(body=body("fo", finish="error")), TeacherUnreachableError, "broke off"),
    "500": (ok(status=500), TeacherUnreachableError, "500"),
    "502 as a page": (ok(status=502, body=b"<h1>Bad</h1>"), TeacherUnreachableError, "Bad"),
    "503": (ok(status=503), TeacherUnreachableError, "503"),
    "529": (ok(status=529), TeacherUnreachableError, "529"),
    "408": (ok(status=408), TeacherUnreachableError, "408"),
    "401": (ok(status=401, body=error(f"wrong {SECRET}")), TeacherError, "401"),
    "402": (ok(status=402, body=error("pay first")), TeacherError, "pay first"),
    "403": (ok(status=403), TeacherError, "403"),
    "403 by moderation": (
        ok(status=403, body=error("flagged by moderation")), TeacherError, "flagged"),
    "404": (ok(status=404, body=error("no model")), TeacherError, "no model"),
    "413": (ok(status=413), TeacherError, "413"),
    "418": (ok(status=418), TeacherError, "418"),
    "400 in a list": (ok(status=400, body=[error("field seed is unknown")]), TeacherError, "seed"),
    "400 with the key": (ok(status=400, body=error(f"sent {SECRET}")), TeacherError, r"\[key\]"),
    "400 with the key in hex": (
        ok(status=400, body=error(SECRET.encode().hex())), TeacherError, r"\[key\]"),
    "400 of a megabyte": (ok(status=400, body=b"x" * 2**20), TeacherError, "xxx"),
    "422 of a validator": (
        ok(status=422, body={"detail": [{"loc": ["body", "top_p"], "msg": "no"}]}),
        TeacherError, "body.top_p: no"),
    "a redirect that loses the request": (
        ok(status=302, headers={"location": "/v2/chat"}), TeacherError, "without its body"),
    "a redirect to another host": (
        ok(status=307, headers={"location": "http://127.0.0.2:1/v1"}), TeacherError, "another host"),  # noqa: E501
    "a redirect to another port": (
        ok(status=302, headers={"location": "http://127.0.0.1:1/v1"}), TeacherError, "another host"),  # noqa: E501
    "a redirect in a circle": (
        ok(status=307, headers={"location": "/v1/chat/completions"}), TeacherError, "in a circle",
    ),
    "a redirect to nowhere": (ok(status=301), TeacherError, "301"),
    "a page": (ok(body=b"<html>login</html>"), TeacherUnreachableError, "login"),
    "nothing": (ok(body=b""), TeacherUnreachableError, "not an answer"),
    "a list": (ok(body=[1, 2]), TeacherUnreachableError, "not an answer"),
    "a number": (ok(body=7), TeacherUnreachableError, "not an answer"),
    "choices of null": (ok(body={"choices": None}), TeacherUnreachableError, "not an answer"),
    "half a body": (ok(body=body(), cut=True), TeacherUnreachableError, "127.0.0.1"),
    "a dropped connection": (ok(drop=True), TeacherUnreachableError, "127.0.0.1"),
    "no HTTP at all": (ok(whole=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), TeacherUnreachableError, "127.0.0.1"),  # noqa: E501
    "a reply that comes too late": (ok(body=body(), seconds=30), TeacherUnreachableError, "no reply within"),  # noqa: E501
    "nesting without end": (ok(body=b"[" * 50_000), TeacherUnreachableError, "127.0.0.1"),
    "an endless number": (ok(body=b"9" * 50_000), TeacherUnreachableError, "127.0.0.1"),
    "no choice": (ok(body={"choices": []}), UnusableReplyError, "without any choice"),
    "a text of null": (ok(body=body(None)), UnusableReplyError, "without text"),
    "a text that is a number": (ok(body=body(7)), UnusableReplyError, "without text"),
    "a refusal": (ok(body=body(None, refusal="no")), UnusableReplyError, "refused: no"),
    "a tool call": (ok(body=body(None, tool_calls=[{"id": "1"}])), UnusableReplyError, "tool"),
    "only thinking": (ok(body=body(None, reasoning="hm")), UnusableReplyError, "reasoned"),
    "a reply without end": (ok(body=b" " * (17 * 2**20)), UnusableReplyError, "more than 16 MB"),
    "a reply that unpacks without end": (
        ok(body=gzip.compress(b" " * 2**26, 1), headers={"content-encoding": "gzip"}),
        UnusableReplyError, "more than 16 MB"),
}  # fmt: skip


@pytest.fixture
def outcome_of(
    endpoint: Any,
    settings: Callable[..., TeacherSettings],
    request_for: Callable[..., Request],
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Answers], Any]:
    """Ask once, with two attempts and no waiting between them."""

    async def no_wait(_: float) -> None:
        return

    def ask(answers: Answers) -> Any:
        endpoint.answers(*(endpoint.answer(**answer) for answer in answers))
        monkeypatch.setenv("MODES_KEY", SECRET)
        late = any(answer.get("seconds") for answer in answers)
        teacher = open_teacher(
            settings(
                api_key_env="MODES_KEY",
                max_attempts=ATTEMPTS,
                timeout_seconds=0.2 if late else 60,
                max_wait_seconds=60,
            ),
            journal,
        )
        inner = teacher._inner
        assert isinstance(inner, OpenAITeacher)
        inner._sleep = no_wait

        async def once() -> Any:
            async with teacher:
                return (await asyncio.gather(teacher.ask(request_for()), return_exceptions=True))[0]

        return asyncio.run(once())

    return ask


def shown(outcome: Any, journal: Journal) -> str:
    """Everything that could show the key."""
    journal.close()
    files = [path.read_bytes().decode("latin1") for path in Path(journal.path).parent.iterdir()]
    return "".join([repr(outcome), str(getattr(outcome, "hint", "")), *files])


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_kept_and_not_asked_for_again(
    name: str, outcome_of: Callable[[Answers], Any], endpoint: Any, journal: Journal
) -> None:
    answers, text = REPLIES[name]
    outcome = outcome_of(answers)
    assert isinstance(outcome, Reply), outcome
    assert outcome.text == text
    sent = len(endpoint.seen)
    assert sent == len(answers)
    again = outcome_of(answers)
    assert (again.text, again.from_journal) == (text, True)
    assert len(endpoint.seen) == sent
    everything = shown(outcome, journal).lower()
    assert SECRET not in everything
    assert SECRET[9:] not in everything


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_an_error_with_its_reason_and_a_hint(
    name: str, outcome_of: Callable[[Answers], Any], endpoint: Any, journal: Journal
) -> None:
    answers, kind, words = FAILURES[name]
    outcome = outcome_of(answers)
    assert type(outcome) is kind, outcome
    with pytest.raises(kind, match=words):
        raise outcome
    assert outcome.hint
    waits_too_long = name == "429 for an hour"
    attempts = ATTEMPTS if kind.retryable and not waits_too_long else 1
    redirects = MOST_REDIRECTS if name == "a redirect in a circle" else 0
    assert len(endpoint.seen) == attempts + redirects
    assert len(journal) == (kind is UnusableReplyError)
    assert SECRET not in shown(outcome, journal)


def test_there_are_seventy_modes() -> None:
    assert len(REPLIES) + len(FAILURES) >= 70


SettingsFor = Callable[..., TeacherSettings]


def probe(settings: TeacherSettings) -> Abilities:
    async def run() -> Abilities:
        teacher = OpenAITeacher(settings, sleep=lambda _: asyncio.sleep(0))
        try:
            return await teacher.probe()
        finally:
            await teacher.close()

    return asyncio.run(run())


def able(_: int, body: dict[str, Any]) -> Any:
    """What a server that does everything would say."""
    text = f"The {body['seed']}" if "seed" in body else "The Rose"
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
        text = json.dumps({"verdict": schema["properties"]["verdict"]["enum"][1]})
    choice: dict[str, Any] = {"message": {"content": text}, "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": "The", "logprob": -0.5}]}
    return {"choices": [choice] * body.get("n", 1)}


def test_an_able_endpoint_is_found_able(endpoint: Any, settings: SettingsFor) -> None:
    endpoint.script = lambda index, body: endpoint.answer(body=able(index, body))
    assert probe(settings()) == Abilities(schema=True, seed=True, n=True, logprobs=True)
    assert len(endpoint.seen) == 6
    assert all(seen.body["max_tokens"] <= 64 for seen in endpoint.seen)


@pytest.mark.parametrize("text", ['{"verdict": "yes"}', "It rains.", "", "[]", '"quexil"'])
def test_a_200_proves_nothing(endpoint: Any, settings: SettingsFor, text: str) -> None:
    endpoint.answers(endpoint.answer(body=endpoint.good(text)))
    assert probe(settings()) == Abilities(schema=False, seed=False, n=False, logprobs=False)


def test_an_endpoint_that_is_always_random_does_not_respect_a_seed(
    endpoint: Any, settings: SettingsFor
) -> None:
    endpoint.script = lambda index, _: endpoint.answer(body=endpoint.good(f"random {index}"))
    assert not probe(settings()).seed


def test_what_is_rejected_is_not_supported(endpoint: Any, settings: SettingsFor) -> None:
    def script(index: int, body: dict[str, Any]) -> Any:
        refused = {"response_format", "n", "logprobs"} & body.keys()
        return endpoint.answer(status=400) if refused else endpoint.answer(body=able(index, body))

    endpoint.script = script
    assert probe(settings()) == Abilities(schema=False, seed=True, n=False, logprobs=False)


@pytest.mark.parametrize(("status", "kind"), [(401, TeacherError), (500, TeacherUnreachableError)])
def test_an_endpoint_that_cannot_be_asked_is_not_called_unable(
    endpoint: Any, settings: SettingsFor, status: int, kind: type[TeacherError]
) -> None:
    endpoint.answers(endpoint.answer(status=status))
    with pytest.raises(kind, match="could not find out"):
        probe(settings(max_attempts=2))


def test_a_busy_endpoint_is_asked_again(endpoint: Any, settings: SettingsFor) -> None:
    endpoint.script = lambda index, body: (
        endpoint.answer(status=429) if index == 0 else endpoint.answer(body=able(index, body))
    )
    assert probe(settings()).schema
