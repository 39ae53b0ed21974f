"""What a person sees while a student reads a chunk."""

from collections.abc import Callable

import pytest

from tutelage.data import Candidate, Message, candidate_id_of
from tutelage.pipeline.score_stage import ReadingCounter
from tutelage.progress import Silent


class Shown(Silent):
    def __init__(self) -> None:
        self.counts: list[int] = []

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        del note
        self.counts.append(count)


class Watched:
    """Reads a chunk of ten in five batches of four passages."""

    def __init__(self) -> None:
        self.on_batch: Callable[[int, int], None] | None = None

    def watch(self, on_batch: Callable[[int, int], None] | None) -> None:
        self.on_batch = on_batch

    def read(self, candidates: list[Candidate]) -> list[Candidate]:
        for batch in range(1, 6):
            assert self.on_batch is not None
            self.on_batch(4 * batch, 20)
        return candidates


def some(count: int) -> list[Candidate]:
    messages = (Message(role="user", content="q"), Message(role="assistant", content="a"))
    name = candidate_id_of(
        example_id="e", step="original", parent_id=None, teacher=None, messages=messages
    )
    return [Candidate(candidate_id=name, example_id="e", messages=messages)] * count


def test_the_counter_moves_with_the_batches_and_counts_each_candidate_once() -> None:
    shown, student = Shown(), Watched()
    counter = ReadingCounter(shown)
    with counter.watching(student):
        for _ in range(2):
            for _ in student.read(list(counter.asked(some(10)))):
                counter.came()
    assert shown.counts == [2, 2, 2, 2, 1, 1] * 2
    assert student.on_batch is None


@pytest.mark.parametrize("student", [object(), None])
def test_a_student_that_does_not_tell_is_counted_when_its_outcomes_come(student: object) -> None:
    shown = Shown()
    counter = ReadingCounter(shown)
    with counter.watching(student):
        for _ in counter.asked(some(3)):
            counter.came()
    assert shown.counts == [1, 1, 1]
