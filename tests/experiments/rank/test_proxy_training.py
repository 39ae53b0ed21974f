"""Trying out sources by training a student of two layers: halving, sweep, kills, luck."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.pipeline.fakes import doors, write_rows
from tests.tiny_student import save_student
from tutelage.data.schemas import PROBES, STANDINGS, SWEEP
from tutelage.errors import DataError, SettingsError
from tutelage.evaluation import TaskSettings
from tutelage.experiments.rank import rank_sources
from tutelage.experiments.rank.answer_pool import Ranked
from tutelage.experiments.rank.proxy_page import (
    predictions_checked,
    probed_in_words,
    probed_sections,
    probed_summary,
)
from tutelage.experiments.rank.proxy_training import (
    Probed,
    _asked,
    _slug,
    probe_settings,
    probe_sources,
)

pytest.importorskip("trl")


def data(place: Path) -> Path:
    rows = [
        {"instruction": f"{s} {n}?", "output": f"{s[:2]} {n % 3}.", "source": s}
        for s in ("red", "blue", "green")
        for n in range(14)
    ]
    rows += [{"instruction": "few?", "output": "few.", "source": "few"}]
    return write_rows(place / "data.jsonl", rows)


def probe(place: Path, **more: Any) -> dict[str, Any]:
    task = {"name": "held", "kind": "held_out", "path": str(place / "held.jsonl")}
    return {
        "tasks": [task],
        "examples": 4,
        "growth": 1.5,
        "rungs": 2,
        "seeds": [0, 1],
        "sweep": [1],
        "sweep_seeds": [7],
        "train": {"learning_rate": 1e-2, "dtype": "float32", "batch_examples": 4},
        "evaluate": {"dtype": "float32"},
        **more,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes")
    save_student(folder / "student")
    held = [{"instruction": f"red {n}?", "output": f"re {n % 3}."} for n in range(5)]
    held += [{"instruction": f"new {n}?", "output": f"ne {n}."} for n in range(7)]
    write_rows(folder / "held.jsonl", held)
    return folder


def test_sources_are_halved_and_mixed_and_a_stopped_trial_goes_on(place: Path) -> None:
    path = data(place)
    job = {
        "data": {"path": str(path)},
        "student": {"model": "table"},
        "out": str(place / "out"),
        "draws": 100,
        "report": False,
    }
    ranked = rank_sources(job, doors=doors())
    given = {"data": job["data"], "student": {"model": str(place / "student")}}
    first = probe_sources(ranked, **given, probe=probe(place), most_cells=2)
    assert first.unfinished > 0
    assert first.sweep.num_rows == 0
    assert any("not done" in sentence for sentence in probed_in_words(first))
    done = probe_sources(ranked, **given, probe=probe(place))
    assert done.unfinished == 0
    assert done.left_out == {"few": 1}
    rungs = done.probes.to_pylist()
    assert [(r["rung"], r["examples"]) for r in rungs] == [(1, 4)] * 3 + [(2, 6)] * 2
    assert sum(r["gain"] for r in rungs if r["rung"] == 1) == pytest.approx(0, abs=1e-9)
    goes_on = {r["source"] for r in rungs if r["rung"] == 1 and r["goes_on"]}
    assert goes_on == {r["source"] for r in rungs if r["rung"] == 2}
    sweep = done.sweep.to_pylist()
    assert [r["mix"] for r in sweep] == ["best-1", "all"]
    assert sweep[0]["sources"] == [done.order[0]]
    assert sweep[0]["items"] + rungs[0]["items"] == 12  # one half chooses, the other measures
    kept = (place / "out" / "sources" / "red.jsonl").read_text()
    assert "red 3?" not in kept  # a question of the task
    assert "red 13?" in kept
    assert {s.key for s in probed_sections(ranked, done)} == {"probes", "sweep"}


def test_the_predictions_are_held_against_the_first_trainings(place: Path) -> None:
    values = {"a": 2.0, "b": 3.0, "c": 1.0, "d": 4.0, "e": 0.5}
    gained = {"a": 0.3, "b": 0.2, "c": 0.4, "d": 0.1}
    standings = [
        {"entrant": n, "domain": "all", "predictor": "rsr", "value": v, "better": "lower"}
        for n, v in values.items()
    ]
    rungs = [{"rung": 1, "source": n, "value": v} for n, v in gained.items()]
    rungs += [{"rung": 2, "source": "a", "value": -9.0}]
    ranked = Ranked(
        kind="source",
        by="rsr",
        answers=pa.table({}),
        standings=pa.Table.from_pylist(standings, schema=STANDINGS),
        pairs=pa.table({}),
        settling=None,
        student={},
        tally={},
        out=str(place),
    )
    probed = Probed(
        probes=pa.Table.from_pylist(rungs, schema=PROBES),
        sweep=pa.Table.from_pylist([], schema=SWEEP),
        order=(),
        winner={},
        left_out={},
        unfinished=0,
    )
    (row,) = predictions_checked(ranked, probed).to_pylist()
    assert (row["spearman"], row["as_claimed"], row["entrants"]) == (-1.0, 1.0, 4)
    assert {s.key for s in probed_sections(ranked, probed)} == {"probes", "predictions"}
    said = probed_summary(ranked, probed)["in_words"]
    assert said[-1].startswith("rsr (lower is claimed to be better) correlates with the")
    fewer = replace(probed, probes=probed.probes.slice(0, 3))
    assert predictions_checked(ranked, fewer).num_rows == 0


def test_settings_that_keep_the_luck_are_refused(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text("tasks: [{name: a, kind: held_out, path: a.jsonl}]\nsweep_seeds: [0]\n")
    with pytest.raises(SettingsError, match="biased"):
        probe_settings(path)
    path.write_text("tasks: [{name: a, kind: held_out, path: a.jsonl}]\n")
    assert probe_settings(path)["tasks"][0]["path"] == str(tmp_path / "a.jsonl")


def test_too_few_rows_are_said(place: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"{s}?", "output": s, "source": s} for s in ("one", "two")]
    path = write_rows(tmp_path / "data.jsonl", rows)
    job = {
        "data": {"path": str(path)},
        "student": {"model": "table"},
        "out": str(tmp_path / "out"),
        "report": False,
    }
    ranked = rank_sources(job, doors=doors())
    with pytest.raises(DataError, match="fewer than two sources"):
        probe_sources(ranked, data=job["data"], student=job["student"], probe=probe(place))


def test_names_of_sources_make_different_files() -> None:
    assert _slug("plain") == "plain"
    assert _slug("a b") != _slug("a-b")
    assert "/" not in _slug("../etc")


def test_questions_of_tasks_are_found_whatever_their_spelling(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "t.jsonl", [{"id": 1, "question": "How  MANY, then?"}])
    task = TaskSettings(name="t", kind="exact_match", path=str(path))
    assert _asked([task]) == {"how many then"}
