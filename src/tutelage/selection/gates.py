"""Gates: candidates that filters or verification exclude from a selection."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data.databases import hide_progress_bar
from tutelage.data.schemas import GATES
from tutelage.errors import DataError
from tutelage.selection.candidate_table import (
    NONE,
    Bools,
    Indexes,
    Pool,
    TableSource,
    column_of,
    filled,
    to_numpy,
)
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import FILTERED_OUT, REJECTED_BY_GATE, Words

CLOSED_TO = {"off": (), "not_wrong": ("wrong", "no_answer"), "right": ()}
"""Verdicts that each gate excludes; the gate `right` excludes everything but right."""

_FILTERED = """
select c.candidate_id, '{word}' as status, false as late
from c join f on f.candidate_id = c.candidate_id
where c.status = 'ok' and not f.kept
"""
_FAULTY = """
select c.candidate_id, '{word}' as status, false as late
from c join q on q.candidate_id = c.candidate_id
where c.status = 'ok' and not q.passed
"""
_REJECTED = """
select c.candidate_id, v.verdict as status, {late} as late
from c join v on v.candidate_id = c.candidate_id
where c.status = 'ok' and v.verdict {rejected}
"""


def gate(
    *,
    candidates: TableSource,
    settings: SelectSettings,
    filters: TableSource | None = None,
    verdicts: TableSource | None = None,
    quality: TableSource | None = None,
) -> pa.Table:
    """Candidates with text that may not be chosen, with the reasons.

    Args:
        candidates: A table of the CANDIDATES schema, or a path; the id and the status are read.
        settings: `use_filters`, `quality_gate`, `gate` and `gate_order`.
        filters: What the filters decided: `candidate_id` and `kept`; None: there are none.
        verdicts: What was verified: `candidate_id` and `verdict`; None: nothing was.
        quality: What the calibrated gate decided: `candidate_id` and `passed`, null where it could
            not judge; None: there is no such gate.

    Returns:
        A table of the GATES schema, ascending by id; one row for each candidate that is out. One
        that the filters dropped is `filtered_out`, and one that the calibrated gate rejected is
        `quality_gate`, whatever the verdict.

    Raises:
        DataError: A candidate with text has no decision or no verdict: the table is older than
            the candidates.
    """
    with duckdb.connect() as tables:
        hide_progress_bar(tables)
        _view(tables, "c", candidates)
        parts = []
        if filters is not None and settings.use_filters:
            _view(tables, "f", filters)
            _check_complete(tables, "f", name="filters", command="tutelage filter RUN")
            parts.append(_FILTERED.format(word=FILTERED_OUT))
        if quality is not None and settings.quality_gate != "off":
            _view(tables, "q", quality)
            command = "tutelage select RUN --quality-gate calibrated"
            _check_complete(tables, "q", name="results of the quality gate", command=command)
            parts.append(_FAULTY.format(word=REJECTED_BY_GATE))
        if verdicts is not None and settings.gate != "off":
            _view(tables, "v", verdicts)
            _check_complete(tables, "v", name="verdicts", command="tutelage verify RUN")
            rejected = ", ".join(f"'{verdict}'" for verdict in CLOSED_TO[settings.gate])
            parts.append(
                _REJECTED.format(
                    late=str(settings.gate_order == "after").lower(),
                    rejected="<> 'right'" if settings.gate == "right" else f"in ({rejected})",
                )
            )
        if not parts:
            return GATES.empty_table()
        # An id that both name is given the first word: 'filtered_out' is never late.
        query = f"""
            select candidate_id, first(
                status order by late, status <> '{FILTERED_OUT}', status <> '{REJECTED_BY_GATE}'
            ) as status,
                bool_and(late) as late
            from ({" union all ".join(parts)}) group by 1 order by 1
        """  # noqa: S608  (words of ours only)
        found: pa.Table = tables.sql(query).to_arrow_table().cast(GATES)
        return found


def _view(tables: duckdb.DuckDBPyConnection, name: str, source: TableSource) -> None:
    relation = (
        tables.read_parquet(str(source)) if isinstance(source, Path) else tables.from_arrow(source)
    )
    relation.create_view(name)


def _check_complete(
    tables: duckdb.DuckDBPyConnection, view: str, *, name: str, command: str
) -> None:
    query = f"""
        select count(*), count(*) filter (c.candidate_id not in (select candidate_id from {view}))
        from c where c.status = 'ok'
    """  # noqa: S608  (a name of ours)
    written, missing = tables.sql(query).fetchall()[0]
    if missing:
        raise DataError(
            f"the {name} have no entry for {missing} of {written} candidates with text",
            hint=f"they are older than the candidates: run `{command}` again, or switch it off "
            "(use_filters: false, quality_gate: off, gate: off)",
        )


def shut_out(pool: Pool, out: pa.Table, *, late: bool) -> Pool:
    """Pool in which the candidates of a GATES table cannot be chosen.

    Args:
        pool: The pool.
        out: A table of the GATES schema.
        late: Whether to shut out those that are dropped only once they were chosen, too.

    Args:
        pool: The candidates.
        out: Table of the GATES schema.
        late: Whether the gate is applied to the rule's result instead.
    """
    if not late:
        out = out.filter(pc.invert(out["late"]))
    if not out.num_rows:
        return pool
    index = _places(pool, out)
    words = np.array(out["status"].to_pylist(), dtype=np.object_)
    return without(pool, index != NONE, np.where(index != NONE, words[index], ""))


def without(pool: Pool, out_N: Bools, word_N: Words | str) -> Pool:
    """Pool without some candidates, whose reason becomes their status.

    They keep their text and their place, but lose their numbers, as if they had not been scored.

    Args:
        pool: The candidates.
        out_N: Mask of the candidates to exclude.
        word_N: Reason of each, or one for all.
    """
    words = np.full(len(out_N), word_N, dtype=np.object_) if isinstance(word_N, str) else word_N
    out_N = out_N & pool.written_N
    statuses = list(pool.statuses)
    status_N = pool.status_N.copy()
    for word in sorted({str(word) for word in words[out_N]}):
        if word not in statuses:
            statuses.append(word)
        status_N[out_N & (words == word)] = statuses.index(word)
    return replace(
        pool,
        statuses=tuple(statuses),
        status_N=status_N,
        usable_N=pool.usable_N & ~out_N,
        numbers={
            name: np.where(out_N, np.nan, values_N) for name, values_N in pool.numbers.items()
        },
    )


def rejected_late(pool: Pool, out: pa.Table) -> Words:
    """Verdict for which each row is dropped if it was chosen, or an empty text."""
    out = out.filter(out["late"])
    index = _places(pool, out)
    words: Sequence[object] = [*out["status"].to_pylist(), ""]
    found: Words = np.array(words, dtype=np.object_)[index]
    return found


def _places(pool: Pool, out: pa.Table) -> Indexes:
    """Row of the table for each candidate of the pool, or -1."""
    found = pc.index_in(pool.candidate_ids, value_set=column_of(out, "candidate_id"))
    return to_numpy(filled(found, NONE)).astype(np.int64)
