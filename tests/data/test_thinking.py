"""Thinking is found in every spelling, and never where a text only speaks of it."""

import pytest

from tutelage.data.thinking import join_thinking, split_thinking, strip_thinking

CLOSED = [
    "<think>two and two</think>4",
    "<think>\ntwo and two\n</think>\n\n4",
    "<thinking>two and two</thinking>\n4",
    "<THINK>two and two</THINK>4",
    "<thought>two and two</thought>4",
    "<reasoning>two and two</reasoning>4",
    "[THINK]two and two[/THINK]4",
    "<seed:think>two and two</seed:think>4",
    (
        "<|begin_of_thought|>two and two<|end_of_thought|>"
        "\n<|begin_of_solution|>\n4\n<|end_of_solution|>"
    ),
    "<|START_THINKING|>two and two<|END_THINKING|><|START_RESPONSE|>4<|END_RESPONSE|>",
    "<|inner_prefix|>two and two<|inner_suffix|>4",
    "<|channel>thought\ntwo and two<channel|>4",
    "◁think▷two and two◁/think▷4",
    "<|im_start|>think\ntwo and two\n<|im_start|>answer\n4",
    (
        "<|channel|>analysis<|message|>two and two<|end|>"
        "<|start|>assistant<|channel|>final<|message|>4<|return|>"
    ),
    "<|channel|>analysis<|message|>two and two<|start|>assistant<|channel|>final<|message|>4",
    "analysistwo and twoassistantfinal4",
    "two and two</think>\n4",
    "two and two[/THINK]4",
]


@pytest.mark.parametrize("text", CLOSED)
def test_a_closed_thought_and_its_answer(text: str) -> None:
    found = split_thinking(text)
    assert (found.thoughts, found.answer, found.closed) == ("two and two", "4", True)
    assert strip_thinking(text) == "4"


@pytest.mark.parametrize(
    "text",
    [
        "<think>two and",
        "\n<think>\ntwo and",
        "[THINK]two and",
        "<seed:think>two and",
        "<|begin_of_thought|>two and",
        "<|channel|>analysis<|message|>two and",
    ],
)
def test_an_unclosed_thought_leaves_no_answer(text: str) -> None:
    found = split_thinking(text)
    assert (found.thoughts, found.answer, found.closed) == ("two and", "", False)
    assert strip_thinking(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "4",
        "I think that it is 4.",
        "The `<think>` tag opens a thought and `</think>` closes it.",
        "```xml\n<think>two</think>\n```\nis how it is written",
        "Write <think> in front",
        "Analysis of the data: the assistant's final answer",
        "",
    ],
)
def test_a_text_that_only_speaks_of_thinking_is_left_alone(text: str) -> None:
    found = split_thinking(text)
    assert (found.thoughts, found.answer, found.closed) == (None, text, True)
    assert strip_thinking(text) == text


def test_several_thoughts() -> None:
    text = "<think>a</think>First.\n<think>b</think>Then."
    assert split_thinking(text).answer == "Then."
    assert strip_thinking(text) == "First.\nThen."
    assert not split_thinking("<think>a</think>First.\n<think>b").closed


def test_a_block_of_code_left_open_inside_a_thought_does_not_hide_its_end() -> None:
    text = "<think>\n```py\nx = 1\n</think>\n\nUse this:\n```py\nx = 2\n```"
    assert split_thinking(text).answer == "Use this:\n```py\nx = 2\n```"


def test_empty_thoughts_are_not_none() -> None:
    found = split_thinking("<think>\n\n</think>\n\n4")
    assert (found.thoughts, found.answer) == ("", "4")


def test_joining_is_the_inverse_of_splitting() -> None:
    found = split_thinking(join_thinking("two and two", "4"))
    assert (found.thoughts, found.answer) == ("two and two", "4")
    assert join_thinking(None, "4") == "4"
