"""The stages of a run, top to bottom: each reads tables, calls one room, writes one table.

    load      data      -> rows, examples, loaded
    refine    loaded    -> candidates     (asks the teacher; the student chooses on the way)
    score     candidates-> scores
    select    scores    -> decisions, nulls, selected, rejected
    report    all       -> report

A stage whose settings and inputs are what they were is not repeated. What a stage that was
interrupted had already paid for lies in the journal and the cache, so starting again is cheap.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import (
    Candidate,
    Row,
    TableWriter,
    content_hash,
    read,
    write_jsonl,
    write_table,
)
from tutelage.data.tables import (
    CANDIDATES,
    EXAMPLES,
    ROWS,
    candidate_to_row,
    candidates_from_table,
    messages_to_arrow,
)
from tutelage.errors import DataError
from tutelage.refinement import RefineSettings
from tutelage.runs.absence import attended
from tutelage.runs.exporting import as_training_row, chosen_rows, rejected_rows
from tutelage.runs.folder import RunFolder, checksum, is_whole
from tutelage.runs.opening import Doors, Reader, opened_journal, run_id
from tutelage.runs.overruling import overrides_of
from tutelage.runs.progress import Progress, Silent
from tutelage.runs.ray_scoring import RayScoring
from tutelage.runs.refining import Refining, lazy_parents, refine_candidates
from tutelage.runs.scoring import score_to_table
from tutelage.runs.selecting import decided
from tutelage.runs.settings import DataSettings, ScoreSettings
from tutelage.runs.words import ASKED_AGAIN
from tutelage.selection import SelectSettings
from tutelage.teacher import TeacherSettings

BATCH_ROWS = 4096

Tally = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of one run.

    Attributes:
        name: As it stands in the manifest.
        key: Hash of everything its outputs depend on.
        outputs: The files it writes.
    """

    name: str
    key: str
    outputs: tuple[Path, ...]


def run_stage(
    run: RunFolder,
    stage: Stage,
    work: Callable[[], Tally],
    *,
    again: Callable[[Tally], bool] = lambda _: False,
) -> Tally:
    """Do a stage's work unless it was done already, and note it in the manifest.

    Args:
        run: The run folder.
        stage: What it is and what its outputs depend on.
        work: Does it.
        again: Whether a tally leaves something to try again, such as a server that was away.

    Returns:
        The stage's tally, of now or of then.
    """
    manifest = run.read_manifest()
    done = manifest.get("stages", {}).get(stage.name)
    if done and done["key"] == stage.key and all(map(is_whole, stage.outputs)):
        tally: Tally = done["tally"]
        if not again(tally):
            return _as_cached(tally)
    started = monotonic()
    tally = work()
    manifest = run.read_manifest()
    manifest.setdefault("stages", {})[stage.name] = {
        "key": stage.key,
        "seconds": round(monotonic() - started, 3),
        "tally": tally,
    }
    run.write_manifest(manifest)
    return tally


def _as_cached(tally: Tally) -> Tally:
    """The tally of a stage that is not repeated: what was asked then is cached now, and free."""
    paid = ("teacher", "teachers")
    return {name: _asked_before(value) if name in paid else value for name, value in tally.items()}


def _asked_before(counts: Any) -> Any:
    if not isinstance(counts, dict):
        return counts
    if "answered" not in counts:
        return {name: _asked_before(inner) for name, inner in counts.items()}
    return {
        **counts,
        "answered": 0,
        "from_journal": counts["from_journal"] + counts["answered"],
        "cost": 0.0,
        "cost_estimated": 0.0,
        "cost_from_journal": counts["cost_from_journal"] + counts["cost"],
        "spent_before": counts["spent_before"] + counts["cost"],
    }


def load_key(settings: DataSettings, inputs: Mapping[str, str]) -> str:
    """What the tables of the load stage depend on."""
    return content_hash("load", settings.model_dump(mode="json"), dict(inputs))


def load(run: RunFolder, *, settings: DataSettings, progress: Progress) -> Tally:
    """Read the user's rows; account for every one of them.

    Writes rows.parquet, examples.parquet and loaded.parquet.
    """
    statuses: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    progress.begin("load", total=None, unit="rows")
    with (
        TableWriter(run.rows, ROWS) as rows,
        TableWriter(run.examples, EXAMPLES) as examples,
        TableWriter(run.loaded, CANDIDATES) as loaded,
    ):
        seen: set[str] = set()
        found = read(settings.path, settings=settings)
        for row in found:
            statuses[row.status] += 1
            rows.append([_row(row)])
            if row.example is not None and row.example.example_id not in seen:
                seen.add(row.example.example_id)
                examples.append([_example(row)])
            for candidate in row.candidates:
                steps[candidate.step] += 1
                loaded.append([candidate_to_row(candidate)])
            progress.advance()
    progress.end()
    return {
        "rows": statuses.total(),
        "rows_by_status": dict(sorted(statuses.items())),
        "examples": len(seen),
        "candidates_by_step": dict(sorted(steps.items())),
        **({"notes": found.notes} if found.notes else {}),
    }


def need_responses(tally: Tally) -> Tally:
    """The tally of the load stage, where there is something to score or to rewrite.

    Raises:
        DataError: No row came with a response.
    """
    if tally["examples"] and not tally["candidates_by_step"]:
        raise DataError(
            " ".join(tally.get("notes", ())) or "no row has a response",
            hint="`tutelage sample` lets a teacher answer instructions that have none",
        )
    return tally


def _row(row: Row) -> dict[str, object]:
    return {
        "row": row.row,
        "file": row.file,
        "line": row.line,
        "example_id": row.example.example_id if row.example else None,
        "status": row.status,
        "detail": row.detail,
    }


def _example(row: Row) -> dict[str, object]:
    example = row.example
    if example is None:
        return {}
    return {
        "example_id": example.example_id,
        "row": row.row,
        "messages": messages_to_arrow(example.messages),
        "reference": example.reference,
        "source": example.source,
        "extra": example.extra,
        "tools": example.tools,
    }


def worth_asking_again(tally: Tally) -> bool:
    """Whether some of the teacher's candidates failed for reasons that may have passed."""
    return any(key.partition(":")[2] in ASKED_AGAIN for key in tally["teacher_candidates"])


def refine(
    run: RunFolder,
    *,
    refine: RefineSettings,
    teacher: TeacherSettings,
    student: Reader | None,
    select: SelectSettings,
    doors: Doors,
    progress: Progress,
) -> Tally:
    """Let the teacher write; with a student, let it choose on the way.

    Writes candidates.parquet: what was loaded, then what the teacher made of it.
    """
    examples = rows_in(run.examples)
    with opened_journal(run, teacher) as journal:
        refining = Refining(
            open_teacher=lambda: attended(
                teacher,
                journal,
                run=run_id(run),
                doors=doors,
                progress=progress,
                requests=f"up to {examples * len(refine.steps):,} requests"
                if student is not None
                else f"up to {examples * (2 * len(refine.steps) - 1):,} requests",
            ),
            settings=refine,
            parents=None if student is None else lazy_parents(student, select),
        )
        return refine_candidates(
            stored_candidates(run.loaded),
            refining=refining,
            out=run.candidates,
            total=examples,
            progress=progress,
        )


def take_as_loaded(run: RunFolder) -> Tally:
    """Without a teacher the candidates are those that came with the data."""
    part = run.candidates.with_suffix(".part")
    shutil.copyfile(run.loaded, part)
    part.replace(run.candidates)
    return {"teacher_candidates": {}, "teacher": None}


def score(
    run: RunFolder,
    *,
    student: Reader,
    settings: ScoreSettings,
    progress: Progress,
    workers: RayScoring | None = None,
) -> Tally:
    """Let the student read every candidate.

    Writes scores.parquet, and statistics.parquet where it is asked for.

    Args:
        run: The run folder.
        student: Who reads; with workers, only what it is.
        settings: What is computed.
        progress: Told of each candidate.
        workers: Who reads in its stead.
    """
    shown, scorer = progress, None
    if workers is not None:
        scorer = workers.scorer(lambda: stored_candidates(run.candidates), progress=progress)
        shown = Silent()
    tally = score_to_table(
        stored_candidates(run.candidates),
        student=student,
        metrics=settings.metrics,
        out=run.scores,
        total=rows_in(run.candidates),
        progress=shown,
        statistics=run.statistics if settings.statistics else None,
        scorer=scorer,
    )
    if workers is not None:
        workers.forget()
    return tally


def select(
    run: RunFolder, *, settings: SelectSettings, student: str | None, progress: Progress
) -> Tally:
    """Decide on every example, from stored scores alone.

    Writes decisions.parquet, chosen.parquet, nulls.parquet, selected.jsonl and rejected.jsonl.
    """
    progress.begin("select", total=None, unit="examples")
    chosen = decided(run, settings=settings, student=student)
    write_table(run.decisions, chosen.decisions)
    write_table(run.chosen, chosen.chosen)
    write_table(run.nulls, chosen.nulls)
    progress.advance(chosen.decisions.num_rows)
    write_jsonl(run.selected, map(as_training_row, chosen_rows(run)))
    write_jsonl(run.rejected, rejected_rows(run))
    progress.end(note=f"{chosen.coverage.kept} kept")
    coverage = chosen.coverage
    return {
        "examples": coverage.examples,
        "kept": coverage.kept,
        "rows_kept": chosen.chosen.num_rows,
        "gated": dict(coverage.gated),
        "reasons": dict(chosen.tally),
        "steps_kept": steps_kept(chosen.decisions),
        "candidates": coverage.candidates,
        "written": coverage.written,
        "scored": coverage.scored,
        "unwritten": dict(coverage.unwritten),
        "unscored": dict(coverage.unscored),
        "rule": settings.model_dump(mode="json"),
        "student": student,
        **({"overruled": overruled} if (overruled := len(overrides_of(run))) else {}),
    }


def steps_kept(decisions: pa.Table) -> dict[str, int]:
    """How many chosen candidates came from which step."""
    kept = decisions.filter(decisions["kept"])["step"]
    return dict(sorted(Counter(str(step) for step in kept.to_pylist()).items()))


def stored_candidates(path: Path) -> Iterator[Candidate]:
    """The candidates of a table on disk, in its order, a batch at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield from candidates_from_table(pa.Table.from_batches([batch]))


def input_checksums(settings: DataSettings) -> dict[str, str]:
    """SHA-256 of each input file, by its path as the user gave it; hub sets are not files."""
    given = [settings.path] if isinstance(settings.path, str) else list(settings.path)
    paths = [Path(found) for pattern in given for found in (sorted(glob(pattern)) or [pattern])]  # noqa: PTH207
    files = [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    return {str(file): checksum(file) for file in files if file.is_file()}


def rows_in(path: Path) -> int:
    """How many rows a table on disk has."""
    rows: int = pq.read_metadata(path).num_rows
    return rows
