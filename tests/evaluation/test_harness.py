"""A task of the lm-evaluation-harness from a folder of one's own, offline."""

import json
from pathlib import Path

import pytest

from tutelage.errors import SettingsError
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student

pytest.importorskip("lm_eval")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the harness and what it imports
]

TASK = """
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer_index
metric_list:
  - metric: acc
metadata: {{version: 3}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"question": f"Colour {n}?", "choices": [" red", " blue"], "answer_index": n % 2}
        for n in range(4)
    ]
    data = tmp_path / "colours.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "colours.yaml").write_text(TASK.format(data=data))
    return tasks


def test_every_document_has_a_row_and_the_manifest_pins_what_was_run(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    task = TaskSettings(name="c", kind="lm_eval", path=str(folder), harness_task="colours")
    settings = EvaluateSettings(dtype="float32", batch_examples=2, seed=5)
    table = evaluate_student(str(student), [task], settings, tmp_path / "out")
    assert table.num_rows == 4
    assert set(table["value"].to_pylist()) <= {0.0, 1.0}
    assert [bool(v) for v in table["value"].to_pylist()] == table["correct"].to_pylist()
    about = json.loads((tmp_path / "out" / "manifest.json").read_text())["tasks"]["c"]
    assert about["task_version"] == 3
    assert about["seed"] == 5
    assert about["chat_template"] is True
    assert about["lm_eval"]


def test_a_task_that_the_harness_does_not_know_is_named(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    task = TaskSettings(name="c", kind="lm_eval", path=str(folder), harness_task="colors")
    with pytest.raises(SettingsError, match="knows no task 'colors'"):
        evaluate_student(str(student), [task], EvaluateSettings(), tmp_path / "out")
