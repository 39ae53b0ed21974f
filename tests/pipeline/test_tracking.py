"""Experiments and rounds hand their numbers to a tracker, one run each."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.experiments.prove.test_run import experiment, place
from tests.experiments.rounds.rounds_fakes import round_doors, rounds_settings
from tutelage.experiments.prove.run import run_experiment
from tutelage.experiments.rounds import run_rounds
from tutelage.progress import Silent
from tutelage.training import Followed, tracked

__all__ = ["place"]  # a fixture


class Notebook:
    """A tracker that keeps the numbers of each run."""

    def __init__(self) -> None:
        self.runs: list[Followed] = []
        self.numbers: list[dict[str, float]] = []
        self.steps: list[int | None] = []

    def begin(self, run: Followed) -> None:
        self.runs.append(run)
        self.numbers.append({})

    def log(self, numbers: Mapping[str, float], *, step: int | None) -> None:
        self.numbers[-1].update(numbers)
        self.steps.append(step)

    def finish(self, state: str) -> None:
        assert state == "finished"


def test_each_cell_of_an_experiment_is_a_run_with_its_results(place: Path, tmp_path: Path) -> None:
    book = Notebook()
    made = experiment(place, tmp_path, balance=["examples"], seeds=[0])
    with tracked(book, group="here"):
        run_experiment(made, progress=Silent(), most_cells=2)
        run_experiment(made, progress=Silent(), most_cells=0)
    assert [(run.name, run.group) for run in book.runs] == [
        ("tiny untrained seed 0 by examples", "here"),
        ("tiny choice seed 0 by examples", "here"),
    ]
    assert all("evaluation/tools/right_fraction" in found for found in book.numbers)
    assert "train/loss" not in book.numbers[0]
    assert book.numbers[1]["train/loss"] > 0
    assert book.steps[0] is None  # nothing was trained: its results belong to no step


def test_each_round_is_a_run_with_its_drift(tmp_path: Path) -> None:
    book = Notebook()
    made = rounds_settings(tmp_path, loops=["gate"])
    with tracked(book):
        run_rounds(made, doors=round_doors())
        run_rounds(made, doors=round_doors())  # all is done: nothing is followed twice
    assert [run.name for run in book.runs] == ["seed 0 gate round 1", "seed 0 gate round 2"]
    for found in book.numbers:
        assert found["round/kept"] > 0
        assert found["round/accepted"] == 1
        assert found["evaluation/sums/mean_value"] == pytest.approx(0.5, abs=0.5)
        assert any(name.startswith("drift/") for name in found)
