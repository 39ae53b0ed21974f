"""`dry_run=True` of every function: the figures of `--dry-run`, typed, and nothing is written."""

import inspect
from pathlib import Path
from typing import Any, Literal

import pytest

import tutelage as tt
from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.tiny_student import save_student
from tutelage import api
from tutelage.api import Estimate, Result
from tutelage.api.overloads import VARIANTS
from tutelage.cli import main
from tutelage.gate import TooFewRowsError
from tutelage.pipeline import run_all
from tutelage.progress import Silent

pytest.importorskip("trl")

GROUPED = {"rank": ("rank_teachers", "rank_sources")}


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setattr("tutelage.pipeline.work_estimate.cache_folder", lambda: home)
    monkeypatch.setattr("tutelage.student.student.readings_path", lambda: home / "readings.sqlite")
    monkeypatch.setattr("tutelage.models.config.cache_folder", lambda: home)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("tiny"))


CHOICES = [
    {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
    for n in range(6)
]
QUESTIONS = [{"instruction": f"{n} and {n}?", "reference": str(2 * n)} for n in range(5)]
ASKED = {"base_url": "http://127.0.0.1:9/v1", "prices": {"input_per_million": 1.0,
         "output_per_million": 2.0, "currency": "USD"}}  # fmt: skip


def experiment(tiny: Path) -> dict[str, Any]:
    return {
        "students": [{"name": "tiny", "model": str(tiny)}],
        "arms": [{"name": name, "file": "data.jsonl"} for name in ("choice", "random")],
        "seeds": [0],
        "examples": 6,
        "balance": ["examples"],
        "tasks": [{"name": "tools", "kind": "choice", "path": "choice.jsonl"}],
        "train": {"dtype": "float32", "batch_examples": 2},
        "evaluate": {"dtype": "float32"},
    }


def loops(tiny: Path) -> dict[str, Any]:
    return {
        "data": rows(8),
        "student": {"model": str(tiny)},
        "rounds": 2,
        "train": {"dtype": "float32", "batch_examples": 4},
        "held_out": {"instructions": {"path": "data.jsonl"}},
    }


def estimates(tiny: Path) -> dict[str, Any]:
    """A call of each function; what is counted first, and its count."""
    student, how = str(tiny), {"dry_run": True, "measure_seconds": 0.0}
    wide = [{"instruction": f"Say {n}.", "responses": ["one", "two"]} for n in range(4)]
    return {
        "run": lambda: tt.run(data=rows(8), student=student, out="out", **how),
        "score": lambda: tt.score(rows(8), student, out="scores.parquet", **how),
        "train": lambda: tt.train(rows(8), student, out="out", dtype="float32", **how),
        "prove": lambda: tt.prove(experiment(tiny), out="out", **how),
        "rounds": lambda: tt.rounds(loops(tiny), out="out", **how),
        "audit": lambda: tt.audit(rows(8), student, out="out", **how),
        "rank_teachers": lambda: tt.rank_teachers(wide, student, out="out", **how),
        "rank_sources": lambda: tt.rank_sources(rows(8), student, out="out", **how),
        "evaluate": lambda: tt.evaluate(student, {"choice": CHOICES}, out="out", **how),
        "select": lambda: tt.select("run", "srt", **how),
        "sample": lambda: tt.sample(rows(8), "t", n=4, out="out", dry_run=True, **ASKED),
        "refine": lambda: tt.refine(rows(8), "t", out="out", dry_run=True, **ASKED),
        "frontier": lambda: tt.frontier(QUESTIONS, student, out="out", check="number", **how),
        "verify": lambda: tt.verify(rows(8), "judge", teacher="t", response="output", dry_run=True,
                                    out="verdicts.parquet", **ASKED),
        "filter": lambda: tt.filter(rows(8), [{"kind": "teacher_rating", "minimum": 2}],
                                    teacher="t", dry_run=True, **ASKED),
    }  # fmt: skip


FIRST = {
    "run": (8, "candidates"),
    "score": (8, "candidates"),
    "train": (8, "rows"),
    "prove": (1, "training runs"),  # both arms have the same rows
    "rounds": (8, "candidates"),
    "audit": (8, "texts"),
    "rank_teachers": (8, "answers"),
    "rank_sources": (8, "answers"),
    "evaluate": (6, "items"),
    "sample": (32, "calls"),
    "refine": (24, "calls"),
    "frontier": (25, "answers"),  # four sampled and a greedy one of each
    "verify": (8, "calls"),
    "filter": (8, "calls"),
}
WITH_TEACHER = ("sample", "refine", "verify", "filter")


def with_dry_run() -> list[str]:
    """The functions whose command takes `--dry-run`."""
    found = []
    for name, command in main.commands.items():
        several = getattr(command, "commands", {name: command})
        if any(p.name == "dry_run" for c in several.values() for p in c.params):
            found += GROUPED.get(name, (name,))
    return sorted(found)


def test_every_command_with_a_dry_run_is_a_function_with_one(tiny: Path) -> None:
    takes = [
        name
        for name in api.__all__
        if name[0].islower() and "dry_run" in inspect.signature(getattr(api, name)).parameters
    ]
    assert sorted(takes) == with_dry_run() == sorted(estimates(tiny))


PLANNING = {"pilot", "variances", "seconds_per_cell"}


@pytest.mark.parametrize("name", with_dry_run())
def test_type_checkers_know_a_dry_run_from_a_result(name: str) -> None:
    function = inspect.unwrap(getattr(api, name))
    whole = inspect.signature(function)
    kinds = []
    for variant in VARIANTS[f"{function.__module__}.{name}"]:
        typed = inspect.signature(variant)
        if name == "prove" and typed.parameters["plan"].annotation == Literal[True]:
            continue  # a plan has no dry run, and only it has a pilot
        without = PLANNING if name == "prove" else set()
        assert list(typed.parameters) == [p for p in whole.parameters if p not in without]
        for parameter, one in typed.parameters.items():
            known = whole.parameters[parameter]
            optional = known.default is not inspect.Parameter.empty
            if parameter not in ("dry_run", "plan"):
                assert one.annotation == known.annotation, parameter
                assert (one.default is ...) == optional, parameter
        kinds.append((typed.parameters["dry_run"].annotation, typed.return_annotation))
    result, estimate, either = (returned for _, returned in kinds)
    assert [kind for kind, _ in kinds] == [Literal[False], Literal[True], bool]
    planned = Result if name == "prove" else result
    assert (estimate, either) == (Estimate, result | Estimate)
    assert result | Estimate | planned == whole.return_annotation
    # mypy checks one call of each kind there
    calls = (Path(__file__).parent / "typed_calls.py").read_text()
    assert calls.count(f"tt.{name}(") == 3


@pytest.mark.parametrize("name", sorted(FIRST))
def test_an_estimate_is_typed_and_writes_nothing(name: str, tiny: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data.jsonl", rows(8))
    write_rows(tmp_path / "choice.jsonl", CHOICES)
    found = estimates(tiny)[name]()
    assert isinstance(found, Estimate)
    first = found.work.to_pylist()[0]
    assert (first["count"], first["unit"]) == FIRST[name]
    assert found.seconds is None  # nothing was measured
    assert found.work.column_names == ["stage", "count", "unit", "tokens", "seconds", "basis"]
    assert first["stage"] in str(found)
    assert first["stage"] in found._repr_html_()
    assert "not known yet" in repr(found)
    if name in WITH_TEACHER:
        assert found.calls == first["count"]
        assert 0 < found.cost_expected < found.cost_at_most  # type: ignore[operator]
        assert found.currency == "USD"
    else:
        assert (found.calls, found.cost_expected, found.currency) == (0, 0.0, None)
    there = {path.name for path in tmp_path.iterdir()}
    assert there <= {"data.jsonl", "choice.jsonl", "home"}


def test_a_measured_estimate_has_a_time(tiny: Path) -> None:
    found = tt.score(rows(8), tiny, dry_run=True, measure_seconds=0.01)
    assert isinstance(found, Estimate)
    assert found.seconds == found.seconds_known > 0
    assert found.tokens == sum(found.work["tokens"].to_pylist())
    assert "on this machine" in str(found)


def test_the_gate_of_a_selection_is_estimated_by_its_own_planted_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfitted(*_: Any, **__: Any) -> None:  # fitting takes seconds, and nothing is read for it
        raise TooFewRowsError("not fitted here")

    monkeypatch.setattr("tutelage.pipeline.gate_stage.fit_gate", unfitted)
    data = write_rows(tmp_path / "data.jsonl", rows(70))
    run = tmp_path / "run"
    run_all(settings(data, run, teacher=None), progress=Silent(), doors=doors(), with_page=False)
    before = sorted(p.name for p in run.rglob("*"))
    how = {"dry_run": True, "measure_seconds": 0.0, "doors": doors()}
    plain = tt.select(run, **how)
    gated = tt.select(run, quality_gate="calibrated", quality_gate_examples=60, **how)
    assert isinstance(plain, Estimate)
    assert isinstance(gated, Estimate)
    assert (plain.seconds, plain.work.num_rows) == (0, 0)
    assert sorted(p.name for p in run.rglob("*")) == before
    counts = {part["stage"]: part["count"] for part in gated.work.to_pylist()}
    told: list[str] = []

    class Counting(Silent):
        def begin(self, stage: str, *, total: int | None, unit: str) -> None:
            if stage == "quality gate":
                told.append(f"{total} {unit}")

    tt.select(
        run,
        quality_gate="calibrated",
        quality_gate_examples=60,
        doors=doors(),
        progress=Counting(),
    )
    assert told == [f"{sum(counts.values())} texts"]
    assert counts["quality gate: candidates"] == 70
    again = tt.select(run, quality_gate="calibrated", quality_gate_examples=60, **how)
    assert isinstance(again, Estimate)
    assert again.work.num_rows == 0  # it is fitted by now


def test_finished_tasks_are_left_out_of_an_estimate(tiny: Path, tmp_path: Path) -> None:
    tasks = {"choice": write_rows(tmp_path / "one.jsonl", CHOICES)}
    tt.evaluate(tiny, tasks, out=tmp_path / "out", dtype="float32")
    write_rows(tmp_path / "two.jsonl", rows(3))
    both = [f"choice={tmp_path / 'one.jsonl'}", f"held_out={tmp_path / 'two.jsonl'}"]
    found = tt.evaluate(
        tiny, both, out=tmp_path / "out", dtype="float32", dry_run=True, measure_seconds=0.0
    )
    assert isinstance(found, Estimate)
    assert found.summary["done"] == 1
    assert found.work["stage"].to_pylist() == ["evaluate two"]
