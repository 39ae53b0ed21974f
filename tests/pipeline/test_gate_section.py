"""The report's chapter on the quality gate, `explain` for programs: held to the stored tables."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.data import ORIGINAL, write_table
from tutelage.gate import CalibratedGate, FaultResult, share_of
from tutelage.pipeline import report_text, run_all
from tutelage.pipeline.explanation import example_facts, explain_example
from tutelage.pipeline.gate_results import QUALITY_GATE, write_gate
from tutelage.pipeline.report_sections import gate_section
from tutelage.pipeline.run_dir import RunFolder
from tutelage.progress import Silent
from tutelage.reporting.number_format import UNKNOWN, share


def result(fault: str, dose: str, refused: int, *, auc: float, left_out: float) -> FaultResult:
    return FaultResult(
        fault=fault, dose=dose, refused=share_of(refused, 40), auc=auc,
        left_out_refused=share_of(refused // 2, 40), left_out_auc=left_out,
    )  # fmt: skip


GATE = CalibratedGate(
    detectors=(),
    thresholds=(),
    max_false_refusals=0.05,
    expected_false_refusals=0.04,
    false_refusals=share_of(3, 80),
    results=(
        result("echo", "mild", 20, auc=0.8, left_out=0.6),
        result("echo", "strong", 36, auc=0.97, left_out=0.55),
        result("wrong_letters", "strong", 40, auc=0.99, left_out=0.91),
    ),
    skipped={"other_language": "planted into 3 fit rows; a detector needs 12"},
    suspected={"truncation": 4},
    fit_examples=50,
    held_out_examples=30,
    seed=0,
)


def write_results(run: RunFolder) -> list[dict[str, Any]]:
    """Every third version is refused, every seventh could not be read."""
    found = []
    candidates = [c for c in pq.read_table(run.candidates).to_pylist() if c["status"] == "ok"]
    for at, row in enumerate(candidates):
        one = {
            "candidate_id": row["candidate_id"],
            "example_id": row["example_id"],
            "student": "s",
            "status": "judged",
            "passed": at % 3 > 0,
            "fault": "echo" if at % 2 else "wrong_letters",
            "excess": 1.5 if at % 3 == 0 else -2.0,
            "evidence": json.dumps({"longest_copy": [0.5, 1.25], "marks": [None, 0.5]}),
        }
        if at % 7 == 6:
            nothing = dict.fromkeys(("passed", "fault", "excess", "evidence"))
            one |= {"status": "too_long", **nothing}
        found.append(one)
    write_table(run.quality_gate_table, pa.Table.from_pylist(found, schema=QUALITY_GATE))
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gate_section")
    data = write_rows(folder / "data.jsonl", rows(20))
    run_all(settings(data, folder / "run"), progress=Silent(), doors=doors(), with_page=False)
    run = RunFolder(root=folder / "run")
    write_results(run)
    write_gate(run.quality_gate, {"status": "fitted", "student": "s", "gate": GATE.as_json()})
    return folder / "run"


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    """The chapter as text, its lines joined."""
    whole = report_text(root)
    start = whole.index("What the quality gate rejected")
    return " ".join(whole[start : whole.index("Faults by teacher", start)].split())


@pytest.fixture(scope="module")
def words(root: Path) -> str:
    """The sentences of the chapter, which a page shows above its tables."""
    (section,) = gate_section(RunFolder(root=root), in_force=False)
    return " ".join(section.paragraphs)


def test_the_sentences_are_those_of_the_table_of_results(root: Path, words: str) -> None:
    results = pq.read_table(RunFolder(root=root).quality_gate_table).to_pylist()
    judged = [row for row in results if row["status"] == "judged"]
    refused = [row for row in judged if not row["passed"]]
    said = re.search(
        r"The gate rejected (\d+) of (\d+) judged versions \((\d+) %\), most often for ([a-z ]+) "
        r"\((\d+)\)",
        words,
    )
    assert said is not None
    by_fault = {f: sum(row["fault"] == f for row in refused) for f in ("echo", "wrong_letters")}
    most = max(by_fault, key=lambda name: by_fault[name])
    assert [int(n) for n in said.group(1, 2, 5)] == [len(refused), len(judged), by_fault[most]]
    assert said[3] == f"{100 * len(refused) / len(judged):.0f}"
    assert said[4] == most.replace("_", " ")
    unjudged = len(results) - len(judged)
    assert f"Not judged, and so not rejected: {unjudged} versions (too long {unjudged})" in words
    assert "The decisions of this report do not use the gate" in words


def test_every_refused_version_stands_in_the_table_by_fault(root: Path, text: str) -> None:
    run = RunFolder(root=root)
    steps = {c["candidate_id"]: c["step"] for c in pq.read_table(run.candidates).to_pylist()}
    refused = [r for r in pq.read_table(run.quality_gate_table).to_pylist() if r["passed"] is False]
    for fault in ("echo", "wrong_letters"):
        mine = [r for r in refused if r["fault"] == fault]
        originals = sum(steps[r["candidate_id"]] == ORIGINAL for r in mine)
        row = rf"{fault.replace('_', ' ')} {originals} {len(mine) - originals} {len(mine)} "
        assert re.search(row, text), row


def test_the_rates_on_held_out_rows_have_their_intervals(words: str, text: str) -> None:
    numbers = [share(n) for n in (3 / 80, GATE.false_refusals.low, GATE.false_refusals.high)]
    assert (
        f"Of 80 clean versions that were held out of the fit, it rejected {numbers[0]} (95 % "
        f"interval {numbers[1]} to {numbers[2]}); 5.0 % were allowed." in words
    )
    assert f"none (clean) {UNKNOWN} 80 {' '.join([*numbers, *[UNKNOWN] * 3])}" in text
    assert "hardest to distinguish from clean versions is echo (strong dose): AUC 0.550" in words
    assert re.search(r"echo strong 40 90 % .* 0\.970 45 % 0\.550 wrong letters", text)
    assert "Before the fit 4 versions of your own looked faulty" in words
    assert "No detector for other language: planted into 3 fit rows" in words


def test_explain_for_programs_has_the_verdict_and_its_numbers(root: Path) -> None:
    found = example_facts(root, "row:0")
    gates = [c["quality_gate"] for c in found["candidates"]]
    stored = {
        row["candidate_id"]: row
        for row in pq.read_table(RunFolder(root=root).quality_gate_table).to_pylist()
    }
    for candidate, gate in zip(found["candidates"], gates, strict=True):
        row = stored.get(candidate["candidate_id"])
        assert (gate is None) == (row is None)
        if gate is not None and row is not None:
            assert (gate["passed"], gate["fault"]) == (row["passed"], row["fault"])
            if row["status"] == "judged":
                assert gate["evidence"]["longest_copy"] == {"value": 0.5, "log_odds": 1.25}
                assert gate["evidence"]["marks"]["value"] is None
    assert "quality gate: rejected, most likely wrong_letters" in explain_example(root, "row:0")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"status": "not_fitted", "detail": "30 clean examples"},
            "so nothing was rejected: 30 clean",
        ),
        (
            {"status": "fitted", "gate": {"version": 0}},
            "The quality gate of this run cannot be read: ",
        ),
    ],
)
def test_a_gate_that_says_nothing_does_not_break_the_report(
    root: Path, document: dict[str, Any], words: str
) -> None:
    run = RunFolder(root=root)
    before = run.quality_gate.read_text()
    try:
        write_gate(run.quality_gate, document)
        assert words in " ".join(report_text(root).split())
    finally:
        run.quality_gate.write_text(before)
