"""Whether a response reaches the reference answer, and the same verdict with the sides swapped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification import Claim, VerifySettings, verify_table
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
        ("#### more than 5", "5", "cannot_check"),
        ("#### not 5", "5", "cannot_check"),
        ("The answer is 5 (not 6).", "5", "right"),
        ("#### 5 kN", "5 N", "cannot_check"),
        ("#### 5 m/s", "5 m/s\u00b2", "cannot_check"),
        ("#### 5 cats", "5 dogs", "right"),
        ("#### half an hour", "30 minutes", "right"),
        ("#### three quarters of an hour", "45 minutes", "right"),
        ("#### 5K", "5000", "right"),
        ("#### 2bn", "2,000,000,000", "right"),
        ("#### 3 lakh", "300000", "right"),
        ("#### 50\u2030", "0.05", "right"),
        ("#### 2\u00b3", "8", "hard"),
        ("#### 2\u00b3", "2", "hard"),
        ("#### 1 234,56", "1234.56", "cannot_check"),
        ("#### 1010 (binary)", "10", "right"),
        ("#### 1 m^3", "1000 liters", "right"),
        ("<answer>x = 3 or x = -3</answer>", r"\pm 3", "right"),
        ("So x = 3 or x = -3.", "3, -3", "right"),
        ("So x = 3 or x = -3.", "-3", "wrong"),
        ("So x = 3 and y = 4.", "4", "right"),
        (r"\boxed{y=2, x=1}", "(1,2)", "right"),
        (r"\boxed{y=2, x=1}", "(2,1)", "hard"),
        (r"\boxed{x=2, y=1}", "(1,2)", "wrong"),
        ("#### 1, 2, 3", "(1,2,3)", "hard"),
        ("#### 1, 3, 2", "(1,2,3)", "wrong"),
        ("#### {1, 2, 3}", "(1,2,3)", "wrong"),
        ("#### 3/7", "0.428571", "right"),
        ("#### 0.333333", "1/3", "right"),
        ("#### 33.3333%", "1/3", "right"),
        ("#### 0.33333", "1/3", "wrong"),
        ("#### 0.500001", "1/2", "wrong"),
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


BOXED = r"\boxed{%s}"
CASES = [
    # reference, answer, verdict
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", "wrong"),
    (r"1.5 \times 10^{-12}", "1.5e-12", "right"),
    ("10^{20}", "10^{20}+1", "wrong"),
    (r"\frac{2^{2005}+1}{3\cdot 2^{2006}}", r"\frac{1}{3\cdot 2^{2006}}", "wrong"),
    (r"1-\frac{1}{\mathrm{e}}", r"1+\frac{1}{\mathrm{e}}", "wrong"),
    (r"1-\frac{1}{e}", r"\frac{e-1}{e}", "right"),
    ("n=2, 3, 4", "n=1, 2, 3", "wrong"),
    ("D = (0,1)", "D = (0, 1.5)", "wrong"),
    (r"\pm 3", "3, -3", "right"),
    (r"1 \pm \sqrt{5}", r"1+\sqrt{5}, 1-\sqrt{5}", "right"),
    (r"2 \pm i", "2+i, 2-i", "right"),
    (r"2\sqrt{3}", "2*sqrt(3)", "right"),
    (r"2\sqrt{3}", "2 sqrt(3)", "right"),
    ("e^2", "exp(2)", "right"),
    (r"\sqrt{2}", "2^(1/2)", "right"),
    (r"\frac{3\pi}{4}", "3pi/4", "right"),
    (r"\frac{3\pi}{4}", "3*pi/4", "right"),
    ("3+4i", "4i+3", "right"),
    ("3+4i", "3-4i", "wrong"),
    ("-1", "i^2", "right"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", "right"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]", "right"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", "wrong"),
    (r"x \ge 2", r"[2,\infty)", "right"),
    (r"[2,\infty)", "x > 2", "wrong"),
    (r"m \ge \sqrt{2}", r"m \in [\sqrt{2}, +\infty)", "right"),
    (r"x<1 \text{ or } x>3", r"(-\infty,1)\cup(3,\infty)", "right"),
    (r"(-\infty,1)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,1)", "right"),
    ("x > 2", "2 < x", "right"),
    (r"1\le x<3", "[1,3)", "right"),
    (r"x \neq 3", r"(-\infty,3)\cup(3,\infty)", "right"),
    (r"\{1,2,3\}", "3, 2, 1", "right"),
    (r"\{1,2\}", r"\{1,3\}", "wrong"),
    ("(1,2)", "(2,1)", "wrong"),
    ("x=1, y=2", "y=2, x=1", "right"),
    ("x=1,y=2", "x=2,y=1", "wrong"),
    ("(1,2)", "x=1, y=2", "right"),
    ("2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}", "right"),
    ("y=2x+1", "2x+1", "right"),
    ("y=2x+1", "y=2x-1", "wrong"),
    ("x^2+y^2=1", "x^2+y^2-1=0", "right"),
    (r"\sin^2 x", r"1-\cos^2 x", "right"),
    (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}", "right"),
    ("(x+1)^2", "x^2+2x+1", "right"),
    ("|x|", "x", "wrong"),
    (r"\ln 4", r"2\ln 2", "right"),
    (r"\log_2 8", "3", "right"),
    ("101_2", "101_{2}", "right"),
    ("101_2", "110_2", "wrong"),
    ("5", "101_2", "right"),
    ("101_2", "5", "right"),
    ("1F_{16}", "0x1F", "right"),
    ("42_8", "42_9", "wrong"),
    ("210_3", "210 (base 3)", "right"),
    ("5 km", "5 miles", "wrong"),
    ("90 minutes", "1.5 hours", "right"),
    ("90 minutes", "1 hour 30 minutes", "right"),
    ("2.5 kg", "2500 g", "right"),
    ("2.5 kg", "2500 grams", "right"),
    ("3 feet", "36 inches", "right"),
    ("60 mph", "60 miles per hour", "right"),
    ("36 km/h", "10 m/s", "right"),
    ("25 cm^2", r"25\text{ cm}^2", "right"),
    ("25 cm^2", r"0.0025\text{ m}^2", "right"),
    ("25 cm^2", r"25 \text{ cm}^3", "cannot_check"),
    ("25 cm", "25", "right"),
    ("2 hours", "120", "cannot_check"),
    ("50%", "0.5", "right"),
    ("$5", "500 cents", "right"),
    ("$5", "5 cents", "wrong"),
    ("5 apples", "5", "right"),
    ("3 weeks", "21 days", "right"),
    ("2:3", "4:6", "cannot_check"),
    ("2:3", "3:2", "wrong"),
    ("3:30 PM", "3:30 pm", "right"),
    ("3:30 PM", "15:30", "right"),
    ("3:30 PM", "3:30 AM", "wrong"),
    ("3:30 PM", "3:30", "cannot_check"),
    (r"1,2,\ldots,n", r"1,3,5,\ldots,2n-1", "cannot_check"),
    (r"\pi", "3.14159265", "right"),
    (r"\pi", "3.14", "wrong"),
    ("1/3", "0.33", "wrong"),
    (r"\infty", "infinity", "right"),
    (r"\emptyset", r"\varnothing", "right"),
    (r"\mathbb{R}", r"(-\infty,\infty)", "right"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", "right"),
    ("5!", "120", "right"),
    (r"\binom{5}{2}", "10", "right"),
    (r"-\frac{1}{2}", "-0.5", "right"),
    ("1000000000001", "1000000000000", "wrong"),
    ("x+y<3", "3>x+y", "right"),
    ("x+y<3", "2x+2y<6", "right"),
    ("x+y<3", "x+y>3", "wrong"),
    ("1{,}000", "1000", "right"),
    ("0.5", r"\frac{1}{2}", "right"),
    (r"45^\circ", "45", "right"),
    (r"\text{Monday}", "Monday", "right"),
    ("f(x)=x^2", "x^2", "right"),
    ("2^{10}", "1024", "right"),
    ("2^{10}", "2**10", "right"),
    (r"3\frac{1}{2}", "3.5", "right"),
    ("3^{200}", "3^{200}+1", "wrong"),
    (r"\frac{1}{7^{300}}", r"\frac{1}{7^{300}+1}", "wrong"),
    (r"0.1\overline{6}", "1/6", "right"),
    ("0.(3)", r"\frac13", "right"),
    (r"2\frac12", "2½", "right"),
    ("3<x<5", "x>3 and x<5", "right"),
    ("(3,5)", "x<5 and x>3", "right"),
    ("x>3 and x<5", "x>3 or x<5", "wrong"),
    ("1<x<3", "x>1, x<3", "right"),
    (r"\{x \mid x>2\}", "x>2", "right"),
    (r"\{x \in \mathbb{R} : x > 1\}", r"(1,\infty)", "right"),
    (r"\emptyset", "no solution", "right"),
    (r"\{1,1,2\}", r"\{1,2\}", "cannot_check"),
    (r"\{1,2,2\}", r"\{1,2,3\}", "wrong"),
    (r"\begin{bmatrix} 1 & 0 \\ 0 & 1 \end{bmatrix}", "[[1, 0], [0, 1]]", "right"),
    (r"\begin{pmatrix}1\\2\\3\end{pmatrix}", "(1,2,3)", "right"),
    (r"\begin{pmatrix}1\\2\\3\end{pmatrix}", "(1,2,4)", "wrong"),
    (r"\langle 1,2\rangle", "(1,2)", "right"),
    ("(x,y)=(2,-1)", "x=2, y=-1", "right"),
    (r"\arctan(2)", "atan(2)", "right"),
    (r"\sin(x)", "sin x", "right"),
    (r"\sin 30^\circ", "1/2", "right"),
    (r"\sqrt{2}+\sqrt{3}", "sqrt 2 + sqrt 3", "right"),
    (r"\binom{10}{3}", "C(10,3)", "right"),
    (r"\ln 2", "log(2)", "cannot_check"),
    ("25%", "0.25%", "wrong"),
    ("2 dozen", "24 dozen", "wrong"),
    ("100 °C", "212 °F", "right"),
    ("20 °C", "20 °F", "wrong"),
    ("100 °C", "373.15 K", "right"),
    ("2 tons", "2000 kg", "right"),
    ("90 degrees", r"\frac{\pi}{2} radians", "cannot_check"),
    (r"10\pi\text{ cm}^2", r"10\pi\text{ cm}", "cannot_check"),
    (r"10\pi\text{ cm}", r"10\pi\text{ m}", "wrong"),
    (r"\frac{\pi}{2}\text{ m}", r"50\pi\text{ cm}", "right"),
    ("12.5", "12,5", "cannot_check"),
    ("-3", "negative three", "right"),
    ("No", "Yes", "wrong"),
    ("true", "yes", "cannot_check"),
    ("Tuesday", "It is Tuesday.", "cannot_check"),
    ("January 5", "Jan 5", "cannot_check"),
    (
        r"\begin{pmatrix}6&8\end{pmatrix}",
        r"\begin{pmatrix}1&2\end{pmatrix}+\begin{pmatrix}5&6\end{pmatrix}",
        "right",
    ),
    (r"\{1\pm\sqrt{5},-2\}", r"\{-2, 1+\sqrt5, 1-\sqrt5\}", "right"),
    (r"\frac{3\pm\sqrt{5}}{2}", r"\frac{3+\sqrt5}{2},\frac{3-\sqrt5}{2}", "right"),
    (r"\{1,2\}\cup\{3\}", r"\{1,2,3\}", "right"),
    ("(1,2),(3,4)", "(3,4),(1,2)", "right"),
    ("(1,2),(3,4)", "(1,2),(4,3)", "wrong"),
    (r"11,\! 111,\! 100", "11111100", "right"),
    ("1.234.567", "1234567", "right"),
    ("0.333...", "1/3", "right"),
    ("0.999...", "1", "right"),
    (r"\pi", "3.14159...", "cannot_check"),
    (r"17 \pmod{5}", "2", "right"),
    (r"x\equiv 3\pmod{7}", r"10 \pmod 7", "right"),
    (r"x\equiv 3\pmod{7}", r"x\equiv 4\pmod{7}", "wrong"),
    (r"\begin{cases}x=1\\y=2\end{cases}", "x=1, y=2", "right"),
    (r"\begin{cases}x>1\\x<3\end{cases}", "(1,3)", "right"),
    (r"\mathbb{R}", "all real numbers", "right"),
    (r"(0,\infty)", r"\mathbb{R}^+", "right"),
    ("undefined", "DNE", "cannot_check"),
    ("(1,2)", "the origin", "cannot_check"),
    ("2x+z=1", "1", "wrong"),
    ("x=5+5+1=11", "11", "right"),
    (r"f^{-1}(x)=\frac{x}{2}", "x/2", "right"),
    ("P(X>2)=0.3", "0.3", "right"),
    (r"m\angle ABC=60^\circ", "60", "right"),
    (r"\theta=\frac{\pi}{4}", r"\frac{\pi}{4}", "right"),
    (r"-\frac{-1}{2}", "0.5", "right"),
    (r"\frac{1}{2}mv^2", "0.5mv^2", "right"),
    (r"\approx 3.14", "3.14", "right"),
    ("1/2 or 0.5", "0.5", "right"),
    ("1331 and 1728", "1728", "wrong"),
    ("two thirds", "2/3", "right"),
    ("1 year", "365 days", "cannot_check"),
    ("10 N", "10 kg m/s^2", "cannot_check"),
    ("9.8 m/s^2", "9.8", "right"),
    ("1 kWh", "3.6 MJ", "cannot_check"),
    ("3 pm", "15:00", "right"),
    ("lcm(12,18)", "36", "right"),
    ("C_5^2", "10", "right"),
    ("floor(3.7)", "3", "right"),
    (r"\frac{d}{dx}(x^2)", "2x", "right"),
    (r"\lim_{x\to\infty}\frac1x", "0", "right"),
    ("2+3j", "2+3i", "right"),
    (r"\textbf{(B)}\ 42", "B", "right"),
    (r"\textbf{(B)}\ 42", "42", "right"),
    (r"\textbf{(B)}\ 42", "C", "wrong"),
    (r"2k\pi, k\in\mathbb{Z}", r"2n\pi, n \in \mathbb{Z}", "right"),
    ("AB", "BA", "cannot_check"),
]
THOUGHTS = [
    ("<think>It is \\boxed{41}</think>The answer is 42.", "right"),
    ("<think>It is 42</think>The answer is 41.", "wrong"),
    ("It is 42</think>\\boxed{43}", "wrong"),
    ("<think>\\boxed{42}</think>", "no_answer"),
    ("<think>\\boxed{42} or so, let me", "no_answer"),
    ("[THINK]41[/THINK] 42", "right"),
]


def _verdicts(claims, check="maths"):
    settings = VerifySettings(check=check, processes=1)
    return [verdict.verdict for verdict in verify_table(claims, settings)]


@pytest.fixture(scope="module")
def verdicts():
    """One worker for all, which takes its time to start."""
    pytest.importorskip("math_verify")
    claims = [Claim(response=BOXED % answer, reference=ref) for ref, answer, _ in CASES]
    swapped = [Claim(response=BOXED % ref, reference=answer) for ref, answer, _ in CASES]
    found = _verdicts([*claims, *swapped])
    return found[: len(CASES)], found[len(CASES) :]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_a_hard_answer_has_its_verdict(index, verdicts):
    assert verdicts[0][index] == CASES[index][2], CASES[index]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_the_order_of_the_two_does_not_matter(index, verdicts):
    assert verdicts[1][index] == CASES[index][2], CASES[index]


@pytest.mark.parametrize(("response", "verdict"), THOUGHTS)
def test_only_what_follows_the_thinking_counts(response, verdict):
    claim = Claim(response=response, reference="42", choices=("42", "41"))
    assert _verdicts([claim], check="number") == [verdict]


def test_thinking_is_left_out_of_every_other_check():
    tests = "assert f(1) == 2"
    block = "```python\ndef f(x):\n    return {}\n```\n"
    program = f"<think>\n{block.format('x')}</think>\n{block.format(2)}"
    assert _verdicts([Claim(response="<think>B?</think>A", reference="A")], check="choice") == [
        "right"
    ]
    assert _verdicts([Claim(response="<think>no</think>yes", reference="yes")], check="exact") == [
        "right"
    ]
    assert _verdicts([Claim(response="<think>A", reference="A")], check="choice") == ["no_answer"]
    assert _verdicts([Claim(response=program, tests=tests)], check="code") in (
        ["right"],
        ["cannot_check"],
    )


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
