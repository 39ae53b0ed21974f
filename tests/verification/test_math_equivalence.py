"""Does a response reach the reference answer?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.math_equivalence import (
    HardClaim,
    check_maths,
    compare_expressions,
    strip_markup,
)
from tutelage.verification.verdict import Verdict

numbers = st.integers(-(10**9), 10**9)


def ruling(response, reference):
    found = check_maths(response, reference)
    return "hard" if isinstance(found, HardClaim) else found.verdict


@given(numbers, numbers)
def test_a_number_is_right_exactly_when_it_is_the_reference(answer, reference):
    response = f"Half of 8 is 4. The answer is {answer}."
    assert ruling(response, str(reference)) == ("right" if answer == reference else "wrong")


@given(numbers, st.sampled_from(["{:,}", "${}", "{}.0", "**{}**", "$\\boxed{{{}}}$", "{} km"]))
def test_the_dress_of_a_number_does_not_matter_on_either_side(number, dress):
    assert ruling(f"#### {dress.format(number)}", str(number)) == "right"
    assert ruling(f"#### {number}", dress.format(number)) == "right"


@given(st.text(max_size=100), st.text(max_size=30))
def test_every_pair_of_texts_has_an_outcome(response, reference):
    assert isinstance(check_maths(response, reference), Verdict | HardClaim)


@given(st.lists(st.integers(0, 99), min_size=2, max_size=4, unique=True), st.randoms())
def test_bare_lists_and_sets_have_no_order_but_tuples_do(members, random):
    other = random.sample(members, len(members))
    for pattern in ("{}", "{{{}}}"):
        answer = pattern.format(", ".join(map(str, members)))
        reference = pattern.format(", ".join(map(str, other)))
        assert ruling(f"The answer is {answer}", reference) == "right"
    answer, reference = f"({str(members)[1:-1]})", f"({str(other)[1:-1]})"
    assert ruling(f"#### {answer}", reference) == ("right" if members == other else "wrong")


@pytest.mark.parametrize(
    ("response", "reference", "verdict"),
    [
        # Two answers to choose from are no answer, whichever the reference is.
        ("The answer is 12 or 13.", "13", "wrong"),
        ("The answer is 12 or 13.", "12", "wrong"),
        ("The answer is 3 or maybe 4 eggs.", "3", "wrong"),
        (r"\boxed{12} or \boxed{13}", "13", "wrong"),
        # The same thing said twice is not two answers, but which number is meant cannot be told.
        ("The answer is 5 minutes or 300 seconds.", "300", "cannot_check"),
        ("The answer is 3 onions and 1 potato.", "4", "cannot_check"),
        # All solutions of an equation are asked for.
        ("The answer is x = 2 or x = 3.", "2, 3", "right"),
        ("The answer is 2.", "2, 3", "wrong"),
        ("ten", "10", "right"),
        ("The answer is ten.", "10", "right"),
        ("The answer is twenty-five apples.", "25", "right"),
        ("#### (1,2)", "(1, 2)", "right"),
        ("#### (1,2)", "[1, 2]", "wrong"),
        ("#### [1, 2)", "[1,2)", "right"),
        ("#### 1,234", "(1,234)", "wrong"),
        ("#### 3:5", "3 : 5", "right"),
        ("#### 3:5", "3:6", "wrong"),
        ("#### 3:5", "0.6", "cannot_check"),
        ("The answer is 100 + 80 = 180.", "180", "right"),
        ("The answer is 42 (that is 6 times 7).", "42", "right"),
        ("The answer is 42, because 6 * 7 = 42.", "42", "right"),
        ('{"answer": "There are 400 bees in the hive."}', "400", "right"),
        ('{"answer": "Cannot be determined"}', "400", "no_answer"),
        ('{"answer": "It costs $3 more for 1/2 pound of nuts"}', "3", "cannot_check"),
        ('{"answer": "She has 3 + 4 in all. In total she owns 7 cats."}', "7", "right"),
        ("#### 120,006", "120000", "wrong"),
        ("#### 0.333", "1/3", "wrong"),
        (r"#### $2\frac{1}{2}$", "2.5", "right"),
        (r"#### -\frac{3}{4}", "-0.75", "right"),
        ("#### 50\\%", "0.5", "right"),
        ("The answer is east.", "East", "right"),
        ("The answer is east.", "west", "wrong"),
        ("The answer is the red one.", "red", "cannot_check"),
        ("", "5", "no_answer"),
        ("#### 5", "", "cannot_check"),
        ("#### 5", "2 + 3 = <<2+3=5>>5\n#### 5", "right"),
        ("#### " + "9" * 2000, "5", "cannot_check"),
        ("#### 12x", "12", "hard"),
        (r"\boxed{x + 5}", "5", "hard"),
        ("The answer is x - 5.", "5", "hard"),
        ("The answer is that it flows at 5 litres/day.", "5", "right"),
        ("#### x + 1", "1 + x", "hard"),
        (r"#### \sqrt{8}", r"2\sqrt{2}", "hard"),
        (r"#### (-\infty, 5)", "x < 5", "hard"),
    ],
)
def test_traps(response, reference, verdict):
    assert ruling(response, reference) == verdict


def test_the_evidence_says_where_the_answer_stood_and_what_it_was_held_against():
    found = check_maths("First 3, then 4, which makes 8.", "7")
    assert found.evidence == "answer '8' (last number) differs from reference '7'"
    found = check_maths("Jo saw it: #### 6 + 1 = 7", "7")
    assert "right side of the last =" in check_maths("#### 6 + 1 = 7", "7").evidence


def test_a_list_is_unsure_only_where_one_of_its_members_is():
    def same(one, other):
        return None if "?" in one + other else one == other

    assert compare_expressions("(1, 2)", "(1, 2)", same) is True
    assert compare_expressions("(1, ?)", "(1, 2)", same) is None
    assert compare_expressions("(3, ?)", "(1, 2)", same) is False
    assert compare_expressions("{?, 2}", "{2, 1}", same) is None
    assert compare_expressions("(1, 2)", "(1, 2, 3)", same) is False


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (r"\(5\)", "5"),
        (r"$$\text{5 cm}$$", "5 cm"),
        ("x = 5", "5"),
        ("f(x) = 2x", "2x"),
        ("`5`", "5"),
        ('"5".', "5"),
        (r"\$5", "$5"),
        (r"90^\circ", "90°"),
        (r"9^{9^{9}}", "9^{9^{9}}"),
        ("$5", "$5"),
    ],
)
def test_markup_is_taken_away_and_meaning_is_not(text, bare):
    assert strip_markup(text) == bare


@pytest.mark.parametrize(
    ("response", "reference", "verdict"),
    [
        ("The answer is not 6.", "6", "no_answer"),
        ("The answer isn't 6.", "6", "no_answer"),
        ("The answer is definitely not 6.", "6", "no_answer"),
        ("It cannot be 6.", "6", "no_answer"),
        ("6 is wrong.", "6", "no_answer"),
        ("The answer is neither 4 nor 5.", "5", "no_answer"),
        ("The answer is not 5, it is 6.", "6", "right"),
        ("The answer is not 5, it is 6.", "5", "wrong"),
        ("It is 5, not 6.", "5", "right"),
        ("It is 5, not 6.", "6", "wrong"),
        ("6 is not divisible by 4, so we get 12.", "12", "right"),
        ("Without 5 of them, 7 remain.", "7", "right"),
    ],
)
def test_a_number_that_is_denied_is_no_answer(response: str, reference: str, verdict: str) -> None:
    assert ruling(response, reference) == verdict


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("3 1/2", "3.5"),
        ("He ate 1 1/2 pies.", "1.5"),
        ("½", "0.5"),
        ("It is ¾.", "0.75"),
        ("3½ cups", "7/2"),
        (r"3\frac{1}{2}", "3.5"),
        (r"-\frac{1}{2}", "-0.5"),
        ("twelve", "12"),
        ("minus three", "-3"),
        ("half", "1/2"),
    ],
)
def test_mixed_numbers_signs_of_fractions_and_bare_answers(response: str, reference: str) -> None:
    assert ruling(response, reference) == "right"
    assert ruling(response, "17") == "wrong"
