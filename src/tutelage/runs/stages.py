"""The stages of a run, top to bottom: each reads tables, calls one room, writes one table.

    load      data      -> rows, examples, loaded
    refine    loaded    -> candidates     (asks the teacher; the student chooses on the way)
    score     candidates-> scores
    select    scores    -> decisions, nulls, selected, rejected
    report    all       -> report

A stage whose settings and inputs are what they were is not repeated. What a stage that was
interrupted had already paid for lies in the journal and the cache, so starting again is cheap.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow.parquet as pq

from tutelage.data import Candidate, Row, TableWriter, content_hash, read
from tutelage.data.tables import (
    CANDIDATES,
    EXAMPLES,
    ROWS,
    candidate_to_row,
    candidates_from_table,
    messages_to_arrow,
)
from tutelage.runs.folder import RunFolder, checksum
from tutelage.runs.progress import Progress
from tutelage.runs.settings import DataSettings

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


def run_stage(run: RunFolder, stage: Stage, work: Callable[[], Tally]) -> Tally:
    """Do a stage's work unless it was done already, and note it in the manifest.

    Returns:
        The stage's tally, of now or of then.
    """
    manifest = run.read_manifest()
    done = manifest.get("stages", {}).get(stage.name)
    if done and done["key"] == stage.key and all(path.exists() for path in stage.outputs):
        tally: Tally = done["tally"]
        return tally
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
        for row in read(settings.path, settings=settings):
            statuses[row.status] += 1
            rows.write(_row(row))
            if row.example is not None and row.example.example_id not in seen:
                seen.add(row.example.example_id)
                examples.write(_example(row))
            for candidate in row.candidates:
                steps[candidate.step] += 1
                loaded.write(candidate_to_row(candidate))
            progress.advance()
    progress.end()
    return {
        "rows": statuses.total(),
        "rows_by_status": dict(sorted(statuses.items())),
        "examples": len(seen),
        "candidates_by_step": dict(sorted(steps.items())),
    }


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
    }


def stored_candidates(path: Path) -> Iterator[Candidate]:
    """The candidates of a table on disk, in its order, a batch at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            import pyarrow as pa

            yield from candidates_from_table(pa.Table.from_batches([batch]))


def input_checksums(settings: DataSettings) -> dict[str, str]:
    """SHA-256 of each input file, by its path as the user gave it; hub sets are not files."""
    from glob import glob

    given = [settings.path] if isinstance(settings.path, str) else list(settings.path)
    paths = [Path(found) for pattern in given for found in (sorted(glob(pattern)) or [pattern])]  # noqa: PTH207
    files = [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    return {str(file): checksum(file) for file in files if file.is_file()}
