"""Estimates before the work: what is counted, what is measured, and that nothing is done."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, improves, rows, settings, write_rows
from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.data import read
from tutelage.metrics import views_for
from tutelage.pipeline import (
    estimate_refine,
    estimate_run,
    estimate_sample,
    estimate_score,
    run_all,
    sample_data,
)
from tutelage.pipeline.cost_estimate import estimate_training, items_of
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.score_stage import candidates_of
from tutelage.pipeline.summary_text import estimate_facts
from tutelage.pipeline.work_estimate import (
    reading_of,
    reading_work,
    scaled_reading,
    stored_speed,
    summed,
    text_sample,
)
from tutelage.progress import Silent
from tutelage.refinement import RefineSettings, reflection_request
from tutelage.student import StudentSettings, TableStudent, open_student
from tutelage.student.passages import EncodedSide
from tutelage.teacher import Journal, ScriptedTeacher, TeacherSettings


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not another home: there the native kernels would be built anew for each test.
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: tmp_path / "home")
    monkeypatch.setattr(
        "tutelage.student.student.readings_path", lambda: tmp_path / "home" / "readings.sqlite"
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("tiny"))


def texts(path: Path) -> list[Any]:
    return list(candidates_of(read(str(path))))


def ticking(step: float) -> Any:
    now: Iterator[float] = (n * step for n in range(10_000))
    return lambda: next(now)


TABLE = StudentSettings(model="table")


def words(path: Path) -> int:
    """All four views: both texts twice with their context, each once alone."""
    pairs = [(c.instruction.split(), c.response.split()) for c in texts(path)]
    return sum(2 * (len(i) + len(r)) + len(i) + len(r) for i, r in pairs)


def test_all_texts_of_a_small_set_are_counted_exactly(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(9))
    found = reading_of(text_sample(texts(data)), student=TABLE, metrics=None, doors=doors())
    assert found.tokens == found.uncached == words(data)


def test_a_sample_is_scaled_by_characters_and_does_not_depend_on_the_order(tmp_path: Path) -> None:
    long = [{"instruction": f"Say {n}.", "output": "word " * (n + 1)} for n in range(40)]
    data = write_rows(tmp_path / "d.jsonl", long)
    sample = text_sample(texts(data), most=20)
    turned = text_sample(reversed(texts(data)), most=20)
    assert [c.candidate_id for c in sample.candidates] == [
        c.candidate_id for c in turned.candidates
    ]
    assert (sample.count, len(sample.candidates)) == (40, 20)
    found = reading_of(sample, student=TABLE, metrics=None, doors=doors())
    assert found.tokens == pytest.approx(words(data), rel=0.15)


def test_the_speed_is_that_of_the_largest_chunk_that_was_read(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(6))
    sample = text_sample(texts(data))
    found = reading_of(
        sample,
        student=TABLE,
        metrics=None,
        doors=doors(),
        measure_seconds=100.0,
        clock=ticking(2.0),
    )
    last = list(sample.candidates[2:6])  # chunks of two and of four, each two seconds long
    counted = sum(TableStudent().tokens_to_read(last, views=views_for(("ifd", "r_ifd"))))
    assert found.speed == counted / 2.0
    assert reading_work("score", found, count=6).seconds == found.tokens / found.speed


def test_without_measuring_the_last_measurement_is_taken(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(4))
    sample = text_sample(texts(data))

    def measured(seconds: float) -> Any:
        return reading_of(
            sample,
            student=TABLE,
            metrics=None,
            doors=doors(),
            measure_seconds=seconds,
            clock=ticking(0.5),
        )

    before = reading_work("score", measured(0.0), count=4)
    assert before.seconds is None
    assert "not known" in before.basis
    speed = measured(50.0).speed
    after = measured(0.0)
    assert after.speed == speed
    assert "measured earlier" in after.basis


def test_a_damaged_file_of_measurements_is_no_measurement(tmp_path: Path) -> None:
    file = tmp_path / "home" / "speeds.json"
    file.parent.mkdir(parents=True)
    numbers = ("5, 0", "-5, 1", "1e999, 1", "5, NaN", "5, 1e999", "0, 1")
    speeds = [
        f'{{"k": {{"tokens": {tokens}, "seconds": {seconds}}}}}'
        for tokens, seconds in (pair.split(", ") for pair in numbers)
    ]
    for text in ("{", "[]", '{"k": 3}', "[" * 100_000, *speeds):
        file.write_text(text)
        assert stored_speed("k")[0] is None


def test_a_sum_with_an_unknown_part_is_unknown(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    reading = reading_of(
        text_sample(texts(data)), student=TABLE, metrics=None, doors=doors(), measure_seconds=0.0
    )
    known = reading_work("nothing", scaled_reading(reading, times=0.0), count=0)
    unknown = reading_work("score", reading, count=3)
    total = summed([known, unknown])
    assert (total["seconds"], total["seconds_known"]) == (None, 0.0)
    assert total["tokens"] == reading.tokens


@pytest.mark.parametrize("teacher", [None, {"model": "scripted", "base_url": "http://127.0.0.1:9"}])
def test_a_run_is_estimated_with_and_without_a_teacher_and_nothing_is_done(
    tmp_path: Path, teacher: dict[str, str] | None
) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(5))
    wanted = settings(data, tmp_path / "run", teacher=teacher)
    asked: list[str] = []
    found = estimate_run(wanted, progress=Silent(), doors=doors(asked=asked))
    parts = {w["stage"]: w for w in found["work"]}
    assert parts["score: texts of the data"]["tokens"] == words(data)
    assert found["rows"] == 5
    if teacher is not None:
        assert found["calls"] == parts["rewrite"]["count"] == 10
        assert parts["score: rewrites"]["count"] == 10
        assert parts["score: rewrites"]["tokens"] == 2 * words(data)
        assert parts["rewrite"]["seconds"] is None  # a dry run asks nobody, so nobody was timed
    assert not asked
    assert not (tmp_path / "run").exists()


def test_the_time_of_calls_comes_from_the_replies_that_are_cached(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(4))
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors(), with_page=False)
    import sqlite3

    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as journal:
        journal.execute("UPDATE replies SET seconds = 3.0")
    more = write_rows(tmp_path / "more.jsonl", rows(6))
    teacher = {"model": "scripted", "base_url": "http://127.0.0.1:9", "concurrency": 2}
    wanted = settings(more, tmp_path / "run", teacher=teacher)
    found = estimate_run(wanted, progress=Silent(), doors=doors())
    rewrite = next(w for w in found["work"] if w["stage"] == "rewrite")
    assert rewrite["count"] > 0
    assert rewrite["seconds"] == rewrite["count"] * 3.0 / 2


OBEYS = {"model": "scripted", "supports_schema": "yes"}
"""The scripted teacher as a dry run, which asks nobody, has to be told of it."""


class StoppedError(Exception):
    pass


def stops_after(count: int) -> Any:
    """A teacher that answers some requests, and then the program ends."""
    answered = 0

    def reply(request: Any) -> str:
        nonlocal answered
        answered += 1
        if answered > count:
            raise StoppedError
        return improves(request)

    return reply


@pytest.mark.parametrize("done", [0, 1, 4, 6, 8])
def test_a_run_that_was_stopped_is_estimated_from_where_it_stands(
    tmp_path: Path, done: int
) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(4))
    wanted = settings(data, tmp_path / "run", teacher=OBEYS)
    with suppress(StoppedError):
        run_all(wanted, progress=Silent(), doors=doors(stops_after(done)), with_page=False)
    found = estimate_run(wanted, progress=Silent(), doors=doors())
    asked: list[str] = []
    run_all(wanted, progress=Silent(), doors=doors(asked=asked), with_page=False)
    assert (found["calls"], found["calls_in_journal"]) == (8 - done, done)
    assert len(asked) == 8 - done, "as many are sent as the estimate says"


def test_a_finished_run_asks_nothing_and_says_how_much_is_cached(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(4))
    prices = {"input_per_million": 1.0, "output_per_million": 1.0, "currency": "USD"}
    teacher = {**OBEYS, "prices": prices}
    wanted = settings(data, tmp_path / "run", teacher=teacher)
    run_all(wanted, progress=Silent(), doors=doors(), with_page=False)
    found = estimate_run(wanted, progress=Silent(), doors=doors())
    rewrite, rewrites = (
        next(w for w in found["work"] if w["stage"] == stage)
        for stage in ("rewrite", "score: rewrites")
    )
    assert (found["calls"], found["calls_in_journal"], found["cost_at_most"]) == (0, 8, 0.0)
    assert (rewrite["count"], rewrite["seconds"], rewrites["count"]) == (0, 0.0, 8)
    told = " ".join(estimate_facts(found))
    assert "Teacher: 0 calls to send, 8 answered from the teacher cache." in told


def test_a_reply_that_cannot_be_used_is_counted_with_its_next_attempt(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(1))
    steps = {"attempts": 3, "steps": ["response"]}
    wanted = settings(data, tmp_path / "run", refine=steps, teacher=OBEYS)

    def once(request: Any) -> str:
        if request.seed:
            raise StoppedError
        return "nothing that could be read"

    with suppress(StoppedError):
        run_all(wanted, progress=Silent(), doors=doors(once), with_page=False)
    found = estimate_run(wanted, progress=Silent(), doors=doors())
    assert (found["calls"], found["calls_in_journal"]) == (1, 1)


def test_a_cached_rewrite_that_the_student_may_no_longer_choose_is_named(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    wanted = settings(data, tmp_path / "run", teacher=OBEYS)
    run_all(wanted, progress=Silent(), doors=doors(), with_page=False)
    found = estimate_run(wanted, progress=Silent(), doors=doors())
    assert "up to 3 more calls if the student chooses the other instruction" in found["note"]


def test_what_the_student_has_read_is_not_counted_again(tmp_path: Path, tiny: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    student = {"model": str(tiny), "dtype": "float32"}
    wanted = settings(data, tmp_path / "run", student=student, teacher=OBEYS)

    def briefly(request: Any) -> str:  # the tiny student reads short texts only
        texts = {"new_instruction": f"Say {request.key[:4]}.", "new_response": request.key[4:9]}
        keys = request.schema["properties"]
        return json.dumps({key: texts.get(key, "It is short.") for key in keys})

    fakes = Doors(open_teacher=doors(briefly).open_teacher)
    before = estimate_run(wanted, progress=Silent(), doors=fakes, measure_seconds=0.0)
    run_all(wanted, progress=Silent(), doors=fakes, with_page=False)
    after = estimate_run(wanted, progress=Silent(), doors=fakes, measure_seconds=0.0)
    assert before["tokens"] > 0
    assert (after["tokens"], after["seconds"]) == (0, 0.0)
    read = [w["basis"] for w in after["work"] if w["stage"].startswith("score")]
    assert read == ["everything is in the student's cache"] * 2


def test_requests_in_a_batch_are_paid_for_and_not_counted_as_calls(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    teacher = TeacherSettings(model="t", base_url="http://127.0.0.1:9/v1", batch=True)
    run = tmp_path / "run"
    run.mkdir()
    job: dict[str, Any] = {
        "data": {"path": str(data)},
        "teacher": teacher.model_dump(),
        "refine": {"steps": ["response"]},
        "student": None,
        "out": run,
        "progress": Silent(),
    }
    assert estimate_refine(**job)["calls"] == 3
    (candidate, *_) = texts(data)
    sent = reflection_request(
        candidate,
        step="response_reflection",
        teacher=ScriptedTeacher("", name="t"),
        settings=RefineSettings(steps=("response",)),
    )
    with Journal(run / "journal.sqlite") as journal:
        planned = journal.batches.plan(
            "b", teacher="t", endpoint="e", run="r", requests=[(sent, 0.1)]
        )
        asyncio.run(planned)
    found = estimate_refine(**job)
    assert (found["calls"], found["calls_in_journal"], found["calls_in_batches"]) == (2, 0, 1)
    assert "1 waiting in batches" in " ".join(estimate_facts(found))


def test_accepted_responses_are_counted_as_the_sampling_counts_them(tmp_path: Path) -> None:
    sums = [{"instruction": f"{n} + {n}?", "reference": str(2 * n)} for n in range(3)]
    data = write_rows(tmp_path / "d.jsonl", sums)
    job: dict[str, Any] = {
        "data": {"path": str(data)},
        "teachers": [{"model": "scripted"}],
        "sample": {"n": 6, "accepted": 2},
        "accept": {"check": "number"},
        "out": tmp_path / "run",
        "progress": Silent(),
    }
    assert estimate_sample(**job)["calls"] == 18

    def adds(request: Any) -> str:
        number = int(request.messages[-1].content.split()[0])
        return f"Attempt {request.seed}: it is {2 * number if request.seed % 2 else 1}."

    sample_data(**job, doors=doors(adds))
    found = estimate_sample(**job)
    assert found["calls"] == 0, "enough are accepted, so the others are not asked for"
    assert 6 <= found["calls_in_journal"] < 18


def test_the_candidates_of_a_run_can_be_estimated_for_another_student(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors(), with_page=False)
    found = estimate_score(
        student={"model": "other"},
        metrics=("ifd", "r_ifd"),
        run=tmp_path / "run",
        progress=Silent(),
        doors=doors(),
    )
    assert found["work"][0]["count"] == 9  # three originals, each with two rewrites


def test_the_students_own_tokens_are_those_of_its_passages(tmp_path: Path, tiny: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(2))
    with open_student(StudentSettings(model=str(tiny), use_cache=False)) as student:
        (first, second) = texts(data)
        counts = list(student.tokens_to_read([first, second], views=views_for(("ifd",))))
        side = student.parts.builder.encode(first, "response")
        assert isinstance(side, EncodedSide)
        assert counts[0] == len(side.given[0].ids_T) + len(side.alone[0].ids_T)
        assert counts[1] > 0


def test_a_training_is_timed_by_a_few_steps_and_leaves_nothing(tmp_path: Path, tiny: Path) -> None:
    pytest.importorskip("trl")
    data = write_rows(tmp_path / "d.jsonl", rows(12))
    found = estimate_training(
        data,
        model=str(tiny),
        settings={"dtype": "float32", "batch_examples": 4, "epochs": 5},
        chosen=None,
        measure_seconds=0.01,
    )
    (train,) = found["work"]
    assert train["count"] == 60
    assert train["seconds"] > 0
    assert "measured on" in train["basis"]
    assert {p.name for p in tmp_path.iterdir()} <= {"d.jsonl", "home"}


def test_the_items_of_a_task_are_counted_up_to_its_limit(tmp_path: Path) -> None:
    from tutelage.evaluation import TaskSettings

    path = write_rows(tmp_path / "t.jsonl", [{"question": str(n), "answer": "1"} for n in range(7)])
    task = TaskSettings(name="t", kind="exact_match", path=str(path))
    assert items_of(task) == 7
    assert items_of(task.model_copy(update={"limit": 3})) == 3
    harness = TaskSettings(name="h", kind="lm_eval", harness_task="arc_easy")
    assert items_of(harness) is None


@pytest.mark.parametrize(
    "command",
    [
        ("score", "d.jsonl", "--out", "s.parquet"),
        ("audit", "d.jsonl", "--out", "audited"),
        ("rank", "sources", "d.jsonl", "--out", "ranked", "--questions", "3", "--own-answers"),
    ],
)
def test_a_command_line_prints_its_work_and_writes_nothing(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "d.jsonl", rows(6))
    more = ("--student", str(tiny), "--dry-run", "--measure-seconds", "0.01", "--json")
    done = CliRunner().invoke(main, [*command, *more])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["work"]
    assert found["seconds"] is not None
    assert {p.name for p in tmp_path.iterdir()} <= {"d.jsonl", "home"}
