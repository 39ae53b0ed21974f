"""Many awaitables, a bounded number at a time, results in order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_OUTSTANDING = 32


async def run_bounded(
    items: Iterable[Item],
    work: Callable[[int, Item], Awaitable[Result]],
    *,
    outstanding: int,
) -> list[Result]:
    """Do the work for every item.

    Items are taken from the iterable only when a worker is free for them. The first exception
    stops all workers and is raised as it is; so does a cancellation.

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

    async def worker() -> None:
        for index, item in queue:
            results[index] = await work(index, item)

    tasks = [asyncio.create_task(worker()) for _ in range(outstanding)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[index] for index in range(len(results))]
