"""Lanes work at the same time, in order, and leave torch's threads as they were."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from tutelage.student.engine import OutOfMemoryError
from tutelage.student.passage_reader import PassageReader, map_in_lanes
from tutelage.student.passages import Measured, Passage, passage_of


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(("lanes", "each"), [(1, 4), (2, 2), (4, 1), (8, 1)])
def test_each_lane_has_its_share_of_the_threads(four_threads: None, lanes: int, each: int) -> None:
    def work(_item: int) -> int:
        return torch.get_num_threads()

    assert list(map_in_lanes(work, range(20), lanes=lanes)) == [each] * 20
    assert list(map_in_lanes(work, [0], lanes=lanes)) == [each], "one item is no exception"
    assert torch.get_num_threads() == 4
    assert threads_of_a_new_thread() == 4


def test_items_are_worked_on_at_the_same_time_and_come_in_order() -> None:
    together = threading.Barrier(2, timeout=300)

    def work(item: int) -> int:
        together.wait()  # broken where nobody else comes
        time.sleep(0.01 if item % 2 else 0.0)
        return item

    assert list(map_in_lanes(work, range(10), lanes=2)) == list(range(10))


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_fails_is_raised_in_its_place_and_nothing_new_is_begun(
    four_threads: None, kind: type[BaseException]
) -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise kind("at three")
        time.sleep(0.02)
        return item

    found = []
    with pytest.raises(kind, match="at three"):
        found.extend(map_in_lanes(work, range(1000), lanes=2))
    assert len(begun) < 100
    assert torch.get_num_threads() == threads_of_a_new_thread() == 4


def test_who_stops_listening_stops_the_lanes() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        return item

    results = map_in_lanes(work, range(1000), lanes=2)
    assert next(results) == 0
    results.close()
    stopped_at = len(begun)
    time.sleep(0.1)
    assert len(begun) == stopped_at < 100


def test_nothing_to_do_begins_nothing() -> None:
    assert list(map_in_lanes(str, [], lanes=2)) == []


class _Engine:
    """Reads nothing, and notes in which thread it was asked."""

    name = "noting"
    lanes = 2

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.threads: list[str] = []

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        size = len(passages) // self.batches
        return [list(range(at, at + size)) for at in range(0, len(passages), size)]

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        assert not full
        self.threads.append(threading.current_thread().name)
        return [Measured(logprobs_T=np.zeros(1, np.float32)) for _ in passages]

    def close(self) -> None: ...


class _Known:
    """A cache that has some passages."""

    def __init__(self, known: dict[bytes, Measured]) -> None:
        self.known = known

    def get_passages(self, keys: Sequence[bytes], *, full: bool) -> dict[bytes, Measured]:
        assert not full
        return {key: self.known[key] for key in keys if key in self.known}

    def put_passages(self, found: dict[bytes, Measured], *, engine: str) -> None: ...


@pytest.mark.parametrize("cached", [0, 1])
@pytest.mark.parametrize("batches", [1, 2])
def test_what_is_cached_does_not_decide_how_many_threads_a_batch_has(
    batches: int, cached: int
) -> None:
    passages = {p.key: p for p in (passage_of([n], [n, n]) for n in range(1, 3))}
    known = {key: Measured(logprobs_T=np.zeros(1, np.float32)) for key in list(passages)[:cached]}
    engine = _Engine(batches)
    reader = PassageReader(open_engine=lambda: engine, cache=_Known(known))
    assert set(reader.read(passages, full=False)) == set(passages)
    if batches == 2:
        assert len(engine.threads) == 2 - cached
        assert all(name.startswith("tutelage-lane") for name in engine.threads)
    else:
        assert engine.threads == ["MainThread"]


class _Crowded(_Engine):
    """Has memory for one batch at a time; a second one beside it finds none."""

    def __init__(self) -> None:
        super().__init__(batches=8)
        self.beside = threading.Barrier(2)
        self.memory = threading.Lock()

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        in_lane = threading.current_thread() is not threading.main_thread()
        if in_lane:
            self.beside.wait(20)
        if not self.memory.acquire(blocking=False):
            self.beside.wait(20)
            raise OutOfMemoryError("no memory beside another")
        try:
            if in_lane:
                self.beside.wait(20)
            return super().read(passages, full=full)
        finally:
            self.memory.release()


def test_what_has_no_memory_beside_another_is_read_by_itself() -> None:
    passages = {p.key: p for p in (passage_of([n], [n, n]) for n in range(1, 9))}
    engine = _Crowded()
    found = PassageReader(open_engine=lambda: engine, cache=None).read(passages, full=False)
    assert set(found) == set(passages)
    assert all(isinstance(m, Measured) for m in found.values())
    assert engine.threads.count("MainThread") == 4
