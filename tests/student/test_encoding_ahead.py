"""The next chunk is encoded while one is read, where the two do not share a processor."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.fakes import rows, write_rows
from tests.tiny_student import save_student
from tutelage.data import VIEW_NAMES, Candidate, Reading, read
from tutelage.pipeline.score_stage import ReadingCounter, candidates_of
from tutelage.progress import Silent
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.student import passages as chunks_module
from tutelage.student.passage_reader import PassageReader, map_one_ahead
from tutelage.student.views import ViewBuilder

pytest.importorskip("torch")


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
