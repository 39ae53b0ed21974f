"""Results of a run's quality gate: its two files, and their description in words."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import Candidate, write_table, write_text
from tutelage.data.schemas import QUALITY_GATE
from tutelage.data.stored_json import StoredDict, StoredShape, read_stored
from tutelage.errors import DataError, RunError
from tutelage.gate import CalibratedGate, Judgement
from tutelage.pipeline.run_dir import RunFolder
from tutelage.selection import SelectSettings

JUDGED, NOT_FITTED = "judged", "not_fitted"
REJECTED = "rejected"
"""Fault name of rows that the user provides as rejected by a person."""


def read_gate(run: RunFolder) -> CalibratedGate | None:
    """Fitted gate of a run, or None where there were too few rows.

    Raises:
        RunError: There is no gate, or its file is damaged.
    """
    return _gate_of(gate_document(run), run.quality_gate)


def _gate_of(stored: StoredDict, path: Path) -> CalibratedGate | None:
    """The gate of a document; None where none was fitted."""
    if stored.get("status") == NOT_FITTED:
        return None
    try:
        return CalibratedGate.from_json(stored["gate"])
    except DataError as error:
        raise RunError(f"{path}: {error}", hint=error.hint) from error


def why_not_fitted(run: RunFolder) -> str | None:
    """Why the gate of a run rejects nothing, as a note; None where it is fitted."""
    stored = gate_document(run)
    if stored.get("status") != NOT_FITTED:
        return None
    return f"the quality gate was not fitted, so it rejects nothing: {stored.get('detail')}"


def quality_table(run: RunFolder, settings: SelectSettings, *, student: str | None) -> Path | None:
    """Table of the gate's results, after checking that it belongs to a selection.

    Args:
        run: The run.
        settings: Settings of the selection.
        student: Fingerprint of the student that decides, or None.

    Raises:
        RunError: The gate was not calibrated, or for another student or another budget.
    """
    if settings.quality_gate == "off":
        return None
    stored = gate_document(run)
    wanted = {"student": student, "max_false_refusals": settings.max_false_refusals}
    for name, value in wanted.items():
        if value is not None and stored.get(name) != value:
            raise RunError(
                f"{run.quality_gate}: was fitted with {name} {stored.get(name)}, not {value}",
                hint=f"`tutelage select {run.root} --quality-gate calibrated` fits it again",
            )
    _gate_of(stored, run.quality_gate)
    return run.need(run.quality_gate_table)


def gate_document(run: RunFolder) -> StoredDict:
    """Content of quality_gate.json: the gate, or why none was fitted.

    Raises:
        RunError: There is no such file, or it is damaged.
    """
    path = run.need(run.quality_gate)
    hint = "delete it: it is fitted again"
    stored = read_stored(path, StoredShape, what="a quality gate", hint=hint)
    if stored.get("status") != NOT_FITTED and not isinstance(stored.get("gate"), dict):
        raise RunError(f"{path}: is not a quality gate", hint=hint)
    return stored


def write_gate(path: Path, content: Mapping[str, Any]) -> None:
    """Write the document of a gate atomically."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_results(
    run: RunFolder,
    written: Sequence[Candidate],
    found: Mapping[str, Judgement],
    unread: Mapping[str, str],
    *,
    student: str,
    rejected: Collection[str] = (),
) -> None:
    """Write one row for each candidate with text, in the order of the candidates.

    Args:
        run: The run.
        written: The candidates.
        found: Judgement by candidate id.
        unread: Reason by id of each candidate without one.
        student: Fingerprint of the student.
        rejected: Ids of candidates that a person rejected, whatever the gate finds.
    """
    rows = []
    for candidate in written:
        row: dict[str, Any] = {
            "candidate_id": candidate.candidate_id,
            "example_id": candidate.example_id,
            "student": student,
            "status": unread.get(candidate.candidate_id, NOT_FITTED),
        }
        judgement = found.get(candidate.candidate_id)
        if candidate.candidate_id in rejected:
            row |= {"status": JUDGED, "passed": False, "fault": REJECTED, "evidence": "{}"}
        elif judgement is not None:
            row |= {
                "status": JUDGED,
                "passed": judgement.passed,
                "fault": judgement.fault,
                "excess": judgement.excess,
                "evidence": json.dumps(judgement.evidence),
            }
        rows.append(row)
    write_table(run.quality_gate_table, pa.Table.from_pylist(rows, schema=QUALITY_GATE))


def results_of(run: RunFolder, example_id: str) -> dict[str, dict[str, Any]]:
    """Results of the gate for one example, by candidate id; empty without a gate."""
    if not run.quality_gate_table.exists():
        return {}
    table = pq.read_table(
        run.quality_gate_table, filters=[("example_id", "==", example_id)], schema=QUALITY_GATE
    )
    return {row["candidate_id"]: row for row in table.to_pylist()}


def as_facts(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """One result for programs, with its evidence as an object; None without one.

    Examples:
        >>> as_facts({"status": "judged", "passed": False, "fault": "echo", "excess": 2.5,
        ...           "evidence": '{"longest_copy": [1.0, 3.2]}'})["evidence"]
        {'longest_copy': {'value': 1.0, 'log_odds': 3.2}}
    """
    if result is None:
        return None
    facts = {name: result[name] for name in ("status", "passed", "fault", "excess")}
    parts = json.loads(result["evidence"]) if result["evidence"] else {}
    evidence = {name: {"value": value, "log_odds": part} for name, (value, part) in parts.items()}
    return {**facts, "evidence": evidence}


def in_words(result: Mapping[str, Any]) -> str:
    """One result in words.

    Examples:
        >>> in_words({"status": "judged", "passed": False, "fault": "echo", "excess": 2.5,
        ...           "evidence": '{"longest_copy": [1.0, 3.2], "marks": [null, 0.1]}'})
        'quality gate: rejected, most likely echo (2.50 above the threshold; longest_copy 1.000)'
    """
    if result["status"] != JUDGED:
        return f"quality gate: not judged ({result['status']})"
    if result["excess"] is None:
        return "quality gate: rejected, because it is one of the rows of quality_gate_rejected"
    numbers = [
        f"{name} {value:.3f}"
        for name, (value, part) in json.loads(result["evidence"]).items()
        if value is not None and part > 0
    ]
    word = "passed, nearest" if result["passed"] else "rejected, most likely"
    side = "below" if result["excess"] <= 0 else "above"
    place = "; ".join([f"{abs(result['excess']):.2f} {side} the threshold", *numbers])
    return f"quality gate: {word} {result['fault']} ({place})"
