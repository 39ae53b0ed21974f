"""Responses that say their instruction again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.filters import EchoSettings, apply_filters
from tutelage.filters.candidates import pool_of
from tutelage.filters.numeric import drop_echoes, repeated_share

ASKED = "Name two red fruits that grow in gardens."
PAIRS = [
    (ASKED, "Cherries and strawberries."),
    (ASKED, "Two red fruits that grow in gardens are cherries and strawberries."),
    (ASKED, f"{ASKED} Cherries and strawberries."),
    (ASKED, "NAME TWO RED FRUITS, THAT GROW IN GARDENS! Cherries."),
    ("?!", "What do you mean?"),
]


def test_a_response_that_repeats_all_of_its_instruction_is_dropped_with_its_own_reason(
    make_candidates,
):
    found = apply_filters(make_candidates(PAIRS), filters=[EchoSettings()]).final.to_pylist()
    assert [row["kept"] for row in found] == [True, True, False, False, True]
    assert {row["reason"] for row in found if not row["kept"]} == {"echoes_instruction"}
    alone = drop_echoes(pool_of(make_candidates(PAIRS)), EchoSettings()).values_N
    assert alone.tolist() == pytest.approx([0, 5 / 6, 1, 1, 0])


def test_what_may_be_repeated_can_be_set(make_candidates):
    pool = pool_of(make_candidates(PAIRS))
    assert drop_echoes(pool, EchoSettings(maximum=0.8)).kept_N.tolist() == [
        *[True, False, False, False],
        True,
    ]
    assert drop_echoes(pool, EchoSettings(maximum=1.0)).kept_N.all()


WORDS = st.lists(st.sampled_from(["name", "red", "fruits", "und", "\u00e9"]), max_size=9)


@given(WORDS, WORDS, WORDS, st.integers(1, 4))
def test_a_repeated_instruction_is_found_wherever_it_stands(asked, before, after, size):
    said = " ".join([*before, *asked, *after])
    share = repeated_share(instruction=" ".join(asked), response=said, ngram_words=size)
    assert share == (1.0 if asked else None)


@given(WORDS, WORDS, st.integers(1, 4))
def test_a_share_is_between_0_and_1(asked, said, size):
    share = repeated_share(instruction=" ".join(asked), response=" ".join(said), ngram_words=size)
    assert share is None or 0 <= share <= 1


def test_an_instruction_shorter_than_an_n_gram_is_looked_for_whole():
    share = repeated_share(instruction="Red fruits?", response="red, green fruits", ngram_words=3)
    assert share == 0
