"""Refining the student's own answers: the student answers, the teacher revises that answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import doors, improves, rows, settings, write_rows
from tutelage.errors import SettingsError
from tutelage.pipeline import estimate_run, refine_data, run_all
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.refinement import RefineSettings
from tutelage.teacher import Reply, Request, TeacherSettings

OWN = "own@12345678"


def answers(request: Request) -> Any:
    """The student answers; the teacher repeats what it was shown, to see what that was."""
    if request.model != OWN:
        shown = request.messages[-1].content
        number = next(n for n in range(99) if f"number {n}?" in shown)
        assert f"I think tool {number} is red." in shown, "the teacher revises the own answer"
        return improves(request)
    number = request.messages[-1].content.removesuffix("?").rpartition(" ")[2]
    text = f"I think tool {number} is red."
    if number == "3":
        return Reply(
            request_key="", model=OWN, text=text, finish_reason="length", completion_tokens=512
        )
    return text


def own_doors(*, asked: list[str] | None = None) -> Doors:
    teacher = TeacherSettings(kind="local", model="own", name=OWN)
    return replace(doors(answers, asked=asked), own_teacher=lambda _: teacher)


def candidates(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "candidates.parquet").to_pylist()


def test_both_become_candidates_and_the_original_stays(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(5))
    wanted = settings(data, tmp_path / "run", refine={"source": "student"})
    asked: list[str] = []
    done = run_all(wanted, progress=Silent(), doors=own_doors(asked=asked), with_page=False)
    found = candidates(tmp_path / "run")
    by_step = {
        step: [c for c in found if c["step"] == step]
        for step in ("original", "sample", "response_reflection", "instruction_reflection")
    }
    assert [len(x) for x in by_step.values()] == [5, 5, 5, 0]
    own = {c["candidate_id"]: c for c in by_step["sample"]}
    for revised in by_step["response_reflection"]:
        parent = own[revised["parent_id"]]
        assert parent["teacher"] == OWN
        assert revised["teacher"] == "scripted"
        assert revised["status"] == ("ok" if parent["status"] == "ok" else "parent_failed")
        if revised["status"] == "ok":
            assert parent["detail"] == "the student's own answer"
            assert revised["messages"][:-1] == parent["messages"][:-1]
    assert [c["status"] for c in by_step["sample"]].count("cut_by_length") == 1
    assert len(asked) == 5 + 4
    assert set(done["select"]["steps_kept"]) <= {"original", "response_reflection"}


def test_the_viewer_names_both(tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    from tutelage.pipeline import RunFolder
    from tutelage.viewer import Shelf
    from tutelage.viewer.example_detail import lineage_of
    from tutelage.viewer.index import open_index

    data = write_rows(tmp_path / "d.jsonl", rows(2))
    wanted = settings(data, tmp_path / "run", refine={"source": "student"})
    run_all(wanted, progress=Silent(), doors=own_doors(), with_page=False)
    run = RunFolder(root=tmp_path / "run")
    shelf = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))
    example = candidates(run.root)[0]["example_id"]
    shown = {v["step_words"]: v["teacher"] for v in lineage_of(shelf, example)["versions"]}
    shelf.close()
    assert shown == {
        "original": None,
        "student's own answer": OWN,
        "rewritten own answer": "scripted",
    }


def test_the_same_run_asks_nobody_again_and_changes_nothing(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(4))
    wanted = settings(data, tmp_path / "run", refine={"source": "student"})
    run_all(wanted, progress=Silent(), doors=own_doors(), with_page=False)
    before = candidates(tmp_path / "run")
    (tmp_path / "run" / "candidates.parquet").unlink()
    asked: list[str] = []
    run_all(wanted, progress=Silent(), doors=own_doors(asked=asked), with_page=False)
    assert not asked
    assert candidates(tmp_path / "run") == before
    other = settings(data, tmp_path / "run", refine={"source": "student", "max_tokens": 99})
    run_all(other, progress=Silent(), doors=own_doors(asked=asked), with_page=False)
    after = candidates(tmp_path / "run")
    assert len(after) == len(before)  # own answers are not there twice
    assert len(asked) == 3  # only the three revisions have another limit


def test_a_revision_can_win_against_the_original(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(24))
    wanted = settings(data, tmp_path / "run", refine={"source": "student"})
    done = run_all(wanted, progress=Silent(), doors=own_doors(), with_page=False)
    assert done["select"]["reasons"].get("response_reflection_won", 0) > 0
    grape = settings(data, tmp_path / "run", refine={"source": "student"}, select={"rule": "grape"})
    kept = run_all(grape, progress=Silent(), doors=own_doors(), with_page=False)
    assert kept["select"]["steps_kept"].get("sample", 0) > 0  # own answers compete, too


def test_only_the_step_response_goes_with_it() -> None:
    assert RefineSettings(source="student").steps == ("response",)
    with pytest.raises(ValueError, match=r"steps must be \[response\], got instruction, response"):
        RefineSettings(source="student", steps=("instruction", "response"))


def test_without_a_student_nobody_answers(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(2))
    with pytest.raises(SettingsError, match="no student is given"):
        refine_data(
            data={"path": str(data)},
            teacher={"model": "scripted"},
            refine={"source": "student"},
            student=None,
            out=tmp_path / "run",
            progress=Silent(),
            doors=own_doors(),
        )


def test_runs_from_before_keep_their_stage(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(2))
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors(), with_page=False)
    values = RefineSettings().decisive()
    assert not {"source", "answer_temperature", "answer_max_tokens"} & values.keys()
    assert RefineSettings(source="student").decisive().keys() > values.keys()


def test_a_dry_run_counts_own_answers_and_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: tmp_path / "home")
    data = write_rows(tmp_path / "d.jsonl", rows(5))
    wanted = settings(data, tmp_path / "run", refine={"source": "student"})
    found = estimate_run(wanted, progress=Silent(), doors=own_doors(), measure_seconds=0.0)
    parts = {w["stage"]: w["count"] for w in found["work"]}
    assert parts["rewrite"] == parts["the student's own answers"] == 5
    assert parts["score: rewrites"] == 10
