"""From data to a training set: each function on fakes, with data in every form."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tutelage as tt
from tests.experiments.rounds.student_fakes import moving_student
from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.errors import (
    DataError,
    RunError,
    SettingsError,
    TeacherStoppedError,
    TeacherUnreachableError,
)
from tutelage.pipeline.resources import Doors
from tutelage.student import TableStudent
from tutelage.teacher import Request


def decided(**where: Any) -> tt.Run:
    """A run with decisions and without the page, which takes seconds to draw."""
    loaded = tt.load(pairs(), **where)
    tt.score(loaded, "table", doors=FAKES)
    return tt.select(loaded).run


Form = Callable[[list[Any]], Any]
FAKES = replace(doors(), open_student=moving_student)
LONG = [{"kind": "length", "maximum": 12}]


def pairs(count: int = 6) -> list[dict[str, Any]]:
    """Pairs that somebody has rewritten elsewhere."""
    return [
        {
            **row,
            "refined_instruction": f"In one sentence: {row['instruction']}",
            "refined_response": f"Rewritten {n}: {row['output']}",
            "reference": "7",
        }
        for n, row in enumerate(rows(count))
    ]


def test_data_in_every_form_is_scored_alike(form: Form) -> None:
    scores = tt.score(form(rows(4)), "table", metrics="ifd,r_ifd", doors=FAKES)
    plain = tt.score(rows(4), "table", metrics=["ifd", "r_ifd"], doors=FAKES)
    assert scores.table.equals(plain.table)
    assert scores["row"].to_pylist() == [0, 1, 2, 3]
    assert scores.run is None
    assert "out" not in scores.summary


def test_data_in_every_form_is_filtered_alike(form: Form) -> None:
    filtered = tt.filter(form(rows(4)), LONG)
    assert filtered.table.equals(tt.filter(rows(4), {"filters": LONG}).table)
    assert filtered.kept.num_rows + filtered.dropped.num_rows == 4


def test_data_in_every_form_is_verified_alike(form: Form) -> None:
    checked = [{**row, "reference": "0"} for row in rows(3)]
    verdicts = tt.verify(form(checked), "number", response="output")
    assert verdicts["verdict"].to_pylist() == ["right", "wrong", "wrong"]
    assert verdicts.reasons == {"wrong": 2, "right": 1}
    assert verdicts.kept["row"].to_pylist() == [0]


def test_data_in_every_form_is_sampled_and_refined(form: Form, tmp_path: Path) -> None:
    samples = tt.sample(form(rows(2)), "scripted", n=2, doors=doors(lambda r: f"Say {r.key[:6]}."))
    assert samples["step"].to_pylist().count("sample") == 4
    assert samples.dropped.num_rows == 0
    written = tt.refine(form(rows(2)), "scripted", student="table", doors=FAKES)
    assert {"original", "instruction_reflection", "response_reflection"} == set(
        written["step"].to_pylist()
    )
    # Without a folder of its own the replies are kept in the user's cache: nothing paid is lost.
    assert (tmp_path / "home" / ".cache" / "tutelage" / "replies.sqlite").exists()


def test_replies_are_not_asked_for_again_where_there_is_no_folder() -> None:
    asked: list[str] = []
    ways = doors(lambda r: f"Say {r.key[:6]}.", asked=asked)
    for _ in range(2):
        tt.sample(rows(2), "scripted", n=2, doors=ways)
    assert len(asked) == 4


def test_scores_of_data_can_be_selected_from() -> None:
    given = [*pairs(5), pairs(1)[0], {"x": 1}]
    scores = tt.score(given, "table", doors=FAKES)
    assert len(scores) == 13
    assert scores.dropped["status"].to_pylist() == ["missing_fields"]
    chosen = tt.select(scores, "srt", mode="safe")
    assert len(chosen) == 5
    loaded = tt.load(given)
    tt.score(loaded, "table", doors=FAKES)
    again = tt.select(loaded, "srt", mode="safe")
    assert again.table.equals(chosen.table)
    assert chosen.kept.num_rows == chosen.selected.num_rows > 0
    assert chosen.dropped.num_rows == chosen.rejected.num_rows
    assert set(chosen.baselines["null"].to_pylist()) >= {"random", "longest"}


def test_an_iterator_can_be_scored_and_selected_from() -> None:
    scores = tt.score(iter(pairs(4)), "table", doors=FAKES)
    assert len(tt.select(scores)) == 4


def test_an_open_student_is_used_and_stays_open() -> None:
    student = tt.Student.__new__(tt.Student)
    student.settings = moving_settings()
    student.model = TableStudent(name="opened")  # type: ignore[assignment]
    scores = tt.score(rows(3), student)
    assert set(scores["student"].to_pylist()) == {TableStudent(name="opened").fingerprint}
    assert student.model.candidates_read == 3  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="is already open"):
        tt.score(rows(3), student, dtype="float32")


def moving_settings() -> Any:
    from tutelage.student import StudentSettings

    return StudentSettings(model="opened")


def test_a_run_is_followed_from_its_rows_to_its_training_set(tmp_path: Path) -> None:
    loaded = tt.load(pairs(), out=tmp_path / "run")
    tt.verify(loaded, "number")
    tt.filter(tmp_path / "run", [{"kind": "length", "maximum": 100}])
    scores = tt.score(tt.Run(tmp_path / "run"), "one", doors=FAKES)
    tt.score(loaded, "two", doors=FAKES)
    assert len(scores) == 12
    assert loaded.run.scores.num_rows == 24
    chosen = tt.select(loaded, student=scores["student"][0].as_py(), gate="off")
    strict = tt.select(chosen, name="strict", mode="paper")
    assert strict.run.selection == "strict"
    run = tt.Run(tmp_path / "run")
    assert run.selections == ["strict"]
    assert run.decisions.table.equals(chosen.table)
    assert tt.Run(run.path, selection="strict").decisions.table.equals(strict.table)
    assert set(run.verdicts["check"].to_pylist()) == {"number"}
    assert run.filters.num_rows == 12
    assert "decision:" in run.explain(0)
    assert tt.explain(run, "row:0") == run.explain("row:0")
    assert "decision:" in tt.explain(chosen, 0, selection="strict")
    assert "rows 6" in repr(run)
    assert "dropped" in run._repr_html_()
    assert run.chosen_set("random").num_rows == chosen.kept.num_rows


def test_a_finished_run_is_returned_with_its_decisions(tmp_path: Path) -> None:
    asked = settings(write_rows(tmp_path / "data.jsonl", rows(4)), tmp_path / "run")
    done = tt.run(asked, overrides={"select.mode": "paper"}, doors=FAKES)
    assert len(done) == 4
    assert done.run.path == tmp_path / "run"
    assert "in_words" in done.summary
    assert done.run.manifest["settings"]["select"]["mode"] == "paper"


def test_a_dry_run_asks_nothing_and_leaves_no_folder(tmp_path: Path) -> None:
    asked: list[str] = []
    ways = doors(asked=asked)
    where = {"base_url": "http://127.0.0.1:9/v1"}
    job = {"out": tmp_path / "run", "dry_run": True, "doors": ways}
    guess = tt.run(data=rows(4), student="table", teacher={"model": "t", **where}, **job)
    config = {"data": {"path": rows(4)}, "student": {"model": "table"}}
    again = tt.run(config, teacher={"model": "t", **where}, **job)
    counted = ["rows", "calls", "calls_in_journal", "prompt_tokens", "max_completion_tokens"]
    assert again.table.select(counted).equals(guess.table.select(counted))
    also = tt.refine(rows(4), "t", **where, **job)
    assert guess["rows"].to_pylist() == also["rows"].to_pylist() == [4]
    assert not asked
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_is_away_is_an_error_after_all_else_was_kept(tmp_path: Path) -> None:
    def away(_: Request) -> Any:
        return TeacherUnreachableError("nobody answers")

    with pytest.raises(TeacherStoppedError):
        tt.sample(rows(2), "t", n=1, out=tmp_path / "run", doors=doors(away))
    run = tt.Run(tmp_path / "run")
    assert run.candidates.dropped["status"].to_pylist() == ["teacher_failed"] * 2


def test_the_demo_runs_with_any_student(tmp_path: Path) -> None:
    fakes = Doors(open_student=lambda s: TableStudent(name=s.model))
    done = tt.demo(tmp_path / "demo", student="one", doors=fakes)
    assert len(done) >= 60
    assert done.summary["refine"]["teacher"]["answered"] == 0


@pytest.mark.parametrize("to", ["messages", "trl", "axolotl", "llamafactory", "alpaca", "sharegpt"])
def test_a_set_is_exported_with_and_without_a_file(to: str, tmp_path: Path) -> None:
    done = decided()
    held = tt.export(done, to)
    written = tt.export(done, to, out=tmp_path / "train.jsonl")
    lines = (tmp_path / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert list(held.rows) == list(written.rows) == [json.loads(line) for line in lines]
    assert len(held) == len(lines) > 0
    assert "tutelage-" not in held.snippet
    assert "train.jsonl" in held.snippet
    assert held.file is None
    assert written.file == tmp_path / "train.jsonl"


def test_an_exported_set_is_a_dataset() -> None:
    pytest.importorskip("datasets")
    done = decided()
    found = tt.export(done, "trl").to_dataset()
    assert found[0]["completion"][0]["role"] == "assistant"


def test_the_report_is_a_page_or_a_text(tmp_path: Path) -> None:
    done = decided(out=tmp_path / "run")
    page = tt.report(done)
    assert page.page == tmp_path / "run" / "report.html"
    assert page.html.startswith("<!doctype html>")
    text = tt.report(tmp_path / "run", text=True)
    assert str(text) == text.text
    assert "kept" in text.text


def test_filters_are_compared_with_each_other() -> None:
    compared = tt.filter(rows(4), [*LONG, {"kind": "exact_duplicates"}], compare=True)
    assert len(compared) == 2
    assert compared.overlaps.num_rows == 1


def test_token_statistics_give_other_metrics_without_a_student(tmp_path: Path) -> None:
    scores = tt.score(rows(4), "one", metrics="ifd", statistics=True, doors=FAKES)
    again = tt.recompute(scores, "ifd,rsr")
    assert again["ifd"].to_pylist() == scores["ifd"].to_pylist()
    assert None not in again["rsr"].to_pylist()
    pq.write_table(scores.statistics, tmp_path / "t.parquet")
    assert tt.recompute(tmp_path / "t.parquet", ["ifd", "rsr"]).table.equals(again.table)
    after = tt.score(rows(4), "two", metrics="ifd", doors=FAKES)
    change = tt.delta(scores, after.table)
    assert len(change) == 4
    assert change.summary["candidates"] == 4
    related = tt.list_metrics(agreement=again)
    assert {"ifd", "rsr"} <= set(related["a"].to_pylist()) | set(related["b"].to_pylist())


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run here"):
        tt.select(tmp_path)
    with pytest.raises(SettingsError, match="expected a run, found list"):
        tt.explain(rows(2), 0)
    with pytest.raises(SettingsError, match="has no selection 'other'"):
        tt.export(decided(), selection="other")


def test_a_temporary_run_goes_away_with_the_last_result() -> None:
    import gc

    loaded = tt.load(rows(2))
    folder = loaded.run.path
    scores = tt.score(loaded, "table", doors=FAKES)
    del loaded
    gc.collect()
    assert folder.exists()
    del scores
    gc.collect()
    assert not folder.exists()


def test_scores_are_data_for_another_student_and_tell_the_groups_of_a_difference() -> None:
    one = tt.score(rows(4), "one", metrics="ifd", doors=FAKES)
    two = tt.score(one, "two", metrics="ifd", doors=FAKES)
    assert two["candidate_id"].to_pylist() == one["candidate_id"].to_pylist()
    change = tt.delta(one, two, by="source")
    assert len(tt.filter(one, [{"kind": "exact_duplicates"}])) == 4
    assert sum(group["candidates"] for group in change.summary["by_source"]) == 4
    assert "source" in change.column_names
    with pytest.raises(DataError, match="`by"):
        tt.delta(one.table, two.table, by="source")


def test_an_export_has_the_options_of_the_command_line() -> None:
    run = decided()
    assert "train_weight" not in tt.export(run, weights="off").column_names
    with pytest.raises(SettingsError, match="to='trl'` takes no routes"):
        tt.export(run, "trl", routes="routes.json")
    with pytest.raises(SettingsError, match="belong to push_to"):
        tt.export(run, push_sets=["random"])
    with pytest.raises(SettingsError, match="takes no keyword 'wheights'"):
        tt.export(run, wheights="off")  # type: ignore[call-arg]
