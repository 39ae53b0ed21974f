"""A pool made elsewhere goes through verify, filter, score and select; nobody writes anything."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, write_rows
from tutelage.cli import main
from tutelage.pipeline import (
    RunFolder,
    explain_example,
    export,
    filter_run,
    sample_data,
    score_run,
    select_again,
    verify_file,
    verify_run,
)
from tutelage.pipeline.report_stage import tables_of
from tutelage.progress import Silent
from tutelage.reporting import summarise
from tutelage.teacher import Request

ANSWERS = {"good": "{n} and {n} make {two}. The answer is {two}.", "bad": "The answer is {three}.",
           "mute": "I will not say, even though I could.", "long": "We add {n} and {n}, step by "
           "step, and do not hurry, and find what it is. The answer is {two}."}  # fmt: skip


def long_rows(count: int = 6):
    return [
        {
            "instruction": f"What is {n} and {n}?",
            "reference": str(2 * n),
            "source": "odd" if n % 2 else "even",
            "model": model,
            "response": text.format(n=n, two=2 * n, three=2 * n + 3),
        }
        for n in range(1, count + 1)
        for model, text in ANSWERS.items()
    ]


def wide_rows(count: int = 6):
    rows = long_rows(count)
    return [
        {
            "instruction": rows[at]["instruction"],
            "reference": rows[at]["reference"],
            "responses": [row["response"] for row in rows[at : at + len(ANSWERS)]],
        }
        for at in range(0, len(rows), len(ANSWERS))
    ]


def call(*words: str) -> dict:
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def score(run: Path, *metrics: str, model: str = "table") -> dict:
    return score_run(
        run, student={"model": model}, metrics=metrics, progress=Silent(), doors=doors()
    )


@pytest.fixture(params=[long_rows, wide_rows], ids=["long", "wide"])
def verified(request, tmp_path):
    """A run of a pool, verified, filtered and scored from the command line."""
    run = tmp_path / "pool"
    data = write_rows(tmp_path / "pool.jsonl", request.param())
    call("load", str(data), "--out", str(run))
    call("verify", str(run), "--check", "number")
    config = tmp_path / "filters.yaml"
    config.write_text("filters:\n  - {kind: length, unit: words, maximum: 12}\n")
    tally = call("filter", str(run), "--config", str(config))
    assert tally["kept"] == 18  # all but the six long ones
    score(run, "grape", "ifd", "r_ifd", "lark")
    return run


def chosen(run: Path):
    return [json.loads(line) for line in (run / "selected.jsonl").read_text().splitlines()]


def answers(run: Path) -> set[str]:
    return {row["messages"][-1]["content"].split(" ")[0] for row in chosen(run)}


def test_select_honours_filters_and_verdicts_and_each_can_be_switched_off(verified):
    tally = call("select", str(verified), "--rule", "keep_all", "--gate", "right")
    assert tally["gated"] == {"wrong": 6, "filtered_out": 6, "no_answer": 6}
    assert tally["rows_kept"] == tally["kept"] == 6
    assert all(" make " in row["messages"][-1]["content"] for row in chosen(verified))
    both = call("select", str(verified), "--rule", "keep_all", "--gate", "off", "--ignore-filters")
    assert both["rows_kept"] == 24
    assert len(chosen(verified)) == 24
    decisions = pq.read_table(verified / "decisions.parquet").to_pylist()
    assert len(decisions) == 6
    assert {d["candidates_kept"] for d in decisions} == {4.0}
    listed = pq.read_table(verified / "chosen.parquet").to_pylist()
    assert {row["candidate_id"] for row in listed} == {
        row["candidate_id"] for row in chosen(verified)
    }


def test_a_selection_goes_on_from_the_last_one_unless_it_is_made_afresh(verified):
    call("select", str(verified), "--rule", "grape", "--quota", "odd=1", "--gate", "right")
    again = call("select", str(verified), "--quota", "even=2")
    assert (again["rule"]["gate"], again["rule"]["quotas"]) == ("right", {"even": 2})
    afresh = call("select", str(verified), "--rule", "grape", "--afresh")
    assert (afresh["rule"]["gate"], afresh["rule"]["quotas"]) == ("not_wrong", {})


def test_new_verdicts_make_the_selection_anew(verified):
    first = call("select", str(verified), "--rule", "grape", "--gate", "right")
    (verified / "verdicts.parquet").unlink()
    second = call("select", str(verified), "--rule", "grape", "--gate", "right")
    assert first["gated"] != second["gated"]


def test_lark_weighs_what_passes_the_gates(verified):
    words = ("--rule", "lark", "--keep-per-example", "2", "--gate", "off", "--ignore-filters")
    call("select", str(verified), *words)
    rows = pq.read_table(verified / "chosen.parquet").to_pylist()
    for example in {row["example_id"] for row in rows}:
        weights = [row["weight"] for row in rows if row["example_id"] == example]
        assert len(weights) == 2
        assert sum(weights) == pytest.approx(1)
    assert all(row["weight"] >= 0 for row in chosen(verified))
    told = explain_example(verified, "row:0")
    assert "has the highest lark" in told
    assert told.count("<-- chosen") == 2
    assert "and 1 more" in told


def test_explain_says_who_may_not_be_chosen(verified):
    call("select", str(verified), "--rule", "grape", "--gate", "right")
    told = " ".join(explain_example(verified, "row:0").replace("\n  ", " ").split())
    assert "is wrong: it cannot be chosen" in told
    assert "was dropped by the filters: it cannot be chosen" in told


def test_diverse_examples_are_chosen_with_the_filters_embedder(verified):
    words = ("--rule", "grape", "--keep-count", "3", "--diversity", "k_center")
    tally = call("select", str(verified), *words)
    assert tally["kept"] == 3
    assert tally["reasons"]["covered_by_others"] == 3


def test_exports_hold_a_row_for_each_chosen_candidate(verified, tmp_path):
    call("select", str(verified), "--rule", "grape", "--keep-per-example", "2", "--gate", "off")
    run = RunFolder(root=verified)
    made = export(run, to="trl", file=tmp_path / "train.jsonl")
    assert made["rows"] == 12
    assert export(run, to="messages", file=tmp_path / "train.parquet")["rows"] == 12
    null = export(run, to="trl", file=tmp_path / "null.jsonl", chosen="random_version")
    assert null["rows"] == 12


def test_the_report_counts_every_chosen_candidate(verified):
    call("select", str(verified), "--rule", "grape", "--keep-per-example", "2", "--gate", "off")
    sets = {found.name: found for found in summarise(tables_of(RunFolder(root=verified))).sets}
    assert sets["chosen"].size == sets["random_version"].size == 12


def test_two_students_have_their_scores_in_one_run(tmp_path):
    run = tmp_path / "pool"
    call("load", str(write_rows(tmp_path / "pool.jsonl", long_rows(3))), "--out", str(run))
    first = score(run, "grape", model="one")
    second = score(run, "grape", "rsr", model="two")
    scores = pq.read_table(run / "scores.parquet").to_pylist()
    assert len(scores) == 24
    prints = [s["student"]["fingerprint"] for s in (first, second)]
    assert {row["student"] for row in scores} == set(prints)
    for student in prints:
        tally = select_again(run, given={"rule": "grape"}, student=student, progress=Silent())
        assert tally["student"] == student


def test_mixes_and_quotas_come_from_the_command_line(tmp_path):
    run = tmp_path / "pool"
    call("load", str(write_rows(tmp_path / "pool.jsonl", long_rows(10))), "--out", str(run))
    score(run, "grape")
    mix = "teacher:good=1,bad=4"
    tally = call("select", str(run), "--rule", "grape", "--mix", mix)
    teachers = [row["teacher"] for row in chosen(run)]
    assert (teachers.count("good"), teachers.count("bad")) == (2, 8)
    assert tally["kept"] == 10
    call("select", str(run), "--rule", "grape", "--mix", "length", "--quota", "odd=2")
    result = CliRunner().invoke(main, ["select", str(run), "--quota", "odd=2.5"])
    assert "expected a whole number" in result.stderr


def judges(request: Request) -> str:
    text = request.messages[-1].content
    verdict = "right" if " make " in text else "wrong"
    return json.dumps({"reason": "it was compared", "verdict": verdict})


def test_a_judge_gives_verdicts_to_a_run_and_to_a_file(tmp_path):
    data = write_rows(tmp_path / "pool.jsonl", long_rows(2))
    run, out = tmp_path / "pool", tmp_path / "v.parquet"
    call("load", str(data), "--out", str(run))
    asked: list[str] = []
    job = {"check": {"check": "judge"}, "teacher": {"model": "judge"}, "progress": Silent()}
    of_run = verify_run(run, **job, doors=doors(judges, asked=asked))
    assert of_run["verdicts"] == {"right": 2, "wrong": 6}
    verify_run(run, **job, doors=doors(judges, asked=asked))
    assert len(asked) == 8
    of_file = verify_file(
        data={"path": str(data)}, fields={}, out=out, **job, doors=doors(judges, asked=asked)
    )
    assert of_file["verdicts"] == {"right": 2, "wrong": 6}
    assert pq.read_table(out)["row"].to_pylist() == list(range(8))


def test_a_majority_stands_in_for_a_reference(tmp_path):
    run = tmp_path / "pool"
    call("load", str(write_rows(tmp_path / "pool.jsonl", long_rows(2))), "--out", str(run))
    tally = call("verify", str(run), "--check", "agreement")
    assert tally["verdicts"] == {"no_answer": 2, "right": 4, "wrong": 2}
    evidence = pq.read_table(run / "verdicts.parquet")["evidence"].to_pylist()
    assert any("majority (no proof): 2 of 4 responses" in text for text in evidence)
    data = str(tmp_path / "pool.jsonl")
    out = str(tmp_path / "v.parquet")
    result = CliRunner().invoke(main, ["verify", data, "--check", "agreement", "--out", out])
    assert result.exit_code == 2
    assert "make a run of it first" in result.stderr


def test_a_repeated_answer_votes_as_often_as_it_was_given(tmp_path):
    texts = ["The answer is 4.", "So the answer is 5.", "Thus the answer is 5."]

    def answers(request: Request) -> str:
        return texts[0] if (request.seed or 0) % 5 < 3 else texts[1 + (request.seed or 0) % 2]

    run = tmp_path / "run"
    sample_data(
        data={"path": str(write_rows(tmp_path / "q.jsonl", [{"instruction": "What is 2 and 2?"}]))},
        teachers=[{"model": "a"}],
        sample={"n": 16},
        out=run,
        progress=Silent(),
        doors=doors(answers),
    )
    statuses = pq.read_table(run / "candidates.parquet")["status"].to_pylist()
    assert statuses.count("duplicate_sample") == 13
    call("verify", str(run), "--check", "agreement")
    evidence = pq.read_table(run / "verdicts.parquet").to_pylist()
    (right,) = [row for row in evidence if row["verdict"] == "right"]
    votes = int(right["evidence"].split("majority (no proof): ")[1].split()[0])
    assert votes > 2
    assert "answer 4" in right["evidence"]


def rates(request: Request) -> str:
    return "It is one step.\nDifficulty: 2"


def test_a_filter_may_ask_a_teacher(tmp_path):
    run = tmp_path / "pool"
    call("load", str(write_rows(tmp_path / "pool.jsonl", long_rows(2))), "--out", str(run))
    config = tmp_path / "filters.yaml"
    config.write_text("filters:\n  - {kind: teacher_rating, minimum: 3}\n")
    asked: list[str] = []
    tally = filter_run(
        run,
        config=config,
        teacher={"model": "rater"},
        progress=Silent(),
        doors=doors(rates, asked=asked),
    )
    assert tally["kept"] == 0
    assert len(asked) == 2
    result = CliRunner().invoke(main, ["filter", str(run), "--config", str(config)])
    assert "name one with --teacher" in result.stderr
