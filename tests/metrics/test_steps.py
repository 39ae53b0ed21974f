"""Where a step begins, and the metrics that depend on it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Reading, TokenStats
from tutelage.errors import DataError
from tutelage.metrics import (
    aslec_drop,
    first_token_indexes,
    first_token_logprob,
    first_token_share,
    lalp,
    step_spans,
    step_views,
)

patient = settings(deadline=None)  # a busy machine is no failure
texts = st.text(alphabet=st.sampled_from("ab1 .?!\n\u3002)("), max_size=30)


def reading_of(starts, logprobs):
    return Reading(
        candidate_id="c",
        views={
            "response_given_instruction": TokenStats(
                logprobs_T=np.array(logprobs, dtype=np.float32)
            )
        },
        response_starts_T=np.array(starts, dtype=np.int32),
    )


def steps_of(text):
    return [text[start:end] for start, end in step_spans(text)]


@patient
@given(texts)
def test_steps_cover_the_text_without_gaps(text):
    spans = step_spans(text)
    if not text.strip():
        assert spans == []
        return
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


@patient
@given(texts)
def test_every_step_has_text(text):
    assert all(step.strip() for step in steps_of(text))


@patient
@given(texts, st.integers(0, 3))
def test_the_views_are_the_steps_and_what_stands_before_them(text, window):
    views = step_views(text, window_steps=window)
    assert [view.step for view in views] == steps_of(text)
    before = ""
    for index, view in enumerate(views):
        assert before.endswith(view.earlier)
        assert view.earlier == "".join(v.step for v in views[max(0, index - window) : index])
        before += view.step


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Add 3.14 and 2. Done.", ["Add 3.14 and 2.", " Done."]),
        ("One\n\nTwo\nThree", ["One", "\n\nTwo", "\nThree"]),
        ("1. Boil it.\n2. Eat it!", ["1. Boil it.", "\n2. Eat it!"]),
        ("\u597d\u3002\u518d\u89c1\u3002", ["\u597d\u3002", "\u518d\u89c1\u3002"]),
        ("Why? Because. \n", ["Why?", " Because. \n"]),
        ("   ", []),
    ],
)
def test_where_steps_end(text, steps):
    assert steps_of(text) == steps


def test_the_token_that_covers_the_first_letter_begins_the_step():
    response = "Aa. Bb."
    #           0123456        tokens: A | a | . | _B | b | .
    starts = np.array([0, 1, 2, 3, 5, 6], dtype=np.int32)
    assert first_token_indexes(response=response, starts_T=starts).tolist() == [0, 3]


def test_a_token_of_white_space_alone_begins_nothing():
    response = "Aa.\n\nBb."  # tokens: Aa | . | \n\n | Bb | .
    starts = np.array([0, 2, 3, 5, 7], dtype=np.int32)
    assert first_token_indexes(response=response, starts_T=starts).tolist() == [0, 3]


def test_a_token_that_begins_inside_the_step_before_begins_nothing():
    response = "Aa. Bb. Cc"  # tokens: Aa | ._B | b | . | _Cc
    starts = np.array([0, 2, 5, 6, 7], dtype=np.int32)
    assert first_token_indexes(response=response, starts_T=starts).tolist() == [0, 4]


def test_the_first_of_several_tokens_of_one_character_begins_the_step():
    starts = np.array([0, 0, 0, 1], dtype=np.int32)
    assert first_token_indexes(response="\u9f98b", starts_T=starts).tolist() == [0]


def test_steps_beyond_a_cut_begin_nowhere():
    starts = np.array([0, 1], dtype=np.int32)  # cut after "Aa"
    assert first_token_indexes(response="Aa. Bb.", starts_T=starts).tolist() == [0]


def test_a_first_token_in_the_context_is_not_counted():
    starts = np.array([1, 2], dtype=np.int32)  # the border token took "A"
    assert first_token_indexes(response="Aa.", starts_T=starts).tolist() == []


def test_aslec_of_a_worked_example():
    response = "Aa. Bb."
    reading = reading_of([0, 1, 2, 3, 5, 6], [-6, -1, -1, -8, -2, -4])
    assert aslec_drop(reading, response=response) == pytest.approx(-2)
    assert first_token_logprob(reading, response=response) == pytest.approx(-7)
    assert first_token_share(reading, response=response) == pytest.approx(1 / 3)


def test_aslec_is_none_where_every_token_begins_a_step():
    reading = reading_of([0], [-1])
    assert aslec_drop(reading, response="Yes") is None
    assert first_token_logprob(reading, response="Yes") == pytest.approx(-1)
    assert first_token_share(reading, response="Yes") == 1


def test_aslec_without_offsets_is_an_error():
    reading = Reading(candidate_id="c", views=reading_of([0], [-1]).views)
    with pytest.raises(DataError, match="where each of its 1 response tokens starts"):
        aslec_drop(reading, response="Yes")


def test_lalp_gives_every_step_the_same_weight():
    steps = [
        TokenStats(logprobs_T=np.float32([-1, -1, -1, -1])),
        TokenStats(logprobs_T=np.float32([-5])),
    ]
    assert lalp(steps) == pytest.approx(-3)
    with pytest.raises(DataError, match="without steps"):
        lalp([])
