"""How fast an endpoint is asked, on a virtual clock, and when a run of requests stops."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.errors import BudgetError, TeacherStoppedError
from tutelage.refinement.concurrency import run_bounded
from tutelage.teacher import Journal, Prices, Reply, Request, TeacherSettings, open_teacher
from tutelage.teacher.cost import prompt_tokens_expected
from tutelage.teacher.journal_file import VERSION
from tutelage.teacher.retry import Pace


class VirtualClock(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    _now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            # A hair later, or rounding lets a limiter wake again and again at the same moment.
            self._now = max(self._now, self._scheduled[0].when()) + 1e-6
        super()._run_once()


def run(scene: Callable[[], Awaitable[Any]]) -> Any:
    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        return runner.run(scene())


def times_of(pace_settings: dict[str, Any], requests: list[Request], seconds: float) -> list[float]:
    """When each request is sent, if each takes so many seconds to be answered."""

    async def scene() -> list[float]:
        pace = Pace(TeacherSettings(model="m", **pace_settings))
        times = []

        async def one(request: Request) -> None:
            async with pace.turn(request):
                times.append(asyncio.get_running_loop().time())
                await asyncio.sleep(seconds)

        await asyncio.gather(*(one(r) for r in requests))
        return times

    return run(scene)


def request_of(max_tokens: int) -> Request:
    return Request(model="m", messages=(Message(role="user", content=""),), max_tokens=max_tokens)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([0.5, 1, 7, 60, 61.5]), st.integers(1, 40), st.floats(0, 30))
def test_no_minute_ever_holds_more_requests_than_allowed(
    allowed: float, concurrency: int, seconds: float
) -> None:
    pace = {"requests_per_minute": allowed, "concurrency": concurrency}
    times = times_of(pace, [request_of(1)] * 150, seconds)
    assert len(times) == 150
    for start in times:
        assert sum(start <= t < start + 59.99 for t in times) <= max(allowed, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), st.integers(1, 50))
def test_no_minute_ever_holds_more_tokens_than_allowed_and_one_request(
    limits: list[int], concurrency: int
) -> None:
    requests = [request_of(limit) for limit in limits]
    pace = Pace(TeacherSettings(model="m", tokens_per_minute=3000, concurrency=concurrency))
    sent: list[tuple[float, int]] = []

    async def one(request: Request) -> None:
        async with pace.turn(request):
            tokens = prompt_tokens_expected(request) + request.max_tokens
            sent.append((asyncio.get_running_loop().time(), tokens))

    async def scene() -> None:
        await asyncio.gather(*(one(r) for r in requests))

    run(scene)
    largest = max(tokens for _, tokens in sent)
    for start, _ in sent:
        in_minute = sum(tokens for t, tokens in sent if start <= t < start + 59.99)
        assert in_minute <= 3000 + largest


def test_the_pace_is_used_up_not_only_kept() -> None:
    # A burst of 6, then 54 a minute: 60 requests end within a minute.
    times = times_of({"requests_per_minute": 60, "concurrency": 5}, [request_of(1)] * 60, 0.1)
    assert times[5] == pytest.approx(0.1, abs=0.001)
    assert times[59] == pytest.approx(60, abs=0.5)


def test_slots_are_given_back_when_a_request_fails_or_is_cancelled() -> None:
    async def scene() -> float:
        pace = Pace(TeacherSettings(model="m", concurrency=1))
        with pytest.raises(ZeroDivisionError):
            async with pace.turn(request_of(1)):
                raise ZeroDivisionError
        stuck = asyncio.create_task(_hold(pace, seconds=100))
        waiting = asyncio.create_task(_hold(pace, seconds=1))
        await asyncio.sleep(1)
        stuck.cancel()
        await waiting
        return asyncio.get_running_loop().time()

    assert run(scene) == pytest.approx(2, abs=0.001)


def test_a_pause_holds_everybody_and_only_grows() -> None:
    async def scene() -> list[float]:
        pace = Pace(TeacherSettings(model="m", concurrency=9))
        times = []

        async def one() -> None:
            async with pace.turn(request_of(1)):
                times.append(asyncio.get_running_loop().time())

        pace.pause(50)
        pace.pause(10)
        asking = [asyncio.create_task(one()) for _ in range(3)]
        await asyncio.sleep(40)
        pace.pause(60)
        await asyncio.gather(*asking)
        return times

    assert run(scene) == pytest.approx([100, 100, 100], abs=0.001)


async def _hold(pace: Pace, *, seconds: float) -> None:
    async with pace.turn(request_of(1)):
        await asyncio.sleep(seconds)


RequestFor = Callable[..., Request]
SettingsFor = Callable[..., TeacherSettings]


def ask_all(settings: TeacherSettings, journal: Journal, requests: list[Request]) -> Any:
    async def work() -> Any:
        async with open_teacher(settings, journal, run="r") as teacher:

            async def one(_: int, request: Request) -> Any:
                try:
                    return await teacher.ask(request)
                except BudgetError as error:
                    return error

            try:
                return await run_bounded(requests, one, outstanding=4), teacher.tally
            except TeacherStoppedError as stopped:
                return stopped, teacher.tally

    return asyncio.run(work())


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_that_is_no_longer_accepted_stops_the_run_and_loses_no_reply(
    endpoint: Any,
    settings: SettingsFor,
    request_for: RequestFor,
    journal: Journal,
    status: int,
) -> None:
    def script(index: int, _: dict[str, Any]) -> Any:
        if index < 6:
            return endpoint.answer(body=endpoint.good())
        if index == 6:
            return endpoint.answer(status=status, body={"error": {"message": "pay first"}})
        return endpoint.answer(body=endpoint.good(), seconds=0.05)

    endpoint.script = script
    stopped, _ = ask_all(
        settings(concurrency=4), journal, [request_for(seed=i) for i in range(200)]
    )
    assert isinstance(stopped, TeacherStoppedError)
    assert not stopped.may_pass
    assert f"HTTP {status}" in str(stopped)
    assert len(endpoint.seen) <= 6 + 4
    assert len(journal) == len(endpoint.seen) - 1  # what was under way is paid for, and kept


def test_a_text_that_moderation_refuses_does_not_stop_the_run(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, journal: Journal
) -> None:
    endpoint.script = lambda index, _: (
        endpoint.answer(status=403, body={"error": {"message": "flagged by moderation"}})
        if index == 2
        else endpoint.answer(body=endpoint.good())
    )

    async def work() -> list[Any]:
        async with open_teacher(settings(concurrency=1), journal) as teacher:
            return [
                (await asyncio.gather(teacher.ask(request_for(seed=i)), return_exceptions=True))[0]
                for i in range(6)
            ]

    outcomes = asyncio.run(work())
    assert [isinstance(o, Reply) for o in outcomes] == [True, True, False, True, True, True]


def test_the_cap_is_passed_by_no_more_than_the_calls_under_way_cost_beyond_their_reservation(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, journal: Journal
) -> None:
    beyond = 500  # the server counts thinking that max_tokens does not limit
    usage = {"prompt_tokens": 0, "completion_tokens": 10 + beyond}
    endpoint.answers(endpoint.answer(body=endpoint.good(usage=usage), seconds=0.02))
    prices = Prices(input_per_million=0, output_per_million=1e6)
    capped = settings(concurrency=4, prices=prices, max_cost=35)
    outcomes, tally = ask_all(capped, journal, [request_for(seed=i) for i in range(100)])
    replies = [o for o in outcomes if isinstance(o, Reply)]
    assert len(replies) == len(endpoint.seen) == 3  # three reservations of 10 fit below 35
    assert tally.cost == 3 * (10 + beyond) <= 35 + 3 * beyond
    assert sum(isinstance(o, BudgetError) for o in outcomes) == 97
    again, _ = ask_all(capped, journal, [request_for(seed=i) for i in range(100, 120)])
    assert all(isinstance(o, BudgetError) for o in again)
    assert len(endpoint.seen) == 3


def test_an_old_journal_is_read_and_gets_the_new_column_when_it_is_written_to(
    tmp_path: Path, request_for: RequestFor, endpoint: Any, settings: SettingsFor
) -> None:
    path = tmp_path / "journal.sqlite"
    thinking = endpoint.good(message={"reasoning_content": "hm"})
    endpoint.answers(endpoint.answer(body=endpoint.good()), endpoint.answer(body=thinking))
    with Journal(path) as journal:
        ask_all(settings(), journal, [request_for(seed=0)])
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE replies DROP COLUMN reasoning")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with Journal(path, read_only=True) as journal:
        entry = journal.get(request_for(seed=0).key)
        assert entry is not None
        assert (entry.text, entry.reasoning) == ("yes", None)
        assert journal.pack(tmp_path / "packed.sqlite") == 1
    with Journal(path) as journal:
        (replies, _) = ask_all(settings(), journal, [request_for(seed=1)])
        assert replies[0].reasoning == "hm"
        entry = journal.get(request_for(seed=1).key)
        assert entry is not None
        assert entry.reasoning == "hm"
        assert len(journal) == 2
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (VERSION,)
    now.close()
    with Journal(tmp_path / "packed.sqlite") as journal:
        assert len(journal) == 1


def test_what_is_left_out_is_not_sent_and_makes_another_request(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, journal: Journal
) -> None:
    requests = [request_for(seed=0), request_for(seed=1)]
    ask_all(settings(), journal, requests)
    ask_all(settings(omit=["seed", "top_p"], supports_schema="no"), journal, requests)
    assert [sorted(s.body.keys() & {"seed", "top_p", "temperature"}) for s in endpoint.seen] == [
        *[["seed", "temperature", "top_p"]] * 2,
        *[["temperature"]] * 2,
    ]
    assert len(journal) == 4
    assert replace(requests[0], omit=("seed",)).key != replace(requests[1], omit=("seed",)).key
