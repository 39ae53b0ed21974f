"""The efficiency of arms in `prove`: from stored cells to the text, the page and the tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import write_table
from tutelage.evaluation.items import ItemResult, results_table
from tutelage.experiments.prove.compare import efficiencies, roles_of
from tutelage.experiments.prove.config import ProveSettings
from tutelage.experiments.prove.run import read_results, report_experiment
from tutelage.pipeline.config import checked

GAINS = {"choice": 0.15, "random": 0.0, "oracle": 0.2, "ungated": 0.0, "cheap": 0.05}
SEEDS = (0, 1, 2, 3)
ITEMS = 40


def settings_of(out: Path, names: Any, **more: Any) -> ProveSettings:
    arms = [{"name": name, "file": str(out / f"{name}.jsonl")} for name in names]
    values = {
        "out": str(out),
        "students": [{"name": "tiny", "model": "m"}],
        "seeds": SEEDS,
        "balance": ["examples"],
        "tasks": [{"name": "mine", "kind": "held_out", "path": "x.jsonl"}],
        "arms": arms,
        **more,
    }
    return checked(ProveSettings, values, place="test")


def write_cells(settings: ProveSettings, gains: dict[str, float]) -> None:
    """An experiment as `prove` leaves it, with drawn values."""
    drawing = np.random.default_rng(4)
    items = drawing.normal(0, 0.3, size=ITEMS)
    cells = []
    for seed in SEEDS:
        for arm, gain in gains.items():
            folder = settings.out / "cells" / f"{arm}-{seed}"
            folder.mkdir(parents=True)
            values = gain + items + drawing.normal(0, 0.02, size=ITEMS)
            rows = [ItemResult(item_id=str(n), value=float(v)) for n, v in enumerate(values)]
            write_table(
                folder / "results.parquet",
                results_table(rows, task="mine", seed=0),
            )
            (folder / "manifest.json").write_text('{"state": "done"}')
            cells.append({"key": folder.name, "student": "tiny", "arm": arm, "seed": seed,
                          "balance": "examples", "rows": 0, "tokens": 0})  # fmt: skip
    manifest = {"kind": "experiment", "tasks": [{"name": "mine"}], "sets": [], "cells": cells}
    (settings.out / "manifest.json").write_text(json.dumps(manifest))


def reported(settings: ProveSettings, gains: dict[str, float]) -> dict[str, Any]:
    write_cells(settings, gains)
    count = len(SEEDS) * len(gains)
    return report_experiment(settings, {"cells": count, "done": count})


def test_efficiency_is_in_the_text_the_page_the_json_and_a_table(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, GAINS)
    found = reported(settings, GAINS)
    rows = {row["arm"]: row for row in found["efficiency"]}
    assert list(rows) == ["choice", "random", "cheap"]
    assert rows["choice"]["efficiency"] == pytest.approx(0.75, abs=0.05)
    assert rows["choice"]["low"] < 0.75 < rows["choice"]["high"]
    assert rows["cheap"]["efficiency"] == pytest.approx(0.25, abs=0.05)
    assert json.loads(json.dumps(found["efficiency"])) == found["efficiency"]
    ratio = rows["choice"]["efficiency"]
    said = found["in_words"][-1]
    assert f"it reaches {ratio:.2f} of what oracle gains over ungated" in said
    assert f"{rows['choice']['low']:.2f} to {rows['choice']['high']:.2f}" in said
    assert pq.read_table(tmp_path / "efficiency.parquet").to_pylist() == found["efficiency"]
    page = (tmp_path / "report.md").read_text()
    assert "Efficiency: the part of the possible gain that is reached" in page
    assert "oracle - ungated" in page
    assert said in page


@pytest.mark.parametrize(
    ("oracle", "status", "words"),
    [(0.0, "no_room", "cannot be distinguished from 0"), (-0.2, "oracle_worse", "is below 0")],
)
def test_without_a_gain_to_reach_there_is_no_ratio(
    tmp_path: Path, oracle: float, status: str, words: str
) -> None:
    gains = {**GAINS, "oracle": oracle}
    settings = settings_of(tmp_path, gains)
    found = reported(settings, gains)
    for row in found["efficiency"]:
        assert (row["status"], row["efficiency"], row["low"]) == (status, None, None)
    assert words in found["in_words"][-1]
    assert "No efficiency of choice" in found["in_words"][-1]


def test_only_seeds_and_items_that_all_three_have_count(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, GAINS)
    write_cells(settings, GAINS)
    rows = read_results(tmp_path).to_pylist()
    for row in rows:
        if (row["arm"], row["train_seed"]) == ("oracle", 2) or (
            row["arm"] == "cheap" and row["item_id"] == "7"
        ):
            row["value"] = None
    results = pa.Table.from_pylist(rows, schema=read_results(tmp_path).schema)
    found = {one.arm: one for one in efficiencies(results, settings)}
    assert (found["choice"].seeds, found["choice"].items) == (3, ITEMS)
    assert (found["cheap"].seeds, found["cheap"].items) == (3, ITEMS - 1)


def test_without_the_two_arms_nothing_is_said_and_an_old_table_goes(tmp_path: Path) -> None:
    gains = {name: GAINS[name] for name in ("choice", "random", "oracle")}
    settings = settings_of(tmp_path, gains)
    (tmp_path / "efficiency.parquet").write_bytes(b"of an earlier plan")
    found = reported(settings, gains)
    assert "efficiency" not in found
    assert not (tmp_path / "efficiency.parquet").exists()
    assert "Efficiency" not in (tmp_path / "report.md").read_text()


def arms(*rules: dict[str, Any]) -> list[dict[str, Any]]:
    fixed = [{"name": n, "select": {"rule": "srt" if n == "choice" else n}} for n in
             ("choice", "random")]  # fmt: skip
    return fixed + [{"name": f"arm{at}", "select": rule} for at, rule in enumerate(rules)]


@pytest.mark.parametrize(
    ("rules", "roles"),
    [
        (({"rule": "oracle", "truth": "x"}, {"rule": "all_refined"}), ("arm0", "arm1")),
        (({"rule": "oracle", "truth": "x"},), None),
        (
            (
                {"rule": "oracle", "truth": "x"},
                {"rule": "all_refined", "quality_gate": "calibrated"},
            ),
            None,
        ),
        (({"rule": "oracle", "truth": "x"}, {"rule": "oracle", "truth": "y"},
          {"rule": "all_refined"}), None),
    ],
)  # fmt: skip
def test_the_two_arms_are_known_by_their_rules(tmp_path: Path, rules: Any, roles: Any) -> None:
    students = [{"name": "tiny", "model": "m", "run": "r"}]
    assert roles_of(settings_of(tmp_path, (), arms=arms(*rules), students=students)) == roles


def test_chosen_against_refused_versions_come_first(tmp_path: Path) -> None:
    gains = {"choice": 0.1, "random": 0.0, "chosen": 0.1, "refused": -0.1}
    settings = settings_of(tmp_path, gains)
    found = reported(settings, gains)
    assert "Training tiny on chosen instead of refused" in found["in_words"][0]
    assert "Training tiny on choice instead of random" in found["in_words"][1]
    first = pq.read_table(tmp_path / "comparisons.parquet").to_pylist()[0]
    assert (first["arm"], first["against"]) == ("chosen", "refused")
    page = (tmp_path / "report.md").read_text()
    assert page.index("chosen - refused") < page.index("choice - random")
