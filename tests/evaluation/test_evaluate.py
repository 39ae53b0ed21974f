"""Evaluating a real, tiny student: what is written, kept, and not done twice."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tutelage.errors import DataError, SettingsError
from tutelage.evaluation import RESULTS, EvaluateSettings, TaskSettings, evaluate_student
from tutelage.evaluation import generating as generating_module
from tutelage.evaluation.generating import Answer, answer_all
from tutelage.evaluation.items import Item
from tutelage.runs import Silent
from tutelage.student import StudentSettings, open_student

pytest.importorskip("transformers")
FLOAT = EvaluateSettings(dtype="float32", batch_examples=2)


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def tasks(tmp_path: Path) -> list[TaskSettings]:
    choices = [
        {"id": n, "question": f"Colour {n}?", "choices": ["red", "blue"], "answer_index": n % 2}
        for n in range(4)
    ]
    maths = [{"id": n, "question": f"What is {n} + {n}?", "answer": 2 * n} for n in range(5)]
    ifeval = [
        {
            "key": 7,
            "prompt": "Name a colour.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
    ]
    references = [{"instruction": "Name one.", "output": "red"}]
    files = {
        "choice": choices,
        "exact_match": maths,
        "steps": maths,
        "ifeval": ifeval,
        "held_out": references,
    }
    return [
        TaskSettings.model_validate(
            {
                "name": kind,
                "kind": kind,
                "path": write(tmp_path / f"{kind}.jsonl", rows),
                "max_new_tokens": 8,
            }
        )
        for kind, rows in files.items()
    ]


def test_every_item_of_every_task_has_one_row(
    student: Path, tasks: list[TaskSettings], tmp_path: Path
) -> None:
    table = evaluate_student(str(student), tasks, FLOAT, tmp_path / "out")
    assert table.schema == RESULTS
    assert table.num_rows == 4 + 5 + 5 + 1 + 1
    for row in table.to_pylist():
        assert (row["value"] is not None) == (row["status"] in ("ok", "no_answer")), row
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["tasks"]["choice"]["items"] == 4
    assert manifest["student"]["dtype"] == "float32"


def test_a_finished_task_is_not_repeated(
    student: Path, tasks: list[TaskSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_student(str(student), tasks, FLOAT, tmp_path / "out")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(generating_module, "load_model", refuse)
    assert evaluate_student(str(student), tasks, FLOAT, tmp_path / "out").equals(first)
    one = pq.read_table(tmp_path / "out" / "choice.parquet")
    assert one.num_rows == 4


def test_a_changed_file_is_evaluated_again(
    student: Path, tasks: list[TaskSettings], tmp_path: Path
) -> None:
    choice = tasks[:1]
    evaluate_student(str(student), choice, FLOAT, tmp_path / "out")
    write(
        Path(str(choice[0].path)),
        [{"question": "q", "choices": ["red", "blue"], "answer_index": 0}],
    )
    assert evaluate_student(str(student), choice, FLOAT, tmp_path / "out").num_rows == 1


def test_two_tasks_may_not_share_a_name(
    student: Path, tasks: list[TaskSettings], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="share the name"):
        evaluate_student(str(student), [tasks[0], tasks[0]], FLOAT, tmp_path / "out")


def answers(student: Path, kept: Path, *, batch: int = 3) -> list[Answer]:
    items = [Item(item_id=str(n), question="Count " * n + "on.") for n in range(1, 8)]
    settings = StudentSettings(model=str(student), dtype="float32", use_cache=False)
    with open_student(settings) as opened:
        return answer_all(
            items, opened, max_new_tokens=6, batch=batch, kept=kept, progress=Silent()
        )


def test_an_answer_does_not_depend_on_who_shares_its_batch(student: Path, tmp_path: Path) -> None:
    alone = answers(student, tmp_path / "a.jsonl", batch=1)
    together = answers(student, tmp_path / "b.jsonl", batch=7)
    assert [a.text for a in alone] == [a.text for a in together]
    assert all(a.tokens <= 6 for a in alone)


def test_answers_that_were_kept_are_not_written_again(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "answers.jsonl"
    first = answers(student, kept)
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])  # killed in a write
    assert answers(student, kept) == first

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr(generating_module, "load_model", refuse)
    assert answers(student, kept) == first


def test_a_question_that_leaves_no_room_is_refused(student: Path, tmp_path: Path) -> None:
    items = [Item(item_id="a", question="red " * 300)]
    settings = StudentSettings(model=str(student), dtype="float32", use_cache=False)
    with open_student(settings) as opened, pytest.raises(DataError, match="do not fit"):
        answer_all(
            items,
            opened,
            max_new_tokens=6,
            batch=1,
            kept=tmp_path / "a.jsonl",
            progress=Silent(),
        )
