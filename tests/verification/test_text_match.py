"""Exact texts and multiple choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.text_match import check_choice, check_exact

CHOICES = ["chalk", "granite", "red granite", "sand"]
letters = st.sampled_from("ABCD")


@given(letters, letters, st.sampled_from(["{}", "({})", "{}.", "**{}**", r"\boxed{{{}}}"]))
def test_a_letter_is_right_exactly_when_it_is_the_reference(said, reference, dress):
    for sentence in ("{}", "The answer is {}", "Answer: {}", "I choose option {}"):
        response = sentence.format(dress.format(said))
        expected = "right" if said == reference else "wrong"
        assert check_choice(response, reference, CHOICES).verdict == expected, response


@given(st.text(max_size=80), st.text(max_size=5), st.lists(st.text(max_size=10), max_size=12))
def test_any_texts_have_a_verdict(response, reference, choices):
    check_choice(response, reference, choices)
    check_exact(response, reference)


@pytest.mark.parametrize(
    ("response", "reference", "verdict"),
    [
        ("B. granite", "B", "right"),
        ("(b)", "B", "right"),
        ("I think it is red granite.", "C", "right"),
        ("I think it is red granite.", "2", "right"),
        ("I think it is red granite.", "red granite", "right"),
        ("A good choice would be sand", "D", "right"),
        ("The correct answer is B) granite", "C", "wrong"),
        ("chalk or sand", "A", "cannot_check"),
        ("The answer is A or D.", "A", "cannot_check"),
        ("A, B", "A", "cannot_check"),
        ("A rock is hard", "A", "no_answer"),
        ("none of them", "A", "no_answer"),
        ("", "A", "no_answer"),
        ("A", "E", "cannot_check"),
        ("A", "marble", "cannot_check"),
    ],
)
def test_ways_to_name_a_choice(response, reference, verdict):
    assert check_choice(response, reference, CHOICES).verdict == verdict


@pytest.mark.parametrize(
    ("response", "reference", "verdict"),
    [
        ("Paris", "Paris", "right"),
        (" paris. ", "Paris", "right"),
        ('"Paris"', "Paris", "right"),
        ("It took long, but the answer is Paris.", "Paris", "right"),
        ("New  York", "New York", "right"),
        ("Paris, France", "Paris", "wrong"),
        ("It has 3 words", "3", "wrong"),
        ("", "Paris", "no_answer"),
        ("Paris", " ", "cannot_check"),
    ],
)
def test_exact_text(response, reference, verdict):
    assert check_exact(response, reference).verdict == verdict


def test_case_can_be_made_to_count():
    assert check_exact("paris", "Paris", ignore_case=False).verdict == "wrong"
    assert check_exact("Paris", "Paris", ignore_case=False).verdict == "right"
