"""Experiment trackers: what a training hands on, and that nothing depends on it."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tutelage.errors import DivergedError, MissingExtraError, SettingsError
from tutelage.training import Followed, TrainSettings, tracked, tracked_run, train_student
from tutelage.training.trackers import TRACKERS, open_tracker

QUICK = TrainSettings(epochs=2, batch_examples=4, learning_rate=1e-2, dtype="float32")


class Notebook:
    """A tracker that keeps everything in a list."""

    def __init__(self) -> None:
        self.runs: list[Followed] = []
        self.numbers: list[tuple[int | None, Mapping[str, float]]] = []
        self.ended: list[str] = []

    def begin(self, run: Followed) -> None:
        self.runs.append(run)

    def log(self, numbers: Mapping[str, float], *, step: int | None) -> None:
        self.numbers.append((step, numbers))

    def finish(self, state: str) -> None:
        self.ended.append(state)


def test_a_training_is_followed_step_by_step(rows: Path, student: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    book, out = Notebook(), tmp_path / "trained"
    with tracked(book, project="colours"):
        done = train_student(rows, model=str(student), settings=QUICK, out=out)
        train_student(rows, model=str(student), settings=QUICK, out=out)  # done: not followed
    (run,) = book.runs
    assert (run.project, run.name, run.resumed) == ("colours", str(out), False)
    assert run.config["train_epochs"] == 2
    assert run.config["rows_trained_on"] == 12
    json.dumps(dict(run.config))
    steps = [(step, found) for step, found in book.numbers if step is not None]
    assert [step for step, _ in steps] == list(range(1, done.steps + 1))
    assert steps[0][1]["train/loss"] == pytest.approx(done.first_loss)
    assert all(set(found) >= {"train/loss", "train/learning_rate"} for _, found in steps)
    assert book.numbers[-1][0] is None
    assert book.numbers[-1][1]["train/total_steps"] == done.steps
    assert book.ended == ["finished"]


def test_a_training_that_fails_ends_its_run_as_failed(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    book = Notebook()
    wild = QUICK.model_copy(update={"learning_rate": 1e30, "warmup_fraction": 0.0})
    with pytest.raises(DivergedError), tracked(book):
        train_student(rows, model=str(student), settings=wild, out=tmp_path / "wild")
    assert book.ended == ["failed"]
    assert all(math.isfinite(v) for _, found in book.numbers for v in found.values())


def test_a_run_inside_a_run_is_part_of_it() -> None:
    book = Notebook()
    with tracked(book, group="experiment"), tracked_run("cell", config={"arm": "random"}) as outer:
        with tracked_run("training", config={}) as inner:
            inner.log({"train/loss": 1.5, "note": "text", "broken": math.nan, "on": True}, step=1)
        outer.log({"evaluation/choice/mean_value": 0.5})
    assert [(run.name, run.group) for run in book.runs] == [("cell", "experiment")]
    assert book.numbers == [(1, {"train/loss": 1.5}), (None, {"evaluation/choice/mean_value": 0.5})]
    assert book.ended == ["finished"]


def test_without_a_tracker_nothing_is_followed() -> None:
    with tracked(None), tracked_run("alone", config={}) as tracking:
        assert tracking is None


def test_a_tracker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="unknown tracker 'paper'"):
        open_tracker("paper")
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=f"{name} is not installed") as caught:
            open_tracker(name)
        assert caught.value.hint == f"pip install {name}"


class Library(ModuleType):
    """Stands for a tracker's library: notes each call, and prints as they do."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*given: Any, **named: Any) -> None:
            print(f"* {name}")  # noqa: T201
            self.calls.append((name, given, named))

        return call


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("trackio", ["init", "log", "finish"]),
        ("wandb", ["init", "log", "finish"]),
        ("mlflow", ["set_experiment", "start_run", "log_params", "log_metrics", "end_run"]),
    ],
)
def test_each_library_gets_the_same_run_and_prints_nothing_to_stdout(
    name: str, calls: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Library(name)
    monkeypatch.setitem(sys.modules, name, library)
    with tracked(name, project="p", group="g"), tracked_run("r", config={"a": 1}) as tracking:
        assert tracking is not None
        shown = capsys.readouterr().out
        tracking.log({"train/loss": 2.0}, step=3)
        capsys.readouterr()
    assert (shown, capsys.readouterr().out) == ("", "")
    assert [call for call, _, _ in library.calls] == calls
    logged = next(c for c in library.calls if c[0] in ("log", "log_metrics"))
    assert logged[1:] == (({"train/loss": 2.0},), {"step": 3})


def test_trackio_s_own_reader_finds_the_run(
    rows: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    monkeypatch.setattr(
        sys.modules["trackio.sqlite_storage"], "TRACKIO_DIR", tmp_path / "trackio", raising=False
    )
    pytest.importorskip("trl")
    out = tmp_path / "trained"
    with tracked("trackio", project="colours"):
        done = train_student(rows, model=str(student), settings=QUICK, out=out)
    assert [run.name for run in trackio.Api().runs("colours")] == [str(out)]
    found = storage.get_logs("colours", str(out))
    losses = [entry["train/loss"] for entry in found if "train/loss" in entry]
    assert len(losses) == done.steps
    assert losses[0] == pytest.approx(done.first_loss)
