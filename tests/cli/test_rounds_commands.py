"""The commands drift, frontier and rounds: what they refuse, and what they pass on."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import rows, write_rows
from tutelage.cli import main


def run(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_rounds_name_every_wrong_setting_at_once(tmp_path: Path) -> None:
    config = tmp_path / "rounds.yaml"
    config.write_text("data: {path: a.jsonl}\nstudent: {model: m}\nout: o\nround: 3\n", "utf-8")
    result = run("rounds", config, "--set", "seeds=[1, 1]", "--set", "loops=[gates]")
    assert result.exit_code == 2
    for name in ("round:", "loops.0:"):
        assert name in result.stderr


def test_rounds_without_a_file_say_so(tmp_path: Path) -> None:
    result = run("rounds", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_drift_of_one_file_is_misuse(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(3))
    result = run("drift", data)
    assert result.exit_code == 2
    assert "at least two sets" in result.stderr


def test_drift_of_a_file_that_is_not_there_is_misuse(tmp_path: Path) -> None:
    assert run("drift", tmp_path / "a.jsonl", tmp_path / "b.jsonl").exit_code == 2


def test_frontier_passes_its_flags_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[dict[str, Any]] = []

    def noted(job: dict[str, Any], **_: Any) -> dict[str, Any]:
        jobs.append(job)
        return {"warning": "most of it is unknown", "answers": {"away": None}}

    monkeypatch.setattr("tutelage.experiments.frontier.find_frontier", noted)
    data = write_rows(tmp_path / "data.jsonl", rows(3))
    words = ("frontier", data, "--student", "m", "--sampled", 8, "--shots", 2, "--low", 0.2)
    served = ("--base-url", "http://127.0.0.1:9/v1", "--served-as", "name", "--batch", 4)
    result = run(*words, *served, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.output
    (job,) = jobs
    assert job["attempts"]["sampled"] == 8
    assert job["attempts"]["shots"] == 2
    assert job["band"] == {"keep_fraction": 0.5, "low": 0.2, "order": "easy_first"}
    assert job["asked_through"]["model"] == "name"
    assert job["asked_through"]["concurrency"] == 4
    assert "Warning: most of it is unknown." in result.stderr


def test_a_fixed_band_upside_down_is_misuse(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(3))
    words = ("frontier", data, "--student", "m", "--low", 0.7, "--high", 0.2)
    result = run(*words, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "low end" in result.stderr
