"""What an experiment finds in files: folders of something else, and rows that others have too."""

from pathlib import Path

import pytest

from tests.pipeline.fakes import write_rows
from tutelage.errors import RunError
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student
from tutelage.experiments.prove.config import ArmSettings, ProveSettings, ProveStudent
from tutelage.experiments.prove.plan import Cell, SetRow, arm_rows, rows_in_common
from tutelage.experiments.prove.run import run_experiment
from tutelage.progress import Silent


def test_an_experiment_does_not_replace_the_manifest_of_a_run(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"schema_version": 1}')
    settings = ProveSettings.model_construct(out=tmp_path)
    with pytest.raises(RunError, match="is not the manifest of an experiment"):
        run_experiment(settings, progress=Silent(), most_cells=0)
    assert manifest.read_text() == '{"schema_version": 1}'


def test_an_evaluation_does_not_replace_the_manifest_of_a_run(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"schema_version": 1}')
    task = TaskSettings(name="tools", kind="choice", path=str(tmp_path / "none.jsonl"))
    with pytest.raises(RunError, match="is not the manifest of an evaluation"):
        evaluate_student("student", [task], EvaluateSettings(), out=tmp_path)
    assert manifest.read_text() == '{"schema_version": 1}'


def test_rows_of_a_file_are_the_same_where_their_texts_are(tmp_path: Path) -> None:
    turns = [("One?", "1"), ("One?", "1"), ("Two?", "2"), ("Two?", "II")]
    rows = [{"instruction": question, "output": answer} for question, answer in turns]
    first = write_rows(tmp_path / "first.jsonl", rows)
    second = write_rows(tmp_path / "second.jsonl", [*rows[:3], {**rows[3], "output": "two"}])

    def cell(arm: str, rows: list[SetRow]) -> Cell:
        return Cell(
            key=arm,
            student="tiny",
            arm=arm,
            seed=0,
            balance="examples",
            rows=tuple(rows),
            tokens=1,
        )

    student = ProveStudent(name="tiny", model="student")
    settings = ProveSettings.model_construct(students=(student,))
    cells = [
        cell(name, arm_rows(ArmSettings(name=name, file=str(path)), student, settings))
        for name, path in (("first", first), ("second", second))
    ]
    assert rows_in_common(cells, compared_with=("first", "second")) == [
        {"first": 4, "second": 3},
        {"first": 3, "second": 4},
    ]
