"""Batches are read in lanes at the same time and in order, while the next chunk is encoded."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pipeline.fakes import rows, write_rows
from tests.tiny_student import save_student
from tutelage.data import VIEW_NAMES, Candidate, Reading, read
from tutelage.pipeline.score_stage import ReadingCounter, candidates_of
from tutelage.progress import Silent
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.student import passages as chunks_module
from tutelage.student.engine import OutOfMemoryError
from tutelage.student.passage_reader import PassageReader, map_in_lanes, map_one_ahead
from tutelage.student.passages import Measured, Passage, passage_of
from tutelage.student.views import ViewBuilder


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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    monkeypatch.setattr(chunks_module, "CHUNK_CANDIDATES", 4)
    return list(candidates_of(read(str(write_rows(tmp_path / "d.jsonl", rows(11))))))


def opened(tiny: Path, **more: Any) -> StudentModel:
    settings = {"dtype": "float32", "use_cache": False, **more}
    return open_student(StudentSettings(model=str(tiny), **settings))


def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudentModel, "encodes_ahead", True)


def numbers(outcomes: Iterator[Any]) -> list[Any]:
    found = []
    for outcome in outcomes:
        assert isinstance(outcome, Reading)
        views = {name: stats.logprobs_T.tobytes() for name, stats in outcome.views.items()}
        found.append((outcome.candidate_id, views))
    return found


def test_the_readings_are_the_same_bit_for_bit(
    tiny: Path, texts: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = numbers(opened(tiny).read(texts, views=VIEW_NAMES))
    ahead(monkeypatch)
    assert numbers(opened(tiny).read(texts, views=VIEW_NAMES)) == plain
    cached = {"use_cache": True, "cache_path": str(tmp_path / "readings.sqlite")}
    for _ in range(2):
        with opened(tiny, **cached) as student:
            assert numbers(student.read(texts, views=VIEW_NAMES)) == plain


def test_a_chunk_is_encoded_while_the_one_before_is_read(
    tiny: Path, texts: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead(monkeypatch)
    encoded: dict[str, threading.Event] = {c.candidate_id: threading.Event() for c in texts}
    threads: set[str] = set()
    encode, read_passages, chunk = ViewBuilder.encode, PassageReader.read, iter(range(3))

    def watched(self: Any, candidate: Candidate, side: Any) -> Any:
        threads.add(threading.current_thread().name.partition("_")[0])
        encoded[candidate.candidate_id].set()
        return encode(self, candidate, side)

    def waits(self: Any, passages: Any, *, full: bool) -> Any:
        number = next(chunk)
        for candidate in texts[4 * (number + 1) : 4 * (number + 2)]:
            assert encoded[candidate.candidate_id].wait(60)  # it is encoded while this one waits
        return read_passages(self, passages, full=full)

    monkeypatch.setattr(ViewBuilder, "encode", watched)
    monkeypatch.setattr(PassageReader, "read", waits)
    assert len(numbers(opened(tiny).read(texts, views=VIEW_NAMES))) == 11
    assert threads == {"MainThread", "tutelage-encoder"}


def test_the_progress_counts_only_what_is_read(
    tiny: Path, texts: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead(monkeypatch)
    shown: list[int] = []

    class Shown(Silent):
        def advance(self, count: int = 1, **_: Any) -> None:
            shown.append(count)

    came = 0
    counter = ReadingCounter(Shown())
    with opened(tiny) as student, counter.watching(student):
        for _ in student.read(counter.asked(texts), views=VIEW_NAMES):
            came += 1
            counter.came()
            assert sum(shown) <= 4 * -(-came // 4)  # never beyond the chunk
    assert sum(shown) == 11


def test_what_fails_is_raised_where_its_result_would_come() -> None:
    def broken() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("the file ends here")

    came: list[Any] = []
    with pytest.raises(OSError, match="the file ends here"):
        came.extend(map_one_ahead(lambda n: n * n, broken(), ahead=True))
    assert came == [(1, 2, 1), (2, None, 4)]

    def refuses(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    came_before: list[Any] = []
    with pytest.raises(ValueError, match="two"):
        came_before.extend(map_one_ahead(refuses, [1, 2, 3], ahead=True))
    assert came_before == [(1, 2, 1)]
    assert list(map_one_ahead(refuses, [], ahead=True)) == []
    assert [r for _, _, r in map_one_ahead(refuses, [1, 3], ahead=False)] == [1, 3]


def test_only_a_student_that_reads_elsewhere_encodes_ahead(tiny: Path) -> None:
    student = opened(tiny, device="cpu")
    assert not student.encodes_ahead
    student.parts.__dict__["device"] = "cuda:0"
    assert student.encodes_ahead
    assert opened(tiny, backend="vllm-offline").encodes_ahead
