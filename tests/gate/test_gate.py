"""The gate as a whole, with a student that counts words."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.gate.gate_rows import CountingStudent, fit_rows, gate_rows, read_one
from tutelage.errors import DataError, SettingsError
from tutelage.gate import (
    DIFFERENCES,
    FAULTS,
    NAMES,
    VERSION,
    CalibratedGate,
    GateRow,
    TooFewRowsError,
    features_of,
    fit_gate,
    part_of,
    plain_features,
    plant,
)

ROWS = gate_rows(120)
SHOWN = ("mismatch", "wrong_letters", "truncation", "doubling", "echo", "refusal")


@pytest.fixture(scope="module")
def planted() -> list[GateRow]:
    return fit_rows(ROWS, faults=SHOWN)


@pytest.fixture(scope="module")
def gate(planted: list[GateRow]) -> CalibratedGate:
    return fit_gate(planted, max_false_refusals=0.05, seed=0)


def test_strong_faults_are_refused_and_clean_rows_pass(
    planted: list[GateRow], gate: CalibratedGate
) -> None:
    other = fit_gate(planted, max_false_refusals=0.05, seed=1)  # one half has few clean rows
    clean = [g.false_refusals for g in (gate, other)]
    assert sum(s.count for s in clean) <= 0.1 * sum(s.rows for s in clean)
    refused = {r.fault: r.refused.fraction for r in gate.results}
    # One answer in ten of these rows is about the very topic of another instruction.
    assert refused.pop("mismatch") >= 0.7
    assert min(refused.values()) >= 0.9, refused


def test_every_fault_reports_how_it_does_when_it_is_left_out(gate: CalibratedGate) -> None:
    assert [r.fault for r in gate.results] == sorted(SHOWN)
    for result in gate.results:
        assert result.left_out_auc is not None
        assert result.left_out_refused is not None
        assert result.left_out_refused.fraction <= result.refused.fraction + 0.2


def test_the_held_out_rows_are_not_those_of_the_fit(gate: CalibratedGate) -> None:
    parts = [part_of(row.row_id, seed=0) for row in ROWS]
    assert gate.fit_examples == parts.count("fit")
    assert gate.held_out_examples == parts.count("held_out")
    assert gate.false_refusals.rows == parts.count("held_out")


def test_rows_that_are_held_out_do_not_move_the_thresholds(
    planted: list[GateRow], gate: CalibratedGate
) -> None:
    spoilt = [
        GateRow(example_id=r.example_id, features_F=r.features_F * 0, fault=r.fault, dose=r.dose)
        if part_of(r.example_id, seed=0) == "held_out"
        else r
        for r in planted
    ]
    other = fit_gate(spoilt, max_false_refusals=0.05, seed=0)
    assert other.thresholds == gate.thresholds
    assert other.detectors == gate.detectors


def test_the_order_of_rows_changes_nothing(planted: list[GateRow], gate: CalibratedGate) -> None:
    shuffled = random.Random(5).sample(planted, len(planted))
    assert fit_gate(shuffled, max_false_refusals=0.05, seed=0) == gate


def test_a_gate_survives_its_file(gate: CalibratedGate, planted: list[GateRow]) -> None:
    back = CalibratedGate.from_json(json.loads(json.dumps(gate.as_json())))
    assert back == gate
    X_N_F = np.stack([r.features_F for r in planted[:50]])
    assert back.judge(X_N_F) == gate.judge(X_N_F)


def test_a_gate_of_another_version_is_refused(gate: CalibratedGate) -> None:
    with pytest.raises(DataError, match="version 0"):
        CalibratedGate.from_json({**gate.as_json(), "version": 0})
    with pytest.raises(DataError, match="not a quality gate"):
        CalibratedGate.from_json({"version": VERSION, "detectors": [{}]})


def test_a_judgement_names_the_fault_and_the_numbers(gate: CalibratedGate) -> None:
    row = next(r for r in ROWS if part_of(r.row_id, seed=0) == "held_out")
    for fault, telling in (
        ("echo", ("instruction_copied", "longest_copy", "starts_with_copy", "log_r_ifd")),
        ("doubling", ("repeated_share", "repeated_long", "repeated_run", "compression")),
    ):
        text = plant(row, fault=fault, dose="strong", others=ROWS, seed=0, part="held_out").response
        found = gate.judge(features_of(read_one(CountingStudent(), "x", row, str(text)))[None, :])
        assert not found[0].passed
        assert found[0].fault == fault
        assert set(found[0].evidence) & set(telling)


def test_too_few_rows_are_said(planted: list[GateRow]) -> None:
    few = [r for r in planted if r.example_id < "row040"]
    with pytest.raises(TooFewRowsError, match="40 clean examples"):
        fit_gate(few, max_false_refusals=0.05, seed=0)
    with pytest.raises(TooFewRowsError, match="no fault could be planted"):
        fit_gate([r for r in planted if r.fault is None], max_false_refusals=0.05, seed=0)


@pytest.mark.parametrize("budget", [0.0, 0.6, -1.0])
def test_a_budget_out_of_range_is_refused(planted: list[GateRow], budget: float) -> None:
    with pytest.raises(SettingsError, match="max_false_refusals"):
        fit_gate(planted, max_false_refusals=budget, seed=0)


def test_a_fault_with_too_few_plants_is_skipped_and_named(planted: list[GateRow]) -> None:
    rare = [r for r in planted if r.fault != "echo" or r.example_id < "row010"]
    gate = fit_gate(rare, max_false_refusals=0.05, seed=0)
    assert list(gate.skipped) == ["echo"]
    assert "echo" not in {d.fault for d in gate.detectors}


def test_rows_that_a_person_rejected_are_a_fault_of_their_own(planted: list[GateRow]) -> None:
    rejected = [
        GateRow(example_id=r.example_id, features_F=r.features_F, fault="rejected", dose="given")
        for r in planted
        if r.fault == "refusal"
    ]
    rows = [r for r in planted if r.fault != "refusal"] + rejected
    gate = fit_gate(rows, max_false_refusals=0.05, seed=0)
    result = next(r for r in gate.results if r.fault == "rejected")
    assert result.dose == "given"
    assert result.refused.fraction > 0.9


def test_every_feature_is_a_number_for_ordinary_text() -> None:
    student, row = CountingStudent(), ROWS[0]
    own = plain_features(read_one(student, "x", row, row.response))
    missing = [name for name, value in own.items() if not np.isfinite(value)]
    assert set(missing) <= {"repeated_surprise"}
    assert own["log_ifd"] < 0
    compared = features_of(read_one(student, "x", row, row.response), original=own)
    assert compared[NAMES.index("surprise_less_original")] == 0.0


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_can_be_read(fault: str) -> None:
    student, row = CountingStudent(), ROWS[3]
    text = plant(row, fault=fault, dose="strong", others=ROWS, seed=0).response
    numbers = features_of(read_one(student, "x", row, str(text)))
    assert len(numbers) == len(NAMES)


def _hard_to_see_alone() -> list[GateRow]:
    """Rows with a fault that only the difference from the original shows clearly."""
    draw, differences = np.random.default_rng(0), len(DIFFERENCES)
    rows = []
    for number in range(120):
        name = f"row {number}"
        original_F, rewrite_F, plant_F = draw.normal(size=(3, len(NAMES)))
        original_F[-differences:] = np.nan
        plant_F[-1] += 6.0
        plant_F[:3] += 1.0
        alone_F = plant_F.copy()
        alone_F[-differences:] = np.nan
        planted = GateRow(example_id=name, features_F=plant_F, fault="mismatch", dose="strong")
        rows += [
            GateRow(example_id=name, features_F=original_F),
            GateRow(example_id=name, features_F=rewrite_F),
            planted,
            replace(planted, features_F=alone_F, measured=False),
        ]
    return rows


def test_plants_without_their_original_do_not_hide_a_fault_in_rewrites() -> None:
    first, *others = _hard_to_see_alone()
    told = replace(first, suspected="mismatch")  # so nothing else is looked for among these rows
    gate = fit_gate([told, *others], max_false_refusals=0.05, seed=0)
    assert gate.results[0].refused.fraction > 0.9  # 62 % where both views weigh the same
    assert gate.false_refusals.fraction <= 0.05
