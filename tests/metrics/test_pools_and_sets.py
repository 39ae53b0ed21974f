"""Metrics that need more than one candidate."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Reading, TokenStats
from tutelage.errors import DataError, SpanMismatchError
from tutelage.metrics import (
    CaslFit,
    car,
    casl,
    delta_loss,
    fit_casl,
    lark,
    lark_weights,
    rsr_of_set,
    with_casl,
    with_lark,
)

patient = settings(deadline=None)  # a busy machine is no failure
losses = st.lists(st.floats(0.01, 10), min_size=1, max_size=6)


def reading(*surprisals, candidate_id="c"):
    stats = TokenStats(logprobs_T=-np.array(surprisals, dtype=np.float32))
    return Reading(candidate_id=candidate_id, views={"response_given_instruction": stats})


def test_lark_of_identical_candidates():
    assert lark(losses_K=[1, 1], briers_K=[0.5, 0.5]).tolist() == [0.25, 0.25]


def test_lark_of_a_worked_example():
    # sum L = 4, sum Brier = 1: (1/4)(2 * 0.6 - 0.25) and (3/4)(2 * 0.4/3 - 0.25)
    assert lark(losses_K=[1, 3], briers_K=[0.6, 0.4]) == pytest.approx([0.2375, 0.0125])


@patient
@given(losses, st.data())
def test_lark_agrees_with_the_formula_as_published(losses_K, data):
    briers_K = data.draw(st.lists(st.floats(0, 2), min_size=len(losses_K), max_size=len(losses_K)))
    total = sum(losses_K)
    rhos = [b / loss for b, loss in zip(briers_K, losses_K, strict=True)]
    mean = sum(rho * loss for rho, loss in zip(rhos, losses_K, strict=True)) / total
    published = [loss / total * (2 * rho - mean) for rho, loss in zip(rhos, losses_K, strict=True)]
    assert lark(losses_K=losses_K, briers_K=briers_K) == pytest.approx(published, abs=1e-9)


def test_lark_has_no_value_where_nothing_is_left_to_learn():
    assert lark(losses_K=[0.0, 0.0], briers_K=[0.0, 0.0]) is None
    with pytest.raises(DataError, match="one loss and one Brier score"):
        lark(losses_K=[1.0], briers_K=[])


def test_lark_weights_of_the_worked_example():
    assert lark_weights([1, 3, 4, 2], keep=2) == pytest.approx([0, 1 / 3, 2 / 3, 0])
    assert lark_weights([2, 2, 2], keep=3) == pytest.approx([1 / 3] * 3)


@patient
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=6), st.integers(1, 7))
def test_lark_weights_sum_to_one_and_follow_the_estimates(estimates, keep):
    weights = lark_weights(estimates, keep=keep)
    assert weights.sum() == pytest.approx(1)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights > 0).sum() <= keep
    for i, one in enumerate(estimates):
        assert all(weights[i] >= weights[j] for j, other in enumerate(estimates) if one > other)


@pytest.mark.parametrize(("estimates", "keep"), [([], 1), ([float("nan")], 1), ([1.0], 0)])
def test_lark_weights_refuse_what_has_no_weight(estimates, keep):
    with pytest.raises(DataError, match="lark weights"):
        lark_weights(estimates, keep=keep)


def test_lark_is_added_within_each_example_and_never_for_an_unscored_candidate():
    scores = pa.table(
        {
            "candidate_id": ["b", "x", "a", "c"],
            "example_id": ["1", "2", "1", "1"],
            "mean_surprisal": [3.0, 2.0, 1.0, None],
            "brier": [0.4, 1.0, 0.6, None],
        }
    )
    table = with_lark(scores, keep=1)
    assert table["candidate_id"].to_pylist() == ["b", "x", "a", "c"]
    assert table["lark"].to_pylist() == pytest.approx([0.0125, 0.5, 0.2375, None])
    assert table["lark_weight"].to_pylist() == [0.0, 1.0, 1.0, None]
    again = with_lark(table.take([3, 2, 1, 0]), keep=1)
    assert again["lark"].to_pylist() == pytest.approx([None, 0.2375, 0.5, 0.0125])


def test_lark_says_which_column_is_missing():
    with pytest.raises(DataError, match="'brier'"):
        with_lark(pa.table({"mean_surprisal": [1.0]}))


def test_rsr_of_a_set_is_a_ratio_of_means():
    assert rsr_of_set(mean_ranks=[1, 9], mean_surprisals=[1, 3]) == pytest.approx(2.5)
    assert rsr_of_set(mean_ranks=[1], mean_surprisals=[0]) is None
    with pytest.raises(DataError, match="one mean rank and one mean surprisal"):
        rsr_of_set(mean_ranks=[1], mean_surprisals=[])


@patient
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0.01, 10)), min_size=1, max_size=6))
def test_rsr_of_a_set_lies_between_its_responses_and_does_not_follow_their_order(rows):
    ranks, surprisals = zip(*rows, strict=True)
    found = rsr_of_set(mean_ranks=ranks, mean_surprisals=surprisals)
    ratios = [rank / surprisal for rank, surprisal in rows]
    assert min(ratios) * (1 - 1e-9) <= found <= max(ratios) * (1 + 1e-9)
    turned = rsr_of_set(mean_ranks=ranks[::-1], mean_surprisals=surprisals[::-1])
    assert turned == pytest.approx(found)


@patient
@given(st.floats(0, 100), st.floats(0, 10), st.floats(0, 10), st.floats(0, 5))
def test_car_falls_with_the_loss_and_never_passes_the_reward(reward, nll, more, beta):
    found = car(mean_reward=reward, mean_nll=nll, beta=beta)
    assert 0 <= car(mean_reward=reward, mean_nll=nll + more, beta=beta) <= found <= reward


def test_car_of_the_worked_example():
    assert car(mean_reward=4, mean_nll=1) == 2
    assert car(mean_reward=4, mean_nll=1, beta=0) == 4
    with pytest.raises(DataError, match="mean_reward is -1"):
        car(mean_reward=-1, mean_nll=1)


def test_delta_loss_is_positive_where_training_made_the_response_likelier():
    assert delta_loss(base=reading(3, 1), current=reading(0.5, 0.5)) == pytest.approx(1.5)
    with pytest.raises(SpanMismatchError, match="2 tokens under the base"):
        delta_loss(base=reading(1, 1), current=reading(1))
    with pytest.raises(DataError, match="compared"):
        delta_loss(base=reading(1), current=reading(1, candidate_id="d"))


@patient
@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=6))
def test_delta_loss_turns_around_with_its_students_and_is_0_without_training(rows):
    base, current = (reading(*surprisals) for surprisals in zip(*rows, strict=True))
    assert delta_loss(base=base, current=current) == -delta_loss(base=current, current=base)
    assert delta_loss(base=base, current=base) == 0


@patient
@given(st.tuples(*[st.floats(-3, 3) for _ in range(4)]), st.integers(0, 1000))
def test_casl_recovers_the_line_it_was_made_from(line, seed):
    causes = np.random.default_rng(seed).normal(size=(12, 3))
    fit = fit_casl(grape=line[0] + causes @ np.array(line[1:]), causes_R_3=causes)
    assert (fit.intercept, fit.rest, fit.first, fit.share) == pytest.approx(line, abs=1e-6)
    assert fit.responses == 12


def test_casl_takes_away_what_the_length_of_steps_explains():
    fit = CaslFit(intercept=0, rest=1, first=0, share=-2, responses=9)
    assert casl(grape=-1.5, first_token_share=0.25, fit=fit) == pytest.approx(-1.0)


def test_casl_is_not_fitted_on_responses_that_are_all_alike():
    with pytest.raises(DataError, match="are not enough to separate the length of steps"):
        fit_casl(grape=np.ones(9), causes_R_3=np.ones((9, 3)))


def test_casl_is_added_where_there_are_numbers():
    causes = np.random.default_rng(0).normal(size=(8, 3))
    columns = {
        "grape": [*(causes @ np.array([1.0, 0.5, 2.0])), None],
        "aslec_drop": [*causes[:, 0], None],
        "first_token_logprob": [*causes[:, 1], None],
        "first_token_share": [*causes[:, 2], None],
    }
    table, fit = with_casl(pa.table(columns))
    expected = causes @ np.array([1.0, 0.5, 0.0])
    assert fit.share == pytest.approx(2)
    assert table["casl"].to_pylist()[:-1] == pytest.approx(expected)
    assert table["casl"].to_pylist()[-1] is None
    with pytest.raises(DataError, match="no column 'grape'"):
        with_casl(pa.table({"aslec_drop": [1.0]}))
