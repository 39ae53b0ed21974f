"""Folders that belong to something else keep what they hold."""

from pathlib import Path

import pytest

from tutelage.errors import RunError
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student
from tutelage.runs import Silent
from tutelage.runs.proving import run_experiment
from tutelage.runs.proving_settings import ProveSettings


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
