"""Evaluating a real, tiny student: what is written, kept, and not done twice."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow.parquet as pq
import pytest

from tests.tiny_student import save_student
from tutelage.data import Unscored, content_hash, write_table
from tutelage.data.schemas import RESULTS
from tutelage.errors import RunError, SettingsError
from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student
from tutelage.evaluation import evaluate as evaluate_module
from tutelage.evaluation import tasks as generating_module
from tutelage.evaluation.items import Item
from tutelage.evaluation.tasks import Answer, answer_all
from tutelage.pipeline import train_stage
from tutelage.progress import Silent
from tutelage.student import StudentModel, StudentSettings, open_student

pytest.importorskip("transformers")
DtypeChoice: TypeAlias = Literal["auto", "float32", "bfloat16"]
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


def test_an_evaluation_without_any_result_is_an_error_and_its_rows_are_kept(
    student: Path, tmp_path: Path
) -> None:
    rows = [{"instruction": "Name one. " * 3000, "output": "red"}]
    path = write(tmp_path / "long.jsonl", rows)
    task = TaskSettings.model_validate({"name": "long", "kind": "held_out", "path": path})
    with pytest.raises(RunError, match=r"none of the items could be evaluated \(too_long 1\)"):
        train_stage.evaluate(
            str(student),
            tasks=[task],
            settings=FLOAT.model_dump(),
            out=tmp_path / "out",
            progress=Silent(),
        )
    assert pq.read_table(tmp_path / "out" / "long.parquet")["status"].to_pylist() == ["too_long"]


def test_two_tasks_may_not_share_a_name(
    student: Path, tasks: list[TaskSettings], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="share the name"):
        evaluate_student(str(student), [tasks[0], tasks[0]], FLOAT, tmp_path / "out")


def key_of_old(task: TaskSettings, settings: EvaluateSettings, student: StudentModel) -> str:
    """The key as it was before tasks of the harness had a filter, field by field."""
    return content_hash(
        "evaluate",
        student.fingerprint,
        {
            "name": task.name,
            "kind": task.kind,
            "fields": task.fields,
            "step": task.step,
            "prompt": task.prompt,
            "check": task.check,
            "lead": task.lead,
            "max_new_tokens": task.max_new_tokens,
            "limit": task.limit,
            "harness_task": task.harness_task,
            "shots": task.shots,
        },
        sha256(Path(str(task.path)).read_bytes()).hexdigest(),
        {
            "template": settings.template,
            "dtype": settings.dtype,
            "device": settings.device,
            "max_length": settings.max_length,
            "batch_examples": settings.batch_examples,
            "seed": settings.seed,
        },
        "float32",
    )


def test_finished_work_is_still_found_by_its_key(
    student: Path, tasks: list[TaskSettings], tmp_path: Path
) -> None:
    evaluate_student(str(student), tasks, FLOAT, tmp_path / "out")
    found = manifest_of(tmp_path / "out")["tasks"]
    with opened(student) as model:
        for task in tasks:
            assert found[task.name]["key"] == key_of_old(task, FLOAT, model)


def test_each_task_says_of_which_student_and_settings_it_is(
    student: Path, tasks: list[TaskSettings], tmp_path: Path, tmp_path_factory: Any
) -> None:
    other = save_student(tmp_path_factory.mktemp("other"), seed=1)
    held_out, choice = tasks[-1], tasks[0]
    evaluate_student(str(student), [held_out], FLOAT, tmp_path / "out")
    settings = FLOAT.model_copy(update={"seed": 3})
    evaluate_student(str(other), [choice], settings, tmp_path / "out")
    found = manifest_of(tmp_path / "out")
    assert found["tasks"]["held_out"]["student"]["model"] == str(student)
    assert found["tasks"]["held_out"]["evaluate"]["settings"]["seed"] == 0
    assert found["tasks"]["choice"]["student"]["model"] == str(other)
    assert found["tasks"]["choice"]["evaluate"]["settings"]["seed"] == 3
    assert found["student"]["model"] == str(other)


def test_the_manifest_is_there_before_work_starts(
    student: Path, tasks: list[TaskSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_module, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_student(str(student), tasks, FLOAT, tmp_path / "out")
    found = manifest_of(tmp_path / "out")
    assert found["student"]["dtype"] == "float32"
    assert found["settings"]["batch_examples"] == 2
    assert [task["name"] for task in found["wanted"]] == [task.name for task in tasks]
    assert found["tasks"] == {}


def test_rows_that_were_replaced_are_not_taken_for_the_old_ones(
    student: Path, tasks: list[TaskSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, out = tasks[:1], tmp_path / "out"
    first = evaluate_student(str(student), choice, FLOAT, out)

    def killed_after(file: Path, table: Any) -> None:
        write_table(file, table)
        raise KeyboardInterrupt

    other = [choice[0].model_copy(update={"prompt": "{question}!"})]
    with monkeypatch.context() as patched:
        patched.setattr(evaluate_module, "write_table", killed_after)
        with pytest.raises(KeyboardInterrupt):
            evaluate_student(str(student), other, FLOAT, out)
    assert evaluate_student(str(student), choice, FLOAT, out).equals(first)


def manifest_of(out: Path) -> Any:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def opened(student: Path, *, dtype: DtypeChoice = "float32") -> StudentModel:
    return open_student(StudentSettings(model=str(student), dtype=dtype, use_cache=False))


def answers(
    student: Path, kept: Path, *, batch: int = 3, dtype: DtypeChoice = "float32"
) -> list[Answer | Unscored]:
    items = [Item(item_id=str(n), question="Count " * n + "on.") for n in range(1, 8)]
    with opened(student, dtype=dtype) as model:
        return answer_all(items, model, max_new_tokens=6, batch=batch, kept=kept, progress=Silent())


def texts(found: list[Answer | Unscored]) -> list[str]:
    return [answer.text for answer in found if isinstance(answer, Answer)]


def test_an_answer_does_not_depend_on_who_shares_its_batch(student: Path, tmp_path: Path) -> None:
    alone = answers(student, tmp_path / "a.jsonl", batch=1)
    together = answers(student, tmp_path / "b.jsonl", batch=7)
    assert texts(alone) == texts(together)
    assert len(texts(alone)) == 7
    assert all(a.tokens <= 6 for a in alone if isinstance(a, Answer))


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


def test_an_answer_of_another_number_type_or_batch_is_not_taken(
    student: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "answers.jsonl"
    answers(student, kept)
    ways: list[tuple[DtypeChoice, int]] = [("float32", 3), ("bfloat16", 3), ("float32", 2)]
    for dtype, batch in ways:
        answers(student, kept, dtype=dtype, batch=batch)
    rows = [json.loads(line) for line in kept.read_text().splitlines() if line]
    assert len({row["key"] for row in rows}) == len(rows) == 7 * 3


def test_a_question_that_leaves_no_room_is_too_long_and_the_others_go_on(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = ["Name one.", "red " * 300, "Count."]
    items = [Item(item_id=q[:3], question=q) for q in questions]

    def asked() -> list[Answer | Unscored]:
        with opened(student) as model:
            return answer_all(
                items,
                model,
                max_new_tokens=6,
                batch=2,
                kept=tmp_path / "a.jsonl",
                progress=Silent(),
            )

    first = asked()
    assert [type(answer) for answer in first] == [Answer, Unscored, Answer]
    lost = first[1]
    assert isinstance(lost, Unscored)
    assert (lost.candidate_id, lost.reason) == ("red", "too_long")
    monkeypatch.setattr(generating_module, "load_model", None)  # all are kept
    assert asked() == first


@pytest.mark.parametrize("kind", ["exact_match", "ifeval", "steps", "choice"])
def test_an_item_that_is_too_long_has_a_status_and_no_value(
    student: Path, tmp_path: Path, kind: str
) -> None:
    constraints = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    choices = {"choices": ["red", "blue"], "answer_index": 0}
    fields = {"answer": "2", **constraints, **choices}
    rows = [
        {"id": name, "question": question, **fields}
        for name, question in (("a", "Name one."), ("long", "red " * 300), ("b", "Count."))
    ]
    path = write(tmp_path / "items.jsonl", rows)
    task = TaskSettings.model_validate(
        {"name": "t", "kind": kind, "path": path, "max_new_tokens": 8}
    )
    found = evaluate_student(str(student), [task], FLOAT, tmp_path / "out").to_pylist()
    assert [row["item_id"] for row in found] == ["a", "long", "b"]
    assert [row["status"] == "too_long" for row in found] == [False, True, False]
    assert (found[1]["value"], found[1]["correct"], found[1]["text"]) == (None, None, None)
    assert "tokens" in found[1]["detail"]
    assert manifest_of(tmp_path / "out")["tasks"]["t"]["by_status"]["too_long"] == 1


def test_reasoning_that_comes_with_a_question_that_is_too_long_has_a_status(
    student: Path, tmp_path: Path
) -> None:
    rows = [
        {"id": name, "question": question, "answer": "2", "why": "One and one."}
        for name, question in (("a", "Name one."), ("long", "red " * 300), ("b", "Count."))
    ]
    path = write(tmp_path / "items.jsonl", rows)
    task = TaskSettings(name="t", kind="steps", path=path, fields={"reasoning": "why"})
    found = evaluate_student(str(student), [task], FLOAT, tmp_path / "out").to_pylist()
    assert [row["status"] for row in found] == ["ok", "too_long", "ok"]
