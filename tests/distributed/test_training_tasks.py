"""Trainings and evaluations as tasks of a worker: the same as in this process."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tutelage as tt
from tests.pipeline.fakes import rows, write_rows
from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.distributed import ray_tasks
from tutelage.errors import SettingsError
from tutelage.progress import Silent
from tutelage.training.processes import Processes

pytest.importorskip("trl")

CHOICES = [
    {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
    for n in range(6)
]
HOW: Any = {"dtype": "float32", "batch_examples": 4, "threads": 1, "epochs": 2}
CPUS = {"worker_cpus": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """A worker in this process that stands in another folder and gets copies of everything."""
    asked: list[Any] = []

    def called(work: Callable[[Any], Any], item: Any, *, pool: Any) -> Any:
        asked.append(pool)
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        with monkeypatch.context() as moved:
            moved.chdir(tmp_path / "elsewhere")
            sent = pickle.loads(pickle.dumps((work, item)))  # noqa: S301  (our own)
            return pickle.loads(pickle.dumps(sent[0](sent[1])))  # noqa: S301

    monkeypatch.setattr(ray_tasks, "called_on_worker", called)
    monkeypatch.chdir(tmp_path)
    return asked


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_training_on_a_worker_is_the_local_one(
    tiny: Path, tmp_path: Path, pools: list[Any]
) -> None:
    write_rows(tmp_path / "data.jsonl", rows(8))
    here = tt.train("data.jsonl", tiny, out="here", **HOW)
    there = tt.train("data.jsonl", tiny, out="there", engine="ray", ray=CPUS, **HOW)
    assert pools == [CPUS]
    assert weights(tmp_path / "there") == weights(tmp_path / "here")
    assert there.summary["path"] == "there/model"
    same = ("rows", "steps", "tokens", "loss_tokens", "first_loss", "last_loss")
    assert [there.summary[name] for name in same] == [here.summary[name] for name in same]


def test_an_evaluation_on_a_worker_is_the_local_one(
    tiny: Path, tmp_path: Path, pools: list[Any]
) -> None:
    write_rows(tmp_path / "choice.jsonl", CHOICES)
    asked = ("evaluate", str(tiny), "--task", "choice=choice.jsonl", "--dtype", "float32", "--json")
    here = CliRunner().invoke(main, [*asked, "--out", "here"])
    words = [*asked, "--out", "there", "--engine", "ray", "--worker-cpus", "1"]
    there = CliRunner().invoke(main, words)
    assert (here.exit_code, there.exit_code) == (0, 0), there.output
    assert pools == [CPUS]
    assert json.loads(there.stdout) == json.loads(here.stdout) | {"out": "there"}
    table = tt.evaluate(tiny, {"choice": "choice.jsonl"}, out="there", dtype="float32").table
    own = tt.evaluate(tiny, {"choice": "choice.jsonl"}, out="here", dtype="float32").table
    assert table.equals(own)


def test_a_worker_that_is_not_used_is_refused(tiny: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(4))
    with pytest.raises(SettingsError, match="worker_gpus is for Ray's workers"):
        tt.train(data, tiny, ray={"worker_gpus": 1})
    with pytest.raises(SettingsError, match="engine is 'slurm'"):
        tt.evaluate(tiny, {"choice": CHOICES}, engine="slurm")


def test_launched_processes_do_not_each_train_on_ray(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tasks, "launched", lambda: Processes(rank=0, count=2))
    with pytest.raises(SettingsError, match="2 processes were launched"):
        ray_tasks.train_on_ray(
            tmp_path, model=str(tiny), out=tmp_path / "out", pool=None, progress=Silent()
        )
