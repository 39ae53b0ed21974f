"""The calibrated gate in a run: fitted once, in front of any rule, and explained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.gate.gate_rows import CountingStudent, gate_rows
from tutelage.errors import RunError, SettingsError
from tutelage.gate import FAULTS, MIN_EXAMPLES, plant
from tutelage.pipeline import explain_example, run_all, select_again
from tutelage.pipeline.config import RunSettings, checked
from tutelage.pipeline.gate_results import read_gate
from tutelage.pipeline.gate_stage import ensure_calibrated, read_material
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.select_stage import decided
from tutelage.pipeline.stages import stored_candidates
from tutelage.progress import Silent
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings

ROWS = gate_rows(90)
BAD = {"echo": range(5), "doubling": range(5, 10), "wrong_letters": range(10, 15)}


class _Counted(CountingStudent):
    read_by: dict[str, int] = {"texts": 0}  # noqa: RUF012  (counts over all students of a test)

    def read(self, candidates: Any, **more: Any) -> Any:
        def noted() -> Any:
            for candidate in candidates:
                self.read_by["texts"] += 1
                yield candidate

        return super().read(noted(), **more)


def doors() -> Doors:
    def open_student(settings: StudentSettings) -> CountingStudent:
        return _Counted(name=settings.model)

    return Doors(open_student=open_student)


def write_pairs(folder: Path, count: int = 90) -> Path:
    """Refined pairs: some refinements have a fault."""
    faulty = {n: fault for fault, numbers in BAD.items() for n in numbers}
    lines = []
    for number, row in enumerate(ROWS[:count]):
        refined = row.response
        if number in faulty:
            planted = plant(row, fault=faulty[number], dose="strong", others=ROWS, seed=9)
            refined = str(planted.response)
        lines.append(
            {
                "instruction": row.instruction,
                "original_output": " ".join(row.response.split()[:-3]) + " at last.",
                "refined_output": refined,
            }
        )
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def settings_of(folder: Path, data: Path, **select: Any) -> RunSettings:
    values = {
        "data": {"path": str(data)},
        "student": {"model": "counting"},
        "out": str(folder / "run"),
        "select": {"rule": "all_refined", "quality_gate_examples": 60, **select},
    }
    return checked(RunSettings, values, place="test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def summary(folder: Path) -> dict[str, Any]:
    settings = settings_of(folder, write_pairs(folder), quality_gate="calibrated")
    return run_all(settings, progress=Silent(), doors=doors(), with_page=False)


def test_faulty_refinements_are_refused_in_front_of_the_rule(
    folder: Path, summary: dict[str, Any]
) -> None:
    gate = summary["quality_gate"]
    assert gate["fitted"]
    run = RunFolder(root=folder / "run")
    results = pq.read_table(run.quality_gate_table).to_pylist()
    assert len(results) == 180
    rows = {r["example_id"]: r["row"] for r in pq.read_table(run.examples).to_pylist()}
    steps = {r["candidate_id"]: r["step"] for r in pq.read_table(run.candidates).to_pylist()}
    refused = {
        rows[r["example_id"]]
        for r in results
        if steps[r["candidate_id"]] != "original" and not r["passed"]
    }
    assert len(refused & set(range(10))) >= 9
    assert len(refused - set(range(10))) <= 9
    kept = {rows[d["example_id"]] for d in pq.read_table(run.decisions).to_pylist() if d["kept"]}
    assert kept == set(range(90)) - refused


def test_the_run_says_how_many_were_refused(summary: dict[str, Any]) -> None:
    assert "of held-out clean candidates were rejected" in summary["in_words"]


def test_explain_names_the_fault_and_the_numbers(folder: Path, summary: dict[str, Any]) -> None:
    assert summary["quality_gate"]["fitted"]
    told = explain_example(folder / "run", "row:0")
    assert "quality gate: rejected, most likely echo" in told
    assert "above the threshold" in told
    assert "was rejected by the quality gate: it cannot be chosen" in " ".join(told.split())


def test_the_gate_is_a_file_with_its_measures(folder: Path, summary: dict[str, Any]) -> None:
    gate = read_gate(RunFolder(root=folder / "run"))
    assert gate is not None
    assert summary["quality_gate"]["false_refusals"]["share"] == gate.false_refusals.fraction
    assert {r.fault for r in gate.results} | set(gate.skipped) == set(FAULTS)
    assert all(r.left_out_auc is not None for r in gate.results)


def test_nothing_is_read_again_when_nothing_changed(folder: Path, summary: dict[str, Any]) -> None:
    settings = settings_of(folder, folder / "pairs.jsonl", quality_gate="calibrated")
    before = _Counted.read_by["texts"]
    again = run_all(settings, progress=Silent(), doors=doors(), with_page=False)
    assert again["quality_gate"] == summary["quality_gate"]
    assert _Counted.read_by["texts"] == before


def test_another_budget_or_student_needs_a_gate_of_its_own(
    folder: Path, summary: dict[str, Any]
) -> None:
    assert summary
    run = RunFolder(root=folder / "run")
    wanted = SelectSettings(rule="all_refined", quality_gate="calibrated", max_false_refusals=0.2)
    with pytest.raises(RunError, match=r"fitted with max_false_refusals 0\.05, not 0\.2"):
        decided(run, settings=wanted, student=None)
    same = wanted.model_copy(update={"max_false_refusals": 0.05})
    with pytest.raises(RunError, match="fitted with student"):
        decided(run, settings=same, student="somebody")
    with pytest.raises(RunError, match="the student somebody has not scored this run"):
        ensure_calibrated(run, wanted, fingerprint="somebody", progress=Silent(), doors=doors())


def test_a_student_that_the_manifest_does_not_describe_cannot_be_opened(
    folder: Path, summary: dict[str, Any], tmp_path: Path
) -> None:
    assert summary
    run = RunFolder(root=shutil.copytree(folder / "run", tmp_path / "run"))
    manifest = run.read_manifest()
    own = next(name for name in manifest["stages"] if name.startswith("score:"))
    manifest["stages"]["score:somebody"] = manifest["stages"][own]
    run.write_manifest(manifest)
    wanted = SelectSettings(rule="all_refined", quality_gate="calibrated")
    with pytest.raises(RunError, match="describes another one"):
        ensure_calibrated(run, wanted, fingerprint="somebody", progress=Silent(), doors=doors())


def test_off_decides_as_if_there_were_no_gate(folder: Path, summary: dict[str, Any]) -> None:
    assert summary
    run = RunFolder(root=folder / "run")
    found = decided(run, settings=SelectSettings(rule="all_refined"), student=None)
    assert found.coverage.kept == 90
    assert not found.coverage.gated


def test_below_the_minimum_it_says_so_and_refuses_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, write_pairs(tmp_path, 30), quality_gate="calibrated")
    found = run_all(settings, progress=Silent(), doors=doors(), with_page=False)
    assert found["quality_gate"]["fitted"] is False
    assert "30 clean examples" in found["quality_gate"]["detail"]
    assert "Quality gate: not fitted" in found["in_words"]
    assert found["select"]["kept"] == 30
    assert read_gate(RunFolder(root=tmp_path / "run")) is None
    assert "quality gate: not judged (not_fitted)" in explain_example(tmp_path / "run", "row:0")


def test_a_server_without_entropies_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    values = settings_of(tmp_path, tmp_path / "x.jsonl").model_dump(mode="json")
    values["student"] = {
        "model": "m",
        "backend": "vllm",
        "base_url": "http://127.0.0.1:1/v1",
        "dtype": "float32",
    }
    values["select"]["quality_gate"] = "calibrated"
    values["score"]["metrics"] = ["ifd", "r_ifd"]
    with pytest.raises(SettingsError, match="needs entropies"):
        checked(RunSettings, values, place="test")


def write_rejected(folder: Path, pairs: Path, numbers: range) -> Path:
    """The refinements of some rows, as a person would write down those that are no good."""
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    path = folder / "rejected.jsonl"
    path.write_text(
        "".join(
            json.dumps({"instruction": r["instruction"], "output": r["refined_output"]}) + "\n"
            for r in (rows[n] for n in numbers)
        )
    )
    return path


@pytest.mark.parametrize("rows", [pytest.param(90, marks=pytest.mark.conformance), 30])
def test_what_a_person_rejected_never_passes(tmp_path: Path, rows: int) -> None:
    fitted = rows >= MIN_EXAMPLES
    pairs = write_pairs(tmp_path, rows)
    numbers = range(rows - 15 - 9 * fitted, rows)  # without a planted fault
    settings = settings_of(
        tmp_path, pairs, quality_gate="calibrated",
        quality_gate_rejected=str(write_rejected(tmp_path, pairs, numbers)),
    )  # fmt: skip
    found = run_all(settings, progress=Silent(), doors=doors(), with_page=False)
    assert found["quality_gate"]["fitted"] is fitted
    run = RunFolder(root=tmp_path / "run")
    row_of = {r["example_id"]: r["row"] for r in pq.read_table(run.examples).to_pylist()}
    by_person = {
        row_of[r["example_id"]]
        for r in pq.read_table(run.quality_gate_table).to_pylist()
        if r["fault"] == "rejected" and r["excess"] is None
    }
    assert by_person == set(numbers)
    kept = {row_of[d["example_id"]] for d in pq.read_table(run.decisions).to_pylist() if d["kept"]}
    assert not kept & set(numbers)
    told = explain_example(tmp_path / "run", f"row:{rows - 1}")
    assert "one of the rows of quality_gate_rejected" in told
    if fitted:
        assert found["quality_gate"]["refused"]["rejected"] >= len(numbers)
        gate = read_gate(run)
        assert gate is not None
        assert "rejected" in {d.fault for d in gate.detectors}


def test_what_a_person_rejected_is_not_fitted_on_as_clean(
    folder: Path, summary: dict[str, Any], tmp_path: Path
) -> None:
    assert summary
    written = list(stored_candidates(RunFolder(root=folder / "run").candidates))
    rejected = write_rejected(tmp_path, folder / "pairs.jsonl", range(80, 90))
    settings = SelectSettings(quality_gate="calibrated", quality_gate_rejected=str(rejected))
    with doors().open_student(StudentSettings(model="counting")) as student:
        material = read_material(
            written, settings.model_copy(update={"quality_gate_examples": 1}), student=student,
            progress=Silent(), doses=("strong",),
        )  # fmt: skip
    assert len(material.rejected) == 10
    assert len(material.versions) == 180
    assert len(material.clean) == 170


def test_a_rejected_row_without_a_response_is_named(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rejected.jsonl"
    path.write_text(
        '{"instruction": "Say it.", "output": "No."}\n{"instruction": "Say it.", "output": ""}\n'
    )
    settings = SelectSettings(quality_gate="calibrated", quality_gate_rejected=str(path))
    run = RunFolder(root=folder / "run")
    with (
        doors().open_student(StudentSettings(model="counting")) as student,
        pytest.raises(SettingsError, match=r"row 1 of .*rejected.jsonl has no response"),
    ):
        read_material(
            list(stored_candidates(run.candidates)), settings, student=student, progress=Silent()
        )


def test_a_damaged_gate_is_found_before_a_selection(
    folder: Path, summary: dict[str, Any], tmp_path: Path
) -> None:
    assert summary
    run = RunFolder(root=shutil.copytree(folder / "run", tmp_path / "run"))
    stored = json.loads(run.quality_gate.read_text())
    del stored["gate"]["detectors"][0]["trees"]
    run.quality_gate.write_text(json.dumps(stored))
    wanted = SelectSettings(rule="all_refined", quality_gate="calibrated")
    with pytest.raises(RunError, match=r"quality_gate.json: gate.detectors.0.trees is missing"):
        decided(run, settings=wanted, student=None)


def test_selecting_with_a_gate_that_was_not_fitted_says_so(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, write_pairs(tmp_path, 30), quality_gate="calibrated")
    run_all(settings, progress=Silent(), doors=doors(), with_page=False)
    tally = select_again(tmp_path / "run", given={}, student=None, progress=Silent(), doors=doors())
    assert "was not fitted, so it rejects nothing: 30 clean examples" in tally["quality_gate_note"]
