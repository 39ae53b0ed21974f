"""Standings: hand-computed numbers, order does not matter, intervals that hold together."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError, SettingsError
from tutelage.experiments.rank import PREDICTORS, predictors_for, rank
from tutelage.experiments.rank.predictors import Predictor, car_predictor

ACCURACY = PREDICTORS["accuracy"]
RSR = PREDICTORS["rsr"]


def answers(values: dict[str, list[float | None]], *, column: str = "right") -> pa.Table:
    rows = [
        {"question": f"q{n}", "entrant": name, column: value}
        for name, numbers in values.items()
        for n, value in enumerate(numbers)
    ]
    return pa.Table.from_pylist(rows)


def test_rsr_of_a_set_is_the_ratio_of_means_not_the_mean_of_ratios() -> None:
    table = pa.table(
        {
            "question": ["a", "b"],
            "entrant": ["t", "t"],
            "mean_rank": [2.0, 10.0],
            "mean_surprisal": [1.0, 2.0],
        }
    )
    (row,) = rank(table, [RSR]).table.to_pylist()
    assert row["value"] == pytest.approx(12 / 3)  # the mean of ratios would be 3.5
    assert row["low"] is None  # two questions say nothing about spread
    assert (row["rank"], row["questions"]) == (1, 2)


def test_car_divides_the_mean_reward_by_one_plus_the_weighted_mean_loss() -> None:
    table = pa.table(
        {
            "question": ["a", "b"],
            "entrant": ["t", "t"],
            "reward": [3.0, 5.0],
            "mean_surprisal": [1.0, 1.0],
        }
    )
    (row,) = rank(table, [car_predictor(beta=1.0)]).table.to_pylist()
    assert row["value"] == pytest.approx(2.0)


def test_lower_is_better_where_the_predictor_says_so() -> None:
    table = answers({"near": [1.0] * 6, "far": [2.0] * 6}, column="style_distance")
    found = rank(table, [PREDICTORS["style_distance"]]).table.to_pylist()
    assert [(r["entrant"], r["rank"]) for r in found] == [("near", 1), ("far", 2)]


def test_who_is_better_only_where_the_other_was_not_scored_is_not_told_apart() -> None:
    wave = [0.01 * (n % 5) for n in range(30)]
    table = answers(
        {
            "picky": [*(0.8 + w for w in wave), *[None] * 30],  # has no number for hard questions
            "whole": [*(0.9 + w / 2 for w in wave), *[0.3] * 30],
        }
    )
    found = rank(table, [ACCURACY])
    assert [
        (r["entrant"], r["rank"], r["rank_best"], r["rank_worst"]) for r in found.table.to_pylist()
    ] == [
        ("picky", 1, 1, 2),
        ("whole", 2, 1, 2),
    ]
    (pair,) = found.pairs.to_pylist()
    assert pair["high"] < 0 < pair["difference"]
    assert not pair["told_apart"]


def test_equal_values_share_a_rank_and_are_never_told_apart() -> None:
    found = rank(answers({"a": [1.0, 0.0] * 6, "b": [1.0, 0.0] * 6}), [ACCURACY])
    assert [r["rank"] for r in found.table.to_pylist()] == [1, 1]
    assert [r["first_fraction"] for r in found.table.to_pylist()] == [0.5, 0.5]
    assert [p["told_apart"] for p in found.pairs.to_pylist()] == [False]


def test_a_clear_difference_is_told_apart_and_closes_the_ranks() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    table = answers({"good": list(base + 1), "bad": list(base)})
    found = rank(table, [ACCURACY])
    assert [(r["rank_best"], r["rank_worst"]) for r in found.table.to_pylist()] == [(1, 1), (2, 2)]
    (pair,) = found.pairs.to_pylist()
    assert pair["a"] == "good"
    assert pair["difference"] == pytest.approx(1.0)  # questions are paired, so nothing varies


def test_unpaired_sources_are_drawn_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"question": f"{name}{n}", "entrant": name, "right": float(rng.random() < 0.5)}
        for name, size in (("small", 10), ("large", 200))
        for n in range(size)
    ]
    found = {
        r["entrant"]: r
        for r in rank(pa.Table.from_pylist(rows), [ACCURACY], paired=False).table.to_pylist()
    }
    width = {name: row["high"] - row["low"] for name, row in found.items()}
    assert width["small"] > 2 * width["large"]


def test_an_entrant_without_numbers_stands_last_and_has_none() -> None:
    found = rank(answers({"a": [1.0] * 6, "silent": [None] * 6}), [ACCURACY]).table.to_pylist()
    assert found[-1]["entrant"] == "silent"
    assert [found[-1][n] for n in ("value", "low", "rank", "questions")] == [None, None, None, 0]
    assert found[-1]["answers"] == 6


def test_several_answers_of_one_question_count_as_one_question() -> None:
    table = pa.table(
        {
            "question": ["a", "a", "a", "b"],
            "entrant": ["t"] * 4,
            "right": [1.0, 1.0, 1.0, 0.0],
        }
    )
    (row,) = rank(table, [ACCURACY]).table.to_pylist()
    assert row["value"] == 0.5


def test_domains_are_ranked_by_themselves() -> None:
    table = pa.Table.from_pylist(
        [
            {"question": f"{d}{n}", "entrant": e, "domain": d, "right": value}
            for d, values in (("x", {"a": 1.0, "b": 0.0}), ("y", {"a": 0.0, "b": 1.0}))
            for e, value in values.items()
            for n in range(6)
        ]
    )
    rows = rank(table, [ACCURACY]).table.to_pylist()
    first = {r["domain"]: r["entrant"] for r in rows if r["rank"] == 1 and r["domain"] != "all"}
    assert first == {"x": "a", "y": "b"}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=10, max_size=10), min_size=2,
             max_size=4),
    st.randoms(),
)  # fmt: skip
def test_the_order_of_rows_does_not_matter(values, random) -> None:  # type: ignore[no-untyped-def]
    table = answers({f"t{i}": numbers for i, numbers in enumerate(values)})
    places = list(range(table.num_rows))
    random.shuffle(places)
    one = rank(table, [ACCURACY], draws=50)
    other = rank(table.take(places), [ACCURACY], draws=50)
    assert one.table.equals(other.table)
    assert one.pairs.equals(other.pairs)


def test_simultaneous_ranks_cover_the_truth_as_often_as_stated() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.0, 0.0, 0.3, 0.6])
    order = np.argsort(np.argsort(-truth, kind="stable")) + 1
    covered = 0
    for seed in range(60):
        values = truth[:, None] + rng.normal(size=(4, 80)) + rng.normal(size=80)
        table = answers({f"t{i}": list(v) for i, v in enumerate(values)})
        rows = {
            r["entrant"]: r for r in rank(table, [ACCURACY], draws=300, seed=seed).table.to_pylist()
        }
        covered += all(
            rows[f"t{i}"]["rank_best"] <= 1 + int((truth > truth[i]).sum())
            and rows[f"t{i}"]["rank_worst"] >= int(order[i])
            for i in range(4)
        )
    assert covered >= 53  # 95 % of 60 is 57; fewer than 53 has a chance below 2 %


def test_what_cannot_be_ranked_is_an_error() -> None:
    with pytest.raises(DataError, match="no column 'right'"):
        rank(answers({"a": [1.0]}, column="reward"), [ACCURACY])
    with pytest.raises(DataError, match="no answer"):
        rank(answers({"a": [1.0]}).slice(0, 0), [ACCURACY])
    with pytest.raises(SettingsError, match="level"):
        rank(answers({"a": [1.0]}), [ACCURACY], level=1.0)
    with pytest.raises(SettingsError, match="weight"):
        predictors_for(["reward", "mean_surprisal"], beta=-1.0)


@pytest.mark.parametrize("kind", ["mean", "ratio", "adjusted"])
def test_slopes_are_the_derivatives(kind) -> None:  # type: ignore[no-untyped-def]
    columns = ("x",) if kind == "mean" else ("x", "y")
    predictor = Predictor(
        name="p", summary="", better="higher", columns=columns, kind=kind, weight=0.7
    )
    at = [1.3, 2.1][: len(columns)]
    for index, slope in enumerate(predictor.slopes(at)):
        above, below = list(at), list(at)
        above[index] += 1e-6
        below[index] -= 1e-6
        change = predictor.of_means([np.array(v) for v in above]) - predictor.of_means(
            [np.array(v) for v in below]
        )
        assert slope == pytest.approx(float(change) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("paired", [True, False])
def test_equal_entrants_are_rarely_told_apart_even_with_few_questions(paired) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    wrong = 0
    for trial in range(60):
        surprisal = np.exp(0.3 * rng.normal(size=(6, 12)))
        ranks = 3 * surprisal * np.exp(0.4 * rng.normal(size=(6, 12)))
        table = pa.Table.from_pylist(
            [
                {
                    "question": f"q{q}" if paired else f"q{q} of {e}",
                    "entrant": f"t{e}",
                    "mean_rank": ranks[e, q],
                    "mean_surprisal": surprisal[e, q],
                }
                for e in range(6)
                for q in range(12)
            ]
        )
        found = rank(table, [RSR], draws=300, seed=trial, paired=paired)
        wrong += any(found.pairs["told_apart"].to_pylist())
    assert wrong <= 9  # 5 % of 60 is 3; a plain bootstrap tells some apart in a third of them
