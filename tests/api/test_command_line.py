"""A function of the API and its command give the same result."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import tutelage as tt
from tests.pipeline.fakes import write_rows
from tests.tiny_student import save_student
from tutelage.cli import main

pytest.importorskip("torch")

PAIRS: list[Any] = [
    {
        "instruction": f"Name colour number {n}.",
        "output": f"It is {n}, red and blue and green.",
        "refined_instruction": f"Name colour number {n} in one sentence.",
        "refined_response": f"Colour {n} is green, since the count from one to ten says so.",
        "reference": str(n),
    }
    for n in range(8)
] + [{"nothing": 1}]
METRICS = "ifd,r_ifd,rsr"
HOW = {"dtype": "float32", "use_cache": False}


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", PAIRS)


def call(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*(str(word) for word in words if word != "--json"), "--json"])
    assert done.exit_code == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def without_places(tally: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tally.items() if name not in ("out", "run")}


def test_scores_of_data(data: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    printed = call("score", data, "--student", student, "--metrics", METRICS, "--out", out,
                   "--dtype", "float32", "--no-cache")  # fmt: skip
    scores = tt.score(data, student, metrics=METRICS, **HOW)
    assert scores.table.equals(pq.read_table(out))
    held = tt.score(PAIRS, student, metrics=METRICS, **HOW)
    assert held.table.drop_columns("detail").equals(scores.table.drop_columns("detail"))
    assert held.dropped["detail"][0].as_py().startswith("<rows>:9: ")
    assert without_places(json.loads(json.dumps(scores.summary))) == without_places(printed)


def test_verdicts_of_data(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.parquet"
    flat = [row for row in PAIRS if "output" in row]
    write_rows(data, flat)
    printed = call("verify", data, "--check", "number", "--response", "output", "--out", out)
    verdicts = tt.verify(flat, "number", response="output")
    assert verdicts.table.equals(pq.read_table(out))
    assert without_places(dict(verdicts.summary)) == without_places(printed)


def test_a_run_from_load_to_export(data: Path, student: Path, tmp_path: Path) -> None:
    config = tmp_path / "filters.yaml"
    config.write_text("filters: [{kind: length, maximum: 100}, {kind: exact_duplicates}]\n")
    ours, theirs = tmp_path / "python", tmp_path / "command"
    call("load", data, "--out", theirs)
    loaded = tt.load(str(data), out=ours)
    call("verify", theirs, "--check", "number")
    verdicts = tt.verify(loaded, "number")
    call("filter", theirs, "--config", config)
    filtered = tt.filter(loaded, [{"kind": "length", "maximum": 100}, {"kind": "exact_duplicates"}])
    call("score", theirs, "--student", student, "--metrics", METRICS, "--dtype", "float32",
         "--no-cache")  # fmt: skip
    scores = tt.score(loaded, student, metrics=METRICS, **HOW)
    printed = call("select", theirs, "--rule", "srt", "--mode", "paper", "--gate", "off")
    chosen = tt.select(loaded, "srt", mode="paper", gate="off")
    other = tt.Run(theirs)
    for mine, stored in (
        (loaded.table, other.rows),
        (verdicts.table, other.verdicts),
        (filtered.table, other.filters),
        (scores.table, other.scores),
        (chosen.table, other.decisions),
        (chosen.baselines, other.baselines),
    ):
        assert mine.equals(stored.table)
    assert json.loads(json.dumps(chosen.summary)) == printed
    for name in ("selected.jsonl", "rejected.jsonl"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    call("select", theirs, "--rule", "all_refined", "--gate", "off")
    refined = tt.select(loaded, "all_refined", gate="off")
    for to, name in (("trl", "selected"), ("alpaca", "random")):
        out = tmp_path / f"{to}.jsonl"
        printed = call("export", theirs, "--to", to, "--set", name, "--out", out)
        exported = tt.export(refined, to, chosen=name)
        lines = out.read_text(encoding="utf-8").splitlines()
        assert list(exported.rows) == [json.loads(line) for line in lines]
        assert len(exported) == printed["rows"] > 0
        assert list(exported.notes) == printed["notes"]


def test_the_list_of_metrics() -> None:
    assert call("metrics", "--json") == json.loads(json.dumps(dict(tt.list_metrics().summary)))


def test_what_doctor_finds(student: Path) -> None:
    printed = call("doctor", "--student", student)
    found = tt.doctor(student)
    assert found.healthy
    assert json.loads(json.dumps(found.summary)) == printed
    assert "student.fingerprint" in found["finding"].to_pylist()
