"""Reader of passages: from the cache first, the rest in batches.

How batches are planned decides the last bits of a number, so the plan must not depend on what
an earlier run happened to finish:

1. all distinct passages of a chunk are planned, whether they are cached or not;
2. a batch that is wholly missing is read as planned, and cached in one transaction;
3. what is missing from the other batches is planned again, together, and cached in one
   transaction at the very end.

A run that was killed finds its finished batches wholly there and the others as they were, so it
reads the same batches as it would have and ends with the same bits.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import TypeVar

from tutelage.models.config import give_memory_back
from tutelage.student.cache import Cache
from tutelage.student.engine import Engine, ForwardError, KnowsLimits, OutOfMemoryError, Shrinks
from tutelage.student.passages import Measured, Passage, Refusal

# Reading several batches at the same time, each in a thread of its own.
#
# A small model's products are too small to be divided: two threads that share each of them finish
# later than two threads that read a batch each.


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_lanes(
    work: Callable[[_Item], _Result], items: Sequence[_Item], *, lanes: int
) -> Iterator[_Result]:
    """Apply a function to items in parallel lanes; results keep the order of the items.

    torch's threads are divided among the lanes, however few items there are; one lane has all of
    them and is the caller's own thread. What fails is raised where its result would come; then
    nothing new is begun.

    Args:
        work: The function.
        items: Its arguments.
        lanes: Number of threads.
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
    """Submit all items and wait until every lane has its threads."""
    try:
        waiting = deque(pool.submit(work, item) for item in items)
        ready.wait()
    except BaseException:
        ready.abort()  # or the lanes would wait for ever
        raise
    return waiting


# Preparing the next chunk in a thread, while the caller reads the one before.


def map_one_ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: bool
) -> Iterator[tuple[_Item, _Item | None, _Result]]:
    """Work on items in their order, on the next one while the caller uses the last result.

    Items are taken in the caller's own thread, one more than was given out. What fails, the taking
    of an item too, is raised where its result would come.

    Args:
        work: Called with one item at a time: with the first one in the caller's thread, so that
            what is made once is made there.
        items: What to work on.
        ahead: Whether the others are worked on in a thread of their own.

    Yields:
        Each item, the next one if that is being worked on, and the result.
    """
    if not ahead:
        for item in items:
            yield item, None, work(item)
        return
    iterator = iter(items)
    last = next(iterator, None)
    if last is None:
        return
    result = work(last)
    with ThreadPoolExecutor(1, thread_name_prefix="tutelage-encoder") as pool:
        while last is not None:
            try:
                following = next(iterator, None)
            except Exception:
                yield last, None, result
                raise
            begun = None if following is None else pool.submit(work, following)
            yield last, following, result
            if begun is not None:
                result = begun.result()
            last = following


@dataclass(slots=True, kw_only=True)
class PassageReader:
    """Reader of passages, one chunk after another.

    Attributes:
        open_engine: Loads the model at its first call.
        cache: Where readings are kept, or None.
        on_batch: Told, after each batch, how many passages of the chunk are read, and of how many;
            those of texts that were taken ahead are counted as far as can be guessed.
        ahead: How many texts were taken ahead of the chunk, as a multiple of its own.
    """

    open_engine: Callable[[], Engine]
    cache: Cache | None
    on_batch: Callable[[int, int], None] | None = None
    ahead: float = 0.0

    def known(self, keys: Sequence[bytes], *, full: bool) -> dict[bytes, Measured]:
        """Cached results of passages."""
        return {} if self.cache is None else self.cache.get_passages(keys, full=full)

    def read(
        self, passages: Mapping[bytes, Passage], *, full: bool
    ) -> dict[bytes, Measured | Refusal]:
        """Read the distinct passages of a chunk.

        Args:
            passages: By key, in an order that does not depend on the cache.
            full: Whether all four statistics are wanted.

        Returns:
            For each key the statistics, or why there are none: `token_out_of_range`, `too_long`,
            `nonfinite` or `student_failed`.
        """
        found: dict[bytes, Measured | Refusal] = dict(self.known(list(passages), full=full))
        if len(found) == len(passages):
            return found
        engine = self.open_engine()
        refused = _refusals(engine, {k: p for k, p in passages.items() if k not in found})
        found |= refused
        readable = {key: passage for key, passage in passages.items() if key not in refused}
        keys, texts = list(readable), list(readable.values())
        whole: list[list[int]] = []
        rest: list[int] = []
        plan = engine.plan(texts)
        for batch in plan:
            missing = [index for index in batch if keys[index] not in found]
            if len(missing) == len(batch):
                whole.append(batch)
            else:
                rest += missing
        for batch, read in _read_batches(engine, plan, whole, texts, full=full):
            self._keep(engine, {keys[i]: m for i, m in zip(batch, read, strict=True)}, into=found)
            self._report(len(found), len(passages))
        if rest:
            rest.sort()
            plan = [[rest[i] for i in batch] for batch in engine.plan([texts[i] for i in rest])]
            late: dict[bytes, Measured | Refusal] = {}
            for batch, read in _read_batches(engine, plan, plan, texts, full=full):
                late |= {keys[i]: m for i, m in zip(batch, read, strict=True)}
                self._report(len(found) + len(late), len(passages))
            self._keep(engine, late, into=found)
        return found

    def _report(self, done: int, total: int) -> None:
        if self.on_batch is not None:
            self.on_batch(done, round(total * (1.0 + self.ahead)))

    def _keep(
        self,
        engine: Engine,
        read: Mapping[bytes, Measured | Refusal],
        *,
        into: dict[bytes, Measured | Refusal],
    ) -> None:
        into |= read
        good = {key: m for key, m in read.items() if isinstance(m, Measured)}
        if self.cache is not None and good:
            self.cache.put_passages(good, engine=engine.name)


def _refusals(engine: Engine, passages: Mapping[bytes, Passage]) -> dict[bytes, Refusal]:
    """Passages that the model cannot read, each with the reason."""
    if not isinstance(engine, KnowsLimits):
        return {}
    asked = ((key, engine.refusal(passage)) for key, passage in passages.items())
    return {key: refusal for key, refusal in asked if refusal is not None}


def _read_batches(
    engine: Engine,
    plan: Sequence[list[int]],
    batches: Sequence[list[int]],
    texts: Sequence[Passage],
    *,
    full: bool,
) -> Iterator[tuple[list[int], list[Measured | Refusal]]]:
    """Read batches of a plan, in their order.

    The number of threads of a batch depends only on the plan, not on what is already cached. A
    batch that failed while another one was processed, for lack of memory or another reason, is
    processed alone after all others.
    """

    def read_batch(batch: list[int]) -> list[Measured | Refusal] | None:
        try:
            return _checked(engine.read([texts[i] for i in batch], full=full))
        except ForwardError:
            return None
        except OutOfMemoryError:
            pass
        give_memory_back()  # not before the error, which holds the memory, is let go
        return None

    lanes = engine.lanes if len(plan) > 1 else 1
    crowded: list[list[int]] = []
    for batch, read in zip(batches, map_in_lanes(read_batch, batches, lanes=lanes), strict=True):
        if read is None:
            crowded.append(batch)
        else:
            yield batch, read
    for batch in crowded:
        yield batch, _read_batch(engine, [texts[i] for i in batch], full=full)


def _read_batch(
    engine: Engine, passages: Sequence[Passage], *, full: bool
) -> list[Measured | Refusal]:
    """Read a batch, in halves where it does not fit into memory or the forward pass fails.

    The error is let go before the halves are read: its traceback holds the frames of the failed
    forward pass, and with them the memory that the halves need.
    """
    short = False
    try:
        return _checked(engine.read(passages, full=full))
    except OutOfMemoryError as error:
        reason, what, why = "student_failed", "out of memory at", _first_line(error)
        short = True
    except ForwardError as error:
        reason, what, why = error.reason, "the forward pass failed on", _first_line(error)
    if short:
        give_memory_back()
        if len(passages) > 1 and isinstance(engine, Shrinks):
            engine.shrink()
    if len(passages) == 1:
        tokens = len(passages[0].ids_T)
        return [Refusal(reason=reason, detail=f"{what} {tokens} tokens: {why}")]
    half = len(passages) // 2
    return [
        *_read_batch(engine, passages[:half], full=full),
        *_read_batch(engine, passages[half:], full=full),
    ]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _checked(measured: Sequence[Measured]) -> list[Measured | Refusal]:
    return [m if m.is_finite else _not_finite(m) for m in measured]


def _not_finite(measured: Measured) -> Refusal:
    tokens = len(measured.logprobs_T)
    return Refusal(
        reason="nonfinite",
        detail=f"the log-probability of at least one of {tokens} tokens is not a finite number",
    )
