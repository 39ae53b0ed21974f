"""Estimates of experiments: what is left is counted and timed, and nothing of it is done."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.fakes import rows, write_rows
from tests.tiny_student import save_student
from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.forecast import Pilot, estimate_experiment
from tutelage.experiments.prove.plan import plan_experiment
from tutelage.experiments.rank.dry_run import estimate_ranking
from tutelage.experiments.rounds.config import RoundsSettings
from tutelage.experiments.rounds.loop import DRIFT_FILE, estimate_rounds
from tutelage.experiments.rounds.model import RoundsFolder
from tutelage.pipeline.config import checked
from tutelage.progress import Silent
from tutelage.teacher import TeacherSettings

prove_dry_run = import_module("tutelage.experiments.prove.forecast")

pytest.importorskip("trl")


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not another home: there the native kernels would be built anew for each test.
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: tmp_path / "home")
    monkeypatch.setattr(
        "tutelage.student.student.readings_path", lambda: tmp_path / "home" / "readings.sqlite"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimated")
    save_student(folder / "student")
    write_rows(folder / "data.jsonl", rows(12))
    items = [
        {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
        for n in range(6)
    ]
    write_rows(folder / "choice.jsonl", items)
    return folder


def experiment(place: Path, folder: Path) -> Path:
    values = {
        "out": str(folder / "results"),
        "students": [{"name": "tiny", "model": str(place / "student")}],
        "arms": [
            {"name": "choice", "file": str(place / "data.jsonl")},
            {"name": "random", "file": str(place / "data.jsonl")},
        ],
        "seeds": [0, 1],
        "examples": 6,
        "balance": ["examples"],
        "tasks": [{"name": "tools", "kind": "choice", "path": str(place / "choice.jsonl")}],
        "train": {"dtype": "float32", "batch_examples": 2, "epochs": 3},
        "evaluate": {"dtype": "float32"},
    }
    path = folder / "experiment.yaml"
    path.write_text(json.dumps(values))
    return path


def estimated(config: Path, **more: Any) -> dict[str, Any]:
    return estimate_experiment(
        config, out=None, quick=False, progress=Silent(), **{"measure_seconds": 0.0, **more}
    )


def test_every_cell_of_an_experiment_is_counted_and_timed(place: Path, tmp_path: Path) -> None:
    config = experiment(place, tmp_path)
    found = estimated(config, measure_seconds=0.01)
    train, evaluate = found["work"]
    cells = {c.key for c in plan_experiment(settings_of(config), progress=Silent()).cells}
    assert found["cells"] == len(cells)
    assert (train["count"], train["unit"]) == (len(cells) - 1, "training runs")  # one is untrained
    assert evaluate["count"] == len(cells) * 6
    assert train["seconds"] > 0
    assert evaluate["seconds"] > 0
    assert train["tokens"] % 3 == 0  # three epochs
    assert not (tmp_path / "results" / "cells").exists()


def settings_of(config: Path) -> ProveSettings:
    return load_prove_settings(config)


def test_finished_cells_are_left_out_and_say_how_long_the_others_take(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(place, tmp_path)
    settings = settings_of(config)
    first = plan_experiment(settings, progress=Silent()).cells[0].key
    monkeypatch.setattr(prove_dry_run, "is_done", lambda folder: folder.name == first)
    pilot = Pilot(folder=tmp_path, settings=settings, results=None)  # type: ignore[arg-type]
    monkeypatch.setattr(prove_dry_run, "pilot_of", lambda *_: pilot)
    monkeypatch.setattr(
        prove_dry_run, "seconds_of_cells", lambda *_, **__: (7.0, "7 s a cell, the mean of 1")
    )
    found = estimated(config)
    (work,) = found["work"]
    assert found["done"] == 1
    assert work["count"] == found["cells"] - 1
    assert found["seconds"] == 7.0 * work["count"]


def test_without_a_measurement_the_time_is_unknown_and_the_tokens_are_not(
    place: Path, tmp_path: Path
) -> None:
    found = estimated(experiment(place, tmp_path))
    assert found["seconds"] is None
    assert found["work"][0]["tokens"] > 0


def test_rounds_are_counted_at_their_most(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "data": {"path": str(place / "data.jsonl")},
        "student": {"model": str(place / "student")},
        "out": str(tmp_path / "rounds"),
        "rounds": 2,
        "loops": ["gate", "self_teaching"],
        "train": {"dtype": "float32", "batch_examples": 4},
        "held_out": {
            "tasks": [{"name": "tools", "kind": "choice", "path": str(place / "choice.jsonl")}],
            "instructions": {"path": str(place / "data.jsonl")},
        },
    }
    settings = checked(RoundsSettings, values, place="test")
    found = estimate_rounds(settings, progress=Silent(), measure_seconds=0.0)
    counts = {w["stage"]: w["count"] for w in found["work"]}
    assert counts == {
        "score: texts of the data": 12,
        "score: texts of the data, trained students": 12 * 4,
        "train": 4,
        "evaluate": 6 * 5,
        "held-out answers": 12 * 5,
        "self_teaching": 12 * 3,
    }
    assert "at most" in found["note"]
    assert not (tmp_path / "rounds").exists()
    finished = tmp_path / "begun" / "round-0"
    monkeypatch.setattr(RoundsFolder, "_loop", lambda *_: finished.parent)
    finished.mkdir(parents=True)
    (finished / DRIFT_FILE).touch()  # of both loops, which share a folder here
    left = estimate_rounds(settings, progress=Silent(), measure_seconds=0.0)
    shutil.rmtree(finished.parent)
    assert {w["stage"]: w["count"] for w in left["work"]} == {
        "score: texts of the data": 12,
        "score: texts of the data, trained students": 12 * 2,
        "train": 2,
        "evaluate": 6 * 3,
        "held-out answers": 12 * 3,
        "self_teaching": 12 * 2,
    }
    assert "finished rounds, not counted: 2" in left["note"]
    rewriting = settings.model_copy(
        update={
            "rewrite": replace_rewrite(settings),
            "teacher": None,
        }
    )
    more = estimate_rounds(rewriting, progress=Silent(), measure_seconds=0.0)
    rewrites = next(w for w in more["work"] if w["stage"] == "rewrite rejected candidates")
    assert rewrites["count"] == 12 * 1 * 3
    assert rewrites["seconds"] is None


def replace_rewrite(settings: RoundsSettings) -> Any:
    teacher = TeacherSettings(model="t", base_url="http://127.0.0.1:9/v1")
    return settings.rewrite.model_copy(update={"attempts": 1, "teacher": teacher})


def test_asked_teachers_cost_by_their_own_prices(place: Path, tmp_path: Path) -> None:
    cheap = TeacherSettings(
        model="cheap",
        base_url="http://127.0.0.1:9/v1",
        prices={"input_per_million": 0, "output_per_million": 1e6},  # type: ignore[arg-type]
    )
    dear = cheap.model_copy(update={"model": "dear", "name": "dear"})
    job = {
        "data": {"path": str(place / "data.jsonl")},
        "student": {"model": str(place / "student")},
        "out": str(tmp_path / "ranked"),
    }
    found = estimate_ranking(
        job,
        kind="teachers",
        teachers=[cheap, dear],
        budget=5,
        progress=Silent(),
        measure_seconds=0.0,
    )
    assert found["calls"] == 10
    assert found["cost_at_most"] == 2 * 5 * 1024
    assert [w["count"] for w in found["work"]] == [5, 5, 10]
    bare = write_rows(tmp_path / "bare.jsonl", [{"instruction": f"Say {n}."} for n in range(4)])
    found = estimate_ranking(
        {**job, "data": {"path": str(bare)}},
        kind="teachers",
        teachers=[cheap],
        budget=5,
        progress=Silent(),
        measure_seconds=0.0,
    )
    assert found["work"][-1]["tokens"] is None  # the questions have no answers to go by
    assert not (tmp_path / "ranked").exists()


def test_probes_are_counted_with_the_sweep(place: Path, tmp_path: Path) -> None:
    job = {
        "data": {"path": str(place / "data.jsonl")},
        "student": {"model": str(place / "student")},
        "out": str(tmp_path / "ranked"),
    }
    probe = {
        "tasks": [{"name": "tools", "kind": "choice", "path": str(place / "choice.jsonl")}],
        "examples": 2,
        "rungs": 1,
        "seeds": [0],
        "sweep": [1],
        "sweep_seeds": [1],
    }
    found = estimate_ranking(
        job, kind="sources", probe=probe, progress=Silent(), measure_seconds=0.0
    )
    counts = {w["stage"]: w["count"] for w in found["work"]}
    assert counts["train probes"] == 2 + 2  # two sources, then the best one and both
    assert counts["evaluate probes"] == 4 * 6
