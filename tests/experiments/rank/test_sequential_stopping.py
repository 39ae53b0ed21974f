"""Looking after every question does not claim a wrong first place more often than stated."""

import numpy as np
import pyarrow as pa
import pytest

from tutelage.errors import SettingsError
from tutelage.experiments.rank import (
    PREDICTORS,
    WatchSettings,
    asking_order,
    first_place_by_questions,
    still_running,
)

ACCURACY = PREDICTORS["accuracy"]


def table(values_E_Q: np.ndarray) -> pa.Table:
    entrants, questions = values_E_Q.shape
    return pa.table(
        {
            "question": [f"q{q}" for _ in range(entrants) for q in range(questions)],
            "entrant": [f"t{e}" for e in range(entrants) for _ in range(questions)],
            "right": values_E_Q.reshape(-1),
        }
    )


def claims(values_E_Q: np.ndarray, *, settings: WatchSettings) -> str | None:
    """Who is claimed to be first at any look, if anybody."""
    looks = range(10, values_E_Q.shape[1] + 1, 5)
    rows = first_place_by_questions(
        table(values_E_Q), ACCURACY, looks=looks, settings=settings
    ).to_pylist()
    return next((row["leader"] for row in rows if row["settled"]), None)


def test_equal_teachers_are_claimed_first_at_most_as_often_as_stated_under_peeking() -> None:
    rng = np.random.default_rng(0)
    trials = 150
    wrong = naive = 0
    for _ in range(trials):
        values = rng.random((3, 200)) < 0.5
        wrong += claims(values.astype(float), settings=WatchSettings(level=0.9)) is not None
        gaps = values[0].astype(float) - values[1]
        naive += any(
            abs(gaps[:t].mean()) > 1.645 * gaps[:t].std(ddof=1) / t**0.5 for t in range(25, 201, 5)
        )
    assert wrong <= 0.1 * trials
    assert naive > 0.2 * trials  # what looking with ordinary intervals would do


def test_a_better_teacher_is_found_and_hardly_ever_the_wrong_one() -> None:
    rng = np.random.default_rng(1)
    found = [
        claims((rng.random((3, 250)) < [[0.9], [0.6], [0.5]]).astype(float),
               settings=WatchSettings(level=0.95))
        for _ in range(40)
    ]  # fmt: skip
    assert found.count("t0") > 30
    assert set(found) <= {"t0", None}


def test_a_teacher_that_is_out_stays_out() -> None:
    rng = np.random.default_rng(2)
    values = np.vstack([rng.random(120) + 1, rng.random(120)])
    values[1, 60:] += 5  # it comes back, too late
    order = asking_order([f"q{n}" for n in range(120)], seed=0)
    places = [int(name[1:]) for name in order]
    placed = np.empty_like(values)
    placed[:, places] = values
    rows = first_place_by_questions(table(placed), ACCURACY, looks=range(10, 121, 10)).to_pylist()
    out_at = next(i for i, row in enumerate(rows) if row["in_running"] == ["t0"])
    assert all(row["in_running"] == ["t0"] for row in rows[out_at:])


def test_nothing_is_claimed_before_the_fewest_questions() -> None:
    rng = np.random.default_rng(3)
    values = np.vstack([rng.random(24) + 10, rng.random(24)])
    assert still_running(table(values), ACCURACY) == ("t0", "t1")


def test_who_has_no_number_is_out_once_there_are_enough_questions() -> None:
    rng = np.random.default_rng(4)
    values = np.vstack([rng.random(40) + 5, np.full(40, np.nan), rng.random(40)])
    looks = first_place_by_questions(table(values), ACCURACY, looks=(20, 40)).to_pylist()
    assert [row["in_running"] for row in looks] == [["t0", "t1", "t2"], ["t0"]]
    assert [row["settled"] for row in looks] == [False, True]
    nothing = np.full((2, 30), np.nan)
    assert still_running(table(nothing), ACCURACY) == ()
    assert still_running(table(nothing[:, :20]), ACCURACY) == ("t0", "t1")


def test_a_single_teacher_is_first_at_once() -> None:
    assert still_running(table(np.ones((1, 30))), ACCURACY) == ("t0",)


def test_the_order_of_asking_is_that_of_the_ids_and_the_seed() -> None:
    names = [f"q{n}" for n in range(50)]
    assert asking_order(names, seed=0) == asking_order(names[::-1], seed=0)
    assert asking_order(names, seed=0) != asking_order(names, seed=1)


def test_a_watch_that_cannot_work_is_refused() -> None:
    with pytest.raises(SettingsError):
        WatchSettings(level=1.0)
    with pytest.raises(SettingsError):
        WatchSettings(fewest=1)
