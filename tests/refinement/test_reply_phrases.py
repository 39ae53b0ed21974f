import pytest

from tutelage.refinement.reply_patterns import (
    asks_to_decline,
    is_about_texts,
    is_placeholder,
    is_refusal,
    meta_talk_in,
)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\u2019m sorry, but I can\u2019t help with that request.",
        "I am sorry, but as a language model I cannot do this.",
        "Sorry, I cannot help you.",
        "I cannot fulfill this request.",
        "I can't provide that information.",
        "I am unable to assist you with this.",
        "As an AI language model, I don't have access to the news.",
        "My apologies, but I won't write this.",
        "I must decline to answer.",
    ],
)
def test_a_refusal_is_known_by_its_beginning(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I am sorry for your loss.",
        "Sorry is the hardest word.",
        "I can't wait to help you! Here are three ideas.",
        "I cannot overstate how useful this is.",
        "The patient said: I cannot help it.",
        "As an airline, we cannot carry this.",
        "Dear customer, I am sorry, but I cannot refund you.",
        "N/A",
        "As an AI, I cannot decide for you, but consider this. " + "Ask a friend first. " * 30,
        "As an AI assistant, I don't have a grade, but many students would say: a B.",
        "I'm happy to help.",
        "You cannot divide by zero.",
    ],
)
def test_an_answer_is_no_refusal(text):
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The original response was too short. A better one explains it.",
        "The improved answer: Paris.",
        "New response: Paris.",
        "Here is the improved version of your text.",
        "Here\u2019s a more detailed, improved response:",
        "Paris is the capital.\n\nThis revised response adds context.",
        "**Improved Response:**\nParis",
        "Here is a complete and correct answer to the instruction:\nParis",
    ],
)
def test_talk_about_the_pair_is_found(text):
    assert meta_talk_in(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "The immune response is complex.",
        "The response time of the server is 20 ms.",
        "The answer is 42.",
        "The correct answer is Paris.",
        "A new response team was formed.",
        "The original painting hangs in Paris.",
        "Here is a new function.",
        "x" * 300 + " the original response " + "x" * 300,
    ],
)
def test_an_ordinary_answer_is_no_talk_about_the_pair(text):
    assert meta_talk_in(text) is None


@pytest.mark.parametrize(
    "text",
    ["[Your new instruction here]", "<new response>", "...", "…", "The complete new answer", "---"],
)
def test_a_placeholder_is_known(text):
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["Answer the door.", "42", "No", "N/A", "a", "Response times"])
def test_a_short_answer_is_no_placeholder(text):
    assert not is_placeholder(text)


def test_the_instruction_decides_what_may_be_said():
    assert asks_to_decline("Write an email declining the offer.")
    assert not asks_to_decline("Write an email.")
    assert is_about_texts("Rewrite this sentence.")
    assert is_about_texts("Is the original answer right?")
    assert not is_about_texts("What is the capital of France?")
