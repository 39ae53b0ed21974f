"""Select stage: decisions from scores, gates, pool metrics and embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data.schemas import columns_of, table_schema
from tutelage.filters import make_embedder
from tutelage.metrics import with_lark
from tutelage.pipeline.baseline_columns import baseline_columns
from tutelage.pipeline.config import EmbedderChoice, checked
from tutelage.pipeline.gate_results import quality_table
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sql_views import open_tables
from tutelage.pipeline.verdict_parts import verdicts_for_gate
from tutelage.selection import Selected, SelectSettings, gate
from tutelage.selection import select as decide

_LARK_COLUMNS = ("example_id", "candidate_id", "student", "status", "response_tokens")
_LARK_METRICS = ("mean_surprisal", "brier")

_TEXTS = """
select candidate_id, messages[?].content as content
from candidates where status = 'ok' order by candidate_id
"""


def decided(run: RunFolder, *, settings: SelectSettings, student: str | None) -> Selected:
    """Decide on every example of a run from the stored tables.

    Args:
        run: The run folder.
        settings: The rule, its gates and its cuts.
        student: Whose scores decide.

    Raises:
        DataError: The tables do not belong together, or lack what the rule compares.
    """
    gates = gates_of(run, settings, student=student)
    scores: Path | pa.Table = run.need(run.scores)
    if settings.rule == "lark":
        scores = _with_lark(run.scores, gates, settings, student)
    return decide(
        candidates=run.need(run.candidates),
        scores=scores,
        examples=run.need(run.examples),
        settings=settings,
        student=student,
        gates=gates,
        embeddings=_embeddings(run, settings) if settings.diversity else None,
        columns=baseline_columns(run, settings, closed=lambda: _closed(run, settings, student)),
    )


def _closed(run: RunFolder, settings: SelectSettings, student: str | None) -> "pa.Array[Any]":
    """Candidates excluded by filters and verdicts, regardless of the quality gate."""
    without = settings.model_copy(update={"quality_gate": "off"})
    return _early(gates_of(run, without, student=student))


def gates_of(run: RunFolder, settings: SelectSettings, *, student: str | None = None) -> pa.Table:
    """Candidates of a run that may not be chosen, by filters, verdicts and quality gate.

    Args:
        run: The run folder.
        settings: Which of them count.
        student: Whose quality gate it has to be; None takes the one that is there.
    """
    return gate(
        candidates=run.need(run.candidates),
        settings=settings,
        filters=_if_there(run, run.filters),
        verdicts=None if settings.gate == "off" else verdicts_for_gate(run, settings.gate_check),
        quality=quality_table(run, settings, student=student),
    )


def _if_there(run: RunFolder, path: Path) -> Path | None:
    return run.need(path) if path.exists() else None


def _with_lark(
    path: Path, gates: pa.Table, settings: SelectSettings, student: str | None
) -> pa.Table:
    """Scores with `lark` over each pool of candidates that may be chosen."""
    there = pq.read_schema(path).names
    wanted = [name for name in (*_LARK_COLUMNS, *_LARK_METRICS) if name in there]
    scores = pq.read_table(path, columns=wanted)
    if student is not None:
        scores = scores.filter(pc.equal(scores["student"], pa.scalar(student)))
    barred = pc.is_in(scores["candidate_id"], value_set=_early(gates))
    return with_lark(scores.filter(pc.invert(barred)), keep=settings.keep_per_example)


def _early(gates: pa.Table) -> "pa.Array[Any]":
    early: pa.Array[Any] = gates.filter(pc.invert(gates["late"]))["candidate_id"].combine_chunks()
    return early


def with_pool_metrics(
    scores: Sequence[Mapping[str, Any]], gates: pa.Table, settings: SelectSettings
) -> list[dict[str, Any]]:
    """Scores of one example's candidates with the metrics that a rule compares over the pool.

    Args:
        scores: Rows of the scores table.
        gates: Candidates that may not be chosen.
        settings: Settings of the selection.
    """
    rows = [dict(row) for row in scores]
    if settings.rule != "lark" or not rows:
        return rows
    barred = set(_early(gates).to_pylist())
    names = ("example_id", "candidate_id", *_LARK_METRICS)
    table = with_lark(
        pa.Table.from_pylist(
            [
                {name: row.get(name) for name in names}
                for row in rows
                if row["candidate_id"] not in barred
            ],
            schema=table_schema(
                columns_of(("example_id", "candidate_id"), pa.string()),
                columns_of(_LARK_METRICS, pa.float64()),
            ),
        ),
        keep=settings.keep_per_example,
    )
    found = {row["candidate_id"]: row for row in table.to_pylist()}
    return [row | found.get(row["candidate_id"], {}) for row in rows]


def _embeddings(run: RunFolder, settings: SelectSettings) -> pa.Table:
    """Embedding of every candidate with text; equal texts are embedded once."""
    values: dict[str, Any] = {"embedder": dict(settings.embedder)}
    embedder = make_embedder(checked(EmbedderChoice, values, place="select").embedder)
    turn = -2 if settings.diversity_of == "instruction" else -1  # the response comes last
    tables = open_tables(run)
    try:
        texts = tables.sql(_TEXTS, params=[turn]).to_arrow_table()
    finally:
        tables.close()
    distinct: Any = pc.dictionary_encode(texts["content"].combine_chunks())
    vectors = embedder.embed([str(text) for text in distinct.dictionary.to_pylist()])
    flat = vectors[distinct.indices.to_numpy()].ravel()
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), vectors.shape[1])
    return pa.table({"candidate_id": texts["candidate_id"], "embedding": column})
