"""Plain quantities and numbers in English words are read exactly or not at all."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.number_parsing import (
    number_from_words,
    numbers_in,
    read_quantity,
    same_quantity,
)

integers = st.integers(-(10**12), 10**12)
UNITS = ["", " euros", "%", " miles per hour", "kg", " m²"]


@given(integers, st.sampled_from(["", "$", "€"]), st.sampled_from(UNITS), st.booleans())
def test_a_number_is_read_whatever_its_dress(number, currency, unit, grouped):
    digits = f"{abs(number):,}" if grouped else str(abs(number))
    quantity = read_quantity(f"{'-' if number < 0 else ''}{currency}{digits}{unit}")
    assert quantity is not None
    assert quantity.values[0] == number


@given(integers, st.integers(0, 8))
def test_a_decimal_fraction_is_exact(number, places):
    text = f"{number}.{'0' * places}1"
    quantity = read_quantity(text)
    assert quantity is not None
    assert quantity.values == (Fraction(text),)


@given(integers, st.integers(1, 10**6))
def test_a_fraction_is_exact(over, under):
    quantity = read_quantity(f"{over}/{under}")
    assert quantity is not None
    assert quantity.values == (Fraction(over, under),)


@given(integers, integers)
def test_two_whole_numbers_are_the_same_only_if_they_are_equal(one, other):
    ours, theirs = read_quantity(str(one)), read_quantity(str(other))
    assert same_quantity(ours, theirs) == (one == other)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text):
    read_quantity(text)
    numbers_in(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("$1,234.50", (Fraction(2469, 2),)),
        ("1,00,000", (100_000,)),
        ("$9 500", (9500,)),
        ("-$40", (-40,)),
        ("\u221240", (-40,)),
        ("350$", (350,)),
        ("2 1/2 hours", (Fraction(5, 2),)),
        ("60%", (60, Fraction(3, 5))),
        ("2 dozen", (2, 24)),
        ("1.5 million", (1_500_000,)),
        ("3k", (3000,)),
        ("48g", (48,)),
        ("$25,000/year", (25_000,)),
        (".5", (Fraction(1, 2),)),
        ("5.", (5,)),
        ("1e3", (1000,)),
        ("ten apples", (10,)),
        ("about 5", (5,)),
    ],
)
def test_what_a_quantity_may_mean(text, values):
    quantity = read_quantity(text)
    assert quantity is not None
    assert quantity.values == values


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "12x", "3a", "12 or 13", "5 to 6", "3,5", "1,234,5", "5/0", "10:30", "1.2.3"),
        *("5 - 3", "100 + 80 = 180", "6 miles per 2 hours", "five six", "twelve or thirteen"),
        *("5 m/s^2", "9" * 400, "1e99999", "none"),
    ],
)
def test_what_is_not_one_plain_quantity_is_left_to_others(text):
    assert read_quantity(text) is None


def test_float_noise_of_a_decimal_fraction_is_forgiven_and_nothing_more():
    eighteen = read_quantity("18")
    assert same_quantity(read_quantity("17.999999999999996"), eighteen)
    assert not same_quantity(read_quantity("17.9999"), eighteen)
    assert not same_quantity(read_quantity("1000000000001"), read_quantity("1000000000000"))


def test_a_percent_sign_may_be_left_out_but_not_invented():
    assert same_quantity(read_quantity("60%"), read_quantity("60"))
    assert same_quantity(read_quantity("60%"), read_quantity("0.6"))
    assert not same_quantity(read_quantity("60"), read_quantity("0.6"))


def test_numbers_stand_alone_in_prose():
    found = [q.text for q in numbers_in("He has 5-3 = 2, -4 and $-5.50 or 1,200. 3/4 x2 v1.2 10%")]
    assert found == ["5", "3", "2", "-4", "$-5.50", "1,200", "3/4", "10%"]


UNIT_WORDS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
]
TENS = ["ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spell(number):
    """The words of a number below a million, written here independently of what is tested."""
    if number < 20:
        return UNIT_WORDS[number]
    if number < 100:
        tens, rest = divmod(number, 10)
        return TENS[tens - 1] + (f"-{UNIT_WORDS[rest]}" if rest else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{UNIT_WORDS[hundreds]} hundred" + (f" and {spell(rest)}" if rest else "")
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
