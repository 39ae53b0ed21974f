"""The drift account of files and runs."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.experiments.rounds.student_fakes import moving_doors as doors
from tests.pipeline.fakes import rows, settings, write_rows
from tutelage.cli import main
from tutelage.data.schemas import DRIFT
from tutelage.errors import DataError, SettingsError
from tutelage.experiments.drift import drift_files
from tutelage.pipeline import run_all
from tutelage.progress import Silent


def file_of(path: Path, answer: str, *, count: int = 8) -> Path:
    return write_rows(
        path,
        [
            {"instruction": f"What is {n}?", "output": answer.format(n=n), "reference": f"{n}"}
            for n in range(count)
        ],
    )


def lines(found: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {line["measure"]: line for line in found["lines"] if line["name"] == name}


def test_two_files_are_compared_question_by_question(tmp_path: Path) -> None:
    short = file_of(tmp_path / "short.jsonl", "It is {n}.")
    long = file_of(tmp_path / "long.jsonl", "It is {n}. It is {n} and nothing else.")
    found = drift_files(
        [short, long],
        job={
            "reading": {},
            "student": {"model": "one"},
            "current": {"model": "two"},
            "check": {"check": "number"},
            "embedder": {"kind": "words"},
        },
        out=tmp_path / "drift.parquet",
        doors=doors(),
    )
    after = lines(found, "long")
    assert after["words"]["change"] == 7
    assert after["words"]["change_low"] == 7
    assert after["accuracy"]["value"] == 1.0
    assert after["js_words"]["value"] > after["js_words"]["noise"] > 0
    assert {"nll_untrained", "nll_current", "tokens", "spread"} <= set(after)
    assert after["nll_untrained"]["value"] != after["nll_current"]["value"]
    table = pq.read_table(tmp_path / "drift.parquet")
    assert table.schema == DRIFT
    assert table.num_rows == len(found["lines"])


def test_one_run_is_compared_with_its_own_originals(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(8))
    run_all(settings(data, tmp_path / "run"), progress=Silent(), doors=doors())
    found = drift_files([tmp_path / "run"], job={"reading": {}}, out=None, doors=doors())
    assert found["sets"]["run originals"] == 8
    assert 0 < found["sets"]["run chosen"] <= 8
    assert any(m.startswith("share:") for m in lines(found, "run chosen"))


def test_one_file_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    one = file_of(tmp_path / "one.jsonl", "It is {n}.")
    with pytest.raises(SettingsError, match="at least two"):
        drift_files([one], job={"reading": {}}, out=None)


def test_a_seed_below_0_is_refused(tmp_path: Path) -> None:
    one = file_of(tmp_path / "one.jsonl", "Yes")
    with pytest.raises(SettingsError, match="seed"):
        drift_files([one, one], job={"reading": {}, "seed": -1}, out=None)


def test_a_file_may_stand_twice(tmp_path: Path) -> None:
    one = file_of(tmp_path / "one.jsonl", "It is {n}.")
    found = drift_files([one, one], job={"reading": {}}, out=None)
    assert list(found["sets"]) == ["one", "one (2)"]
    assert lines(found, "one (2)")["js_words"]["value"] == 0


def test_versions_that_no_row_has_are_an_error(tmp_path: Path) -> None:
    one = file_of(tmp_path / "one.jsonl", "It is {n}.")
    with pytest.raises(DataError, match="contains no response"):
        drift_files([one, one], job={"reading": {}, "versions": "refined"}, out=None)


def test_the_command_prints_the_account(tmp_path: Path) -> None:
    one = file_of(tmp_path / "one.jsonl", "It is {n}.")
    two = file_of(tmp_path / "two.jsonl", "It was {n}.")
    result = CliRunner().invoke(main, ["drift", str(one), str(two), "--check", "number", "--json"])
    assert result.exit_code == 0, result.output
    assert '"measure": "distinct_2"' in result.stdout
