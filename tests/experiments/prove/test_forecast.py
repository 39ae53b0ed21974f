"""Plans before training: the detectable difference, its cost, and what to increase."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import tutelage as tt
from tests.pipeline.fakes import write_rows
from tests.stats.test_power import draw
from tutelage.cli import main
from tutelage.data import write_table
from tutelage.errors import DataError, SettingsError
from tutelage.evaluation import ItemResult, results_table
from tutelage.experiments.prove.forecast import STORED, forecast
from tutelage.stats.power import Components, design


@pytest.mark.parametrize(
    ("name", "seeds", "items", "detectable"),
    [
        ("smollm2_references_alike", 8, 200, 0.011),
        ("smollm2_references_differ", 12, 300, 0.010),
        ("gemma_references", 8, 200, 0.035),
        ("smollm2_answers_right", 24, 300, 0.029),
        ("smollm2_choice_margin", 12, 1000, 0.066),
    ],
)
def test_stored_variances_give_the_published_detectable_effects(
    name: str, seeds: int, items: int, detectable: float
) -> None:
    found = design(STORED[name], seeds=seeds, items=items, comparisons=1)
    assert found.detectable == pytest.approx(detectable, rel=0.06)


def config(folder: Path, **more: Any) -> Path:
    rows = [{"instruction": f"Q{n}", "output": f"A{n}"} for n in range(50)]
    values: dict[str, Any] = {
        "out": "results",
        "students": [{"name": "small", "model": "nowhere"}],
        "arms": [
            {"name": "choice", "file": str(write_rows(folder / "a.jsonl", rows))},
            {"name": "random", "file": str(write_rows(folder / "b.jsonl", rows[::-1]))},
            {"name": "longest", "file": str(write_rows(folder / "c.jsonl", rows))},
        ],
        "seeds": [0, 1, 2],
        "balance": ["examples"],
        "examples": 40,
        "tasks": [
            {"name": "refs", "kind": "held_out", "path": str(folder / "a.jsonl"), "limit": 30}
        ],
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**values, **more}))
    return path


def finish_cells(folder: Path, *, seeds: int, examples: int = 40) -> None:
    """Cells of choice and random as a finished pilot leaves them."""
    components, cells = Components(seed=0.3, item=0.01, rest=0.1), []
    values = draw(components, seeds=seeds, items=20, seed=0)
    for seed in range(seeds):
        for arm in ("choice", "random"):
            key = f"{arm}{seed}"
            cell = folder / "cells" / key
            cell.mkdir(parents=True)
            items = [
                ItemResult(item_id=str(i), status="ok", value=float(v) if arm == "choice" else 0.0)
                for i, v in enumerate(values[seed])
            ]
            write_table(cell / "results.parquet", results_table(items, task="refs", seed=0))
            about = {"state": "done", "trained": {"seconds": 80.0}, "seconds": 90.0}
            (cell / "manifest.json").write_text(json.dumps(about))
            cells.append({"key": key, "student": "small", "arm": arm, "seed": seed,
                          "balance": "examples"})  # fmt: skip
    settings = yaml.safe_load((folder.parent / "experiment.yaml").read_text())
    settings |= {"out": str(folder), "seeds": list(range(seeds)), "examples": examples}
    manifest = {"kind": "experiment", "settings": settings, "cells": cells}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_without_a_pilot_stored_variances_are_used_and_named(tmp_path: Path) -> None:
    found = forecast(config(tmp_path), seconds_per_cell=36.0)
    plan = found["plan"][0]
    assert plan["source"] == "the stored variances smollm2_references_differ"
    assert (plan["planned"]["seeds"], plan["planned"]["items"]) == (3, 30)
    assert plan["comparisons"] == 4
    assert plan["planned"]["detectable_holm"] > plan["planned"]["detectable"]
    assert (found["cells"], found["done"]) == (10, 0)
    assert found["hours"] == pytest.approx(0.1)
    assert "minimum detectable effect (80 % power)" in found["in_words"][0]
    assert "after Holm's correction for 4 comparisons" in found["in_words"][0]
    assert not (tmp_path / "results").exists()


def test_finished_cells_are_the_pilot_and_tell_the_cost(tmp_path: Path) -> None:
    path = config(tmp_path)
    finish_cells(tmp_path / "results", seeds=3)
    found = forecast(path)
    plan = found["plan"][0]
    assert plan["source"] == "the pilot results (3 seeds, 20 items)"
    assert plan["components"]["seed"] > plan["components"]["item"]
    assert plan["increase"] == "seeds"
    assert found["seconds_per_cell"] == 90.0
    assert (found["cells"], found["done"]) == (10, 6)
    assert found["hours"] == pytest.approx(4 * 90 / 3600)


def test_a_pilot_of_fewer_examples_is_scaled(tmp_path: Path) -> None:
    path = config(tmp_path)
    finish_cells(tmp_path / "pilot", seeds=2, examples=10)
    found = forecast(path, pilot=tmp_path / "pilot")
    assert found["seconds_per_cell"] == pytest.approx(4 * 90.0)
    assert "scaled to 40" in found["in_words"][-1]
    assert found["done"] == 0


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (36.0, "take about 6 min 0 s (36.0 s a cell, as given)"),
        (1234.0, "take about 3 h 25 min (20 min 34 s a cell, as given)"),
        (90_000.0, "take about 250 h 0 min (25 h 0 min a cell, as given)"),
    ],
)
def test_a_long_experiment_has_its_time_in_hours_and_minutes(
    tmp_path: Path, seconds: float, told: str
) -> None:
    assert told in forecast(config(tmp_path), seconds_per_cell=seconds)["in_words"][-1]


def test_of_a_finished_experiment_nothing_is_left(tmp_path: Path) -> None:
    path = config(tmp_path, seeds=[0, 1])
    finish_cells(tmp_path / "results", seeds=4)
    found = forecast(path)
    assert (found["cells"], found["done"], found["hours"]) == (7, 8, 0.0)
    assert found["in_words"][-1].endswith(
        "has 8 finished cells. None is left, unless the configuration has changed since."
    )


def test_a_pilot_of_one_seed_is_refused_with_a_way_on(tmp_path: Path) -> None:
    path = config(tmp_path)
    finish_cells(tmp_path / "results", seeds=1)
    with pytest.raises(DataError, match="one seed of refs is finished"):
        forecast(path)
    assert forecast(path, variances="gemma_references")["plan"][0]["components"]["seed"] == 0.026


def test_a_fixed_sequence_is_not_corrected(tmp_path: Path) -> None:
    found = forecast(config(tmp_path, correction="fixed_sequence"))
    assert "Holm" not in found["in_words"][0]
    assert "the same in the fixed sequence" in found["in_words"][0]
    assert found["hours"] is None
    assert "give --seconds-per-cell" in found["in_words"][-1]


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    steps = {"name": "s", "kind": "steps", "path": str(tmp_path / "a.jsonl")}
    with pytest.raises(
        SettingsError, match=("no earlier experiment gives the variance of its items")
    ):
        forecast(config(tmp_path, tasks=[steps]))
    harness = {"name": "h", "kind": "lm_eval", "harness_task": "arc"}
    with pytest.raises(SettingsError, match="its number of items is not known"):
        forecast(config(tmp_path, tasks=[harness]), variances="smollm2_choice_margin")
    with pytest.raises(SettingsError, match="there is no such name"):
        forecast(config(tmp_path), variances="mine")


def test_the_command_plans_and_trains_nothing(tmp_path: Path) -> None:
    path = config(tmp_path)
    words = ["prove", str(path), "--plan", "--seconds-per-cell", "60", "--json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["plan"][0]["student"] == "small"
    shutil.rmtree(tmp_path / "results", ignore_errors=True)
    wrong = CliRunner().invoke(main, ["prove", str(path), "--variances", "gemma_references"])
    assert wrong.exit_code == 2
    assert "--variances belongs to --plan" in wrong.stderr


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), "x", True])
def test_seconds_that_are_none_are_refused(tmp_path: Path, seconds: Any) -> None:
    with pytest.raises(SettingsError, match=r"--seconds-per-cell .*: must be a number of seconds"):
        forecast(config(tmp_path), seconds_per_cell=seconds)
    with pytest.raises(SettingsError, match="`seconds_per_cell"):
        tt.prove(config(tmp_path), plan=True, seconds_per_cell=seconds)


def test_a_plan_in_python_is_that_of_the_command_line(tmp_path: Path) -> None:
    found = tt.prove(config(tmp_path), plan=True)
    assert found.num_rows == 1
    assert found.summary["plan"] == forecast(config(tmp_path))["plan"]
    assert "give `seconds_per_cell`" in found.summary["in_words"][-1]
    with pytest.raises(SettingsError, match="variances belongs to plan"):
        tt.prove(config(tmp_path), variances="gemma_references")
