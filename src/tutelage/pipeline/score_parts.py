"""The scores table of a run, student by student: each one's rows are replaced on their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import TableWriter, content_hash, temporary_beside, write_table
from tutelage.errors import RunError
from tutelage.pipeline.run_dir import RunFolder, is_whole, sound

_DIGESTED = ("candidate_id", "status", "nll_response_given_instruction", "response_tokens")
_BATCH_ROWS = 1024


def scores_digest(run: RunFolder, student: str) -> str | None:
    """A hash of one student's scores, or None where there are none.

    Metrics that were added to the same reading do not change it.
    """
    if not is_whole(run.scores):
        return None
    there = pq.read_schema(run.scores).names
    columns = [name for name in _DIGESTED if name in there]
    table = pq.read_table(run.scores, columns=["student", *columns])
    mine = table.filter(pc.equal(table["student"], pa.scalar(student)))
    if not mine.num_rows:
        return None
    rows = mine.select(columns).sort_by("candidate_id")
    return content_hash([column.to_pylist() for column in rows.columns])


def earlier_metrics(tally: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics that a stage's tally names."""
    found = tally.get("metrics", ())
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


@contextmanager
def one_students_part(
    run: RunFolder, student: str, *, statistics: bool
) -> Iterator[tuple[Path, Path | None]]:
    """Give paths for one student's scores and statistics; join them to the run's tables.

    The rows of other students stay. Rows of candidates that are gone are moved to
    `earlier_scores.parquet`, and back when the candidates are there again.

    Args:
        run: The run folder.
        student: The fingerprint whose rows are replaced.
        statistics: Whether token statistics are written, too.

    Raises:
        RunError: The tables hold other students' rows and are damaged; they are left as they are.
    """
    here, gone = _others(run, student)
    with temporary_beside(run.scores) as scores, temporary_beside(run.statistics) as tokens:
        yield scores, tokens if statistics else None
        mine = pq.read_table(scores)
        if statistics:
            _join_statistics(run, tokens, student)
    # A kill between the two leaves rows in both tables, which counts as one; none is lost.
    if gone.num_rows:
        write_table(run.earlier_scores, gone)
    parts = [mine, here] if here.num_rows else [mine]
    write_table(run.scores, pa.concat_tables(parts, promote_options="default"))


def _others(run: RunFolder, student: str) -> tuple[pa.Table, pa.Table]:
    """The other students' scores of candidates that are there, and all of those that are gone."""
    if not is_whole(run.scores) and run.scores.exists():
        _refuse_loss(run, run.scores, student)
    tables = [pq.read_table(run.scores)] if is_whole(run.scores) else []
    if run.earlier_scores.exists():
        tables.append(pq.read_table(sound(run.earlier_scores)))
    if not tables:
        empty = pa.table({"student": pa.array([], pa.string())})
        return empty, empty
    every = _once(pa.concat_tables(tables, promote_options="default"))
    candidates = pq.read_table(run.candidates, columns=["candidate_id"])["candidate_id"]
    there = pc.is_in(every["candidate_id"], value_set=candidates.combine_chunks())
    other = pc.not_equal(every["student"], pa.scalar(student))
    return every.filter(pc.and_(there, other)), every.filter(pc.invert(there))


def _once(table: pa.Table) -> pa.Table:
    """Each candidate once a student, the first row of several."""
    keys: Any = pc.binary_join_element_wise(
        table["student"], table["candidate_id"], pa.scalar("\x1f", table["student"].type)
    )
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    return table if len(first) == table.num_rows else table.take(np.sort(first))


def _refuse_loss(run: RunFolder, path: Path, student: str) -> None:
    stages = run.read_manifest().get("stages", {})
    others = [
        name.partition(":")[2]
        for name in stages
        if name.startswith("score:") and name != f"score:{student}"
    ]
    if others:
        raise RunError(
            f"{path}: is damaged, and holds the scores of other students "
            f"({', '.join(sorted(others))}), so it was not written again",
            hint="restore it from a copy; or move it away, and score each student again with "
            "`tutelage score RUN --student MODEL`, which reads from its cache what it can",
        )


def _join_statistics(run: RunFolder, tokens: Path, student: str) -> None:
    """Put one student's token statistics in the place of its earlier ones."""
    if run.statistics.exists() and not is_whole(run.statistics):
        _refuse_loss(run, run.statistics, student)
    schema = pq.read_schema(tokens)
    old = run.statistics if is_whole(run.statistics) else None
    if old is not None and pq.read_schema(old).names != schema.names:
        old = None  # of a version with other columns
    with TableWriter(run.statistics, schema) as table:
        for path in filter(None, (tokens, old)):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    rows = pa.Table.from_batches([batch])
                    if path is old:
                        rows = rows.filter(pc.not_equal(rows["student"], pa.scalar(student)))
                    if rows.num_rows:
                        table.append_table(rows)
