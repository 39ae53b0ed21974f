"""The user's own faulty rows: set aside, so that they do not use up the budget."""

import numpy as np
import pytest

from tests.gate.gate_rows import CountingStudent, fit_rows, gate_rows, read_one
from tutelage.gate import NAMES, GateRow, features_of, fit_gate, gate_fit, plant
from tutelage.gate.contamination import contamination_of
from tutelage.gate.gate_fit import with_suspected

ROWS = gate_rows(100)
SHOWN = ("mismatch", "wrong_letters", "echo", "refusal")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_the_share_of_faulty_rows_is_found(share: float) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(10):
        faulty = int(share * 400)
        user_N = np.concatenate([rng.normal(size=400 - faulty), rng.normal(5, size=faulty)])
        found.append(contamination_of(user_N, rng.normal(5, size=100)).fraction)
    assert abs(np.mean(found) - share) <= 0.1
    assert np.min(found) >= share / 3


def test_the_cut_lies_between_clean_and_faulty_rows() -> None:
    rng = np.random.default_rng(0)
    user_N = np.concatenate([rng.normal(size=300), rng.normal(8, size=100)])
    found = contamination_of(user_N, rng.normal(8, size=100))
    assert (user_N[:300] >= found.cut).sum() == 0
    assert (user_N[300:] >= found.cut).sum() >= 90


def test_a_fault_that_cannot_be_told_sets_nothing_aside() -> None:
    rng = np.random.default_rng(0)
    found = [
        contamination_of(rng.normal(size=400), rng.normal(size=100)).fraction for _ in range(20)
    ]
    assert set(found) == {0.0}


def test_without_plants_nothing_is_suspected() -> None:
    assert contamination_of(np.ones(5), np.zeros(0)).fraction == 0.0
    assert contamination_of(np.zeros(0), np.ones(5)).fraction == 0.0


@pytest.mark.parametrize("fault", ["echo"])
def test_a_third_of_faulty_rows_does_not_use_up_the_budget(fault: str) -> None:
    student, rows = CountingStudent(), fit_rows(ROWS, faults=SHOWN)
    spoilt = {row.row_id: row for number, row in enumerate(ROWS) if number % 3 == 0}

    def own(row: GateRow) -> GateRow:
        if row.fault is not None or row.example_id not in spoilt:
            return row
        source = spoilt[row.example_id]
        text = plant(source, fault=fault, dose="strong", others=ROWS, seed=77).response
        read = read_one(student, f"own {row.example_id}", source, str(text))
        return GateRow(example_id=row.example_id, features_F=features_of(read))

    dirty = [own(row) for row in rows]
    gate = fit_gate(dirty, max_false_refusals=0.05, seed=0)
    assert gate.suspected[fault] >= 0.7 * len(spoilt)
    assert sum(gate.suspected.values()) <= 1.3 * len(spoilt)  # plants are not the user's
    judged = gate.judge(np.stack([r.features_F for r in dirty if r.fault is None]))
    names = [r.example_id for r in dirty if r.fault is None]
    refused = {name for name, j in zip(names, judged, strict=True) if not j.passed}
    assert len(refused & set(spoilt)) >= 0.9 * len(spoilt)
    assert len(refused - set(spoilt)) <= 0.1 * len(ROWS)


def rows_by_one_feature(
    *, clean: float, faulty: float, spread: float, share: float
) -> tuple[list[GateRow], int]:
    """Rows in which `log_ifd` alone tells mismatches from clean rows, and how many are faulty."""
    rng, rows, count = np.random.default_rng(3), [], round(60 * share)

    def features(centre: float) -> np.ndarray:
        x_F = rng.normal(size=len(NAMES))
        x_F[[NAMES.index(name) for name in NAMES if name not in NOISE]] = 0.0
        x_F[NAMES.index("log_ifd")] = rng.normal(centre, spread)
        return x_F

    for number in range(60):
        own = faulty if number < count else clean
        rows.append(GateRow(example_id=f"r{number}", features_F=features(own)))
        rows.append(
            GateRow(
                example_id=f"r{number}",
                features_F=features(faulty),
                fault="mismatch",
                dose="strong",
            )
        )
    return rows, count


NOISE = (
    "surprise",
    "entropy",
    "rsr",
    "surprise_spread",
    "rank_first",
    "surprise_alone",
    "entropy_gap",
)


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_frequent_fault_is_found_by_one_number_before_any_fit(share: float) -> None:
    rows, count = rows_by_one_feature(clean=-1.5, faulty=0.0, spread=0.2, share=share)
    found = [r for r in with_suspected(rows, seed=0) if r.fault is None]
    suspected = {r.example_id for r in found if r.suspected == "mismatch"}
    faulty = {f"r{number}" for number in range(count)}
    assert len(suspected & faulty) >= 0.8 * count
    assert len(suspected - faulty) <= 2


@pytest.mark.parametrize(("tokens", "expected"), [(3.0, 15), (30.0, 0)])
def test_rows_far_shorter_than_the_planted_ones_are_not_taken_for_a_frequent_fault(
    tokens: float, expected: int
) -> None:
    rows, count = rows_by_one_feature(clean=-1.5, faulty=0.0, spread=0.2, share=0.3)
    place = NAMES.index("log_tokens")
    for row in rows:
        is_short = row.fault is None and int(row.example_id[1:]) < count
        row.features_F[place] = np.log(3.0 if is_short else tokens)
    screened = [r.suspected for r in with_suspected(rows, seed=0) if r.fault is None]
    found = sum(fault == "mismatch" for fault in screened)
    assert found >= expected if expected else found == 0


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.5])
def test_a_student_that_can_hardly_tell_is_not_taken_for_a_frequent_fault(shift: float) -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(100):
        found = contamination_of(rng.normal(size=108), rng.normal(shift, size=60))
        alarms += found.auc >= gate_fit._SCREEN_AUC
    assert alarms <= 5
