"""Reading several batches at the same time, each in a thread of its own.

A small model's products are too small to be divided: two threads that share each of them finish
later than two threads that read a batch each.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_lanes(
    work: Callable[[_Item], _Result], items: Sequence[_Item], *, lanes: int
) -> Iterator[_Result]:
    """Work on items, `lanes` of them at the same time; the results come in the items' order.

    torch's threads are divided among the lanes, however few items there are; one lane has all of
    them and is the caller's own thread. What fails is raised where its result would come; then
    nothing new is begun.
    """
    if lanes == 1 or not items:
        yield from map(work, items)
        return
    import torch

    threads = torch.get_num_threads()
    begun = min(lanes, len(items))
    ready = Barrier(begun + 1)

    def begin() -> None:
        torch.set_num_threads(max(1, threads // lanes))
        torch.get_num_threads()  # a new thread takes the common number at first, and only then
        ready.wait()

    pool = ThreadPoolExecutor(begun, thread_name_prefix="tutelage-lane", initializer=begin)
    try:
        waiting = _begin(pool, work, items, ready)
        torch.set_num_threads(threads)  # the common number, for threads that begin later
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor,
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    ready: Barrier,
) -> "deque[Future[_Result]]":
    """Submit all items, and wait until every lane has its threads."""
    try:
        waiting = deque(pool.submit(work, item) for item in items)
        ready.wait()
    except BaseException:
        ready.abort()  # or the lanes would wait for ever
        raise
    return waiting
