import asyncio
import dataclasses
import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import doors, improves, rows, settings, write_rows
from tutelage.errors import DataError, RunError, SettingsError, TeacherUnreachableError
from tutelage.pipeline import RunFolder, explain_example, export, run_all, select_again
from tutelage.progress import Silent
from tutelage.student import TableStudent
from tutelage.teacher import Request

pytestmark = pytest.mark.usefixtures("blank_report")


def table(path: Path) -> list[dict[str, object]]:
    return pq.read_table(path).to_pylist()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", rows())


def test_every_row_is_accounted_for_from_input_to_decision(tmp_path: Path) -> None:
    values = [*rows(6), '{"instruction": "broken', rows(1)[0], {"nothing": 1}]
    run = RunFolder(root=tmp_path / "run")
    summary = run_all(
        settings(write_rows(tmp_path / "d.jsonl", values), run.root),
        progress=Silent(),
        doors=doors(),
    )
    assert [r["status"] for r in table(run.rows)] == [
        *["ok"] * 6,
        "malformed_json",
        "duplicate",
        "missing_fields",
    ]
    assert "d.jsonl:7" in str(table(run.rows)[6]["detail"])
    examples = {r["example_id"] for r in table(run.examples)}
    assert sorted(examples) == sorted(str(r["example_id"]) for r in table(run.decisions))
    kept = [json.loads(line) for line in run.selected.read_text().splitlines()]
    lost = [json.loads(line) for line in run.rejected.read_text().splitlines()]
    assert {r["example_id"] for r in kept} | {r["example_id"] for r in lost} == examples
    assert len(kept) + len(lost) == summary["select"]["examples"] == 6


def test_the_lazy_order_pays_two_calls_an_example(data: Path, tmp_path: Path) -> None:
    asked: list[str] = []
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors(asked=asked))
    assert len(asked) == len(set(asked)) == 24


def test_a_second_run_asks_nobody_and_changes_nothing(data: Path, tmp_path: Path) -> None:
    asked: list[str] = []
    run = RunFolder(root=tmp_path / "run")
    run_all(settings(data, run.root), progress=Silent(), doors=doors(asked=asked))
    before = {p: p.read_bytes() for p in (run.candidates, run.scores, run.decisions, run.selected)}
    first = len(asked)
    run_all(settings(data, run.root), progress=Silent(), doors=doors(asked=asked))
    assert len(asked) == first
    assert before == {p: p.read_bytes() for p in before}


def test_another_rule_or_margin_asks_no_request_again(data: Path, tmp_path: Path) -> None:
    asked: list[str] = []
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors(asked=asked))
    more = {"select": {"rule": "srt", "mode": "paper"}}
    run_all(settings(data, tmp_path / "run", **more), progress=Silent(), doors=doors(asked=asked))
    assert len(asked) == len(set(asked))


def test_a_run_that_was_cancelled_ends_like_one_that_was_not(data: Path, tmp_path: Path) -> None:
    calls = 0

    def stops(request: Request) -> str:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise asyncio.CancelledError
        return improves(request)

    asked: list[str] = []
    broken, whole = RunFolder(root=tmp_path / "broken"), RunFolder(root=tmp_path / "whole")
    with pytest.raises(BaseException):  # noqa: B017, PT011  (cancelled, however asyncio says so)
        run_all(settings(data, broken.root), progress=Silent(), doors=doors(stops))
    kept = sqlite3.connect(broken.journal).execute("select count(*) from replies").fetchone()[0]
    assert kept
    run_all(settings(data, broken.root), progress=Silent(), doors=doors(asked=asked))
    assert len(asked) == 24 - kept
    run_all(settings(data, whole.root), progress=Silent(), doors=doors())
    for name in ("candidates", "scores", "decisions", "nulls"):
        assert table(getattr(broken, name)) == table(getattr(whole, name)), name
    assert broken.selected.read_bytes() == whole.selected.read_bytes()


def test_a_teacher_that_is_away_leaves_reasons_and_is_asked_again(
    data: Path, tmp_path: Path
) -> None:
    def away(request: Request) -> TeacherUnreachableError:
        return TeacherUnreachableError("no answer")

    run = RunFolder(root=tmp_path / "run")
    summary = run_all(settings(data, run.root), progress=Silent(), doors=doors(away))
    assert summary["refine"]["teacher_candidates"] == {
        "instruction_reflection:teacher_failed": 12,
        "response_reflection:teacher_failed": 12,
    }
    again = run_all(settings(data, run.root), progress=Silent(), doors=doors())
    assert set(again["refine"]["teacher_candidates"]) == {
        "instruction_reflection:ok",
        "response_reflection:ok",
    }


def test_a_failed_candidate_has_no_number_and_is_never_chosen(data: Path, tmp_path: Path) -> None:
    run = RunFolder(root=tmp_path / "run")
    run_all(settings(data, run.root), progress=Silent(), doors=doors(lambda _: "nonsense"))
    failed = {r["candidate_id"] for r in table(run.candidates) if r["status"] != "ok"}
    assert failed
    for row in table(run.scores):
        if row["candidate_id"] in failed:
            assert row["status"] != "ok"
            assert all(row[n] is None for n in ("ifd", "r_ifd", "rsr", "nll_response"))
    assert not failed & {r["candidate_id"] for r in table(run.decisions)}


def test_the_rule_changes_without_a_model(data: Path, tmp_path: Path) -> None:
    run = RunFolder(root=tmp_path / "run")
    run_all(settings(data, run.root), progress=Silent(), doors=doors())
    tally = select_again(run.root, given={"rule": "grape"}, student=None, progress=Silent())
    assert tally["kept"] == 12
    assert {r["rule"] for r in table(run.decisions)} == {"grape"}


def test_explain_says_why_in_words(data: Path, tmp_path: Path) -> None:
    run = RunFolder(root=tmp_path / "run")
    run_all(settings(data, run.root), progress=Silent(), doors=doors())
    text = explain_example(run.root, "row:3")
    decision = next(
        r for r in table(run.decisions) if r["example_id"] == table(run.rows)[3]["example_id"]
    )
    assert str(decision["reason"]) in text
    assert "tool number 3" in text
    with pytest.raises(DataError, match="no input row 99"):
        explain_example(run.root, "row:99")


@pytest.mark.parametrize("to", ["messages", "trl", "axolotl", "llamafactory", "alpaca", "sharegpt"])
def test_an_export_has_every_chosen_row_and_a_snippet(data: Path, tmp_path: Path, to: str) -> None:
    run = RunFolder(root=tmp_path / "run")
    run_all(
        settings(data, run.root, select={"rule": "all_original"}), progress=Silent(), doors=doors()
    )
    done = export(run, to=to, file=tmp_path / "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert done["rows"] == len(written) == 12
    assert written[0]["example_id"] == table(run.examples)[0]["example_id"]
    assert done["snippet"]


def test_nulls_have_the_size_of_the_choice_and_can_be_exported(data: Path, tmp_path: Path) -> None:
    run = RunFolder(root=tmp_path / "run")
    summary = run_all(settings(data, run.root), progress=Silent(), doors=doors())
    kept = summary["select"]["kept"]
    assert kept
    done = export(run, to="messages", file=tmp_path / "random.parquet", chosen="random")
    assert done["rows"] == kept
    with pytest.raises(SettingsError, match="no set 'rnadom'"):
        export(run, to="messages", file=tmp_path / "x.jsonl", chosen="rnadom")


def test_a_folder_that_holds_something_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not a run folder"):
        run_all(settings(data, tmp_path / "home"), progress=Silent(), doors=doors())


def test_two_processes_cannot_write_one_run(data: Path, tmp_path: Path) -> None:
    run = RunFolder(root=tmp_path / "run").create()
    with run.locked(), pytest.raises(RunError, match="another process"):
        run_all(settings(data, run.root), progress=Silent(), doors=doors())


def test_the_manifest_is_there_before_work_starts_and_holds_no_key(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    run = RunFolder(root=tmp_path / "run")
    seen: list[dict[str, object]] = []

    def looks(request: Request) -> str:
        seen.append(run.read_manifest())
        return improves(request)

    teacher = {"model": "scripted", "api_key_env": "MY_KEY"}
    run_all(settings(data, run.root, teacher=teacher), progress=Silent(), doors=doors(looks))
    assert {"settings", "versions", "seeds", "inputs", "student", "teacher"} <= set(seen[0])
    everything = b"".join(p.read_bytes() for p in run.root.iterdir() if p.is_file())
    assert b"sk-very-secret" not in everything


@pytest.mark.parametrize(
    ("more", "measured"),
    [
        ({}, "ranks"),  # `rsr` needs ranks
        ({"score": {"metrics": ["ifd", "r_ifd"]}}, "nll"),
        (
            {
                "score": {"metrics": ["ifd", "r_ifd"]},
                "select": {"rule": "srt", "quality_gate": "calibrated"},
            },
            "full",
        ),
    ],
)
def test_what_the_student_reads_first_serves_the_scores_and_the_gate_too(
    tmp_path: Path, more: dict[str, object], measured: str
) -> None:
    asked = []

    class Noting(TableStudent):
        def read(self, candidates, *, views, statistics="nll"):
            asked.append(statistics)
            if measured == "full":
                assert "end_of_turn" in views, "the gate would read each response again for it"
            return super().read(candidates, views=views, statistics=statistics)

    fakes = dataclasses.replace(doors(), open_student=lambda s: Noting(name=s.model))
    run_all(
        settings(write_rows(tmp_path / "data.jsonl", rows()), tmp_path / "run", **more),
        progress=Silent(),
        doors=fakes,
        with_page=False,
    )
    assert len(asked) >= 2, "the choice between instructions, and the scores"
    assert set(asked) == {measured}, "what a reading lacks would be read again later"
