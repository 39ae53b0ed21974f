"""What rows of items may look like, and what is said of those that may not."""

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import DataError
from tutelage.evaluation import TaskSettings
from tutelage.evaluation.items import Item, read_items, read_references

ARC = {"text": ["red", "blue", "green"], "label": ["A", "B", "C"]}
NUMBERED = {"text": ["red", "blue", "green"], "label": ["1", "2", "3"]}


def task(tmp_path: Path, kind: str, *rows: Any) -> TaskSettings:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return TaskSettings.model_validate({"name": "t", "kind": kind, "path": str(path)})


def chosen(tmp_path: Path, **row: Any) -> Item:
    (item,) = read_items(task(tmp_path, "choice", {"question": "Which?", **row}), seed=0)
    return item


def test_choices_with_labels_are_read_with_their_key(tmp_path: Path) -> None:
    item = chosen(tmp_path, choices=ARC, answerKey="B")
    assert (item.choices, item.answer_index) == (("red", "blue", "green"), 1)


def test_a_key_is_a_label_before_it_is_a_number(tmp_path: Path) -> None:
    assert chosen(tmp_path, choices=NUMBERED, answerKey="1").answer_index == 0


@pytest.mark.parametrize(
    ("answer", "index"), [(1, 1), (1.0, 1), ("1", 1), ("B", 1), ("b", 1), (" C ", 2), (0, 0)]
)
def test_without_labels_a_key_is_an_index_or_a_letter(
    tmp_path: Path, answer: object, index: int
) -> None:
    item = chosen(tmp_path, choices=["red", "blue", "green"], answer_index=answer)
    assert item.answer_index == index


@pytest.mark.parametrize("answer", [0.9, True, 3, -1, "D", "", "red", [0], "-1"])
def test_a_key_that_names_no_choice_is_refused(tmp_path: Path, answer: object) -> None:
    with pytest.raises(DataError, match=r"items\.jsonl: row 0: answer_index .* matches none of 3"):
        chosen(tmp_path, choices=["red", "blue", "green"], label=answer)


def test_a_key_that_is_no_label_is_refused_where_there_are_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 0: answer_index '0' matches none"):
        chosen(tmp_path, choices=ARC, answerKey="0")


def test_a_number_that_is_an_index_and_another_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the index of one choice and the label of another"):
        chosen(tmp_path, choices=NUMBERED, answerKey=1)


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ("yes", "choices is 'yes', expected a list"),
        (7, "choices is 7, expected a list"),
        (["red", 3], "choices holds 3, expected texts"),
        (["red", None], "choices holds None, expected texts"),
        (["red"], "1 choices, expected two or more"),
        ({"A": "red", "B": "blue"}, r"choices\.text is None, expected a list"),
        ({"text": ["red", "blue"], "label": ["A"]}, "are not distinct for 2 choices"),
        ({"text": ["red", "blue"], "label": ["A", "A"]}, "are not distinct for 2 choices"),
    ],
)
def test_choices_that_are_none_are_refused(tmp_path: Path, choices: object, why: str) -> None:
    with pytest.raises(DataError, match=rf"items\.jsonl: row 0: .*{why}"):
        chosen(tmp_path, choices=choices, answer_index=0)


@pytest.mark.parametrize(
    ("kinds", "arguments"),
    [
        ([], []),
        ("punctuation:no_comma", [{}]),
        ([3], [{}]),
        (["punctuation:no_comma"], [3]),
        (["punctuation:no_comma"], [{}, {}]),
    ],
)
def test_an_item_without_constraints_is_refused_when_it_is_read(
    tmp_path: Path, kinds: object, arguments: object
) -> None:
    good = {"prompt": "a", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}
    bad = {"prompt": "b", "instruction_id_list": kinds, "kwargs": arguments}
    with pytest.raises(DataError, match=r"items\.jsonl: row 1: "):
        read_items(task(tmp_path, "ifeval", good, bad), seed=0)


def test_a_file_without_items_is_refused(tmp_path: Path) -> None:
    for kind in ("choice", "exact_match", "ifeval", "steps"):
        with pytest.raises(DataError, match=r"items\.jsonl: contains no rows"):
            read_items(task(tmp_path, kind), seed=0)
    with pytest.raises(DataError, match=r"items\.jsonl: contains no rows"):
        read_references(task(tmp_path, "held_out"), seed=0)


ARC_FILE = {
    "id": "q7",
    "question": {
        "stem": "Which?",
        "choices": [{"text": "red", "label": "A"}, {"text": "blue", "label": "B"}],
    },
    "answerKey": "B",
}


def test_a_question_that_is_an_object_is_asked_by_its_text(tmp_path: Path) -> None:
    (item,) = read_items(task(tmp_path, "choice", ARC_FILE), seed=0)
    assert (item.question, item.choices, item.answer_index) == ("Which?", ("red", "blue"), 1)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"Question": "Why?", "Answer": "4"}, "Why?"),
        ({"prompt": [{"role": "user", "content": "Why?"}], "answer": "4"}, "Why?"),
        (
            {"question": [{"type": "text", "text": "Why?"}, {"type": "image"}], "answer": "4"},
            "Why?",
        ),
    ],
)
def test_a_question_is_read_like_an_item_of_an_evaluation_set(
    tmp_path: Path, row: object, question: str
) -> None:
    (item,) = read_items(task(tmp_path, "exact_match", row), seed=0)
    assert (item.question, item.answer) == (question, "4")


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ({"en": "Why?", "fr": "Pourquoi ?"}, "field question is an object, not a text"),
        (True, "field question is True, not a text"),
        (17, "field question is 17, not a text"),
        (" ", "field question is ' ', not a text"),
    ],
)
def test_a_question_that_is_no_text_is_refused(tmp_path: Path, question: object, why: str) -> None:
    with pytest.raises(DataError, match=f"row 0: {why}"):
        read_items(task(tmp_path, "exact_match", {"question": question, "answer": "4"}), seed=0)


def test_a_field_inside_an_object_can_be_named(tmp_path: Path) -> None:
    settings = task(tmp_path, "exact_match", {"doc": {"ask": "Why?"}, "answer": "4"})
    settings = settings.model_copy(update={"fields": {"question": "doc.ask"}})
    assert [item.question for item in read_items(settings, seed=0)] == ["Why?"]
