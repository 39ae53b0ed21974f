"""train, evaluate, prove and the trainer's truth from the command line, with a tiny student."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.pipeline.fakes import doors, rows, scored_as, settings, write_rows
from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.pipeline import jobs, run_all
from tutelage.progress import Silent
from tutelage.student import StudentSettings

pytest.importorskip("trl")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    save_student(folder / "student")
    data = write_rows(folder / "data.jsonl", rows(10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "write_report", lambda root, **_: root)
        run_all(settings(data, folder / "run"), progress=Silent(), doors=doors())
    scored_as(folder / "run", StudentSettings(model=str(folder / "student")))
    references = [{"instruction": "Name one.", "output": "red"}]
    write_rows(folder / "references.jsonl", references)
    return folder


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_set_of_a_run_is_trained_on_and_the_student_evaluated(
    place: Path, tmp_path: Path
) -> None:
    trained = call(
        "train", place / "run", "--student", place / "student", "--out", tmp_path / "t",
        "--set", "random", "--dtype", "float32", "--learning-rate", "0.01", "--json",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    found = json.loads(trained.stdout)
    assert found["steps"] >= 1
    evaluated = call(
        "evaluate", found["path"], "--task", f"held_out={place / 'references.jsonl'}",
        "--out", tmp_path / "e", "--dtype", "float32", "--json",
    )  # fmt: skip
    assert evaluated.exit_code == 0, evaluated.stderr
    task = json.loads(evaluated.stdout)["tasks"]["references"]
    assert task["by_status"] == {"ok": 1}
    assert task["mean_value"] < 0


def test_what_cannot_be_trained_on_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    result = call("train", tmp_path / "no.jsonl", "--student", "x", "--out", tmp_path / "t")
    assert result.exit_code == 2
    assert "no such file or run folder" in result.stderr


def test_a_file_has_no_sets_to_choose_from(place: Path, tmp_path: Path) -> None:
    result = call(
        "train", place / "references.jsonl", "--set", "nonsense", "--student", place / "student",
        "--out", tmp_path / "t",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "--set nonsense" in result.stderr
    assert "is a file" in result.stderr
    assert not (tmp_path / "t").exists()


def test_the_rows_of_a_finished_training_are_not_overwritten(place: Path, tmp_path: Path) -> None:
    words = ["train", place / "run", "--student", place / "student", "--out", tmp_path / "t",
             "--dtype", "float32"]  # fmt: skip
    assert call(*words).exit_code == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "t").iterdir() if path.is_file()}
    refused = call(*words, "--set", "all_original")
    assert refused.exit_code == 1
    assert "contains another training run" in refused.stderr
    left = {path.name: path.read_bytes() for path in (tmp_path / "t").iterdir() if path.is_file()}
    assert left == files
    assert call(*words).exit_code == 0  # the one that is there is still that one


def test_a_training_that_diverges_fails(place: Path, tmp_path: Path) -> None:
    result = call(
        "train", place / "run", "--student", place / "student", "--out", tmp_path / "t",
        "--dtype", "float32", "--learning-rate", "1e30",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "the training run diverged" in result.stderr
    assert "hint: lower `learning_rate`" in result.stderr
    assert result.stdout == ""


def test_a_task_that_is_misspelt_is_named(tmp_path: Path) -> None:
    for words, text in (
        (["--task", "arc.jsonl"], "expected KIND=PATH"),
        (["--task", "chioce=arc.jsonl"], "kind"),
        ([], "no tasks are given"),
    ):
        result = call("evaluate", "x", *words, "--out", tmp_path / "e")
        assert result.exit_code == 2
        assert text in result.stderr


def test_an_experiment_stops_where_it_is_told_to_and_reports(place: Path, tmp_path: Path) -> None:
    student = {"name": "tiny", "model": str(place / "student"), "run": str(place / "run")}
    config = {
        "out": "results",
        "students": [student],
        "arms": [
            {"name": "choice", "select": {"rule": "srt"}},
            {"name": "random", "select": {"rule": "random"}},
        ],
        "seeds": [0],
        "examples": 3,
        "balance": ["examples"],
        "held_out": 2,
        "train": {"dtype": "float32"},
        "evaluate": {"dtype": "float32"},
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(config))
    first = call("prove", path, "--most-cells", "1", "--json")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["done"] == 1
    assert "No result yet" in json.loads(first.stdout)["in_words"][0]
    last = json.loads(call("prove", path, "--json").stdout)
    assert last["done"] == last["cells"] == 3
    assert Path(last["report"]).is_file()


def test_the_doctor_compares_an_export_with_the_scores(place: Path, tmp_path: Path) -> None:
    exported = call("export", place / "run", "--to", "trl", "--out", tmp_path / "train.jsonl")
    assert exported.exit_code == 0, exported.stderr
    words = ["doctor", "--trainer-truth", tmp_path / "train.jsonl", "--json"]
    assert call(*words).exit_code == 2
    sound = call(*words, "--student", place / "student")
    assert sound.exit_code == 0, sound.stderr
    found = json.loads(sound.stdout)
    assert found["findings"].keys() == {"same"}
    assert found["not_compared"] == 0
    assert found["rows"] == found["rows_in_file"] > 2
    part = call(*words, "--student", place / "student", "--limit", 2)
    assert part.exit_code == 0, part.stderr
    assert json.loads(part.stdout)["rows"] == 2
    assert json.loads(part.stdout)["not_compared"] == found["rows"] - 2
    assert f"{found['rows'] - 2} of {found['rows']} rows were not compared" in part.stderr
    cut = call(*words, "--student", place / "student", "--trainer-max-length", 60)
    assert cut.exit_code == 1
