"""Signs of a fault that show in the text alone: strict, and silent on ordinary text."""

import pytest

from tests.gate.gate_rows import CountingStudent, gate_rows, read_one
from tutelage.gate import plain_features, plant
from tutelage.gate.fault_texts import COMMON_WORDS, TOPIC_REFUSALS
from tutelage.gate.text_signs import (
    foreign_words,
    played_turns,
    refusal_share,
    sign_of,
    template_pieces,
    unfinished,
)

ORDINARY = (
    "Oil and water cannot mix, because their molecules do not attract each other.",
    "I am not sure that the shop is open, so call first.",
    "Unfortunately the weather was bad, but we went to the lake.",
    "The answer to your question is forty-two.",
    "Sorry is a word that people say too often.",
    "1. Apples\n2. Pears\n3. Plums",
    "Use `print(x)` to show the value of {x} in the box",
    "Many people are unable to find their keys in the morning.",
    "The model is able to predict the weather, and it can not only name the day.",
    "I understand that you need more time before the meeting.",
)
REFUSALS = (
    "As a large language model, I am unable to access the internet.",
    "I am unable to find any news about it on the website.",
    "I'm sorry, I don't understand the request, as it is incomplete.",
    "Sorry, this needs a picture, which the model cannot generate.",
    "Thank you. As a conversational AI, I am unable to endorse this idea.",
    "The text does not say who won, so the question cannot be answered.",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_neither_refuses_nor_is_foreign(text: str) -> None:
    assert refusal_share(text) == 0.0
    assert foreign_words(text, asked="Say something about it.") <= 0.0
    assert played_turns(text) == 0.0


@pytest.mark.parametrize("number", range(10))
def test_planted_refusals_are_recognised(number: int) -> None:
    rows = gate_rows(10)
    for part in ("fit", "held_out"):
        found = plant(rows[number], fault="refusal", dose="strong", others=rows, seed=4, part=part)  # type: ignore[arg-type]
        assert refusal_share(str(found.response)) >= 0.5, found.response


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_as_models_write_them_are_recognised(text: str) -> None:
    assert refusal_share(text) >= 0.5


def test_every_refusal_with_a_topic_is_recognised_and_names_it() -> None:
    for text in TOPIC_REFUSALS:
        written = text.replace("{topic}", "the depth of the lake")
        assert written != text
        assert refusal_share(written) >= 0.5, text


def test_an_answer_that_ends_with_its_introduction_is_unfinished() -> None:
    assert unfinished("Sure! To find the drone, follow these steps:") == 3.0
    assert unfinished("Note:") == 0.0
    assert unfinished("These are the steps:\n1. Look up.\n2. Listen.") == 0.0


def test_a_typographic_apostrophe_refuses_as_well() -> None:
    assert refusal_share("I\u2019m sorry, but I can\u2019t help with that.") == 1.0


def test_another_language_is_foreign_unless_it_was_asked_in() -> None:
    german = "Der Bus ist nicht auf der Straße, und das ist gut für die Stadt."
    assert foreign_words(german, asked="Where is the bus of the town?") > 0.1
    assert foreign_words(german, asked="Wo ist der Bus und die Bahn in der Stadt?") < 0.0


def test_a_list_may_end_without_a_mark() -> None:
    assert unfinished("Fruit:\n- apples\n- pears and plums") == 0.0
    assert unfinished("It is made of flour and") == 2.0
    assert unfinished("Paris") == 0.0


def test_turns_and_templates_are_counted_where_they_begin_a_line() -> None:
    assert played_turns("Yes.\n\nUser: And now?\nAssistant: No.") == 1.0
    assert played_turns("The user: a person who clicks.") == 0.0
    assert template_pieces("### Response:\nYes.<|im_end|>") == 2.0
    assert template_pieces("Yes, that is right.") == 0.0


@pytest.mark.parametrize(
    "where", ["{asked} {answer}", "{answer}\n\n{asked}", "So: {asked}\n{answer}"]
)
def test_the_whole_instruction_in_the_answer_is_an_echo_wherever_it_stands(where: str) -> None:
    row = gate_rows(1)[0]
    text = where.format(asked=row.instruction, answer=row.response)
    assert sign_of(plain_features(read_one(CountingStudent(), "x", row, text))) == "echo"


def test_an_answer_that_uses_words_of_the_instruction_is_no_echo() -> None:
    for row in gate_rows(10):
        half = " ".join(row.instruction.split()[:9])
        text = f"{row.response} You asked: {half}."
        assert sign_of(plain_features(read_one(CountingStudent(), "x", row, text))) is None


@pytest.mark.parametrize(
    "asked", ["What does a compiler do?", "How do I do this in a day?", "Is a to-do list a plan?"]
)
def test_an_english_question_is_not_taken_for_another_language(asked: str) -> None:
    assert foreign_words("It translates source code to machine code.", asked=asked) <= 0.1


def test_no_word_of_another_language_is_common_in_english() -> None:
    english = {"a", "an", "as", "at", "do", "i", "in", "is", "it", "me", "no", "on", "so", "to"}
    for code, common in COMMON_WORDS.items():
        assert code == "en" or not english & common
