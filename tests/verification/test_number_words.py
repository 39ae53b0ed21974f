"""Numbers in English words."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.number_parsing import number_from_words

UNITS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
]
TENS = ["ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spell(number):
    """The words of a number below a million, written here independently of what is tested."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        tens, rest = divmod(number, 10)
        return TENS[tens - 1] + (f"-{UNITS[rest]}" if rest else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{UNITS[hundreds]} hundred" + (f" and {spell(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    joint = " and " if rest < 100 else " "
    return f"{spell(thousands)} thousand" + (f"{joint}{spell(rest)}" if rest else "")


@given(st.integers(0, 999_999))
def test_a_spelled_number_is_read_back(number):
    assert number_from_words(spell(number)) == (Fraction(number), "")


@given(st.integers(1, 999_999))
def test_what_follows_a_number_is_given_back(number):
    assert number_from_words(f"{spell(number)} red apples") == (Fraction(number), "red apples")


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("half an hour", Fraction(1, 2), "an hour"),
        ("a quarter", Fraction(1, 4), ""),
        ("two and a half", Fraction(5, 2), ""),
        ("two million and five", Fraction(2_000_005), ""),
        ("Five, six", Fraction(5), "six"),
        ("two and three", Fraction(2), "and three"),
    ],
)
def test_parts_and_pairs(text, value, rest):
    assert number_from_words(text) == (value, rest)


@pytest.mark.parametrize("text", ["", "apples", "hundred", "and five", "tend", "x " * 50])
def test_other_words_are_no_number(text):
    assert number_from_words(text) is None
