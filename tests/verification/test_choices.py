"""Which choice does a response name, where it also names those that it rules out?"""

import pytest

from tutelage.verification import check_choice


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
    ],
)
def test_a_text_that_is_ruled_out_is_not_the_choice(response, verdict):
    assert check_choice(response, "1", ["chalk", "granite"]).verdict == verdict
