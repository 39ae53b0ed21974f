"""The frontier over a run folder, with a student behind the door that knows some sums."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.experiments.rounds.student_fakes import moving_doors
from tests.pipeline.fakes import write_rows
from tutelage.cli import main
from tutelage.data.schemas import ATTEMPTS, FRONTIER
from tutelage.errors import DataError, SettingsError, TeacherStoppedError, TeacherUnreachableError
from tutelage.experiments.frontier import find_frontier
from tutelage.experiments.frontier.run import estimate_frontier
from tutelage.progress import Silent
from tutelage.teacher import Reply, Request
from tutelage.teacher.fakes import Line


def problems(path: Path, *, count: int = 12) -> Path:
    return write_rows(
        path,
        [
            {
                "instruction": f"What is {n} and {n}?",
                "output": f"{n} + {n} = {2 * n}. The answer is {2 * n}.",
                "reference": f"{2 * n}",
            }
            for n in range(count)
        ],
    )


def half_a_student(request: Request) -> Line:
    """Knows the sums below 4, guesses below 8 by the seed, and knows nothing above."""
    words = request.messages[-1].content.split()
    n = int(words[2])
    is_right = n < 4 or (n < 8 and request.temperature > 0 and (request.seed or 0) % 2 == 0)
    return f"The answer is {2 * n if is_right else 2 * n + 1}."


def job(data: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "data": {"path": str(data)},
        "student": {"model": "table"},
        "asked_through": {"model": "half", "base_url": "http://127.0.0.1:9/v1"},
        "attempts": {"sampled": 6, "greedy": 1},
        "check": {"check": "number"},
        "out": str(out),
        **more,
    }


def table(out: Path) -> dict[int, dict[str, Any]]:
    """Rows of the frontier by the number in their question."""
    texts = {
        row["example_id"]: int(row["messages"][0]["content"].split()[2])
        for row in pq.read_table(out / "examples.parquet").to_pylist()
    }
    rows = pq.read_table(out / "frontier.parquet").to_pylist()
    return {texts[row["example_id"]]: row for row in rows}


def test_each_example_is_placed_by_what_the_student_answers(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl")
    asked: list[str] = []
    found = find_frontier(
        job(data, tmp_path / "run"), doors=moving_doors(half_a_student, asked=asked)
    )
    assert len(asked) == 12 * 7
    rows = table(tmp_path / "run")
    assert pq.read_schema(tmp_path / "run" / "frontier.parquet") == FRONTIER
    assert pq.read_schema(tmp_path / "run" / "attempts.parquet") == ATTEMPTS
    assert {rows[n]["knowledge"] for n in range(4)} == {"known"}
    assert {rows[n]["knowledge"] for n in range(8, 12)} == {"unknown"}
    assert "weakly_known" in {rows[n]["knowledge"] for n in range(4, 8)}
    assert found["examples"] == found["placed"] == 12
    assert sum(found["histogram"]) == 12
    assert found["prediction"]["examples"] == 12


def test_the_exported_set_is_the_band_in_the_order_of_the_curriculum(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl")
    find_frontier(
        job(data, tmp_path / "run", band={"keep_count": 5}), doors=moving_doors(half_a_student)
    )
    lines = (tmp_path / "run" / "selected.jsonl").read_text(encoding="utf-8").splitlines()
    selected = [json.loads(line) for line in lines]
    assert [row["curriculum"] for row in selected] == [0, 1, 2, 3, 4]
    rates = [row["rate"] for row in selected]
    assert rates == sorted(rates, reverse=True)
    assert all(row["knowledge"] != "unknown" for row in selected)
    assert all(row["messages"][-1]["role"] == "assistant" for row in selected)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl")
    asked: list[str] = []
    doors = moving_doors(half_a_student, asked=asked)
    first = find_frontier(job(data, tmp_path / "run"), doors=doors)
    before = len(asked)
    assert find_frontier(job(data, tmp_path / "run"), doors=doors) == first
    find_frontier(job(data, tmp_path / "run", attempts={"sampled": 8, "greedy": 1}), doors=doors)
    assert len(asked) == before + 12 * 2


def test_examples_beyond_the_limit_are_placed_by_prediction(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl", count=24)
    find_frontier(job(data, tmp_path / "run", attempted=16), doors=moving_doors(half_a_student))
    bases = [row["basis"] for row in table(tmp_path / "run").values()]
    assert bases.count("attempts") == 16
    assert bases.count("predicted") == 8


def test_an_example_without_a_reference_says_so(tmp_path: Path) -> None:
    rows = [{"instruction": "What is 1 and 1?", "output": "Two."}]
    data = write_rows(tmp_path / "data.jsonl", rows)
    found = find_frontier(job(data, tmp_path / "run"), doors=moving_doors(half_a_student))
    assert found["reasons"] == {"no_reference": 1}
    assert found["warning"] is None


def test_an_answer_that_was_cut_is_wrong_and_one_that_never_came_is_no_attempt(
    tmp_path: Path,
) -> None:
    def answer(request: Request) -> Line:
        if "What is 0 " in request.messages[-1].content:
            return TeacherUnreachableError("no line")
        return Reply(
            request_key="",
            model="half",
            text="The answer is 2, that is",
            finish_reason="length",
        )

    data = problems(tmp_path / "data.jsonl", count=2)
    find_frontier(job(data, tmp_path / "run"), doors=moving_doors(answer))
    rows = table(tmp_path / "run")
    assert rows[0]["reason"] == "not_attempted"
    assert rows[1]["knowledge"] == "unknown"
    statuses = pq.read_table(tmp_path / "run" / "attempts.parquet")["status"].to_pylist()
    assert sorted(set(statuses)) == ["cut_by_length", "teacher_failed"]


def test_a_teacher_that_goes_away_is_named_and_the_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[bool] = []

    def answer(request: Request) -> Line:
        if there:
            return half_a_student(request)
        stopped = TeacherStoppedError("no line")
        stopped.may_pass = True
        raise stopped

    data = problems(tmp_path / "data.jsonl", count=3)
    doors = moving_doors(answer)
    found = find_frontier(job(data, tmp_path / "run"), doors=doors)
    assert found["answers"]["failed"] == found["answers"]["asked"] > 0
    assert "no line" in str(found["answers"]["away"])
    monkeypatch.setattr("tutelage.experiments.frontier.find_frontier", lambda *_, **__: found)
    words = ["frontier", str(data), "--student", "x", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "no line" in result.stderr
    there.append(True)
    again = find_frontier(job(data, tmp_path / "run"), doors=moving_doors(answer))
    assert (again["answers"]["failed"], again["answers"]["away"]) == (0, None)
    assert again["placed"] == 3


def test_an_answer_that_was_cut_is_not_wrong_where_nothing_can_be_checked(tmp_path: Path) -> None:
    def answer(_: Request) -> Line:
        return Reply(request_key="", model="half", text="It is 2, so", finish_reason="length")

    rows = [{"instruction": "What is 1 and 1?", "output": "2", "reference": "see the figure"}]
    data = write_rows(tmp_path / "data.jsonl", rows)
    found = find_frontier(job(data, tmp_path / "run"), doors=moving_doors(answer))
    assert found["placed"] == 0
    assert found["answers"]["cut"] == found["answers"]["asked"] == 7
    assert found["warning"].startswith("7 of 7 answers were cut at 256 tokens")


def test_shots_are_other_solved_examples(tmp_path: Path) -> None:
    shown: list[Request] = []

    def answer(request: Request) -> Line:
        shown.append(request)
        return half_a_student(request)

    data = problems(tmp_path / "data.jsonl")
    find_frontier(
        job(data, tmp_path / "run", attempts={"sampled": 0, "greedy": 3, "shots": 2}),
        doors=moving_doors(answer),
    )
    assert len(shown) == 12 * 3
    for request in shown:
        assert [m.role for m in request.messages] == ["user", "assistant"] * 2 + ["user"]
        questions = [m.content for m in request.messages if m.role == "user"]
        assert len(set(questions)) == 3


def test_shots_of_problems_are_solved_by_their_references_behind_the_system_prompt(
    tmp_path: Path,
) -> None:
    shown: list[Request] = []

    def answer(request: Request) -> Line:
        shown.append(request)
        return half_a_student(request)

    rows = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"What is {n} and {n}?"},
            ],
            "reference": f"{2 * n}",
        }
        for n in range(4)
    ]
    data = write_rows(tmp_path / "data.jsonl", rows)
    wanted = {"sampled": 0, "greedy": 2, "shots": 2}
    find_frontier(job(data, tmp_path / "run", attempts=wanted), doors=moving_doors(answer))
    assert len(shown) == 4 * 2
    for request in shown:
        roles = [m.role for m in request.messages]
        assert roles == ["system", *["user", "assistant"] * 2, "user"]


def test_more_shots_than_there_are_solved_examples_are_refused(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl", count=2)
    wanted = {"sampled": 0, "greedy": 2, "shots": 2}
    with pytest.raises(DataError, match="2 shots are wanted and 1 other"):
        find_frontier(
            job(data, tmp_path / "run", attempts=wanted), doors=moving_doors(half_a_student)
        )


def test_a_set_that_is_mostly_unknown_is_warned_about(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl")
    found = find_frontier(
        job(data, tmp_path / "run"), doors=moving_doors(lambda _: "I do not know.")
    )
    assert "100 % of 12 placed examples unknown" in found["warning"]
    assert found["kept"] == 0


def test_several_greedy_answers_without_shots_are_refused(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl")
    with pytest.raises(SettingsError, match="identical without shots"):
        find_frontier(job(data, tmp_path / "run", attempts={"greedy": 2}))


def test_the_command_refuses_a_model_that_is_not_there(tmp_path: Path) -> None:
    data = problems(tmp_path / "data.jsonl")
    out = str(tmp_path / "run")
    result = CliRunner().invoke(
        main, ["frontier", str(data), "--student", str(tmp_path / "no"), "--out", out]
    )
    assert result.exit_code == 1
    assert "is neither a folder nor a bundled model" in result.stderr


def test_a_dry_run_counts_answers_that_are_not_cached_and_the_solutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: tmp_path / "home")
    data = problems(tmp_path / "data.jsonl", count=6)
    asked: list[str] = []
    doors = moving_doors(half_a_student, asked=asked)
    some = job(data, tmp_path / "run", attempted=4)

    def estimated(values: dict[str, Any]) -> tuple[Any, ...]:
        found = estimate_frontier(values, progress=Silent(), doors=doors, measure_seconds=0.0)
        answers, solutions = found["work"]
        assert answers["count"] == found["calls"]
        return found["rows"], found["calls"], found["calls_in_journal"], solutions["count"]

    assert estimated(some) == (6, 4 * 7, 0, 6)
    assert not (tmp_path / "run").exists()
    find_frontier(some, doors=doors)
    assert estimated(some) == (6, 0, 4 * 7, 6)
    before = len(asked)
    every = job(data, tmp_path / "run")
    assert estimated(every) == (6, 2 * 7, 4 * 7, 6)
    find_frontier(every, doors=doors)
    assert len(asked) - before == 2 * 7, "as many are sent as the estimate says"
