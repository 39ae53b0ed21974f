"""Two judges of one pool: hand-computed agreement, and what chance alone would give."""

import pyarrow as pa
import pytest

from tutelage.errors import DataError
from tutelage.experiments.rank import (
    PREDICTORS,
    choice_agreement,
    joined,
    overlap,
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
    with pytest.raises(DataError, match="no scored answer in common"):
        joined(judged({"a": [-1.0]}), judged({"b": [-1.0]}), LIKELIHOOD)
    with pytest.raises(DataError, match="no column 'mean_rank'"):
        joined(judged({"a": [-1.0]}), judged({"a": [-1.0]}), RSR)
