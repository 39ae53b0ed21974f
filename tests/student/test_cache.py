"""What was read once is not read again, and a killed run ends with the same bits."""

import subprocess
import sys

import numpy as np
import pytest

from tutelage.data import VIEW_NAMES, Reading, Unscored
from tutelage.errors import StudentError
from tutelage.student import (
    Cache,
    StudentModel,
    StudentSettings,
    TextPair,
    passage_reader,
    passages,
)
from tutelage.student.engine import OutOfMemoryError
from tutelage.student.passages import Measured


class CountingEngine:
    """Wraps an engine; counts batches, and stops or runs out of memory where it is told to."""

    name = "counting"

    def __init__(self, inner, *, stop_at=None, most=None, lanes=2):
        self.inner, self.stop_at, self.most, self.lanes = inner, stop_at, most, lanes
        self.batches = []
        self.read_together = []

    def plan(self, passages):
        return self.inner.plan(passages)

    def read(self, passages, *, full):
        if len(self.batches) == self.stop_at:
            raise KeyboardInterrupt
        if self.most is not None and len(passages) > self.most:
            raise OutOfMemoryError("too many at once")
        self.batches.append(len(passages))
        self.read_together.append(tuple(p.key for p in passages))
        return self.inner.read(passages, full=full)

    def close(self):
        self.inner.close()


@pytest.fixture
def rows(candidate_of):
    texts = ["red", "red and blue", "a poem", "its waves and its wind", "- first\n- second"]
    pairs = [(f"Write {a} of {b}.", f"{b}, {a}") for a in texts for b in texts]
    pairs += pairs[3:8]  # equal rows in a later chunk
    return [candidate_of(instruction, response) for instruction, response in pairs]


@pytest.fixture
def student_of(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(passages, "CHUNK_CANDIDATES", 8)

    def build(name="cache", *, stop_at=None, most=None, lanes=2, **settings):
        if most is not None:  # a full collection for each small batch takes minutes in a long run
            monkeypatch.setattr(passage_reader, "give_memory_back", lambda: None)
        options = {"dtype": "bfloat16", "batch_tokens": 150} | settings
        chosen = StudentSettings(model=str(tiny_llama), **options)
        student = StudentModel(chosen, cache=Cache(tmp_path / f"{name}.sqlite"))
        engine = CountingEngine(student.parts.engine(), stop_at=stop_at, most=most, lanes=lanes)
        student.parts._engine = engine
        return student, engine

    return build


def bits(outcomes):
    return [
        [outcome.views[view].logprobs_T.tobytes() for view in VIEW_NAMES] for outcome in outcomes
    ]


def test_a_second_reading_reads_nothing_and_gives_the_same(student_of, rows):
    first, engine = student_of()
    expected = list(first.read(rows, views=VIEW_NAMES, statistics="full"))
    assert engine.batches
    second, engine = student_of()
    found = list(second.read(rows, views=VIEW_NAMES, statistics="full"))
    assert engine.batches == []
    assert bits(found) == bits(expected)
    for a, b in zip(expected, found, strict=True):
        assert (a.straddles, a.truncated) == (b.straddles, b.truncated)
        assert a.response_starts_T.tolist() == b.response_starts_T.tolist()
        assert a.views["response"].ranks_T.tolist() == b.views["response"].ranks_T.tolist()
    assert [r.candidate_id for r in found] == [c.candidate_id for c in rows]
    list(second.read(rows, views=VIEW_NAMES, statistics="nll"))
    assert engine.batches == []


def test_a_hit_loads_neither_torch_nor_transformers(tiny_llama, tmp_path, student_of, rows):
    student, _ = student_of()
    expected = list(student.read(rows[:2], views=VIEW_NAMES))
    texts = [[(m.role, m.content) for m in c.messages] for c in rows[:2]]
    code = f"""
import sys
from pathlib import Path
from tutelage.data import VIEW_NAMES, Candidate, Message
from tutelage.student import Cache, StudentModel, StudentSettings
settings = StudentSettings(
    model={str(tiny_llama)!r}, dtype="bfloat16", batch_tokens=150, device="cpu"
)
student = StudentModel(settings, cache=Cache(Path({str(tmp_path / "cache.sqlite")!r})))
rows = [
    Candidate(candidate_id=str(i), example_id="e",
              messages=tuple(Message(role=r, content=c) for r, c in turns))
    for i, turns in enumerate({texts!r})
]
for outcome in student.read(rows, views=VIEW_NAMES):
    print(repr(outcome.views["response"].mean_nll))
student.describe()
assert not {{"torch", "transformers", "tokenizers"}} & set(sys.modules), "loaded"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [repr(o.views["response"].mean_nll) for o in expected]


def test_new_rows_are_all_that_is_read(student_of, rows, candidate_of):
    student, _ = student_of()
    list(student.read(rows, views=VIEW_NAMES))
    student, engine = student_of()
    more = [*rows, candidate_of("Something new.", "and its response")]
    list(student.read(more, views=VIEW_NAMES))
    assert sum(engine.batches) == 4


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("stop_at", [0, 1, 3, 5, 9])
def test_a_killed_run_ends_with_the_same_bits(student_of, rows, stop_at, lanes):
    whole, engine = student_of("whole", lanes=3 - lanes)
    expected = bits(whole.read(rows, views=VIEW_NAMES))
    assert len(engine.batches) > stop_at
    killed, first = student_of("killed", stop_at=stop_at, lanes=lanes)
    with pytest.raises(KeyboardInterrupt):
        list(killed.read(rows, views=VIEW_NAMES))
    again, second = student_of("killed")
    assert bits(again.read(rows, views=VIEW_NAMES)) == expected
    # A model this small hardly shows what it was batched with, so the batches are compared too.
    assert set(first.read_together) | set(second.read_together) == set(engine.read_together)
    assert len(second.batches) >= len(engine.batches) - stop_at


def test_other_settings_do_not_find_each_others_readings(student_of, rows):
    student, _ = student_of()
    list(student.read(rows[:2], views=VIEW_NAMES))
    for settings in ({"dtype": "float32"}, {"template": "alpaca"}, {"backend": "transformers"}):
        other, engine = student_of(**settings)
        list(other.read(rows[:2], views=VIEW_NAMES))
        assert engine.batches, settings


def test_all_statistics_replace_log_probabilities_alone(student_of, rows):
    student, engine = student_of()
    list(student.read(rows[:2], views=["response"]))
    read = sum(engine.batches)
    (reading, _) = student.read(rows[:2], views=["response"], statistics="full")
    assert reading.views["response"].ranks_T is not None
    assert sum(engine.batches) == 2 * read


def test_a_batch_that_does_not_fit_is_halved_until_it_does(student_of, rows):
    student, engine = student_of(most=2)
    outcomes = list(student.read(rows, views=VIEW_NAMES))
    assert all(isinstance(outcome, Reading) for outcome in outcomes)
    assert max(engine.batches) <= 2


def test_a_passage_that_never_fits_is_a_failure_with_a_reason(student_of, rows):
    student, _ = student_of(most=0)
    for row, outcome in zip(rows, student.read(rows, views=VIEW_NAMES), strict=True):
        assert isinstance(outcome, Unscored)
        assert (outcome.candidate_id, outcome.reason) == (row.candidate_id, "student_failed")
        assert "out of memory" in outcome.detail


def test_a_number_that_is_not_finite_is_no_reading_and_is_not_kept(student_of, rows):
    student, engine = student_of()

    def read(passages, **_):
        return [Measured(logprobs_T=np.full(p.targets, np.nan, dtype=np.float32)) for p in passages]

    engine.inner.read = read
    (outcome,) = student.read(rows[:1], views=VIEW_NAMES)
    assert outcome.reason == "nonfinite"
    healthy, _ = student_of()
    (outcome,) = healthy.read(rows[:1], views=VIEW_NAMES)
    assert isinstance(outcome, Reading)


def test_pairs_are_read_without_a_template(student_of):
    student, engine = student_of()
    pairs = [
        TextPair(pair_id="a", context="Name three", target=" primary colours"),
        TextPair(pair_id="b", context="", target="nothing in front"),
    ]
    first, second = student.read_pairs(pairs)
    assert first.tokens > 0
    assert (second.candidate_id, second.reason) == ("b", "no_target_tokens")
    read = sum(engine.batches)
    list(student.read_pairs(pairs))
    assert sum(engine.batches) == read


def test_a_file_that_is_no_cache_is_named_with_a_way_out(tmp_path, tiny_llama, rows):
    path = tmp_path / "broken.sqlite"
    path.write_bytes(b"not a database" * 100)
    student = StudentModel(StudentSettings(model=str(tiny_llama)), cache=Cache(path))
    with pytest.raises(StudentError, match=r"broken\.sqlite") as caught:
        list(student.read(rows[:1], views=VIEW_NAMES))
    assert "use_cache" in caught.value.hint
