"""Every formula: a number worked out by hand, and what must hold for all readings and steps."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Reading, TokenStats
from tutelage.errors import DataError, SpanMismatchError
from tutelage.metrics import (
    METRICS,
    aslec_drop,
    beyond,
    brier,
    compute,
    first_token_indexes,
    first_token_logprob,
    first_token_share,
    grape,
    high_entropy_sum,
    ifd,
    ifd_loss,
    lalp,
    mean_rank,
    mean_surprisal,
    ppl,
    r_ifd,
    rsr,
    step_spans,
    step_views,
    upd,
    views_for,
)

patient = settings(deadline=None)  # a busy machine is no failure
ONE_READING = tuple(
    name
    for name, spec in METRICS.items()
    if spec.compute is not None and "text" not in spec.needs and "step" not in spec.needs
)


def stats(*surprisals, ranks=None, entropies=None, squares=None):
    return TokenStats(
        logprobs_T=-np.array(surprisals, dtype=np.float32),
        ranks_T=None if ranks is None else np.array(ranks, dtype=np.uint8),
        entropies_T=None if entropies is None else np.array(entropies, dtype=np.float32),
        sum_squares_T=None if squares is None else np.array(squares, dtype=np.float32),
    )


tokens = st.tuples(
    st.floats(0, 30, width=32),
    st.integers(1, 100),
    st.floats(0, 5, width=32),
    st.floats(0.0009765625, 1, width=32),
)


@st.composite
def full_stats(draw, length):
    rows = draw(st.lists(tokens, min_size=length, max_size=length))
    surprisals, ranks, entropies, squares = zip(*rows, strict=True)
    return stats(*surprisals, ranks=ranks, entropies=entropies, squares=squares)


@st.composite
def readings(draw):
    answer, question = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    return Reading(
        candidate_id="c",
        views={
            "response_given_instruction": draw(full_stats(answer)),
            "response": draw(full_stats(answer)),
            "instruction_given_response": draw(full_stats(question)),
            "instruction": draw(full_stats(question)),
        },
        vocabulary_tokens=1000,
    )


@patient
@given(readings())
def test_every_number_is_finite_and_in_its_range_or_none(reading):
    for name, value in compute(reading, ONE_READING).items():
        low, high = METRICS[name].valid_range
        assert value is None or (math.isfinite(value) and low <= value <= high), name


@patient
@given(readings())
def test_only_the_views_that_are_declared_are_looked_at(reading):
    for name in ONE_READING:
        declared = {view: reading.views[view] for view in views_for([name])}
        fewer = Reading(candidate_id="c", views=declared, vocabulary_tokens=1000)
        assert compute(fewer, [name]) == {name: compute(reading, ONE_READING)[name]}


def only(stats_of_view, level):
    return TokenStats(
        logprobs_T=stats_of_view.logprobs_T,
        ranks_T=None if level == "nll" else stats_of_view.ranks_T,
        entropies_T=stats_of_view.entropies_T if level == "full" else None,
        sum_squares_T=stats_of_view.sum_squares_T if level == "full" else None,
    )


@patient
@given(readings())
def test_only_the_statistics_that_are_declared_are_looked_at(reading):
    for name in ONE_READING:
        views = {v: only(s, METRICS[name].statistics) for v, s in reading.views.items()}
        fewer = Reading(candidate_id="c", views=views, vocabulary_tokens=1000)
        assert compute(fewer, [name]) == {name: compute(reading, ONE_READING)[name]}


def test_a_server_that_gives_ranks_but_no_distribution_can_give_all_but_these():
    assert beyond(tuple(ONE_READING), "ranks") == ("brier", "upd", "high_entropy_sum")
    assert beyond(("lark", "rsr", "lalp"), "ranks") == ("lark",)
    assert beyond(("ifd", "rsr"), "nll") == ("rsr",)


@pytest.mark.parametrize("name", ONE_READING)
def test_a_view_that_was_not_read_is_an_error_and_not_a_number(name):
    with pytest.raises(DataError, match="was not read"):
        compute(Reading(candidate_id="c", views={}, vocabulary_tokens=10), [name])


@patient
@given(st.floats(0.125, 5, width=32), st.floats(0.125, 5, width=32))
def test_ifd_and_ifd_loss_fall_on_the_same_side_of_one(given_nats, alone_nats):
    given_, alone = stats(given_nats), stats(alone_nats)
    ratio = ifd(response=alone, response_given_instruction=given_)
    losses = ifd_loss(response=alone, response_given_instruction=given_)
    assert (ratio < 1) == (losses < 1)
    assert (ratio > 1) == (losses > 1)


def test_ifd_is_one_where_the_instruction_makes_no_difference():
    same = stats(1.0, 3.0)
    assert ifd(response=same, response_given_instruction=stats(3.0, 1.0)) == 1
    assert ifd_loss(response=same, response_given_instruction=stats(3.0, 1.0)) == 1
    assert r_ifd(instruction=same, instruction_given_response=same) == 1


def test_equal_ppl_ratios_can_be_different_loss_ratios():
    first = {"response": stats(1.5), "response_given_instruction": stats(1.0)}
    second = {"response": stats(2.5), "response_given_instruction": stats(2.0)}
    assert ifd(**first) == pytest.approx(0.60653, abs=1e-5)
    assert ifd(**second) == pytest.approx(0.60653, abs=1e-5)
    assert ifd_loss(**first) == pytest.approx(2 / 3)
    assert ifd_loss(**second) == pytest.approx(0.8)


def test_ifd_compares_with_over_without_and_not_the_reverse():
    helped = {"response": stats(2.0), "response_given_instruction": stats(1.0)}
    assert ifd(**helped) == pytest.approx(math.exp(-1))
    assert r_ifd(instruction=stats(1.0), instruction_given_response=stats(2.0)) == pytest.approx(
        math.exp(1)
    )


@pytest.mark.parametrize("metric", [ifd, ifd_loss])
def test_a_ratio_of_different_token_counts_is_refused(metric):
    with pytest.raises(SpanMismatchError, match="3 tokens alone but 2 after"):
        metric(response=stats(1, 1, 1), response_given_instruction=stats(1, 1))


def test_r_ifd_of_different_token_counts_is_refused():
    with pytest.raises(SpanMismatchError, match="instruction covers 1 tokens alone"):
        r_ifd(instruction=stats(1), instruction_given_response=stats(1, 1))


def test_a_ratio_too_large_for_a_float_is_none():
    assert ifd(response=stats(1.0), response_given_instruction=stats(800.0)) is None
    assert ppl(response_given_instruction=stats(800.0)) is None
    assert ppl(response_given_instruction=stats(700.0)) > 1e300


def test_a_loss_of_zero_under_the_ratio_is_none():
    assert ifd_loss(response=stats(0.0), response_given_instruction=stats(0.0)) is None
    assert rsr(response_given_instruction=stats(0.0, ranks=[1])) is None


def test_ppl_of_two_equally_likely_tokens_is_two():
    assert ppl(response_given_instruction=stats(math.log(2), math.log(2))) == pytest.approx(2)


def test_grape_is_the_mean_log_probability():
    reading = stats(1.0, 2.0, 6.0)
    assert grape(response_given_instruction=reading) == pytest.approx(-3)
    assert mean_surprisal(response_given_instruction=reading) == pytest.approx(3)
    assert str(grape(response_given_instruction=stats(0.0))) == "0.0"


def test_rsr_of_the_worked_example():
    reading = stats(0.1, 1.0, 5.0, ranks=[1, 2, 100])
    assert rsr(response_given_instruction=reading) == pytest.approx(103 / 6.1, rel=1e-6)
    assert mean_rank(response_given_instruction=reading) == pytest.approx(103 / 3)


@patient
@given(full_stats(4))
def test_rsr_is_the_surprisal_weighted_mean_of_the_ratio_of_each_token(reading):
    surprisals = -reading.logprobs_T.astype(float)
    if (surprisals > 1e-3).all():
        ratios = reading.ranks_T / surprisals
        weighted = float(np.average(ratios, weights=surprisals))
        assert rsr(response_given_instruction=reading) == pytest.approx(weighted)


def test_rsr_pairs_each_rank_with_its_own_reading():
    one = stats(0.5, 4.0, ranks=[1, 50])
    other = stats(0.5, 4.0, ranks=[50, 1])
    assert rsr(response_given_instruction=one) == rsr(response_given_instruction=other)
    assert mean_rank(response_given_instruction=one) == 25.5


def test_brier_of_a_fair_coin_and_of_a_certain_student():
    half = stats(math.log(2), squares=[0.5])
    assert brier(response_given_instruction=half) == pytest.approx(0.5)
    assert brier(response_given_instruction=stats(0.0, squares=[1.0])) == pytest.approx(0)
    assert brier(response_given_instruction=stats(80.0, squares=[1.0])) == pytest.approx(2)


def test_brier_pairs_each_probability_with_its_own_position():
    one = stats(0.0, math.log(4), squares=[1.0, 0.25])
    # 1 - 2 + 1 = 0 and 1 - 0.5 + 0.25 = 0.75
    assert brier(response_given_instruction=one) == pytest.approx(0.375)


def test_upd_rewards_surprise_where_the_student_was_sure():
    sure = stats(0.0, 3.0, entropies=[math.log(100), 0.0])
    unsure = stats(0.0, 3.0, entropies=[0.0, math.log(100)])
    sigmoid = 1 / (1 + math.exp(-3))
    got = upd(response_given_instruction=sure, vocabulary_tokens=100)
    assert got == pytest.approx(sigmoid / 2, rel=1e-6)
    assert upd(response_given_instruction=unsure, vocabulary_tokens=100) == pytest.approx(0.25)


def test_high_entropy_sum_counts_half_a_percent_and_at_least_one():
    few = stats(*[1.0] * 10, entropies=[0.0] * 9 + [2.5])
    assert high_entropy_sum(response_given_instruction=few) == pytest.approx(2.5)
    many = stats(*[1.0] * 1000, entropies=[1.0] * 990 + [2.0] * 10)
    assert high_entropy_sum(response_given_instruction=many) == pytest.approx(5 * 2.0)


@pytest.mark.parametrize("metric", [rsr, mean_rank, brier, high_entropy_sum])
def test_statistics_that_were_not_measured_are_an_error(metric):
    with pytest.raises(DataError, match="the reading has no"):
        metric(response_given_instruction=stats(1.0))


def test_upd_needs_the_size_of_the_vocabulary():
    reading = Reading(
        candidate_id="c", views={"response_given_instruction": stats(1.0, entropies=[1.0])}
    )
    with pytest.raises(DataError, match="vocabulary size"):
        compute(reading, ["upd"])


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
