"""Explanation of one example: its candidates, their scores and the decision."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from tutelage.data.example import turn_text
from tutelage.errors import DataError, RunError
from tutelage.pipeline.config import checked
from tutelage.pipeline.gate_results import as_facts, in_words, results_of
from tutelage.pipeline.overrides import Override, overrides_of
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.select_stage import gates_of, with_pool_metrics
from tutelage.pipeline.staleness import stale_outputs
from tutelage.pipeline.tables import open_tables, stream
from tutelage.selection import SelectSettings, explain

SHOWN_CHARACTERS = 400
NUMBERS = ("ifd", "ifd_loss", "r_ifd", "ppl", "grape", "rsr", "response_tokens")


def explain_example(
    root: Path, name: str, *, full: bool = False, selection: str | None = None
) -> str:
    """Describe one example and its decision in words.

    Args:
        root: The run folder.
        name: An id or the beginning of one, or `row:N` for the 0-based input row.
        full: Show the texts whole.
        selection: The named selection whose decision is shown; None is the run's own.

    Raises:
        DataError: There is no such example, or the beginning fits several.
        RunError: There is no run.
    """
    run = RunFolder(root=root).existing().selected_as(selection)
    for table in (run.rows, run.examples, run.candidates):
        run.need(table)
    manifest = run.shown_manifest()
    student = deciding_student(manifest)
    tables = open_tables(run, student=student)
    try:
        example_id = _find(tables, name)
        found = _rows(tables, "select * from examples where example_id = ?", example_id)
        if not found:
            raise RunError(
                f"{run.examples}: has no example {example_id}, which is in {run.rows.name}",
                hint="restore the tables from a copy, or write them again with the same command",
            )
        example = found[0]
        candidates = _rows(tables, _CANDIDATES, example_id)
        scored = _rows(tables, _SCORES, example_id) if run.scores.exists() else []
        decided = (
            _rows(tables, "select * from decided where example_id = ?", example_id)
            if run.decisions.exists()
            else []
        )
        kept = _rows(tables, _CHOSEN, example_id) if decided else []
    finally:
        tables.close()
    source = _printable(str(example["source"]))
    lines = [f"example {example_id}, input row {example['row']}, source {source}", ""]
    scores = {row["candidate_id"]: row for row in scored}
    chosen = [row["candidate_id"] for row in kept]
    override = overrides_of(run).get(example_id)
    if override is not None:
        chosen = [override.candidate_id]
    judged = results_of(run, example_id)
    for candidate in candidates:
        name = candidate["candidate_id"]
        lines += _candidate(candidate, scores.get(name, {}), chosen, full=full)
        if name in judged:
            lines[-1:] = [f"  {in_words(judged[name])}", ""]
    if not decided:
        return "\n".join([*lines, "Nothing has been decided yet: run `tutelage select`."])
    settings = settings_of(run, manifest)
    lines += [f"decision: {decided[0]['reason']} (rule {_rule(settings)})"]
    gates = gates_of(run, settings)
    sentences = explain(
        candidates,
        with_pool_metrics(scored, gates, settings),
        settings=settings,
        decision=decided[0],
        chosen=[row["candidate_id"] for row in kept],
        gates=gates,
    )
    lines += [
        textwrap.fill(f"- {_printable(s)}", width=98, subsequent_indent="  ") for s in sentences
    ]
    if override is not None:
        lines += [_overruled(override)]
    for one in stale_outputs(run):
        if one.path == run.decisions:
            lines += [textwrap.fill(f"Note: {one.text}", width=98, subsequent_indent="  ")]
    return "\n".join(lines)


def deciding_student(manifest: Mapping[str, Any]) -> str | None:
    """Fingerprint of the student whose scores decided, or else of the run's own student."""
    tally = manifest.get("stages", {}).get("select", {}).get("tally", {})
    found = tally.get("student") or manifest.get("student", {}).get("fingerprint")
    return None if found is None else str(found)


def _overruled(override: Override) -> str:
    kept = f"keeps {override.candidate_id}" if override.candidate_id else "keeps nothing"
    note = _printable(override.note)
    text = f"overruled by a person on {override.time}: {kept}. {note}".rstrip()
    return textwrap.fill(text, width=98, subsequent_indent="  ")


def settings_of(run: RunFolder, manifest: Mapping[str, Any]) -> SelectSettings:
    """Settings of the selection that made the current decisions."""
    values = manifest.get("stages", {}).get("select", {}).get("tally", {}).get("rule")
    if values is None:
        raise RunError(
            f"{run.manifest}: does not say which rule decided",
            hint="`tutelage select` decides again",
        )
    return checked(SelectSettings, values, place=str(run.manifest))


_CANDIDATES = """
select * from candidates where example_id = ?
order by case step when 'original' then 0 when 'instruction_reflection' then 1
                   when 'response_reflection' then 2 else 3 end, candidate_id
"""
_CHOSEN = "select candidate_id from chosen_by_rule where example_id = ? order by rank"
_SCORES = "select * from scores where example_id = ?"


def _rule(settings: SelectSettings) -> str:
    return f"srt, mode {settings.mode}" if settings.rule == "srt" else settings.rule


def _find(tables: duckdb.DuckDBPyConnection, name: str) -> str:
    numbered = re.fullmatch(r"row:([0-9]{1,18})", name)  # more digits fit no column
    if numbered is not None:
        found = tables.execute(
            "select example_id, status, detail from rows where row = ?", [int(numbered[1])]
        ).fetchall()
        if not found:
            raise DataError(f"there is no input row {numbered[1]}", hint="rows are counted from 0")
        example_id, status, detail = found[0]
        if example_id is None:
            raise DataError(
                f"input row {numbered[1]} was not read as an example: {status}",
                hint=str(detail or "see rows.parquet"),
            )
        return str(example_id)
    ids = tables.execute(
        "select example_id from examples where starts_with(example_id, ?) limit 3", [name]
    ).fetchall()
    if len(ids) != 1:
        count = "several examples" if ids else "no example"
        raise DataError(
            f"{count} in this run begin{'s' if not ids else ''} with {name!r}",
            hint=f"give row:{name} for input row {name}, or more of the id"
            if name.isascii() and name.isdigit()
            else "give an example_id from decisions.parquet, or row:N",
        )
    return str(ids[0][0])


def _rows(tables: duckdb.DuckDBPyConnection, query: str, example_id: str) -> list[dict[str, Any]]:
    return list(stream(tables, query, [example_id]))


def _candidate(
    candidate: Mapping[str, Any],
    scores: Mapping[str, Any],
    chosen: Sequence[str | None],
    *,
    full: bool,
) -> list[str]:
    mark = "  <-- chosen" if candidate["candidate_id"] in chosen else ""
    writer = f" by {_printable(candidate['teacher'])}" if candidate["teacher"] else ""
    lines = [f"{candidate['step']}{writer} ({candidate['candidate_id']}){mark}"]
    if candidate["status"] != "ok":
        detail = f": {_printable(candidate['detail'])}" if candidate.get("detail") else ""
        return [*lines, f"  no text, {candidate['status']}{detail}", ""]
    if candidate.get("detail"):
        lines.append(f"  note: {_printable(candidate['detail'])}")
    if candidate.get("criticism"):
        lines += _text("criticism", candidate["criticism"], full=full)
    if candidate.get("tools"):
        lines += _text("tools", candidate["tools"], full=full)
    if candidate.get("template_args"):
        lines += _text("template arguments", candidate["template_args"], full=full)
    if not candidate["messages"]:
        lines.append("  no text, although its status is ok: candidates.parquet was changed")
    for message in candidate["messages"] or ():
        lines += _text(message["role"], turn_text(message), full=full)
    if scores and scores["status"] != "ok":
        detail = f": {_printable(scores['detail'])}" if scores.get("detail") else ""
        lines.append(f"  not scored, {scores['status']}{detail}")
    numbers = [f"{n} {_number(scores[n])}" for n in NUMBERS if scores.get(n) is not None]
    if numbers:
        lines.append(f"  {'   '.join(numbers)}")
    return [*lines, ""]


def _printable(text: str) -> str:
    """Text on one line, with escapes for invisible characters; emoji stay whole."""
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else ascii(c)[1:-1] for c in text)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _text(label: str, text: str, *, full: bool) -> list[str]:
    if not full and len(text) > SHOWN_CHARACTERS:
        text = text[:SHOWN_CHARACTERS] + " ..."
    shown = "\n".join(map(_printable, text.split("\n")))
    head, *rest = textwrap.wrap(
        f"{label}: {shown}", width=96, replace_whitespace=False, drop_whitespace=False
    ) or [f"{label}:"]
    return [f"  {line}" for block in (head, *rest) for line in block.splitlines()]


def example_facts(root: Path, name: str, *, selection: str | None = None) -> dict[str, Any]:
    """Facts about one example for programs.

    Args:
        root: The run folder.
        name: As for `explain_example`.
        selection: As for `explain_example`.

    Returns:
        `example` (its columns), `candidates` (each with its `scores` and its `quality_gate`, or
        None), `decision` (or None), `chosen` (the ids of the candidates) and `overruled` (None, or
        what a person decided instead: `candidate_id`, which is None where nothing is kept, `note`
        and `time`).

    Raises:
        DataError: There is no such example, or the beginning fits several.
        RunError: There is no run.
    """
    run = RunFolder(root=root).existing().selected_as(selection)
    for table in (run.rows, run.examples, run.candidates):
        run.need(table)
    tables = open_tables(run, student=deciding_student(run.shown_manifest()))
    try:
        example_id = _find(tables, name)
        (example,) = _rows(tables, "select * from examples where example_id = ?", example_id)
        candidates = _rows(tables, _CANDIDATES, example_id)
        scored = _rows(tables, _SCORES, example_id) if run.scores.exists() else []
        decided: list[dict[str, Any]] = []
        kept: list[dict[str, Any]] = []
        if run.decisions.exists():
            decided = _rows(tables, "select * from decided where example_id = ?", example_id)
            kept = _rows(tables, _CHOSEN, example_id)
    finally:
        tables.close()
    scores = {row["candidate_id"]: row for row in scored}
    override = overrides_of(run).get(example_id)
    judged = results_of(run, example_id)
    return {
        "example": example,
        "candidates": [
            {
                **c,
                "scores": scores.get(c["candidate_id"]),
                "quality_gate": as_facts(judged.get(c["candidate_id"])),
            }
            for c in candidates
        ],
        "decision": decided[0] if decided else None,
        "chosen": [row["candidate_id"] for row in kept],
        "overruled": override
        and {"candidate_id": override.candidate_id, "note": override.note, "time": override.time},
    }
