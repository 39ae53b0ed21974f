"""What the command line says about data that lacks something."""

import json
import os
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.cli.options import setting_schema
from tutelage.data import Shape


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def lines(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


PAIR = {"instruction": "Name a hill.", "output": "Ben Vrackie."}


def test_as_takes_every_shape_there_is() -> None:
    assert set(setting_schema("data.shape")["enum"]) == set(get_args(Shape))


def test_questions_are_loaded_and_the_missing_responses_are_named(tmp_path: Path) -> None:
    data = lines(tmp_path / "q.jsonl", {"problem": "6*7?", "model_output": "42"})
    result = call("load", data, "--out", str(tmp_path / "run"), "--json")
    assert result.exit_code == 0, result.stderr
    assert "--map response=model_output" in result.stderr
    assert json.loads(result.stdout)["load"]["examples"] == 1


def test_a_mistyped_map_is_an_error(tmp_path: Path) -> None:
    data = lines(tmp_path / "q.jsonl", PAIR)
    result = call("load", data, "--map", "reference=outptu", "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "did you mean --map reference=output?" in result.stderr


def test_rows_of_one_instruction_are_samples_when_asked(tmp_path: Path) -> None:
    data = lines(tmp_path / "q.jsonl", PAIR, {**PAIR, "output": "Lochnagar."})
    result = call("load", data, "--out", str(tmp_path / "a"))
    assert "--as samples" in result.stderr
    result = call("load", data, "--as", "samples", "--out", str(tmp_path / "b"), "--json")
    assert result.stderr.count("Note:") == 0
    tally = json.loads(result.stdout)["load"]
    assert (tally["examples"], tally["candidates_by_step"]) == (1, {"sample": 2})


def test_names_that_are_not_utf_8_can_be_loaded(tmp_path: Path) -> None:
    data = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl")
    out = tmp_path / "run"
    lines(Path(data), PAIR)
    result = call("load", data, "--out", str(out))
    assert result.exit_code == 0, result.exception
    (row,) = pq.read_table(out / "rows.parquet").to_pylist()
    assert row["status"] == "ok"
    assert row["file"].endswith("caf\\xe9.jsonl")
    result = call("explain", str(out), "row:0")
    assert result.exit_code == 0, result.exception


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_student(tmp_path_factory.mktemp("student")))


def score(student: str, out: Path, *data: str) -> Result:
    return call(
        *("score", *data, "--student", student, "--metrics", "ifd", "--no-cache"),
        *("--out", str(out)),
    )


def test_scoring_questions_fails_and_writes_nothing(tmp_path: Path, student: str) -> None:
    data = lines(tmp_path / "q.jsonl", {"problem": "6*7?", "model_output": "42"})
    result = score(student, tmp_path / "s.parquet", data)
    assert result.exit_code == 1
    assert "--map response=model_output" in result.stderr
    assert not (tmp_path / "s.parquet").exists()


def test_scoring_a_folder_keeps_what_it_can_and_names_the_other_file(
    tmp_path: Path, student: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "a.jsonl", PAIR)
    lines(folder / "b.jsonl", {"problem": "6*7?"})
    result = score(student, tmp_path / "s.parquet", str(folder))
    assert result.exit_code == 1
    assert "b.jsonl: no row has a response" in result.stderr
    assert pq.read_table(tmp_path / "s.parquet")["status"].to_pylist() == ["ok", "no_candidates"]
