"""Columns and formats of recent data sets that were read wrong, or in part."""

import json
from typing import Any

import numpy as np
import pytest

from tutelage.data import Candidate, read
from tutelage.errors import DataError

ASK = {"role": "user", "content": "How warm is Rome?"}
SAY = {"role": "assistant", "content": "12 degrees."}


def first(row: dict[str, Any]) -> Candidate:
    (found,) = read([row])
    assert found.status == "ok", found.detail
    return found.candidates[0]


def said(candidate: Candidate) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in candidate.messages]


PLAIN = [("user", ASK["content"]), ("assistant", SAY["content"])]


@pytest.mark.parametrize(
    "row",
    [
        {"system": [{"text": "Be brief."}], "messages": [ASK, SAY]},
        {"system": [{"type": "text", "text": "Be brief."}], "messages": [ASK, SAY]},
        {"system": {"role": "system", "content": "Be brief."}, "messages": [ASK, SAY]},
        {"systemInstruction": {"parts": {"text": "Be brief."}}, "messages": [ASK, SAY]},
        {"systemPrompt": "Be brief.", "messages": [ASK, SAY]},
        {"system": [{"text": "Be brief."}], "prompt": ASK["content"], "response": SAY["content"]},
    ],
)
def test_a_system_prompt_in_parts_is_read(row: dict[str, Any]) -> None:
    assert said(first(row)) == [("system", "Be brief."), *PLAIN]


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("<|im_start|>user\nHow warm is Rome?<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
        ("\n\nHuman: How warm is Rome?\n\nAssistant:", ""),
        ("<s>[INST] How warm is Rome? [/INST]", " </s>"),
        ("<|user|>\nHow warm is Rome?</s>\n<|assistant|>\n", "</s>"),
        ("### Instruction:\nHow warm is Rome?\n\n### Response:\n", ""),
    ],
)
def test_a_prompt_written_with_a_template_becomes_its_turns(prompt: str, response: str) -> None:
    for column in ("chosen", "response", "completion"):
        row = {"prompt": prompt, column: SAY["content"] + response}
        found = first(row)
        assert [(role, text.strip()) for role, text in said(found)] == PLAIN


def test_earlier_turns_of_a_written_prompt_are_turns() -> None:
    prompt = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How warm is Rome?\n\nAssistant:"
    found = said(first({"prompt": prompt, "response": SAY["content"]}))
    assert found == [("user", "Hi"), ("assistant", "Hello"), *PLAIN]


def test_an_ordinary_text_that_names_a_mark_stays_one_turn() -> None:
    for prompt in (
        "Continue this:\nAssistant:",
        "What does [/INST] mean? [/INST]",
        "### Response:",
    ):
        assert said(first({"prompt": prompt, "response": "x"})) == [
            ("user", prompt),
            ("assistant", "x"),
        ]


def test_a_dialogue_as_an_answer_is_not_the_conversation() -> None:
    row = {"prompt": "Write a dialogue.", "response": "Human: Hi\n\nAssistant: Hello"}
    assert said(first(row)) == [("user", row["prompt"]), ("assistant", row["response"])]


def test_the_thinking_of_a_column_beside_turns_belongs_to_the_answer() -> None:
    found = first({"messages": [ASK, SAY], "reasoning_content": "It is spring."})
    assert found.messages[-1].reasoning == "It is spring."
    found = first({"messages": [ASK], "reasoning": "It is spring.", "answer": "12 degrees."})
    assert said(found) == PLAIN
    assert found.messages[-1].reasoning == "It is spring."


def test_thinking_that_the_response_holds_is_not_added_again() -> None:
    text = "<think>It is spring.</think>12 degrees."
    row = {"prompt": "How warm?", "response": text, "reasoning_content": "It is spring."}
    assert (first(row).messages[-1].content, first(row).messages[-1].reasoning) == (text, None)
    pool = {"prompt": "How warm?", "responses": [{"text": text, "reasoning": "It is spring."}]}
    assert first(pool).messages[-1].reasoning is None


def test_thinking_in_a_list_beside_the_answers_belongs_to_each() -> None:
    row = {
        "problem": "How warm?",
        "generations": ["12 degrees.", "14 degrees."],
        "reasoning_content": ["It is spring.", "It is May."],
    }
    (found,) = read([row])
    assert [c.messages[-1].reasoning for c in found.candidates] == row["reasoning_content"]


def test_the_steps_of_one_answer_are_not_answers_to_choose_from() -> None:
    row = {
        "prompt": "2 + 2 + 2?",
        "completions": ["2 + 2 = 4", "4 + 2 = 6"],
        "labels": [True, True],
    }
    with pytest.raises(DataError, match="steps of one answer"):
        list(read([row]))


def test_answers_that_are_turns_keep_their_thinking_and_leave_the_prompt() -> None:
    row = {"prompt": ASK["content"], "responses": [[ASK, {**SAY, "reasoning_content": "Spring."}]]}
    found = first(row)
    assert said(found) == PLAIN
    assert found.messages[-1].reasoning == "Spring."


def test_turns_in_the_context_column_are_turns() -> None:
    row = {"prompt": ASK["content"], "context": [{**ASK, "content": "Hi"}, SAY], "response": "12."}
    assert said(first(row)) == [
        *(("user", "Hi"), ("assistant", SAY["content"])),
        *(("user", ASK["content"]), ("assistant", "12.")),
    ]


def test_chosen_turns_as_json_are_turns() -> None:
    row = {"prompt": ASK["content"], "chosen": json.dumps([ASK, SAY])}
    assert said(first(row)) == PLAIN
    row = {"prompt": ASK["content"], "chosen": json.dumps([SAY])}
    assert said(first(row)) == PLAIN
    row = {"prompt": "Write a chat as JSON.", "response": json.dumps([ASK, SAY])}
    assert said(first(row))[-1] == ("assistant", row["response"])


@pytest.mark.parametrize("label", [False, np.bool_(False)])
def test_a_rejected_answer_is_not_trained_on_whatever_wrote_the_label(label: object) -> None:
    row = {"prompt": "Q", "completion": "A", "label": label}
    good = {"prompt": "Q2", "completion": "A", "label": True}
    found = list(read([row, good]))
    assert [one.candidates[0].status for one in found] == ["untrained_response", "ok"]


def test_the_index_of_an_attempt_is_not_the_answer() -> None:
    assert said(first({"question": "Q", "attempt": 1, "answer": "A"}))[-1] == ("assistant", "A")
    assert said(first({"question": "2 + 2?", "answer": 4}))[-1] == ("assistant", "4")
    assert said(first({"question": "Q", "r1_generation": "Long", "solution": "S"}))[-1][1] == "Long"


def test_a_column_that_asks_and_is_not_read_is_noted() -> None:
    row = {"instruction": "Solve the problem.", "problem": "2 + 2?", "solution": "4"}
    rows = read([row, {**row, "problem": "3 + 3?", "solution": "6"}])
    list(rows)
    assert any("2 rows with a column problem" in note for note in rows.notes)
    same = read([{"prompt": "User: 2 + 2?", "question": "2 + 2?", "answer": "4"}])
    list(same)
    assert same.notes == []


def test_short_thinking_that_the_answer_repeats_is_kept() -> None:
    row = {"prompt": "2 + 2?", "response": "It is 4 of course", "reasoning_content": "4"}
    assert first(row).messages[-1].reasoning == "4"
    row = {"messages": [ASK, SAY], "thinking": "12"}
    assert first(row).messages[-1].reasoning == "12"


def test_a_chosen_conversation_repeats_its_prompt_in_other_white_space() -> None:
    row = {"prompt": "2 + 2?\r\n Now.", "chosen": "Human: 2 + 2?\nNow.\n\nAssistant: 4"}
    assert said(first(row)) == [("user", "2 + 2?\nNow."), ("assistant", "4")]


def test_a_number_in_the_column_of_responses_is_the_response() -> None:
    row = {"question": "How many?", "response": 3, "solution": "Because 1 + 2."}
    assert said(first(row))[-1] == ("assistant", "3")
    (found,) = read([{"question": "Q", "attempt": 1, "answer": "A"}])
    assert json.loads(found.example.extra or "") == {"attempt": 1}
