"""Estimates of a verification and of filters: what is asked, what is cached, what is timed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main
from tutelage.data import extensions
from tutelage.data.extensions import extension
from tutelage.errors import DataError, SettingsError
from tutelage.filters import FiltersSettings
from tutelage.pipeline import (
    estimate_filter,
    estimate_verify_file,
    estimate_verify_run,
    filter_run,
    run_all,
    verify_file,
    verify_run,
)
from tutelage.pipeline.check_estimate import checking_work
from tutelage.progress import Silent
from tutelage.verification import Claim, VerifySettings

JUDGE = {"model": "scripted", "supports_schema": "yes"}
FIELDS = {"response": "output", "instruction": "instruction"}


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: tmp_path / "home")
    monkeypatch.setattr(extensions._loaded, "found", {})


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Path:
    data = write_rows(tmp_path / "d.jsonl", rows(5))
    wanted = settings(data, tmp_path / "run", teacher=None)
    run_all(wanted, progress=Silent(), doors=doors(), with_page=False)
    return tmp_path / "run"


def says(_request: Any) -> str:
    return json.dumps({"reason": "It holds.", "verdict": "right"})


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if "home" not in p.parts}


def test_a_judge_is_asked_once_for_each_text_and_cached_verdicts_are_not_counted(
    tmp_path: Path,
) -> None:
    data = write_rows(tmp_path / "d.jsonl", [*rows(4), {"instruction": "Say.", "output": " "}])
    prices = {"input_per_million": 1.0, "output_per_million": 1.0, "currency": "USD"}
    job: dict[str, Any] = {
        "data": {"path": str(data)},
        "check": {"check": "judge"},
        "fields": FIELDS,
        "out": tmp_path / "v.parquet",
        "teacher": {**JUDGE, "prices": prices},
        "progress": Silent(),
    }
    before = files_in(tmp_path)
    found = estimate_verify_file(**job)
    assert (found["rows"], found["calls"], found["calls_in_journal"]) == (5, 4, 0)
    assert 0 < found["cost_expected"] < found["cost_at_most"]
    assert files_in(tmp_path) == before
    asked: list[str] = []
    verify_file(**job, doors=doors(says, asked=asked))
    assert len(asked) == 4
    found = estimate_verify_file(**job)
    assert (found["calls"], found["calls_in_journal"], found["cost_at_most"]) == (0, 4, 0.0)


def test_the_candidates_of_a_run_are_judged_from_its_own_cache(run: Path) -> None:
    job: dict[str, Any] = {"check": {"check": "judge"}, "teacher": JUDGE, "progress": Silent()}
    assert estimate_verify_run(run, **job)["calls"] == 5
    verify_run(run, **job, doors=doors(says))
    found = estimate_verify_run(run, **job)
    assert (found["candidates"], found["calls"], found["calls_in_journal"]) == (5, 0, 5)


def test_a_check_in_this_process_is_timed_without_its_first_response() -> None:
    claims = [Claim(response=f"It is {n}.", reference=str(n)) for n in range(9)]
    now = iter([0.0, 10.0, 10.0, *(10.0 + 0.5 * n for n in range(1, 40))])
    work = checking_work(
        claims,
        VerifySettings(check="number"),
        measure_seconds=2.0,
        clock=lambda: next(now),
    )
    assert work.seconds == pytest.approx(9 * 0.5)  # starting took ten seconds
    assert (work.count, work.unit) == (9, "responses")
    again = checking_work(claims, VerifySettings(check="number"), measure_seconds=0.0)
    assert again.seconds == work.seconds
    other = checking_work(claims, VerifySettings(check="exact"), measure_seconds=0.0)
    assert other.seconds is None  # of this check nothing is known


def test_a_users_function_is_not_called_and_a_missing_judge_or_field_is_an_error(
    tmp_path: Path,
) -> None:
    called: list[str] = []

    @extension("check")
    def never(claim: Claim) -> str:
        called.append(str(claim.response))
        return "right"

    data = write_rows(tmp_path / "d.jsonl", rows(3))
    job: dict[str, Any] = {
        "data": {"path": str(data)},
        "fields": FIELDS,
        "out": tmp_path / "v.parquet",
        "progress": Silent(),
    }
    own = estimate_verify_file(**job, check={"check": "extension", "function": "never"})
    assert (own["work"][0]["seconds"], called) == (None, [])
    with pytest.raises(SettingsError, match="needs a teacher"):
        estimate_verify_file(**job, check={"check": "judge"})
    with pytest.raises(SettingsError, match="compares the answers of one example"):
        estimate_verify_file(**job, check={"check": "agreement"})
    with pytest.raises(DataError, match="no field 'reference'"):
        estimate_verify_file(**job, check={"check": "number"})


def filters(*wanted: dict[str, Any]) -> FiltersSettings:
    return FiltersSettings.model_validate({"filters": wanted})


RATED = {"kind": "teacher_rating", "minimum": 2}


def test_only_candidates_that_reach_a_rating_are_asked_about(run: Path) -> None:
    # Tools 0 and 1 have one digit in their products, the others two.
    short = {"kind": "length", "unit": "characters", "minimum": 42}
    job: dict[str, Any] = {"config": filters(short, RATED), "progress": Silent()}
    asked: list[str] = []
    estimates = [estimate_filter(run, **job, teacher=JUDGE)]
    answers = doors(lambda _: "Hard.\nDifficulty: 3", asked=asked)
    filter_run(run, **job, teacher=JUDGE, doors=answers)
    estimates.append(estimate_filter(run, **job, teacher=JUDGE))
    assert 0 < len(asked) < 5
    assert [(e["calls"], e["calls_in_journal"]) for e in estimates] == [
        (len(asked), 0),
        (0, len(asked)),
    ]
    alone = estimate_filter(run, **job, teacher=JUDGE, compare=True)
    assert alone["calls"] == 5 - len(asked)
    assert [w["stage"] for w in alone["work"]] == ["filter: teacher_rating", "filter: length"]
    with pytest.raises(SettingsError, match="teacher_rating needs a teacher"):
        estimate_filter(run, **job)


def test_a_second_rating_is_counted_for_what_the_first_may_keep(run: Path) -> None:
    longer = {**RATED, "max_tokens": 300}
    found = estimate_filter(run, config=filters(RATED, longer), teacher=JUDGE, progress=Silent())
    assert found["calls"] == 10

    @extension("filter")
    def drops_all(_row: Any) -> str:
        return "unwanted"

    own = {"kind": "extension", "function": "drops_all"}
    found = estimate_filter(run, config=filters(own, RATED), teacher=JUDGE, progress=Silent())
    assert found["calls"] == 5
    assert "at most" in found["note"]


def test_the_command_line_prints_the_calls(run: Path, tmp_path: Path) -> None:
    config = tmp_path / "filters.yaml"
    config.write_text(json.dumps({"filters": [RATED]}))
    teacher = ("--teacher", "t", "--base-url", "http://127.0.0.1:9/v1", "--dry-run")
    before = files_in(tmp_path)
    for words in (("filter", str(run), "--config", str(config)),
                  ("verify", str(run), "--check", "judge")):  # fmt: skip
        done = CliRunner().invoke(main, [*words, *teacher])
        assert done.exit_code == 0, done.output
        assert "5 calls to send, 0 answered from the teacher cache." in done.stdout
    done = CliRunner().invoke(main, ["verify", str(run), "--check", "agreement", "--dry-run"])
    assert done.stdout.startswith("Candidates: 5.")
    assert "not known yet: verify: agreement" in done.stdout
    assert files_in(tmp_path) == before
