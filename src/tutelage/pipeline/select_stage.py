"""Select stage: decisions from scores, gates, pool metrics, embeddings and columns of the data."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import ORIGINAL
from tutelage.data.schemas import columns_of, table_schema
from tutelage.errors import DataError
from tutelage.filters import make_embedder, pair_similarity, word_symbols
from tutelage.metrics import with_lark
from tutelage.pipeline.config import EmbedderChoice, checked
from tutelage.pipeline.gate_results import quality_table
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.tables import open_tables, verdicts_for_gate
from tutelage.selection import DEVIATION, FAULTY, Selected, SelectSettings, band_deviations, gate
from tutelage.selection import select as decide
from tutelage.verification.language_detection import language_of

_PAIR_TEXTS = """
select candidate_id, step,
    coalesce(list_last(list_filter(messages, lambda m: m.role = 'user')).content, '')
        as instruction,
    coalesce(messages[-1].content, '') as response
from candidates where status = 'ok' order by candidate_id
"""
_EXTRAS = 'select example_id, "row", extra from examples order by "row", example_id'
_FURTHER_ROWS = """
select count(*), min(r."row") from rows r join examples e on e.example_id = r.example_id
where r.status = 'ok' and r."row" <> e."row"
"""
_CANDIDATES = "select candidate_id, example_id from candidates order by candidate_id"
_LANGUAGE_CHARACTERS = 1000
"""Characters of each text from which its language is detected."""
_NAMED = 8
"""Most columns listed in a message."""


def baseline_columns(
    run: RunFolder, settings: SelectSettings, *, closed: Callable[[], "pa.Array[Any]"]
) -> pa.Table | None:
    """Columns that a rule needs and the student does not measure.

    Args:
        run: The run folder.
        settings: The rule, its embedder or its column.
        closed: Gives the ids of candidates that filters and verdicts shut out.

    Returns:
        `candidate_id` and a number; None where the rule needs none.

    Raises:
        DataError: The column of the truth is missing, or some rows have no value in it.
    """
    if settings.rule == "cheap":
        return _deviations(run, settings, closed())
    if settings.rule == "oracle":
        return _truth(run, settings)
    return None


def _deviations(run: RunFolder, settings: SelectSettings, closed: "pa.Array[Any]") -> pa.Table:
    with open_tables(run) as tables:
        texts = tables.sql(_PAIR_TEXTS).to_arrow_table()
    texts = texts.filter(pc.invert(pc.is_in(texts["candidate_id"], value_set=closed)))
    instructions, responses = (_strings(texts, name) for name in ("instruction", "response"))
    embedder = None
    if settings.embedder.get("kind") != "words":
        values: dict[str, Any] = {"embedder": dict(settings.embedder)}
        embedder = make_embedder(checked(EmbedderChoice, values, place="select").embedder)
    deviations = band_deviations(
        words_N=word_symbols(responses).counts_N.astype(np.float64),
        similarity_N=pair_similarity(instructions, responses, embedder=embedder),
        other_language_N=np.fromiter(
            map(_differ, instructions.to_pylist(), responses.to_pylist()), np.bool_, len(responses)
        ),
        original_N=np.asarray(pc.equal(texts["step"], pa.scalar(ORIGINAL))).astype(np.bool_),
    )
    return pa.table({"candidate_id": texts["candidate_id"], DEVIATION: deviations})


def _strings(table: pa.Table, name: str) -> Any:
    return table[name].combine_chunks().cast(pa.string())


def _differ(instruction: str, response: str) -> bool:
    """Whether two texts are in different languages, as far as these are detected."""
    one, other = (language_of(text[:_LANGUAGE_CHARACTERS]) for text in (instruction, response))
    return one is not None and other is not None and one != other


def check_truth_column(run: RunFolder, settings: SelectSettings) -> None:
    """Check that every example of a run has a value in the truth column.

    Raises:
        DataError: The column is missing, or some rows have no value in it.
    """
    _faulty(run, settings)


def _truth(run: RunFolder, settings: SelectSettings) -> pa.Table:
    found = _faulty(run, settings)
    with open_tables(run) as tables:
        candidates = tables.sql(_CANDIDATES).to_arrow_table()
    faulty = [found[name] for name in candidates["example_id"].to_pylist()]
    return pa.table({"candidate_id": candidates["candidate_id"], FAULTY: faulty})


def _faulty(run: RunFolder, settings: SelectSettings) -> dict[str, float]:
    """Mask of faulty examples, from the truth column."""
    column = str(settings.truth)
    with open_tables(run) as tables:
        examples = tables.sql(_EXTRAS).to_arrow_table().to_pylist()
        further = tables.sql(_FURTHER_ROWS).fetchall()[0]
    if further[0]:
        raise DataError(
            f"rule oracle: {further[0]:,} input rows (the first is row {further[1]}) are further "
            f"versions of earlier rows, but only one value of {column!r} is stored per example",
            hint="give each example one row; answers are checked by `tutelage verify` and gate: "
            "right",
        )
    clean = {_plain(value) for value in settings.truth_clean}
    found: dict[str, float] = {}
    empty: list[int] = []
    for example, value in _values(examples, column):
        if value is None and None not in clean:
            empty.append(example["row"])
        found[example["example_id"]] = float(value not in clean)
    if empty:
        raise DataError(
            f"rule oracle: {len(empty):,} of {len(examples):,} examples have no value in the "
            f"column {column!r}, the first of them in input row {empty[0]}",
            hint="give every row a value, or add null to truth_clean if no value means no fault",
        )
    return found


def _values(
    examples: Sequence[Mapping[str, Any]], column: str
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Examples with their value of a column; None without one.

    Raises:
        DataError: No example has the column, or a value is a list or an object.
    """
    there: Counter[str] = Counter()
    found = []
    for example in examples:
        extra = json.loads(example["extra"]) if example["extra"] else {}
        there.update(list(extra))
        value = extra.get(column)
        if isinstance(value, list | dict):
            raise DataError(
                f"rule oracle: input row {example['row']}: the column {column!r} holds "
                f"{json.dumps(value)[:80]}, which is not one value",
                hint="truth names a column of texts, numbers or true and false",
            )
        found.append((example, _plain(value)))
    if column not in there:
        names = [name for name, _ in there.most_common(_NAMED)]
        raise DataError(
            f"rule oracle: no row of the data has the column {column!r}",
            hint=f"set truth to one of {', '.join(names)}"
            if names
            else "the rows have no further columns; add one that says which rows are faulty",
        )
    yield from found


def _plain(value: object) -> str | None:
    """Value in the form in which it is compared: texts without case, numbers in one notation.

    Examples:
        >>> [_plain(v) for v in (True, "TRUE ", 1, "1.0", None, "Echo")]
        ['true', 'true', '1', '1', None, 'echo']
    """
    if value is None:
        return None
    text = str(value).strip().lower()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


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
