"""Exact texts, and which choice a response names where it also names others."""

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


@pytest.mark.parametrize(
    ("response", "reference", "verdict"),
    [
        ("The answer is not B, it is D.", "D", "right"),
        ("The answer is not B, it is D.", "B", "wrong"),
        ("Not B, so D.", "D", "right"),
        ("The answer isn't B; it's D.", "D", "right"),
        ("The answer is not B.", "C", "no_answer"),
        ("B is wrong, C is wrong, so the answer is D", "D", "right"),
        ("Option B is incorrect. Therefore, D.", "D", "right"),
        ("I can rule out B and C. The answer is D.", "D", "right"),
        ("Neither B nor C. The answer is D.", "D", "right"),
        ("The correct option is D, not B.", "D", "right"),
        ("We can eliminate B, C and A. This leaves D.", "D", "right"),
        ("The answer is not (B) but (D).", "D", "right"),
        ("The answer cannot be B. It must be D.", "D", "right"),
        ("The answer is D, not B or C.", "D", "right"),
        ("D rather than B", "D", "right"),
        ("(B) is not correct; (D) is.", "B", "wrong"),
        ("B is not the answer. D is the answer.", "D", "right"),
        ("Answer: not B. Final answer: D", "D", "right"),
        ("It can't be B. So it's D.", "D", "right"),
        ("Either B or D.", "D", "cannot_check"),
        ("The answer is I.", "I", "right"),
        ("**Answer: D) Paris**", "D", "right"),
        ("The answer isn't A, B, or C; it's D.", "D", "right"),
        ("The answer is anything but D.", "D", "no_answer"),
        ("The answer is A because it is not D.", "D", "wrong"),
        ("The answer is B... no wait, it's D.", "B", "cannot_check"),
        ("B is definitely not correct; D is.", "D", "right"),
        ("B doesn't work. D works.", "D", "right"),
        ("I'd go with D.", "D", "right"),
        ("It's D.", "D", "right"),
        ("Option D", "D", "right"),
        ("\\boxed{\\textbf{(D)}}", "D", "right"),
        ("答案是D。", "D", "right"),
        ("La respuesta correcta es D.", "D", "right"),
        ("Ответ: D", "D", "right"),
        ("\uff24", "D", "right"),
        ("None of them is D.", "B", "no_answer"),
        ("None of A, B, or C works, so D.", "D", "right"),
        ("All but D.", "D", "no_answer"),
        ("There is no way it's D.", "D", "no_answer"),
        ("I do not believe it is D.", "D", "no_answer"),
        ("I would not pick A.", "A", "no_answer"),
        ("Don't choose A. Choose D.", "D", "right"),
        ("A: false\nB: false\nC: false\nD: true", "D", "right"),
        ("Incorrect: A, B, C. Correct: D.", "D", "right"),
        ("A, B and C are wrong, which leaves D.", "D", "right"),
        ("B can be excluded. B should be rejected.", "B", "no_answer"),
        ("The answer is by no means B.", "B", "no_answer"),
        ("The answer would have been A, but it's D.", "D", "right"),
        ("At first I thought the answer was A. But it is D.", "D", "right"),
        ("I disagree with A. D is right.", "D", "right"),
        ("Instead of A, D.", "D", "right"),
        ("~~B~~ D", "D", "right"),
        ("B \u274c D \u2705", "D", "right"),
        ("Vitamin C is needed, so B.", "B", "right"),
        ("There is no doubt that the answer is D.", "D", "right"),
        ("The answer that does not fit is D.", "D", "right"),
        ("The incorrect statement is D.", "D", "right"),
        ("D is false.", "D", "cannot_check"),
        ("B is not wrong.", "B", "cannot_check"),
        ("It can't be anything but B.", "B", "cannot_check"),
        ("I cannot rule out B.", "B", "cannot_check"),
        ("<answer>D</answer>", "D", "right"),
        ("Answer - D", "D", "right"),
        ("Die Antwort ist nicht B, sondern D.", "D", "right"),
        ("La respuesta no es B, es D.", "D", "right"),
        ("\u7b54\u6848\u4e0d\u662fB\uff0c\u800c\u662fD\u3002", "D", "right"),
        ("\u7b54\u6848\u4e0d\u662fB\u3002", "B", "no_answer"),
        ("\uc815\ub2f5\uc740 B\uac00 \uc544\ub2c8\ub77c D\uc785\ub2c8\ub2e4.", "D", "right"),
        ("Oranges have vitamin D.", "D", "cannot_check"),
    ],
)
def test_a_letter_that_is_ruled_out_is_not_the_choice(response, reference, verdict):
    assert check_choice(response, reference).verdict == verdict


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("It is not chalk, it is granite.", "right"),
        ("Granite rather than chalk.", "right"),
        ("It is not granite.", "no_answer"),
        ("It isn't granite, it's chalk.", "wrong"),
        ("Granite and chalk.", "cannot_check"),
        ("None of them is granite.", "no_answer"),
        ("I don't think it is granite.", "no_answer"),
        ("Chalk is not the answer; granite is.", "right"),
        ("I rule out granite.", "no_answer"),
    ],
)
def test_a_text_that_is_ruled_out_is_not_the_choice(response, verdict):
    assert check_choice(response, "1", ["chalk", "granite"]).verdict == verdict
