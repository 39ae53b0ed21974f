"""A task of the lm-evaluation-harness from a folder of one's own, offline."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tutelage.errors import DataError, MissingExtraError, SettingsError
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student
from tutelage.evaluation import lm_eval_harness as harness_module
from tutelage.evaluation.lm_eval_harness import folder_digest, harness_results

pytest.importorskip("lm_eval")

slow = pytest.mark.slow
pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports

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

WRITTEN = """
task: written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 4}}
metric_list:
  - metric: !function measured.distance
    aggregation: mean
    higher_is_better: false
filter_list:
  - name: nothing
    filter:
      - {{function: regex, regex_pattern: "(never to be found)", fallback: "one"}}
      - {{function: take_first}}
  - name: everything
    filter:
      - {{function: regex, regex_pattern: "(never to be found)", fallback: "three"}}
      - {{function: take_first}}
"""

MEASURED = """
def distance(references, predictions, **_):
    return float(len(predictions[0]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"question": f"Colour {n}?", "choices": [" red", " blue"], "answer_index": n % 2}
        for n in range(12)
    ]
    data = tmp_path / "colours.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "colours.yaml").write_text(TASK.format(data=data))
    (tasks / "written.yaml").write_text(WRITTEN.format(data=data))
    (tasks / "measured.py").write_text(MEASURED)
    return tasks


def evaluated(
    student: Path,
    folder: Path,
    out: Path,
    *,
    seed: int = 5,
    backend: Any = "auto",
    **task: Any,
) -> tuple[pa.Table, Any]:
    wanted = TaskSettings.model_validate(
        {"name": "c", "kind": "lm_eval", "path": str(folder), **task}
    )
    settings = EvaluateSettings(dtype="float32", batch_examples=4, seed=seed, backend=backend)
    table = evaluate_student(str(student), [wanted], settings, out)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return table, manifest["tasks"]["c"]


@slow
def test_every_document_has_a_row_and_the_manifest_pins_what_was_run(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    table, about = evaluated(student, folder, tmp_path / "out", harness_task="colours")
    assert table.num_rows == 12
    assert set(table["value"].to_pylist()) <= {0.0, 1.0}
    assert [bool(v) for v in table["value"].to_pylist()] == table["correct"].to_pylist()
    assert about["task_version"] == 3
    assert about["seed"] == 5
    assert about["chat_template"] is True
    assert about["lm_eval"]
    assert (about["filter"], about["metric"], about["higher_is_better"]) == ("none", "acc", True)


@slow
def test_a_document_is_read_by_one_filter_and_lower_is_better_is_negated(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    table, about = evaluated(student, folder, tmp_path / "a", harness_task="written")
    assert table["item_id"].to_pylist() == [str(n) for n in range(12)]
    assert set(table["value"].to_pylist()) == {-3.0}  # "one", by the first filter
    assert set(table["correct"].to_pylist()) == {None}
    assert json.loads(table["detail"][0].as_py()) == {about["metric"]: 3.0}
    assert (about["filter"], about["higher_is_better"]) == ("nothing", False)
    assert about["unit"].endswith("negated")
    assert about["mean_value"] == -3.0
    other, about = evaluated(
        student, folder, tmp_path / "b", harness_task="written", harness_filter="everything"
    )
    assert set(other["value"].to_pylist()) == {-5.0}
    assert about["filter"] == "everything"


@slow
def test_a_document_that_comes_twice_is_refused(
    student: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval

    once = lm_eval.simple_evaluate

    def twice(**settings: Any) -> Any:
        found = once(**settings)
        return {**found, "samples": {"colours": found["samples"]["colours"] * 2}}

    monkeypatch.setattr(lm_eval, "simple_evaluate", twice)
    with pytest.raises(DataError, match="task c: the harness gave document 0 twice"):
        evaluated(student, folder, tmp_path / "out", harness_task="colours")


@slow
def test_a_filter_that_the_task_does_not_have_is_named_before_work_starts(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="written has no filter 'strict'") as raised:
        evaluated(
            student, folder, tmp_path / "out", harness_task="written", harness_filter="strict"
        )
    assert raised.value.hint == "harness_filter is one of: nothing, everything"


@slow
def test_vllm_takes_the_place_of_transformers(
    student: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    asked: list[dict[str, Any]] = []

    class VLLM(HFLM):  # a stand-in: the same numbers, and what it was asked for
        def __init__(self, **given: Any) -> None:
            asked.append(given)
            named = {name: given[name] for name in ("pretrained", "dtype", "trust_remote_code")}
            super().__init__(**named, device="cpu", batch_size=4)

    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=VLLM))
    usual, about = evaluated(student, folder, tmp_path / "hf", harness_task="colours")
    found, by_vllm = evaluated(
        student, folder, tmp_path / "vllm", harness_task="colours", backend="vllm-offline"
    )
    assert found["value"].equals(usual["value"])
    assert (about["model"], by_vllm["model"]) == ("hf", "vllm")
    (given,) = asked
    assert given["tokenizer"] == given["pretrained"] == str(student)
    assert (given["dtype"], given["batch_size"], given["seed"]) == ("float32", "auto", 5)
    assert given["max_model_len"] > 1
    assert given["chat_template_args"] is None


def test_without_vllm_the_message_says_what_to_install(
    student: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", None)
    with pytest.raises(MissingExtraError, match="vllm-offline needs vLLM") as raised:
        evaluated(student, folder, tmp_path, harness_task="colours", backend="vllm-offline")
    assert "--backend auto" in str(raised.value.hint)


@slow
def test_the_documents_of_a_limit_are_drawn_by_seed(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    whole, _ = evaluated(student, folder, tmp_path / "all", harness_task="colours")
    drawn = []
    for seed in (0, 1):
        table, _ = evaluated(
            student, folder, tmp_path / str(seed), seed=seed, limit=4, harness_task="colours"
        )
        names = table["item_id"].to_pylist()
        assert len(set(names)) == 4
        of_all = [whole["value"][int(name)].as_py() for name in names]
        assert table["value"].to_pylist() == of_all
        drawn.append(names)
    assert ["0", "1", "2", "3"] not in drawn
    assert drawn[0] != drawn[1]


@slow
def test_a_changed_task_folder_is_evaluated_again_and_an_unchanged_one_is_not(
    student: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "evaluated"
    first, before = evaluated(student, folder, out, harness_task="written")
    with monkeypatch.context() as patched:
        patched.setattr(harness_module, "harness_results", None)
        assert evaluated(student, folder, out, harness_task="written")[0].equals(first)
    (folder / "measured.py").write_text(MEASURED.replace("float(", "2.0 * float("))
    _, after = evaluated(student, folder, out, harness_task="written")
    assert after["key"] != before["key"]


@slow
def test_rows_of_a_version_without_filters_are_made_again(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, _ = evaluated(student, folder, out, harness_task="colours")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    del manifest["tasks"]["c"]["filter"]
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (out / "c.parquet").write_bytes(b"doubled")
    assert evaluated(student, folder, out, harness_task="colours")[0].equals(first)


@slow
def test_a_task_that_the_harness_does_not_know_is_named(
    student: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="has no task 'colors'"):
        evaluated(student, folder, tmp_path / "out", harness_task="colors")


@slow
def test_a_group_of_tasks_is_no_task(student: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "all.yaml").write_text("group: both\ntask: [colours, written]\n")
    with pytest.raises(SettingsError, match="'both' is a group of 2 tasks"):
        evaluated(student, folder, tmp_path / "out", harness_task="both")


def test_a_filter_is_a_setting_of_the_harness_alone_and_changes_no_other_dump() -> None:
    plain = TaskSettings(name="c", kind="lm_eval", harness_task="t")
    assert "harness_filter" not in plain.model_dump()
    named = plain.model_copy(update={"harness_filter": "strict"})
    assert named.model_dump()["harness_filter"] == "strict"
    with pytest.raises(ValueError, match="has no effect in a task of kind choice"):
        TaskSettings(name="c", kind="choice", path="p", harness_filter="strict")


def test_a_value_that_is_no_number_is_a_status() -> None:
    samples = [
        {"doc_id": 0, "metrics": ["acc", "f1"], "acc": 1.0, "f1": 0.5},
        {"doc_id": 1, "metrics": ["f1"], "f1": 0.5},
        {"doc_id": 2, "metrics": ["acc"], "acc": float("nan")},
    ]
    found = list(harness_results(samples, metric="acc", negated=False))
    assert [r.status for r in found] == ["ok", "no_metric", "nonfinite"]
    assert [r.value for r in found] == [1.0, None, None]


def test_a_folder_is_its_files_and_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "a.yaml").write_text("a")
    first = folder_digest(folder, without=folder / "out")
    (folder / "__pycache__" / "a.pyc").write_text("b")
    (folder / "out" / "manifest.json").write_text("b")
    assert folder_digest(folder, without=folder / "out") == first
    (folder / "a.yaml").rename(folder / "b.yaml")
    assert folder_digest(folder, without=folder / "out") != first
