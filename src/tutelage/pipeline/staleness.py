"""Outdated files of a run: outputs older than their inputs, scores of an older scoring contract."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tutelage.data import SCORING_CONTRACT
from tutelage.errors import RunError
from tutelage.pipeline.overrides import overrides_of
from tutelage.pipeline.run_dir import RunFolder, is_whole
from tutelage.pipeline.stage import digest_of


def check_contract(run: RunFolder, *, model: str) -> None:
    """Raise an error if a run was scored under another contract than this version's.

    Args:
        run: The run folder; one without scores is fine.
        model: The student, for the hint.

    Raises:
        RunError: All of its scores are of another contract.
    """
    found = {contract for contract, _ in _students(run)}
    if found and SCORING_CONTRACT not in found:
        raise RunError(
            f"{run.root}: scored under contract {max(found)}, this version scores under contract "
            f"{SCORING_CONTRACT}: the numbers are not comparable",
            hint=f"rescore with `tutelage score {shlex.quote(str(run.root))} --student {model}`",
        )


def older_contract_note(run: RunFolder) -> str | None:
    """Note on scores made under another contract, or None."""
    older = {key: rows for key, rows in _students(run).items() if key[0] != SCORING_CONTRACT}
    if not older:
        return None
    students = ", ".join(sorted({student for _, student in older}))
    contracts = " and ".join(map(str, sorted({contract for contract, _ in older})))
    rows = sum(older.values())
    return (
        f"scores.parquet still has {rows:,} row{'s' if rows != 1 else ''} that "
        f"{'were' if rows != 1 else 'was'} scored under contract {contracts} (student {students}): "
        f"do not compare them with those of contract {SCORING_CONTRACT}. `tutelage score "
        f"{shlex.quote(str(run.root))} --student MODEL` scores with that student again."
    )


def _students(run: RunFolder) -> Counter[tuple[int, str]]:
    """Count of score rows by contract and student; contract 1 had no column."""
    if not is_whole(run.scores):
        return Counter()
    names = [name for name in ("contract", "student") if name in pq.read_schema(run.scores).names]
    rows = pq.read_table(run.scores, columns=names).to_pylist()
    return Counter((row.get("contract") or 1, str(row.get("student"))) for row in rows)


_STAGES = {
    "refine": ("candidates.parquet", "tutelage run CONFIG.yaml"),
    "filter": ("filters.parquet", "tutelage filter {}"),
}
_NAMES = {
    "overrides": "overrides.jsonl",
    "scores": "the scores of the student {}",
    "verdicts": "the verdicts of the check {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An output older than its inputs.

    Attributes:
        path: The file.
        text: A sentence that names it, what has changed, and the command that makes it again.
    """

    path: Path
    text: str


def stale_outputs(run: RunFolder) -> list[Stale]:
    """Outputs of a run that are older than their inputs.

    Scores and verdicts are told by student and by check; of selections and reports, those of this
    selection are told.
    """
    found = []
    for name, done in run.read_manifest().get("stages", {}).items():
        about = _about(run, name) if isinstance(done, dict) else None
        if about is None:
            continue
        path, shown, command = about
        changed = [
            _words(read)
            for read, digest in (done.get("read") or {}).items()
            if digest_of(run, read) != digest
        ]
        if changed and path.exists():
            text = f"{shown} older than {' and '.join(changed)}; `{command}` updates it."
            found.append(Stale(path=path, text=text))
    if older := older_contract_note(run):
        found.append(Stale(path=run.scores, text=older))
    return [*found, *_overrides_without_candidates(run)]


def report_reads(run: RunFolder) -> Iterator[str]:
    """Names of a report's inputs, as `digest_of` takes them."""
    for path in (run.candidates, run.decisions):
        yield str(path.relative_to(run.root))
    yield "overrides"
    student = _tally(run, run.select_stage).get("student")
    if student is not None:
        yield f"scores:{student}"


def _about(run: RunFolder, stage: str) -> tuple[Path, str, str] | None:
    """File of a stage, the start of the sentence, and the command that repeats it."""
    kind, _, which = stage.partition(":")
    named = f" --name {run.selection}" if run.selection else ""
    shown = f" --selection {run.selection}" if run.selection else ""
    at = shlex.quote(str(run.root))  # to be pasted
    if stage == run.select_stage:
        place = run.decisions.relative_to(run.root)
        return run.decisions, f"{place} is", f"tutelage select {at}{named}"
    if stage == ("report" if run.selection is None else f"report:{run.selection}"):
        place = run.report.relative_to(run.root)
        return run.report, f"{place} is", f"tutelage report {at}{shown}"
    if kind == "score":
        command = f"tutelage score {at} --student MODEL"
        return run.scores, f"The scores of the student {which} are", command
    if kind == "verify":
        command = f"tutelage verify {at} --check {which}"
        return run.verdicts, f"The verdicts of the check {which} are", command
    if kind in _STAGES:
        file, command = _STAGES[kind]
        return run.root / file, f"{file} is", command.format(at)
    return None


def _words(read: str) -> str:
    kind, _, which = read.partition(":")
    return _NAMES.get(kind, read).format(which)


def _tally(run: RunFolder, stage: str) -> Mapping[str, Any]:
    done = run.read_manifest().get("stages", {}).get(stage, {})
    tally = done.get("tally") if isinstance(done, dict) else None
    return tally if isinstance(tally, dict) else {}


def _overrides_without_candidates(run: RunFolder) -> Iterator[Stale]:
    wanted = {o.candidate_id for o in overrides_of(run).values() if o.candidate_id is not None}
    if not wanted or not is_whole(run.candidates):
        return
    there = pq.read_table(run.candidates, columns=["candidate_id"])["candidate_id"].to_pylist()
    if lost := wanted - set(there):
        yield Stale(
            path=run.overrides,
            text=f"{len(lost)} of the overrides in overrides.jsonl name a candidate that is not in "
            "candidates.parquet any more, so the rule decides there.",
        )
