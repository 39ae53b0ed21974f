"""Two judges of one pool: hand-computed agreement, and what chance alone would give."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.ranking import (
    PREDICTORS,
    choice_agreement,
    joined,
    kendall,
    overlap,
    spearman_interval,
    within_agreement,
)

LIKELIHOOD = PREDICTORS["likelihood"]
RSR = PREDICTORS["rsr"]


def judged(values: dict[str, list[float | None]]) -> pa.Table:
    """By question: one number an answer."""
    return pa.Table.from_pylist(
        [
            {"question": q, "entrant": f"t{i}", "candidate_id": f"{q}-{i}", "grape": value}
            for q, numbers in values.items()
            for i, value in enumerate(numbers)
        ]
    )


def test_the_share_of_questions_with_the_same_choice_by_hand() -> None:
    one = judged({"a": [-1.0, -2.0, -3.0], "b": [-1.0, -2.0], "c": [-5.0]})
    other = judged({"a": [-1.0, -9.0, -3.0], "b": [-2.0, -1.0], "c": [-5.0]})
    both, alone = joined(one, other, LIKELIHOOD)
    assert alone == 0
    assert choice_agreement(both) == (1, 2, pytest.approx((1 / 3 + 1 / 2) / 2))
    assert within_agreement(both).tolist() == pytest.approx([1 / 3, -1.0])


def test_overlap_of_the_best_half_by_hand() -> None:
    one = judged({"a": [-1.0, -2.0, -3.0, -4.0]})
    other = judged({"a": [-4.0, -1.0, -2.0, -3.0]})
    both, _ = joined(one, other, LIKELIHOOD)
    assert overlap(both, share=0.5) == (1, 2, 4)


def test_an_answer_only_one_judge_can_read_is_counted_and_left_out() -> None:
    both, alone = joined(judged({"a": [-1.0, None]}), judged({"a": [-1.0, -2.0]}), LIKELIHOOD)
    assert (both.num_rows, alone) == (1, 1)


def test_lower_is_better_for_rsr() -> None:
    table = pa.table(
        {
            "question": ["a", "a"],
            "entrant": ["t0", "t1"],
            "candidate_id": ["x", "y"],
            "mean_rank": [8.0, 2.0],
            "mean_surprisal": [2.0, 1.0],
        }
    )
    both, _ = joined(table, table, RSR)
    assert both["one"].to_pylist() == [-4.0, -2.0]


def test_rankings_of_different_pools_are_refused() -> None:
    with pytest.raises(DataError, match="share no answer"):
        joined(judged({"a": [-1.0]}), judged({"b": [-1.0]}), LIKELIHOOD)
    with pytest.raises(DataError, match="no column 'mean_rank'"):
        joined(judged({"a": [-1.0]}), judged({"a": [-1.0]}), RSR)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=8))
def test_kendall_of_a_list_with_itself_is_one_and_with_its_negative_minus_one(values) -> None:  # type: ignore[no-untyped-def]
    numbers = np.array(values)
    if len(set(values)) == 1:
        assert kendall(numbers, numbers) is None
    else:
        assert kendall(numbers, numbers) == pytest.approx(1.0)
        assert kendall(numbers, -numbers) == pytest.approx(-1.0)


def test_the_interval_of_a_correlation_holds_it_and_narrows() -> None:
    few, many = spearman_interval(0.8, n=10), spearman_interval(0.8, n=100)
    assert few[0] is not None
    assert few[1] is not None
    assert many[0] is not None
    assert few[0] < many[0] < 0.8 < few[1]
    assert spearman_interval(0.8, n=3) == (None, None)
    assert spearman_interval(1.0, n=10)[1] == 1.0


def test_the_interval_covers_a_true_rank_correlation() -> None:
    rng = np.random.default_rng(0)
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman of a normal pair with correlation 0.6
    covered = 0
    for _ in range(300):
        x = rng.normal(size=20)
        y = 0.6 * x + 0.8 * rng.normal(size=20)
        ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
        low, high = spearman_interval(float(np.corrcoef(*ranks)[0, 1]), n=20)
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
    assert covered >= 275
