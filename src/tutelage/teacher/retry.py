"""Retry policy, rate limit, and the circuit breaker that stops a run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiolimiter import AsyncLimiter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    stop_after_attempt,
    wait_random_exponential,
)

from tutelage.errors import TeacherError, TeacherStoppedError, UnusableReplyError
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.cost import prompt_tokens_expected
from tutelage.teacher.http_errors import KEY_REFUSED, REFUSING, Failed
from tutelage.teacher.protocol import Reply, Request

FIRST_WAIT_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
"""Longest wait between attempts; where the server names a time, `max_wait_seconds` applies instead.
"""

REFUSALS_TO_STOP = 3
"""Calls refused for their key, model or address, before any succeeded, that stop the run."""

REJECTIONS_TO_STOP = 20
"""Requests rejected for another reason, before any succeeded, that stop the run: the cause is not
their text.
"""

DEAD_CALLS_TO_STOP = 5
"""Consecutive requests without a reply that stop the run; `concurrency` if that is more."""


Answer = TypeVar("Answer")


async def attempts(
    attempt: Callable[[], Awaitable[Answer | Failed]],
    *,
    settings: TeacherSettings,
    sleep: Callable[[float], Awaitable[None]],
    before_retry: Callable[[Failed], Awaitable[None]] | None = None,
) -> Answer | Failed:
    """Repeat attempts until a reply, a permanent failure or the last attempt.

    Waits are exponential with full jitter, from 1 s up to 60 s, or what the server asked for
    (plus jitter of at most a second) if that is longer. A server that asks for more than
    `max_wait_seconds` is not waited for.

    Args:
        attempt: Sends once.
        settings: How often, and how long at most.
        sleep: How to wait.
        before_retry: Told of a failure after which another attempt follows.

    Returns:
        The last attempt's outcome.
    """
    backoff = wait_random_exponential(
        multiplier=FIRST_WAIT_SECONDS, max=min(LONGEST_BACKOFF_SECONDS, settings.max_wait_seconds)
    )
    spread = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=FIRST_WAIT_SECONDS)

    def worth_another(outcome: Answer | Failed) -> bool:
        if not isinstance(outcome, Failed) or not outcome.error.retryable:
            return False
        return (outcome.wait_seconds or 0.0) <= settings.max_wait_seconds

    def wait(state: RetryCallState) -> float:
        failed = _failure_in(state)
        asked = failed.wait_seconds if failed else None
        return backoff(state) if asked is None else asked + spread(state)

    async def tell(state: RetryCallState) -> None:
        failed = _failure_in(state)
        if failed and before_retry:
            await before_retry(failed)

    def last(state: RetryCallState) -> Failed | None:
        return _failure_in(state)

    retrying = AsyncRetrying(
        sleep=sleep,
        stop=stop_after_attempt(settings.max_attempts),
        wait=wait,
        retry=retry_if_result(worth_another),
        before_sleep=tell,
        retry_error_callback=last,
    )
    return await retrying(attempt)


def _failure_in(state: RetryCallState) -> Failed | None:
    outcome = state.outcome.result() if state.outcome is not None else None
    return outcome if isinstance(outcome, Failed) else None


class Circuit:
    """Circuit breaker: stops the run when every further call would fail too.

    Args:
        concurrency: How many calls are under way at once.
    """

    def __init__(self, *, concurrency: int) -> None:
        self._dead_to_stop = max(DEAD_CALLS_TO_STOP, concurrency)
        self._any_answer = False
        self._refused = 0
        self._rejected = 0
        self._dead = 0
        self._stopped: tuple[str, TeacherError] | None = None

    def check(self) -> None:
        """Raise the error that stopped the run, if there is one.

        Raises:
            TeacherStoppedError: With the words of the last failure.
        """
        if self._stopped is not None:
            why, last = self._stopped
            stopped = TeacherStoppedError(f"{why}; the last: {last}", hint=last.hint)
            stopped.may_pass = last.retryable
            raise stopped

    def saw(self, outcome: Reply | Failed) -> None:
        """Record the outcome of one request after all its attempts."""
        if isinstance(outcome, Reply) or isinstance(outcome.error, UnusableReplyError):
            self._any_answer = True
            self._dead = 0
        elif outcome.error.retryable:
            self._dead += 1
            if self._dead >= self._dead_to_stop:
                self._stop(f"{self._dead} requests in a row got no answer", outcome)
        elif outcome.about_one:
            self._dead = 0
        elif self._any_answer and outcome.status in KEY_REFUSED:
            self._stop("the key is no longer accepted, or the account is empty", outcome)
        elif not self._any_answer:
            self._refused += outcome.status in REFUSING or outcome.status is None
            self._rejected += 1
            if self._refused >= REFUSALS_TO_STOP or self._rejected >= REJECTIONS_TO_STOP:
                self._stop(f"the first {self._rejected} requests were all refused", outcome)

    def _stop(self, why: str, outcome: Failed) -> None:
        self._stopped = (f"stopped asking: {why}", outcome.error)


# How fast an endpoint is asked: how many at once, how many a minute, how many tokens a minute.


BURST_FRACTION = 0.1
"""Fraction of a minute's allowance that may be used at once; the rest is spread evenly, so that no
window of a minute exceeds the allowance.
"""

MINUTE_SECONDS = 60.0


class Pace:
    """Rate limiter of requests and tokens for one event loop.

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
        """Wait until this request may be sent, and hold a slot until the block ends."""
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
        """Delay all requests, as the endpoint asked."""
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
