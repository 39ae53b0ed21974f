"""Bounded concurrency: many awaitables, some at a time, with results in order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tutelage.errors import TutelageError

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_OUTSTANDING = 32

GRACE_SECONDS = 60.0
"""Seconds that running tasks may take to end after another one failed."""


async def run_bounded(
    items: Iterable[Item],
    work: Callable[[int, Item], Awaitable[Result]],
    *,
    outstanding: int,
) -> list[Result]:
    """Run an asynchronous function for every item, a bounded number at a time.

    Items are taken from the iterable only when a worker is free for them. The first exception
    is raised as it is. If it is one of this package's errors, such as a key that is no longer
    accepted, the work that is under way may end first; any other one, and a cancellation, stops
    all workers at once.

    Args:
        items: May be a generator of any length.
        work: Called with the index of the item and the item.
        outstanding: The most items in work at a time, at least 1.

    Returns:
        One result per item, in the order of the items.
    """
    if outstanding < 1:
        raise ValueError(f"outstanding must be at least 1, got {outstanding}")
    results: dict[int, Result] = {}
    queue = enumerate(items)
    first: list[BaseException] = []

    async def worker() -> None:
        for index, item in queue:
            try:
                results[index] = await work(index, item)
            except BaseException as error:
                first.append(error)
                raise
            if first:
                return

    tasks = [asyncio.create_task(worker()) for _ in range(outstanding)]
    try:
        _, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if others and isinstance(first[0], TutelageError):
            # What is under way has been paid for; nothing new is begun.
            await asyncio.wait(others, timeout=GRACE_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if first:
        raise first[0]
    return [results[index] for index in range(len(results))]
