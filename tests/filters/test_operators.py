import pytest

from tutelage.filters.candidates import pool_of
from tutelage.filters.config import NearDuplicatesSettings
from tutelage.filters.duplicates import drop_near_duplicates
from tutelage.filters.operators import operator_similarity, operators_of

FRAME = "Please work out with care, step by step and without a calculator, the value of {} today."
FORMULAS = ["48 + 16", "48 - 16", "48 * 16", "48 / 16", "48 ^ 16", "48 % 16", "48 = 16", "48 < 16",
            "48 > 16", "48 <= 16", "48 >= 16", "48 != 16", "48 \u00b1 16", "48 \u2248 16",
            "p \\land q", "p \\lor q", "p \\subset q", "p \\subseteq q", "p \u2229 q", "p \\to q",
            "-48 16", "48! / 16", "(48 + 16) / 48 + 16", "48 + 16 / (48 + 16)"]  # fmt: skip


def _kept(texts, make_candidates, **settings):
    pool = pool_of(make_candidates([(text, "r") for text in texts]))
    return drop_near_duplicates(pool, NearDuplicatesSettings(**settings)).kept_N.tolist()


@pytest.mark.parametrize("shingle", ["characters", "words"])
def test_formulas_that_differ_in_their_operators_are_no_duplicates(shingle, make_candidates):
    texts = [FRAME.format(formula) for formula in FORMULAS]
    assert _kept(texts, make_candidates, shingle=shingle) == [True] * len(FORMULAS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("48 + 16", "48 +16"),
        ("48 - 16", "48 \u2212 16"),
        ("48 * 16", "48 \u00d7 16"),
        ("48 <= 16", "48 \u2264 16"),
        ("p \\land q", "p \u2227 q"),
        ("a well-known number", "a well known number"),
        ("this and/or that", "this and or that"),
        ("**this** number", "this number"),
        ("<b>this</b> number", "<b>this number</b>"),
    ],
)
def test_another_spelling_of_the_same_is_a_duplicate(one, other, make_candidates):
    texts = [FRAME.format(one) * 2, FRAME.format(other) * 2]
    assert _kept(texts, make_candidates) == [True, False]


def test_a_bullet_list_and_a_table_have_no_operators():
    assert operators_of("- one\n* two\n> three\n-----\n| a | b |\n|---|---|") == ()


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("a - b", "-"),
        ("price * cost", "*"),
        ("from -5 to 5", "negative"),
        ("$48 \\times 16$", "*"),
        ("x\u00b2 and x2", "^"),
        ("2024/05", "/"),
        ("covid-19, e-mail, A-level", ""),
        ("Paris - London", ""),
        ("What! (Really?)", ""),
        ("see https://a.b/c-1/2=3", ""),
    ],
)
def test_a_sign_counts_where_it_stands_between_operands(text, signs):
    assert "".join(operators_of(text)) == signs


def test_one_more_line_of_code_leaves_long_code_alike():
    signs = operators_of("x = a + b\ny = a - b\n" * 20)
    assert operator_similarity(signs, (*signs, "=")) > 0.9
    assert operator_similarity(("+",), ("-",)) == 0.0


def test_emoji_and_currencies_belong_to_the_text(make_candidates):
    texts = ["\U0001f600", "\U0001f621", "\U0001f600", "5 $", "5 \u20ac"]
    assert _kept(texts, make_candidates) == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What does a && b give?", "What does a || b give?"),
        ("Compute a << 2 now.", "Compute a >> 2 now."),
        ("What does i++ do?", "What does i-- do?"),
        ("Evaluate !flag in it.", "Evaluate flag in it."),
        ("Compute |-5| for me.", "Compute -5 for me."),
        ("Compute f'(x) of it.", "Compute f(x) of it."),
        ("A program in C++ please.", "A program in C please."),
    ],
)
def test_operators_of_programs_and_bars_differ(one, other):
    assert operators_of(one) != operators_of(other)


def test_columns_of_tables_and_dashes_of_prose_are_no_operators():
    assert operators_of("| a | b |\n|---|---|\n| 1 | 2 |") == ()
    assert operators_of("He came -- at last -- home. Wait! What a day!") == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"p \land q", r"p \lor q"),
        (r"A \subset B", r"A \supseteq B"),
        (r"\forall x: P(x)", r"\exists x: P(x)"),
        ("[0, 1)", "(0, 1]"),
        ("\uff13\uff0b\uff15", "\uff13\uff0d\uff15"),
        ("x⁻²", "x²"),
        ("e^{-x}", "e^{x}"),
        ("1.5 km", "15 km"),
        ("n! today", "n today"),
        ("total_cost - tax_rate", "total_cost / tax_rate"),
        ("revenue - cost", "revenue / cost"),
        ("x *= 2", "x /= 2"),
        ("f(*args)", "f(**args)"),
        ("~a | b", "a | b"),
        ("C# code", "C code"),
        ("a..b in Ruby", "a b in Ruby"),
    ],
)
def test_signs_of_other_notations_differ(one, other):
    assert operators_of(one) != operators_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"x \leqslant 1", "x ≤ 1"),
        ("\uff15 \uff0b \uff13", "5 + 3"),
        ("A → B", r"A \to B"),
        (r"p \wedge q", "p ∧ q"),
        (r"\sqrt{x}", "√x"),
        ("x <> y", "x != y"),
    ],
)
def test_other_notations_of_one_sign_are_equal(one, other):
    assert operators_of(one) == operators_of(other) != ()


def test_emphasis_headings_and_ellipses_are_no_operators():
    assert operators_of("# Title\n*so* and **so** ... and (Smith, 2020), a #1 hit") == ()
