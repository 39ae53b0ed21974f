"""Detectors: what they learn, that they survive a file, and thresholds under a budget."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.gate import Detector, fit_detector
from tutelage.gate.thresholds import Scored, choose_thresholds
from tutelage.stats import auc

NAMES = ("a", "b", "c")


def two_corners(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Faulty where a and b are both high or both low: no single feature and no line tells."""
    X_N_F = np.random.default_rng(seed).normal(size=(rows, 3))
    faulty_N = (X_N_F[:, 0] > 0) == (X_N_F[:, 1] > 0)
    return X_N_F + 0.3 * np.sign(X_N_F), faulty_N


def test_a_detector_learns_what_no_line_can_tell() -> None:
    X_N_F, faulty_N = two_corners()
    detector = fit_detector(fault="corners", X_N_F=X_N_F, faulty_N=faulty_N)
    fresh_N_F, fresh_N = two_corners(seed=1)
    odds_N = detector.log_odds(fresh_N_F)
    assert auc(odds_N[fresh_N], odds_N[~fresh_N]) > 0.97


def test_a_missing_feature_is_a_sign_of_its_own() -> None:
    X_N_F = np.random.default_rng(0).normal(size=(200, 3))
    faulty_N = np.arange(200) % 2 == 0
    X_N_F[faulty_N, 1] = np.nan
    detector = fit_detector(fault="missing", X_N_F=X_N_F, faulty_N=faulty_N)
    assert (detector.log_odds(X_N_F) > 0).tolist() == faulty_N.tolist()


def test_a_detector_survives_its_file() -> None:
    X_N_F, faulty_N = two_corners()
    detector = fit_detector(fault="corners", X_N_F=X_N_F, faulty_N=faulty_N)
    stored = json.loads(json.dumps(detector.as_json(names=NAMES)))
    back = Detector.from_json(stored, names=NAMES)
    assert back == detector
    with pytest.raises(DataError, match="not a detector"):
        Detector.from_json(stored, names=("a", "c"))


def test_the_evidence_names_the_feature_that_decided() -> None:
    X_N_F = np.random.default_rng(0).normal(size=(200, 3))
    detector = fit_detector(fault="high_b", X_N_F=X_N_F, faulty_N=X_N_F[:, 1] > 0.5)
    evidence = detector.evidence(np.array([0.0, 2.0, 0.0]), names=NAMES)
    assert next(iter(evidence)) == "b"
    assert detector.linear is not None
    base = (detector.start + detector.linear.start) / 2
    assert sum(evidence.values()) == pytest.approx(
        detector.log_odds(np.array([[0.0, 2.0, 0.0]]))[0] - base
    )


def test_rows_beyond_the_last_threshold_are_still_ranked() -> None:
    X_N_F = np.random.default_rng(0).normal(size=(200, 3))
    detector = fit_detector(fault="high_b", X_N_F=X_N_F, faulty_N=X_N_F[:, 1] > 0.5)
    far_N_F = np.array([[0.0, 4.0, 0.0], [0.0, 8.0, 0.0]])
    trees = replace(detector, linear=None).log_odds(far_N_F)
    assert trees[0] == trees[1]
    near, far = detector.log_odds(far_N_F)
    assert far > near


def test_the_linear_model_takes_a_missing_or_constant_feature_as_usual() -> None:
    X_N_F = np.random.default_rng(0).normal(size=(200, 3))
    faulty_N = X_N_F[:, 1] > 0.5
    X_N_F[:, 0], X_N_F[:, 2] = np.nan, 7.0
    linear = fit_detector(fault="high_b", X_N_F=X_N_F, faulty_N=faulty_N).linear
    assert linear is not None
    known, missing = np.array([[0.0, 1.0, 7.0]]), np.array([[np.nan, 1.0, np.nan]])
    assert linear.log_odds(known) == pytest.approx(linear.log_odds(missing))
    assert linear.weights[0] == linear.weights[2] == 0.0
    assert ((linear.log_odds(X_N_F) > 0) == faulty_N).mean() > 0.9


def test_a_detector_of_an_earlier_version_has_trees_alone() -> None:
    X_N_F, faulty_N = two_corners()
    detector = fit_detector(fault="corners", X_N_F=X_N_F, faulty_N=faulty_N)
    stored = detector.as_json(names=NAMES)
    del stored["linear"]
    assert Detector.from_json(stored, names=NAMES) == replace(detector, linear=None)


@pytest.mark.parametrize("broken", [{}, {"start": 0.0, "features": {}}, "text", 3, []])
def test_a_broken_linear_model_is_no_detector(broken: object) -> None:
    X_N_F, faulty_N = two_corners()
    stored = fit_detector(fault="corners", X_N_F=X_N_F, faulty_N=faulty_N).as_json(names=NAMES)
    with pytest.raises(DataError, match="not a detector"):
        Detector.from_json({**stored, "linear": broken}, names=NAMES)
    zero = {"center": 0.0, "scale": 0.0, "weight": 1.0}
    features = dict.fromkeys(NAMES, zero)
    endless = {name: {**zero, "scale": 1.0, "weight": math.nan} for name in NAMES}
    with pytest.raises(DataError, match="not finite"):
        Detector.from_json({**stored, "linear": {"start": 0.0, "features": endless}}, names=NAMES)
    with pytest.raises(DataError, match="a scale is not positive"):
        Detector.from_json({**stored, "linear": {"start": 0.0, "features": features}}, names=NAMES)


def test_a_detector_needs_both_kinds_of_rows() -> None:
    with pytest.raises(DataError, match="needs faulty and clean rows"):
        fit_detector(fault="x", X_N_F=np.zeros((3, 1)), faulty_N=np.ones(3, dtype=bool))


def scored(seed: int, rows: int = 600, detectors: int = 6, apart: float = 3.0) -> Scored:
    """Detectors that each see their own fault; faults lie apart from clean rows."""
    rng = np.random.default_rng(seed)
    fault_M = np.repeat(np.arange(detectors), 80)
    faulty_M_D = rng.normal(size=(len(fault_M), detectors))
    faulty_M_D[np.arange(len(fault_M)), fault_M] += apart
    return Scored(
        clean_N_D=rng.normal(size=(rows, detectors)),
        clean_fold_N=np.arange(rows) % 5,
        faulty_M_D=faulty_M_D,
        fault_M=fault_M,
        weight_M=np.ones(len(fault_M)),
    )


@pytest.mark.parametrize("budget", [0.02, 0.05, 0.2])
def test_the_budget_holds_jointly_on_new_rows(budget: float) -> None:
    shares = []
    for seed in range(8):
        found = choose_thresholds(scored(seed), max_false_refusals=budget)
        assert found.expected <= budget
        fresh = scored(seed + 100, rows=4000)
        shares.append((fresh.clean_N_D > found.log_odds_D).any(axis=1).mean())
    assert np.mean(shares) <= budget * 1.25
    assert np.mean(shares) >= budget * 0.3


def test_a_larger_budget_refuses_more_faults() -> None:
    caught = []
    for budget in (0.01, 0.05, 0.2):
        given_rows = scored(3, apart=2.0)
        found = choose_thresholds(given_rows, max_false_refusals=budget)
        caught.append((given_rows.faulty_M_D > found.log_odds_D).any(axis=1).mean())
    assert caught == sorted(caught)
    assert caught[0] < caught[-1]


def test_where_nothing_can_be_told_hardly_anything_is_refused() -> None:
    found = choose_thresholds(scored(0, apart=0.0), max_false_refusals=0.05)
    fresh = scored(50, rows=4000)
    assert (fresh.clean_N_D > found.log_odds_D).any(axis=1).mean() <= 0.08
