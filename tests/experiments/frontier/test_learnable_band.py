"""What a student knows, and what it can learn from now."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.data import Attempts
from tutelage.data.schemas import FRONTIER
from tutelage.errors import DataError
from tutelage.experiments.frontier import BandSettings, Placing, draw_frontier, place
from tutelage.stats import fit, predict_out_of_fold


def tried(greedy: int, greedy_right: int, sampled: int, sampled_right: int) -> Attempts:
    return Attempts(
        example_id="e",
        greedy=greedy,
        greedy_right=greedy_right,
        sampled=sampled,
        sampled_right=sampled_right,
    )


@pytest.mark.parametrize(
    ("attempts", "knowledge"),
    [
        (tried(10, 10, 16, 3), "known"),  # SliCK looks at the greedy answers only
        (tried(10, 1, 16, 0), "maybe_known"),
        (tried(10, 0, 16, 1), "weakly_known"),
        (tried(10, 0, 16, 0), "unknown"),
        (tried(1, 1, 4, 4), "known"),
        (tried(1, 1, 4, 3), "maybe_known"),
        (tried(1, 1, 0, 0), "known"),
        (tried(1, 0, 4, 1), "weakly_known"),
        (tried(0, 0, 4, 4), "known"),
        (tried(0, 0, 4, 2), "maybe_known"),
        (tried(0, 0, 4, 1), "weakly_known"),
        (tried(0, 0, 4, 0), "unknown"),
        (tried(0, 0, 0, 0), None),
    ],
)
def test_the_truth_table_of_what_is_known(attempts: Attempts, knowledge: str | None) -> None:
    assert place(attempts) == knowledge


def test_more_right_than_tried_is_an_error() -> None:
    with pytest.raises(DataError):
        tried(1, 2, 0, 0)


def test_few_attempts_are_drawn_towards_a_half() -> None:
    assert tried(0, 0, 4, 0).smoothed_rate == pytest.approx(0.1)
    assert tried(0, 0, 4, 0).pass_rate == 0
    assert tried(3, 3, 0, 0).smoothed_rate == pytest.approx(3.5 / 4)


def placings(*right_of_four: int) -> list[Placing]:
    return [
        Placing(
            example_id=f"e{i}",
            attempts=Attempts(example_id=f"e{i}", sampled=4, sampled_right=right),
        )
        for i, right in enumerate(right_of_four)
    ]


def test_the_band_holds_what_is_neither_known_nor_out_of_reach() -> None:
    found = draw_frontier(placings(0, 1, 2, 3, 4), BandSettings(keep_count=3))
    kept = {row["example_id"]: row["reason"] for row in found.table.to_pylist()}
    assert kept == {
        "e0": "too_hard",
        "e1": "in_band",
        "e2": "in_band",
        "e3": "in_band",
        "e4": "too_easy",
    }
    assert found.band == pytest.approx((0.3, 0.7))
    assert found.histogram == (1, 0, 1, 0, 0, 1, 0, 1, 0, 1)


def test_the_band_moves_with_the_student() -> None:
    weak = draw_frontier(placings(0, 0, 0, 1, 1), BandSettings(keep_count=2))
    strong = draw_frontier(placings(2, 3, 3, 4, 4), BandSettings(keep_count=2))
    assert weak.band == pytest.approx((0.3, 0.3))
    assert strong.band is not None
    assert strong.band[0] == pytest.approx(0.5)


def test_a_fixed_band_stays() -> None:
    found = draw_frontier(placings(0, 1, 2, 3, 4), BandSettings(low=0.4, high=0.6))
    assert [row["example_id"] for row in found.table.to_pylist() if row["kept"]] == ["e2"]
    reasons = found.table["reason"].to_pylist()
    assert reasons == ["too_hard", "too_hard", "in_band", "too_easy", "too_easy"]


def test_the_curriculum_begins_with_what_the_student_gets_right() -> None:
    found = draw_frontier(placings(1, 3, 2), BandSettings(keep_fraction=1.0))
    order = {row["example_id"]: row["curriculum"] for row in found.table.to_pylist()}
    assert order == {"e1": 0, "e2": 1, "e0": 2}
    turned = draw_frontier(placings(1, 3, 2), BandSettings(keep_fraction=1.0, order="hard_first"))
    assert [row["curriculum"] for row in turned.table.to_pylist()] == [0, 2, 1]


def test_a_set_of_unknown_facts_is_warned_about() -> None:
    assert draw_frontier(placings(0, 0, 2), BandSettings()).warning is not None
    assert draw_frontier(placings(0, 2, 2), BandSettings()).warning is None
    assert draw_frontier([], BandSettings()).warning is None


def test_what_was_not_attempted_is_placed_by_its_prediction_or_says_why_not() -> None:
    found = draw_frontier(
        [
            Placing(example_id="a", predicted=0.6),
            Placing(example_id="b", predicted=0.05),
            Placing(example_id="c", missing="no_reference"),
        ],
        BandSettings(keep_fraction=1.0),
    )
    rows = found.table.to_pylist()
    assert [row["knowledge"] for row in rows] == ["maybe_known", "unknown", None]
    assert [row["basis"] for row in rows] == ["predicted", "predicted", "none"]
    assert rows[2]["reason"] == "no_reference"
    assert found.placed == 2


def test_a_band_upside_down_is_refused() -> None:
    with pytest.raises(ValidationError, match="low end"):
        BandSettings(low=0.7, high=0.2)


@given(st.lists(st.integers(0, 4), max_size=20), st.integers(1, 8), st.randoms())
def test_every_example_has_one_row_and_the_order_of_rows_decides_nothing(
    rights: list[int], count: int, shuffle: object
) -> None:
    given_ = placings(*rights)
    settings = BandSettings(keep_count=count)
    found = draw_frontier(given_, settings)
    assert found.table.schema == FRONTIER
    assert found.table["example_id"].to_pylist() == [one.example_id for one in given_]
    kept = [row for row in found.table.to_pylist() if row["kept"]]
    assert len(kept) == min(count, sum(right > 0 for right in rights))
    assert sorted(row["curriculum"] for row in kept) == list(range(len(kept)))
    turned = list(given_)
    shuffle.shuffle(turned)  # type: ignore[attr-defined]
    again = draw_frontier(turned, settings).table.to_pylist()
    assert sorted(again, key=str) == sorted(found.table.to_pylist(), key=str)


def test_a_prediction_finds_the_feature_that_decides() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 3))
    rates = 1 / (1 + np.exp(-2 * features[:, 1]))
    right = generator.binomial(8, rates).astype(float)
    ids = [f"e{i}" for i in range(200)]
    found = predict_out_of_fold(ids, features, right, np.full(200, 8.0))
    assert found is not None
    assert np.corrcoef(found, rates)[0, 1] > 0.97
    fitted = fit(features, right, np.full(200, 8.0))
    assert fitted.weights_F[1] == pytest.approx(2.0 * features[:, 1].std(), abs=0.25)


def test_a_feature_of_noise_predicts_nothing_out_of_fold() -> None:
    generator = np.random.default_rng(1)
    right = generator.binomial(4, 0.5, size=100).astype(float)
    features = generator.normal(size=(100, 2))
    found = predict_out_of_fold([f"e{i}" for i in range(100)], features, right, np.full(100, 4.0))
    assert found is not None
    assert abs(np.corrcoef(found, right)[0, 1]) < 0.3


@pytest.mark.parametrize("right", [0.0, 4.0])
def test_all_right_or_all_wrong_is_no_reason_to_overflow(right: float) -> None:
    features = np.arange(12.0)[:, None]
    fitted = fit(features, np.full(12, right), np.full(12, 4.0))
    rates = fitted.rates(features)
    assert np.isfinite(rates).all()
    assert (rates > 0.8).all() if right else (rates < 0.2).all()


def test_too_few_examples_predict_nothing() -> None:
    assert predict_out_of_fold(["a"], np.ones((1, 1)), np.ones(1), np.ones(1)) is None
