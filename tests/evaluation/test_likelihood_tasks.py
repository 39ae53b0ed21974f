"""Tasks that only read, by hand-computed numbers and through a student that is a table."""

import json
import math
from pathlib import Path

import pytest

from tutelage.data import Candidate, ViewName
from tutelage.errors import DataError
from tutelage.evaluation import TaskSettings
from tutelage.evaluation.items import Item, read_items, read_references
from tutelage.evaluation.likelihood_tasks import (
    choose,
    first_statement,
    gain,
    held_out,
    reasoning_quality,
)
from tutelage.student import TableStudent


def nats_of(table: dict[str, float]) -> TableStudent:
    def mean(candidate: Candidate, _view: ViewName) -> float:
        return table[candidate.response]

    return TableStudent(mean_nats=mean)


def item(**more: object) -> Item:
    return Item(item_id="a", question="Which?", **more)  # type: ignore[arg-type]


def write(path: Path, rows: list[object]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return str(path)


def test_the_margin_is_the_right_choice_less_the_best_of_the_others() -> None:
    student = nats_of({"x": 2.0, "y": 0.5, "z": 1.25})
    (right,) = choose([item(choices=("x", "y", "z"), answer_index=1)], student)
    assert math.isclose(right.value or 0, 0.75, abs_tol=1e-6)
    assert (right.correct, right.text) == (True, "y")
    (wrong,) = choose([item(choices=("x", "y", "z"), answer_index=0)], student)
    assert math.isclose(wrong.value or 0, -1.5, abs_tol=1e-6)
    assert (wrong.correct, wrong.text) == (False, "y")


def test_a_tie_is_not_right() -> None:
    student = nats_of({"x": 1.0, "y": 1.0})
    (result,) = choose([item(choices=("x", "y"), answer_index=0)], student)
    assert result.correct is False


def test_an_item_with_an_unreadable_choice_has_no_value() -> None:
    (result,) = choose([item(choices=("x", " "), answer_index=0)], nats_of({"x": 1.0}))
    assert (result.status, result.value, result.correct) == ("empty_response", None, None)


def test_held_out_is_the_mean_log_likelihood_of_the_reference(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say it.", "output": "short"},
        {"instruction": "And?", "output": "long"},
    ]
    task = TaskSettings(name="h", kind="held_out", path=write(tmp_path / "h.jsonl", rows))
    found = list(held_out(read_references(task, seed=0), nats_of({"short": 1.5, "long": 3.0})))
    assert [round(r.value or 0, 6) for r in found] == [-1.5, -3.0]


def test_gain_is_what_the_instruction_saves(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say it.", "output": "helped"},
        {"instruction": "And?", "output": "hurt"},
    ]
    task = TaskSettings(name="g", kind="gain", path=write(tmp_path / "g.jsonl", rows))
    nats = {"helped": (1.5, 2.0), "hurt": (2.5, 2.25)}

    def mean(candidate: Candidate, view: ViewName) -> float:
        return nats[candidate.response][view == "response"]

    found = list(gain(read_references(task, seed=0), TableStudent(mean_nats=mean)))
    assert sorted(result.value or 0 for result in found) == pytest.approx([-0.25, 0.5])


def test_held_out_reads_the_version_that_was_asked_for(tmp_path: Path) -> None:
    rows = [{"instruction": "Say it.", "original_output": "old", "refined_output": "new"}]
    path = write(tmp_path / "h.jsonl", rows)
    for step, response in (("original", "old"), ("refined", "new")):
        task = TaskSettings.model_validate(
            {"name": "h", "kind": "held_out", "path": path, "step": step}
        )
        (reference,) = read_references(task, seed=0)
        assert reference.candidate.response == response


def test_the_draw_of_items_does_not_depend_on_their_order(tmp_path: Path) -> None:
    rows: list[object] = [
        {"id": n, "question": f"q{n}", "choices": ["a", "b"], "answer_index": 0} for n in range(20)
    ]
    names = []
    for order in (rows, rows[::-1]):
        path = write(tmp_path / "c.jsonl", order)
        task = TaskSettings(name="c", kind="choice", path=path, limit=5)
        names.append(sorted(i.item_id for i in read_items(task, seed=3)))
    assert names[0] == names[1]
    assert len(names[0]) == 5


def test_a_missing_field_is_named_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"question": "q", "choices": ["a", "b"]}])
    with pytest.raises(DataError, match=r"row 0: has no answer_index"):
        read_items(TaskSettings(name="c", kind="choice", path=path), seed=0)


def test_two_items_with_one_id_are_refused(tmp_path: Path) -> None:
    row = {"id": 1, "question": "q", "answer": "2"}
    path = write(tmp_path / "c.jsonl", [row, row])
    with pytest.raises(DataError, match="occurs twice"):
        read_items(TaskSettings(name="c", kind="exact_match", path=path), seed=0)


def test_a_whole_number_answer_is_written_without_a_point(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"question": "q", "answer_num": 51.0}])
    (found,) = read_items(TaskSettings(name="c", kind="exact_match", path=path), seed=0)
    assert found.answer == "51"


class _Steps(TableStudent):
    """Reads an answer with so many nats for each number of characters before it."""

    def read_pairs(self, pairs, **_):  # type: ignore[no-untyped-def]
        import numpy as np

        from tutelage.data import TokenStats

        for pair in pairs:
            steps = pair.context.count(".")
            nats = {0: 4.0, 1: 2.5, 2: 2.0, 3: 0.1}[steps]
            yield TokenStats(logprobs_T=np.array([-nats, -nats], dtype=np.float32))


def test_a_step_is_worth_what_it_takes_off_the_answer() -> None:
    text = "He has three. He buys four. That makes 7."
    asked = [Item(item_id="a", question="How many", answer="7")]
    (result,) = reasoning_quality(asked, [text], _Steps(), lead="\nThe answer is ")
    detail = json.loads(result.detail or "")
    assert detail["drops"] == [1.5, 0.5, 1.9]
    assert detail["step_that_states_the_answer"] == 2
    assert math.isclose(result.value or 0, 2.0, abs_tol=1e-6)  # what led there: 1.5 + 0.5


def test_an_answer_without_reasoning_is_worth_nothing_and_no_text_has_no_value() -> None:
    asked = [Item(item_id="a", question="How many", answer="7")] * 2
    bare, empty = reasoning_quality(asked, ["It is 7.", " "], _Steps(), lead="\n")
    assert bare.value == 0.0
    assert (empty.status, empty.value) == ("no_reasoning", None)


@pytest.mark.parametrize(
    ("text", "answer", "step"),
    [
        ("Ten is 10. So 1.", "1", 1),
        ("It is 1,000.", "1000", 0),
        ("Ten by a hundred. That is 1,000. Done.", "1,000", 1),
        ("That is 1000.", "1,000", 0),
        ("That is 11,000.", "1,000", None),
        ("It is 7.5.", "7", None),
        ("7 of them.", "7", 0),
    ],
)
def test_where_an_answer_is_first_stated(text: str, answer: str, step: int | None) -> None:
    assert first_statement(text, answer) == step
