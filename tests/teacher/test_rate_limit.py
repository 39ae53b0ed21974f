"""Tests of how fast an endpoint is asked, under a clock that only moves when everybody waits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.teacher import Request, TeacherSettings
from tutelage.teacher.cost import prompt_tokens_expected
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
