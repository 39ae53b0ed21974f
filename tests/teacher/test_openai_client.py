"""Tests of the endpoint's client against a server on loopback."""

import asyncio
import gc
import itertools
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import (
    SettingsError,
    TeacherBusyError,
    TeacherError,
    TeacherStoppedError,
    TeacherUnreachableError,
    UnusableReplyError,
)
from tutelage.teacher import Journal, OpenAITeacher, Reply, Request, TeacherSettings, open_teacher
from tutelage.teacher.retry import Pace

SECRET = "sk-not-a-real-key-" + "0123456789"
RequestFor = Callable[..., Request]
SettingsFor = Callable[..., TeacherSettings]


class Naps:
    """Takes the place of sleeping between attempts and remembers how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def ask(teacher: OpenAITeacher, *requests: Request) -> list[Any]:
    async def all_of_them() -> list[Any]:
        try:
            return await asyncio.gather(*(teacher.ask(r) for r in requests), return_exceptions=True)
        finally:
            await teacher.close()

    return asyncio.run(all_of_them())


def one_by_one(teacher: OpenAITeacher, requests: list[Request]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        outcomes = []
        for request in requests:
            outcomes += await asyncio.gather(teacher.ask(request), return_exceptions=True)
        await teacher.close()
        return outcomes

    return asyncio.run(all_of_them())


def test_a_reply_comes_back(endpoint: Any, settings: SettingsFor, request_for: RequestFor) -> None:
    (reply,) = ask(OpenAITeacher(settings()), request_for("hi", seed=3))
    assert (reply.text, reply.model, reply.finish_reason) == ("yes", "served", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 3)
    assert reply.seconds > 0
    body = endpoint.seen[0].body
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["seed"], body["max_tokens"]) == (3, 10)


def test_what_the_request_adds_is_in_the_body(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    ask(OpenAITeacher(settings()), request_for(extra={"cache_prompt": False}))
    assert endpoint.seen[0].body["cache_prompt"] is False


def test_one_teacher_can_be_used_under_several_event_loops(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    teacher = OpenAITeacher(settings(requests_per_minute=6000))
    assert [ask(teacher, request_for())[0].text for _ in range(3)] == ["yes"] * 3


@pytest.mark.parametrize(
    "broken",
    [
        {"status": 429},
        {"status": 500, "body": b"<html>oops</html>", "headers": {"content-type": "text/html"}},
        {"status": 503, "body": b""},
        {"body": b"<html>login</html>", "headers": {"content-type": "text/html"}},
        {"body": b'{"choices": [{"message": {"conte'},
        {"body": b""},
        {"body": {"object": "list"}},
        {"body": {"choices": [{}]}, "cut": True},
        {"drop": True},
    ],
    ids=str,
)
def test_what_may_go_away_is_asked_again(
    endpoint: Any,
    settings: SettingsFor,
    request_for: RequestFor,
    broken: dict[str, Any],
) -> None:
    endpoint.answers(
        endpoint.answer(**broken),
        endpoint.answer(**broken),
        endpoint.answer(body=endpoint.good("at last")),
    )
    naps = Naps()
    retried: list[TeacherError] = []

    async def on_retry(_: Request, error: TeacherError) -> None:
        retried.append(error)

    (reply,) = ask(OpenAITeacher(settings(), sleep=naps, on_retry=on_retry), request_for())
    assert reply.text == "at last"
    assert len(endpoint.seen) == 3
    assert len(naps.seconds) == len(retried) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_would_come_again_is_not_asked_again(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, status: int
) -> None:
    endpoint.answers(endpoint.answer(status=status, body={"error": {"message": "no"}}))
    (error,) = ask(OpenAITeacher(settings()), request_for())
    assert type(error) is TeacherError
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize("text", [None, 7, {}])
def test_an_answer_without_text_is_not_asked_again(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, text: Any
) -> None:
    endpoint.answers(endpoint.answer(body=endpoint.good(text)))
    (error,) = ask(OpenAITeacher(settings()), request_for())
    assert isinstance(error, UnusableReplyError)
    assert error.completion_tokens == 3
    assert error.seconds > 0
    assert len(endpoint.seen) == 1


def test_a_wrong_content_type_does_not_matter_where_the_json_is_right(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(
        endpoint.answer(body=endpoint.good("fine"), headers={"content-type": "text/plain"})
    )
    assert ask(OpenAITeacher(settings()), request_for())[0].text == "fine"


def test_attempts_are_limited_and_the_last_error_is_raised(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(
        endpoint.answer(status=500),
        endpoint.answer(status=429, body={"error": {"message": "slow"}}),
    )
    (error,) = ask(OpenAITeacher(settings(max_attempts=4), sleep=Naps()), request_for())
    assert isinstance(error, TeacherBusyError)
    assert "HTTP 429: slow" in str(error)
    assert len(endpoint.seen) == 4


def test_waits_grow_and_have_jitter(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(endpoint.answer(status=500))
    naps = [Naps() for _ in range(8)]
    for nap in naps:
        ask(OpenAITeacher(settings(max_attempts=5), sleep=nap), request_for())
    for attempt, limit in enumerate((1.0, 2.0, 4.0, 8.0)):
        waits = [nap.seconds[attempt] for nap in naps]
        assert all(0 <= wait <= limit for wait in waits)
        assert len(set(waits)) == len(waits)


@pytest.mark.parametrize(
    ("header", "least"), [({"retry-after": "40"}, 40.0), ({"retry-after-ms": "90000"}, 90.0)]
)
def test_the_server_says_how_long_to_wait(
    settings: SettingsFor, request_for: RequestFor, header: dict[str, str], least: float
) -> None:
    import httpx2

    answers = iter([httpx2.Response(429, headers=header, json={}), None])

    def answer_with(_: httpx2.Request) -> httpx2.Response:
        return next(answers) or httpx2.Response(
            200, json={"choices": [{"message": {"content": "x"}}]}
        )

    naps = Naps()
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer_with))
    teacher = OpenAITeacher(settings(), sleep=naps, http_client=client)
    teacher._pause = lambda _: None  # type: ignore[method-assign]  # the shared pause is tested below
    (reply,) = ask(teacher, request_for())
    assert (reply.text, reply.finish_reason) == ("x", "unknown")
    assert least <= naps.seconds[0] <= least + 1


def test_a_server_that_asks_for_too_long_is_not_waited_for(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(endpoint.answer(status=429, headers={"retry-after": "3600"}))
    naps = Naps()
    (error,) = ask(OpenAITeacher(settings(max_wait_seconds=60), sleep=naps), request_for())
    assert isinstance(error, TeacherBusyError)
    assert len(endpoint.seen) == 1
    assert naps.seconds == []


def test_one_who_is_told_to_wait_holds_back_the_others(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(
        endpoint.answer(status=429, headers={"retry-after-ms": "400"}),
        endpoint.answer(body=endpoint.good(), seconds=0.02),
    )
    ask(OpenAITeacher(settings(concurrency=1)), *(request_for(seed=i) for i in range(4)))
    first, *others = (seen.at for seen in endpoint.seen)
    assert min(others) - first >= 0.4


def test_a_late_reply_is_given_up(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(endpoint.answer(body=endpoint.good(), seconds=30))
    teacher = OpenAITeacher(settings(timeout_seconds=0.2, max_attempts=2), sleep=Naps())
    (error,) = ask(teacher, request_for())
    assert isinstance(error, TeacherUnreachableError)
    assert "no reply within 0.2 s" in str(error)
    assert "timeout_seconds" in (error.hint or "")
    assert len(endpoint.seen) == 2


def test_a_server_that_is_not_there_is_named(request_for: RequestFor) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    teacher = OpenAITeacher(TeacherSettings(model="m", base_url=url, max_attempts=2), sleep=Naps())
    (error,) = ask(teacher, request_for())
    assert isinstance(error, TeacherUnreachableError)
    assert url in str(error)
    assert "base_url" in (error.hint or "")


def test_no_more_are_under_way_than_allowed(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(endpoint.answer(body=endpoint.good(), seconds=0.02))
    ask(OpenAITeacher(settings(concurrency=3)), *(request_for(seed=i) for i in range(24)))
    assert len(endpoint.seen) == 24
    assert max(seen.under_way for seen in endpoint.seen) == 3


def test_every_request_waits_for_its_turn(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # test_rate_limit.py is exact about when a turn comes; this one sees that the client uses it.
    turns, turn = [], Pace.turn

    def counted(pace: Pace, request: Any) -> Any:
        turns.append(request.seed)
        return turn(pace, request)

    monkeypatch.setattr(Pace, "turn", counted)
    teacher = OpenAITeacher(settings(requests_per_minute=600, concurrency=50))
    ask(teacher, *(request_for(seed=i) for i in range(12)))
    assert sorted(turns) == list(range(12))
    assert len(endpoint.seen) == 12


@pytest.mark.parametrize("status", [401, 403, 404])
def test_asking_stops_when_the_first_calls_are_all_refused(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, status: int
) -> None:
    endpoint.answers(endpoint.answer(status=status))
    teacher = OpenAITeacher(settings(concurrency=2))
    outcomes = ask(teacher, *(request_for(seed=i) for i in range(200)))
    assert len(endpoint.seen) <= 5
    stopped = [o for o in outcomes if isinstance(o, TeacherStoppedError)]
    assert len(stopped) >= 195
    assert f"HTTP {status}" in str(stopped[-1])
    assert stopped[-1].hint


def test_asking_stops_when_the_server_has_died(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.script = lambda index, _: (
        endpoint.answer(body=endpoint.good()) if index < 3 else endpoint.answer(drop=True)
    )
    teacher = OpenAITeacher(settings(concurrency=2, max_attempts=2), sleep=Naps())
    outcomes = one_by_one(teacher, [request_for(seed=i) for i in range(20)])
    kinds = [type(o).__name__ for o, _ in itertools.zip_longest(outcomes, [])]
    assert kinds[:3] == ["Reply"] * 3
    assert kinds[3:7] == ["TeacherUnreachableError"] * 4
    assert set(kinds[7:]) == {"TeacherStoppedError"}
    assert len(endpoint.seen) == 3 + 5 * 2


def test_an_answer_now_and_then_keeps_the_asking_alive(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.script = lambda index, _: (
        endpoint.answer(body=endpoint.good()) if index % 5 == 4 else endpoint.answer(status=500)
    )
    teacher = OpenAITeacher(settings(concurrency=1, max_attempts=1))
    outcomes = one_by_one(teacher, [request_for(seed=i) for i in range(25)])
    assert [type(o).__name__ for o in outcomes].count("TeacherUnreachableError") == 20
    assert len(endpoint.seen) == 25


def test_asking_goes_on_when_only_some_are_refused(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.script = lambda index, _: (
        endpoint.answer(body=endpoint.good()) if index == 1 else endpoint.answer(status=400)
    )
    teacher = OpenAITeacher(settings())
    outcomes = one_by_one(teacher, [request_for(seed=i) for i in range(40)])
    assert [type(o).__name__ for o in outcomes].count("TeacherError") == 39


def test_rejections_of_everything_stop_the_asking_too(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    endpoint.answers(endpoint.answer(status=400))
    one_by_one(OpenAITeacher(settings()), [request_for(seed=i) for i in range(40)])
    assert len(endpoint.seen) == 20


def test_the_key_is_sent_and_shown_nowhere(
    endpoint: Any,
    settings: SettingsFor,
    request_for: RequestFor,
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"you sent Bearer {SECRET}"}}
    endpoint.answers(
        endpoint.answer(status=400, body=echo),
        endpoint.answer(status=401, body=echo),
        endpoint.answer(status=500, body=echo),
        endpoint.answer(status=429, body=f"text {SECRET}".encode()),
        endpoint.answer(body=f"<p>{SECRET}</p>".encode()),
        endpoint.answer(
            body={"choices": [{"message": {"content": None, "refusal": f"not {SECRET}"}}]}
        ),
        endpoint.answer(status=400, body={"error": "x" * 290 + SECRET}),
        endpoint.answer(body=endpoint.good(f"echo {SECRET}")),
        endpoint.answer(drop=True),
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MY_KEY", SECRET)
        teacher = open_teacher(settings(api_key_env="MY_KEY", max_attempts=1), journal)
    inner = teacher._inner
    assert isinstance(inner, OpenAITeacher)
    inner._circuit.saw = lambda _: None  # type: ignore[method-assign]  # see every answer

    async def all_of_them() -> list[Any]:
        async with teacher:
            asking = [teacher.ask(request_for(seed=i)) for i in range(9)]
            return await asyncio.gather(*asking, return_exceptions=True)

    outcomes = asyncio.run(all_of_them())
    assert endpoint.seen[0].headers["authorization"] == f"bearer {SECRET}"
    shown = [repr(inner), str(inner.settings), inner.settings.model_dump_json(), caplog.text]
    errors = [o for o in outcomes if isinstance(o, TeacherError)]
    assert (len(outcomes), len(errors)) == (9, 8)
    shown += [o.text for o in outcomes if isinstance(o, Reply)]
    for error in errors:
        shown += ["".join(traceback.format_exception(error)), repr(error), str(error.hint)]
        shown.append(repr(pickle.dumps(error)))
        assert error.__context__ is None or isinstance(error.__context__, TeacherError)
        assert error.__cause__ is None
    journal.close()
    shown += [p.read_bytes().decode("latin1") for p in journal.path.parent.iterdir()]
    assert not [text for text in shown if SECRET[:9] in text]


def test_no_key_in_the_environment_goes_to_a_stranger(
    endpoint: Any,
    settings: SettingsFor,
    request_for: RequestFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET")
    for name in names:
        monkeypatch.setenv(f"OPENAI_{name}", f"{SECRET}-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"authorization: {SECRET}\nx-mine: {SECRET}")
    ask(OpenAITeacher(settings()), request_for())
    assert SECRET not in str(endpoint.seen[0].headers)
    assert endpoint.seen[0].headers["authorization"] == "bearer none"


def test_a_query_and_a_header_of_a_provider_are_sent(
    endpoint: Any,
    settings: SettingsFor,
    request_for: RequestFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    url = endpoint.url.replace("/v1", "/openai/deployments/d/?api-version=2024-10-21&b=x%20y")
    azure = settings(base_url=url, api_key_env="MY_KEY", key_header="api-key")
    (reply,) = ask(OpenAITeacher(azure), request_for())
    assert reply.text == "yes"
    (seen,) = endpoint.seen
    path, _, query = seen.target.partition("?")
    assert path == "/openai/deployments/d/chat/completions"
    assert sorted(query.split("&")) == ["api-version=2024-10-21", "b=x+y"]
    assert seen.headers["api-key"] == SECRET
    assert "authorization" not in seen.headers


def test_openai_itself_gets_the_usual_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert OpenAITeacher(TeacherSettings(model="m")).endpoint == "https://api.openai.com/v1"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        OpenAITeacher(TeacherSettings(model="m"))


@pytest.mark.parametrize("value", ["two words", "línea", "a\nb"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    settings: SettingsFor, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(SettingsError) as caught:
        OpenAITeacher(settings(api_key_env="MY_KEY"))
    assert value not in f"{caught.value} {caught.value.hint}"


def test_nothing_is_left_open(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor
) -> None:
    teacher = OpenAITeacher(settings())
    ask(teacher, request_for())
    del teacher
    gc.collect()  # an open connection would warn here, and warnings are errors


_RUN = """
import signal
# A shell starts its background jobs deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
import asyncio, sys
from pathlib import Path
from tutelage.data import Message
from tutelage.teacher import Journal, Request, TeacherSettings, open_teacher

async def main():
    settings = TeacherSettings(model="m", base_url=sys.argv[2], supports_schema="no")
    with Journal(Path(sys.argv[1])) as journal:
        async with open_teacher(settings, journal) as teacher:
            async def one(text):
                message = Message(role="user", content=text)
                reply = await teacher.ask(Request(model="m", messages=(message,)))
                print(reply.request_key, flush=True)
            await asyncio.gather(*(one(f"q{i}") for i in range(80)))

asyncio.run(main())
"""


def _run(path: Path, url: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _RUN, str(path), url]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_asks_only_for_what_is_missing(
    endpoint: Any, tmp_path: Path, end: signal.Signals
) -> None:
    endpoint.answers(endpoint.answer(body=endpoint.good(), seconds=0.03))
    path = tmp_path / "journal.sqlite"
    with _run(path, endpoint.url) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(30)]
        process.send_signal(end)
        rest, errors = process.communicate(timeout=60)
    if end == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert "JournalError" not in errors
    promised = {key for key in [*printed, *rest.split()] if len(key) == 20}
    with Journal(path) as journal:
        assert journal.known(promised) == promised
        kept = len(journal)
    sent = len(endpoint.seen)
    assert len(promised) <= kept < 80
    with _run(path, endpoint.url) as process:
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert len(set(out.split())) == 80
    assert len(endpoint.seen) - sent == 80 - kept
    twice = len(endpoint.asked) - len(set(endpoint.asked))
    assert twice <= 8  # only what was under way when it was ended
