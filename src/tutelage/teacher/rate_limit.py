"""How fast an endpoint is asked: how many at once, how many a minute, how many tokens a minute."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.cost_estimate import prompt_tokens_expected
from tutelage.teacher.protocol import Request

BURST_FRACTION = 0.1
"""Of a minute's allowance may be used at once; the rest comes evenly, so that no window of a
minute ever holds more than the allowance."""

MINUTE_SECONDS = 60.0


class Pace:
    """Hands out turns. Belongs to one event loop.

    Args:
        settings: `concurrency`, `requests_per_minute`, `tokens_per_minute`.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._requests = _limiter(settings.requests_per_minute)
        self._tokens = _limiter(settings.tokens_per_minute)
        self._collecting = asyncio.Lock()
        self._paused_until_seconds = 0.0

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[None]:
        """Wait until this request may be sent, and hold one of the slots until the block ends."""
        async with self._slots:
            loop = asyncio.get_running_loop()
            while (left := self._paused_until_seconds - loop.time()) > 0:  # noqa: ASYNC110  (the end may move while we sleep)
                await asyncio.sleep(left)
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                await self._collect(prompt_tokens_expected(request) + request.max_tokens)
            yield

    def pause(self, seconds: float) -> None:
        """Let nobody start for a while: the endpoint asked for it."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until_seconds = max(self._paused_until_seconds, until)

    async def _collect(self, tokens: float) -> None:
        """Take a request's tokens from the allowance, in pieces that fit into a burst.

        One request at a time: if all collected side by side, all would be complete, and sent, at
        the same moment.
        """
        async with self._collecting:
            while tokens > 0 and self._tokens is not None:
                piece = min(tokens, self._tokens.max_rate)
                await self._tokens.acquire(piece)
                tokens -= piece


def _limiter(per_minute: float | None) -> AsyncLimiter | None:
    if per_minute is None:
        return None
    burst = max(1.0, per_minute * BURST_FRACTION)
    steady_per_second = max(per_minute - burst, per_minute / 2) / MINUTE_SECONDS
    return AsyncLimiter(burst, burst / steady_per_second)
