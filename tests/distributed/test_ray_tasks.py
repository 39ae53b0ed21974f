"""Cells on a pool without Ray, and trainings and evaluations as tasks of a worker."""

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import tutelage as tt
from tests.pipeline.fakes import rows, write_rows
from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.distributed import RayCells, cells_elsewhere, ray_tasks
from tutelage.distributed.ray_tasks import called_on_worker
from tutelage.distributed.score_job import _in_flight
from tutelage.errors import RunError, SettingsError, StudentError
from tutelage.pipeline.config import RaySettings
from tutelage.progress import Silent
from tutelage.training.processes import Processes


class RayError(Exception):
    pass


class Ray:
    """As much of Ray as cells need: work is done when somebody waits for it, the last one first."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.most = 0

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        self.options = options
        return lambda function: SimpleNamespace(
            remote=lambda *arguments: lambda: function(*arguments)
        )

    def wait(self, under_way: list[Any], *, num_returns: int) -> tuple[list[Any], list[Any]]:
        assert num_returns == 1
        self.most = max(self.most, len(under_way))
        return [under_way[-1]], under_way[:-1]

    def get(self, ready: Any) -> Any:
        return ready()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    pretended = Ray()

    @contextmanager
    def joined(_settings: RaySettings) -> Iterator[Ray]:
        yield pretended

    monkeypatch.setattr(ray_tasks, "joined", joined)
    return pretended


def test_as_many_cells_are_under_way_as_there_are_workers(ray: Ray) -> None:
    done: list[int] = []
    pool = RaySettings(workers=2, worker_cpus=3, worker_gpus=0.5)
    assert sorted(RayCells(pool).each(done.append, range(5))) == [0, 1, 2, 3, 4]
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert ray.most == 2
    assert (ray.options["num_cpus"], ray.options["num_gpus"]) == (3, 0.5)
    assert ray.options["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "3"


def test_a_cell_that_fails_lets_the_others_end_and_begins_no_more(ray: Ray) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise StudentError("cell 1", hint="mend it")

    given = []
    with pytest.raises(StudentError, match="cell 1") as raised:
        given.extend(RayCells(RaySettings(workers=2)).each(work, range(5)))
    assert raised.value.hint == "mend it"
    assert begun == [1, 0]


def test_a_worker_that_dies_is_an_error_of_the_run(ray: Ray) -> None:
    def dies(_number: int) -> None:
        raise RayError("The worker died unexpectedly.\nOut of memory")

    with pytest.raises(RunError, match="could not finish its task: The worker died") as raised:
        list(RayCells(RaySettings(workers=2)).each(dies, range(3)))
    assert "fewer --workers" in str(raised.value.hint)


def doubled(number: int) -> int:
    if number < 0:
        raise StudentError("a negative number", hint="give another")
    return 2 * number


def test_a_call_on_a_worker_returns_its_result_or_raises_our_own_error(ray: Ray) -> None:
    assert called_on_worker(doubled, 4, pool={"worker_cpus": 3, "worker_gpus": 0.5}) == 8
    assert (ray.options["num_cpus"], ray.options["num_gpus"]) == (3, 0.5)
    with pytest.raises(StudentError, match="a negative number") as raised:
        called_on_worker(doubled, -1, pool=None)
    assert raised.value.hint == "give another"
    with pytest.raises(SettingsError, match="workers 4: this is one task"):
        called_on_worker(doubled, 4, pool={"workers": 4})


def test_a_worker_that_dies_in_a_call_is_an_error_of_the_run(ray: Ray) -> None:
    def dies(_number: int) -> None:
        raise RayError("The worker died unexpectedly.\nOut of memory")

    with pytest.raises(RunError, match="could not finish its task: The worker died"):
        called_on_worker(dies, 1, pool=None)


def test_few_chunks_are_handed_out_one_by_one() -> None:
    assert [_in_flight(chunks, 2) for chunks in (1, 7, 8)] == [1, 1, 2]


def test_a_pool_that_is_not_used_is_refused() -> None:
    with pytest.raises(SettingsError, match="for Ray's workers"):
        cells_elsewhere("local", {"workers": 3})
    with pytest.raises(SettingsError, match="workers"):
        cells_elsewhere("ray", {"workers": 0})
    assert cells_elsewhere("local", {}) is None


CHOICES = [
    {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
    for n in range(6)
]
HOW: Any = {"dtype": "float32", "batch_examples": 4, "threads": 1, "epochs": 2}
CPUS = {"worker_cpus": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("trl")
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
