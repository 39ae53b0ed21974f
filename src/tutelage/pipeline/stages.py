"""Stages of a run, in order: each reads tables, calls one package and writes one table.

    load      data      -> rows, examples, loaded
    refine    loaded    -> candidates     (asks the teacher; the student chooses on the way)
    score     candidates-> scores
    select    scores    -> decisions, nulls, selected, rejected
    report    all       -> report

Whether a stage has to be done is decided in `stage.py`. What a stage that was interrupted had
already paid for is in the teacher cache and the student's cache, so starting again is cheap.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import (
    SAMPLE,
    Candidate,
    Example,
    GatheredRows,
    Row,
    TableWriter,
    make_folder,
    read,
    write_jsonl,
    write_table,
)
from tutelage.data.schemas import (
    CANDIDATES,
    EXAMPLES,
    ROWS,
    candidate_to_row,
    candidates_from_table,
    candidates_to_columns,
    messages_to_array,
)
from tutelage.data.sources import hub_commit
from tutelage.errors import DataError
from tutelage.pipeline.config import DataSettings, ScoreSettings
from tutelage.pipeline.export_stage import as_training_row
from tutelage.pipeline.overrides import overrides_of
from tutelage.pipeline.refine_stage import Refining, lazy_parents, refine_candidates
from tutelage.pipeline.resources import Doors, Reader, ScoringJob, opened_journal, run_id
from tutelage.pipeline.run_dir import RunFolder, checksum, is_whole, sound
from tutelage.pipeline.score_stage import score_to_table
from tutelage.pipeline.select_stage import decided
from tutelage.pipeline.set_rows import chosen_rows, rejected_rows
from tutelage.pipeline.stage import (
    Tally,
    load_stage,
    metrics_there,
    one_students_part,
    run_stage,
    score_stage,
    select_stage,
    take_stage,
)
from tutelage.pipeline.summary_text import ASKED_AGAIN
from tutelage.pipeline.tables import choice_in_words, feeding_check
from tutelage.pipeline.teacher_outage import attended
from tutelage.progress import Progress, Silent
from tutelage.refinement import RefineSettings
from tutelage.reporting.number_format import count
from tutelage.selection import SelectSettings
from tutelage.student import Statistics, StudentSettings
from tutelage.teacher import TeacherSettings

BATCH_ROWS = 4096


def load(run: RunFolder, *, settings: DataSettings, progress: Progress) -> Tally:
    """Read the user's rows and account for every one of them.

    Writes rows.parquet, examples.parquet and loaded.parquet.

    Args:
        run: The run.
        settings: Settings of the data.
        progress: Gets the progress.
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
        of_rows = GatheredRows(rows, _row_columns)
        of_examples = GatheredRows(examples, _example_columns)
        of_loaded = GatheredRows(loaded, candidates_to_columns)
        for row in found:
            statuses[row.status] += 1
            of_rows.add(row)
            if row.example is not None and row.example.example_id not in seen:
                seen.add(row.example.example_id)
                of_examples.add((row.row, row.example))
            for candidate in row.candidates:
                steps[candidate.step] += 1
                of_loaded.add(candidate)
            progress.advance()
        for gathered in (of_rows, of_examples, of_loaded):
            gathered.flush()
    progress.end()
    return {
        "rows": statuses.total(),
        "rows_by_status": dict(sorted(statuses.items())),
        "examples": len(seen),
        "candidates_by_step": dict(sorted(steps.items())),
        **({"notes": found.notes} if found.notes else {}),
        **({"revisions": found.revisions} if found.revisions else {}),
    }


def need_responses(tally: Tally) -> Tally:
    """Tally of the load stage, after checking that there is something to score or rewrite.

    Raises:
        DataError: No row came with a response.
    """
    if tally["examples"] and not tally["candidates_by_step"]:
        raise DataError(
            " ".join(tally.get("notes", ())) or "no row has a response",
            hint="`tutelage sample` lets a teacher answer instructions that have none",
        )
    return tally


def load_once(
    run: RunFolder, *, settings: DataSettings, inputs: Mapping[str, str], progress: Progress
) -> Tally:
    """Load, unless the same files were already loaded with the same settings.

    Args:
        run: The run.
        settings: Settings of the data.
        inputs: Checksum of each input.
        progress: Gets the progress.
    """
    stage = load_stage(run, settings, inputs)
    return run_stage(run, stage, lambda: load(run, settings=settings, progress=progress))


def _row_columns(rows: Sequence[Row]) -> dict[str, list[object]]:
    return {
        "row": [row.row for row in rows],
        "file": [row.file for row in rows],
        "line": [row.line for row in rows],
        "example_id": [row.example.example_id if row.example else None for row in rows],
        "status": [row.status for row in rows],
        "detail": [row.detail for row in rows],
    }


def _example_columns(
    examples: Sequence[tuple[int, Example]],
) -> "dict[str, list[object] | pa.Array[Any]]":
    named = ("example_id", "reference", "source", "extra", "tools", "template_args")
    return {
        "row": [row for row, _ in examples],
        "messages": messages_to_array([example.messages for _, example in examples]),
        **{name: [getattr(example, name) for _, example in examples] for name in named},
    }


def worth_asking_again(tally: Tally) -> bool:
    """Whether some of the teacher's candidates failed for temporary reasons."""
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
    own: TeacherSettings | None = None,
    at_least: Statistics = "nll",
) -> Tally:
    """Rewrite with a teacher, and choose with a student between the steps.

    Writes candidates.parquet: what was loaded, then what the teacher made of it.

    Args:
        run: The run folder.
        refine: Settings of the rewriting.
        teacher: The teacher that writes.
        student: The student that chooses on the way, or None.
        select: The rule by which it chooses.
        doors: How teachers are reached.
        progress: Notified of each reflection.
        own: The student as a teacher, where its own answers are rewritten.
        at_least: Statistics that later stages need of the same readings.
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
                requests=f"up to {count(examples * len(refine.steps), 'request')}"
                if student is not None
                else f"up to {count(examples * (2 * len(refine.steps) - 1), 'request')}",
            ),
            settings=refine,
            parents=None
            if student is None
            else lazy_parents(student, select, progress=progress, at_least=at_least),
            open_student=None
            if own is None
            else lambda: attended(
                own,
                journal,
                run=run_id(run),
                doors=doors,
                progress=progress,
                requests=f"up to {count(examples, 'request')}",
            ),
            student_name=None if own is None else own.teacher_name,
        )
        return refine_candidates(
            stored_candidates(run.loaded),
            refining=refining,
            samples=samples_there(run),
            out=run.candidates,
            total=examples,
            progress=progress,
        )


def take_as_loaded(run: RunFolder) -> Tally:
    """Candidates without a teacher: those of the data, and earlier samples."""
    samples = samples_there(run)
    with TableWriter(run.candidates, CANDIDATES) as table:
        if not samples and pq.read_schema(sound(run.loaded)).equals(CANDIDATES):
            with pq.ParquetFile(run.loaded) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    table.append_table(pa.Table.from_batches([batch]))
            return {"teacher_candidates": {}, "teacher": None}
        for _, group in groupby(stored_candidates(run.loaded), key=lambda c: c.example_id):
            versions = list(group)
            versions += samples.pop(versions[0].example_id, [])
            table.append(map(candidate_to_row, versions))
        table.append(candidate_to_row(c) for group in samples.values() for c in group)
    return {"teacher_candidates": {}, "teacher": None}


def take_once(run: RunFolder) -> Tally:
    """Use the loaded candidates, unless this was done before."""
    return run_stage(run, take_stage(run), lambda: take_as_loaded(run))


def samples_there(run: RunFolder) -> dict[str, list[Candidate]]:
    """Earlier sampled responses to existing examples, by example.

    Raises:
        RunError: The table that holds them is damaged.
    """
    if not run.candidates.exists():
        return {}
    sampled = [n for n in run.read_manifest().get("stages", {}) if n.startswith("sample:")]
    if not sampled and not is_whole(run.candidates):
        return {}  # it is written again from what was loaded and from the teacher cache
    there = set(pq.read_table(run.examples, columns=["example_id"])["example_id"].to_pylist())
    found: dict[str, list[Candidate]] = {}
    for candidate in stored_candidates(sound(run.candidates)):
        is_paid = candidate.step == SAMPLE and candidate.request_key is not None
        if is_paid and candidate.example_id in there:
            found.setdefault(candidate.example_id, []).append(candidate)
    return found


def score(
    run: RunFolder,
    *,
    student: Reader,
    reading: StudentSettings,
    settings: ScoreSettings,
    progress: Progress,
    workers: ScoringJob | None = None,
    at_least: Statistics = "nll",
) -> Tally:
    """Score every candidate with a student; the scores of other students stay.

    Writes scores.parquet, and statistics.parquet where it is asked for. Metrics that the same
    reading had before are kept.

    Args:
        run: The run folder.
        student: The student that reads; with workers, only what it is.
        reading: How it reads.
        settings: Settings of the scoring.
        progress: Notified of each candidate.
        workers: Workers that read instead.
        at_least: Statistics that later stages need of the same readings.
    """
    run.need(run.candidates)
    stage = score_stage(run, student.describe(), reading=reading, statistics=settings.statistics)
    before = metrics_there(run, stage)
    metrics = tuple(dict.fromkeys((*before, *settings.metrics)))
    if workers is not None:
        workers = workers.computing(metrics)

    def work() -> Tally:
        shown, scorer = progress, None
        if workers is not None:
            scorer = workers.scorer(lambda: stored_candidates(run.candidates), progress=progress)
            shown = Silent()
        with one_students_part(run, student.fingerprint, statistics=settings.statistics) as out:
            tally = score_to_table(
                stored_candidates(run.candidates),
                student=student,
                metrics=metrics,
                out=out[0],
                total=rows_in(run.candidates),
                progress=shown,
                statistics=out[1],
                scorer=scorer,
                at_least=at_least,
            )
        if workers is not None:
            workers.forget()
        return {**tally, "metrics": list(metrics), "statistics": settings.statistics}

    def again(tally: Tally) -> bool:
        lacks = set(settings.metrics) - set(before)
        return bool(lacks) or (settings.statistics and not tally.get("statistics"))

    return run_stage(run, stage, work, again=again)


def select(
    run: RunFolder, *, settings: SelectSettings, student: str | None, progress: Progress
) -> Tally:
    """Decide on every example from stored scores.

    Writes decisions.parquet, chosen.parquet, nulls.parquet, selected.jsonl and rejected.jsonl.

    Args:
        run: The run.
        settings: Settings of the selection.
        student: Fingerprint of the student that decides, or None.
        progress: Gets the progress.
    """
    progress.begin("select", total=None, unit="examples")
    make_folder(run.decided_in)
    chosen = decided(run, settings=settings, student=student)
    write_table(run.decisions, chosen.decisions)
    write_table(run.chosen, chosen.chosen)
    write_table(run.nulls, chosen.nulls)
    progress.advance(chosen.decisions.num_rows)
    write_jsonl(run.selected, map(as_training_row, chosen_rows(run)))
    write_jsonl(run.rejected, rejected_rows(run))
    progress.end(note=f"{chosen.coverage.kept:,} kept")
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
        **gate_words(run, settings),
        **({"overruled": overruled} if (overruled := len(overrides_of(run))) else {}),
    }


def select_once(
    run: RunFolder, *, settings: SelectSettings, student: str | None, progress: Progress
) -> Tally:
    """Select, unless nothing that the selection depends on has changed.

    Args:
        run: The run.
        settings: Settings of the selection.
        student: Fingerprint of the student that decides, or None.
        progress: Gets the progress.
    """
    run.need(run.scores)
    for path in (run.rows, run.examples, run.candidates):  # read again for what is exported
        if path.exists():
            run.need(path)
    stage = select_stage(run, settings, student=student)
    return run_stage(
        run, stage, lambda: select(run, settings=settings, student=student, progress=progress)
    )


_UNVERIFIED = (
    "gate: right has no effect, because nothing was verified: run `tutelage verify RUN` first"
)


def gate_words(run: RunFolder, settings: SelectSettings) -> dict[str, str]:
    """Check used by the gate, with a line where the choice between several was implicit."""
    check = None if settings.gate == "off" else feeding_check(run, settings.gate_check)
    if check is None:
        return {"gate_note": _UNVERIFIED} if settings.gate == "right" else {}
    line = choice_in_words(run, settings.gate_check)
    return {"gate_check": check, **({} if line is None else {"gate_note": line})}


def steps_kept(decisions: pa.Table) -> dict[str, int]:
    """Count of chosen candidates by step."""
    kept = decisions.filter(decisions["kept"])["step"]
    return dict(sorted(Counter(str(step) for step in kept.to_pylist()).items()))


def stored_candidates(path: Path) -> Iterator[Candidate]:
    """Stored candidates in their order, a batch at a time."""
    with pq.ParquetFile(sound(path)) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield from candidates_from_table(pa.Table.from_batches([batch]))


def input_checksums(settings: DataSettings) -> dict[str, str]:
    """SHA-256 of each input file by its path as given, or the commit of a hub dataset."""
    given = [settings.path] if isinstance(settings.path, str) else list(settings.path)
    paths = [Path(found) for pattern in given for found in (sorted(glob(pattern)) or [pattern])]  # noqa: PTH207
    files = [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    commits = {path: hub_commit(path, revision=settings.revision) for path in given}
    return {
        **{str(file): checksum(file) for file in files if file.is_file()},
        **{path: f"commit {commit}" for path, commit in commits.items() if commit is not None},
    }


def rows_in(path: Path) -> int:
    """Number of rows of a stored table."""
    rows: int = pq.read_metadata(path).num_rows
    return rows
