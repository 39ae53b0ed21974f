"""The commands about numbers that are there already, and how a run keeps token statistics."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main
from tutelage.pipeline import run_all
from tutelage.progress import Silent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    data = write_rows(folder / "data.jsonl", rows(12))
    asked = settings(data, folder / "run", score={"statistics": True})
    run_all(asked, progress=Silent(), doors=doors())
    return folder / "run"


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_a_run_keeps_the_statistics_of_every_candidate(run: Path) -> None:
    statistics = pq.read_table(run / "statistics.parquet")
    scores = pq.read_table(run / "scores.parquet")
    assert statistics["candidate_id"].equals(scores["candidate_id"])
    row = statistics.to_pylist()[0]
    assert (
        len(row["response_ids"])
        == len(row["logprobs_response"])
        == scores["response_tokens"][0].as_py()
    )


def test_asking_for_statistics_later_reads_again_but_changes_no_score(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(3))
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors())
    before = pq.read_table(tmp_path / "run" / "scores.parquet")
    assert not (tmp_path / "run" / "statistics.parquet").exists()
    later = settings(data, tmp_path / "run", score={"statistics": True})
    run_all(later, progress=Silent(), doors=doors())
    assert (tmp_path / "run" / "statistics.parquet").exists()
    assert pq.read_table(tmp_path / "run" / "scores.parquet").equals(before)


def test_recompute_makes_a_metric_without_a_model(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "more.parquet"
    result = call(
        "recompute",
        str(run / "statistics.parquet"),
        "--metrics",
        "upd,mean_rank",
        "--out",
        str(out),
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["rows"] == pq.read_table(out).num_rows
    assert {"upd", "mean_rank"} <= set(pq.read_schema(out).names)


def test_agreement_is_printed_for_people_and_as_json(run: Path) -> None:
    shown = call("metrics", "--agreement", str(run))
    assert shown.exit_code == 0, shown.stderr
    assert "response_tokens" in shown.stdout
    assert "95 % CI" in shown.stdout
    assert "Spearman" in shown.stdout
    found = json.loads(call("metrics", "--agreement", str(run), "--json").stdout)["agreement"]
    assert {"a", "b", "spearman", "low", "high", "n", "examples"} <= set(found[0])


def test_agreement_of_something_else_is_refused_with_the_next_step(tmp_path: Path) -> None:
    result = call("metrics", "--agreement", str(tmp_path / "none.parquet"))
    assert result.exit_code == 1
    assert "give a run folder or a scores table" in result.stderr


def test_delta_compares_two_tables_of_scores(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.parquet"
    result = call("delta", str(run), str(run / "scores.parquet"), "--out", str(out), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["mean_delta_loss"] == 0.0
    assert pq.read_table(out).num_rows == json.loads(result.stdout)["candidates"]


def test_metrics_as_json_names_direction_level_and_source() -> None:
    found = json.loads(call("metrics", "--json").stdout)["metrics"]
    assert all(metric["better"] and metric["level"] and metric["source"] for metric in found)


def test_an_engine_there_is_not_is_misuse(run: Path) -> None:
    assert call("score", str(run), "--student", "m", "--engine", "spark").exit_code == 2


def test_a_path_that_is_not_there_is_answered_for_files_and_for_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["score", str(tmp_path / "typo.jsonl"), "--student", "x"])
    assert result.exit_code == 1
    assert "typo.jsonl: there is no such file or folder" in result.stderr
    assert "hint: give a run folder; a file or a dataset of the hub needs --out" in result.stderr
