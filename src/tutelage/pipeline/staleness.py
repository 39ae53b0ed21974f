"""Outdated files of a run: outputs that are older than their inputs."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tutelage.pipeline.overrides import overrides_of
from tutelage.pipeline.run_dir import RunFolder, is_whole
from tutelage.pipeline.scoring_contract import older_contract_note
from tutelage.pipeline.stage import digest_of

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
