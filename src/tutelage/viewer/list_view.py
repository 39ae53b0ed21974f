"""Queries of the list, its filters and its plots, and the export of the examples it shows."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data.schemas import plain_turns
from tutelage.errors import DataError, SettingsError
from tutelage.pipeline.export_stage import as_training_row
from tutelage.pipeline.set_rows import has_column, with_template_args
from tutelage.reporting.blocks import visible
from tutelage.reporting.number_format import STEP_WORDS, reason_words
from tutelage.reporting.queries import quoted
from tutelage.viewer.index import text
from tutelage.viewer.query import (
    NO_SOURCE,
    OUTCOMES,
    Question,
    condition,
    facets_condition,
    order_by,
    rest_condition,
    versions_query,
)
from tutelage.viewer.run_store import CASES, Shelf

PAGE_ROWS = 60
MOST_ROWS = 500
MOST_VALUES = 40
"""Values of one facet that are counted and shown, the most frequent first."""
MOST_POINTS = 1500
BINS = 48
SEARCH_SECONDS = 0.1
"""Seconds that a list waits for a search before it shows partial results."""
LEAST_COLUMNS = "n, example_id, row, source, snippet, reason, kept, step, candidates, overruled"

ALL = "true and true"
"""Condition of a query without filters."""

Whose: TypeAlias = Literal["original", "chosen", "any"]

OUTCOME_WORDS = {
    "kept_refined": "kept, rewritten",
    "kept_original": "kept as it was",
    "refused": "dropped",
    "overruled": "overruled by a person",
}


@contextmanager
def asked(
    shelf: Shelf, question: Question, *, wait_seconds: float = 0.0
) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, Any]]]:
    """Connection with the tables that the query needs, and their completeness.

    They are `hits`, `ranged`, `near` and `placed`; see `condition`.

    Args:
        shelf: The opened run.
        question: The query.
        wait_seconds: How long to wait for a search.
    """
    with shelf.cursor() as tables:
        state: dict[str, Any] = {"progress": 1.0}
        versions = versions_query(question)
        if versions is not None:
            query, parameters = versions
            key = (shelf.version, query, tuple(parameters.items()))
            found = shelf.ranged.of(
                key,
                lambda: tables.sql(query, params=parameters).to_arrow_table(),
                keep=lambda _: True,
            )
            tables.register("ranged", found)
        if question.words:
            search = shelf.searches.of(question.words)
            search.wait(wait_seconds)
            done = search.done
            tables.register("hits", search.examples())
            state = {"progress": 1.0 if done else search.progress}
            if search.failure:
                raise DataError(f"the texts could not be searched: {search.failure}")
        if question.near or question.area is not None:
            shelf.row_map.wait(wait_seconds)
            # First how far, then what is there: it may be done in between.
            state = {"progress": min(state["progress"], shelf.row_map.progress)}
            if question.near:
                tables.register("near", shelf.nearest(question.near))
            if question.area is not None:
                tables.register("placed", shelf.row_map.placed())
        yield tables, state


def rows_of(shelf: Shelf, question: Question, *, start: int, count: int) -> dict[str, Any]:
    """Rows of the list, and the total number.

    Args:
        shelf: The opened run.
        question: The query.
        start: Index of the first row.
        count: Number of rows.
    """
    count = max(1, min(count, MOST_ROWS))
    where, parameters = condition(question, shelf.names)
    order = order_by(question.order, shelf.names)
    metric, whose = shown_metric(question, shelf)
    more = f", {quoted(_COLUMN[whose] + metric)}" if metric else ""
    pair = [m for m in ("ifd", "r_ifd") if m in shelf.meta.metrics]
    pairs = "".join(f", {quoted('o_' + m)}, {quoted('k_' + m)}" for m in pair)
    with asked(shelf, question, wait_seconds=SEARCH_SECONDS) as (tables, state):
        # First which, then what: so only the columns that decide are read of all examples.
        which = tables.execute(
            f"select n from e where {where} order by {order} limit {count} offset {max(0, start)}",
            parameters,
        ).fetchall()
        found = tables.execute(
            f"select {LEAST_COLUMNS}{pairs}{more} from e where n in (select unnest($n::integer[]))",
            {"n": [n for (n,) in which]},
        ).fetchall()
        total = tables.execute(f"select count(*) from e where {where}", parameters).fetchall()
    place = {n: at for at, (n,) in enumerate(which)}
    found.sort(key=lambda values: place[values[0]])
    rows = [_row(values, pair, metric) for values in found]
    return {"total": total[0][0], "start": max(0, start), "rows": rows, **state}


_COLUMN = {"original": "o_", "chosen": "k_"}


def shown_metric(question: Question, shelf: Shelf) -> tuple[str | None, str]:
    """Metric by which the list is sorted, if it has no column anyway."""
    first, _, second = question.sort.removeprefix("-").partition(":")
    if first in shelf.meta.metrics and second in _COLUMN and first not in ("ifd", "r_ifd"):
        return first, second
    return None, "chosen"


def _row(values: tuple[Any, ...], pair: Sequence[str], metric: str | None) -> dict[str, Any]:
    n, example_id, row, source, snippet, reason, kept, step, candidates, overruled, *rest = values
    numbers = {m: rest[2 * at : 2 * at + 2] for at, m in enumerate(pair)}
    shown = {"sorted": [metric, rest[2 * len(pair)]]} if metric else {}
    return {
        "n": n,
        "id": example_id,
        "row": row,
        "source": None if source is None else visible(source),
        "snippet": visible(snippet or ""),
        "reason": reason,
        "reason_words": None if reason is None else reason_words(reason),
        "kept": kept,
        "step": step,
        "versions": candidates,
        "overruled": overruled,
        "numbers": numbers,
        **shown,
    }


def facets_of(shelf: Shelf, question: Question) -> dict[str, Any]:
    """Number of examples for each value of each facet, under the other filters."""
    found: dict[str, Any] = {}
    source = "combinations"
    with asked(shelf, question) as (tables, state):
        tables.register(source, _combinations(shelf, question, tables, state["progress"]))
        for facet in ("outcome", "reason", "step", "source", *(["beside"] if shelf.second else [])):
            where, values = facets_condition(question, shelf.names, without=facet)
            found[facet] = _values(tables, facet, f"{source} where {where}", values)
        for facet, names, column in (
            ("teacher", shelf.meta.teachers, "teachers"),
            ("status", shelf.meta.statuses, "statuses"),
            ("fault", shelf.meta.faults, "faults"),
        ):
            where, values = facets_condition(question, shelf.names, without=facet)
            found[facet] = _masked(tables, names, column, f"{source} where {where}", values)
    return {"facets": found, **state}


_FACET_WORDS = ("reason", "step", "source")
_FACET_NUMBERS = ("kept", "teachers", "statuses", "faults", "overruled")


def _combinations(
    shelf: Shelf, question: Question, tables: duckdb.DuckDBPyConnection, progress: float
) -> pa.Table:
    """Number of examples for each combination of facets, whatever facets are selected.

    One look at all examples gives a few rows, from which every facet is counted; they are kept,
    since choosing facets does not change them.
    """
    rest, parameters = rest_condition(question)
    words = [*_FACET_WORDS, *(["beside"] if shelf.second else [])]
    columns = ", ".join((*words, *_FACET_NUMBERS))
    named = ", ".join((*(f"{w}::varchar as {w}" for w in words), *_FACET_NUMBERS))
    query = (
        f"select {named}, many from "
        f"(select {columns}, count(*) as many from e where {rest} group by {columns})"
    )
    key = (shelf.version, *question.rest)
    table: pa.Table = shelf.combinations.of(
        key,
        lambda: tables.sql(query, params=parameters).to_arrow_table(),
        keep=lambda _: progress == 1.0,
    )
    return table


def _values(
    tables: duckdb.DuckDBPyConnection, facet: str, source: str, parameters: dict[str, object]
) -> dict[str, Any]:
    if facet == "outcome":
        counts = ", ".join(
            f"coalesce(sum(many) filter (where {sql}), 0)::bigint" for sql in OUTCOMES.values()
        )
        row = tables.execute(f"select {counts} from {source}", parameters).fetchall()[0]
        pairs = [(name, OUTCOME_WORDS[name], n) for name, n in zip(OUTCOMES, row, strict=True)]
        return _offered([p for p in pairs if p[2] or p[0] != "overruled"])
    rows = tables.execute(
        f"select {facet}::varchar, n from (select {facet}, sum(many)::bigint as n from {source} "
        f"group by {facet}) order by n desc, 1",
        parameters,
    ).fetchall()
    named = [(value, _label(facet, value), count) for value, count in rows if _shown(facet, value)]
    values = [(v if v is not None else NO_SOURCE, label, n) for v, label, n in named]
    return _offered(values)


def _offered(values: Sequence[tuple[str, str, int]]) -> dict[str, Any]:
    """Most frequent values, and the number of others."""
    shown = [{"value": v, "label": label, "count": n} for v, label, n in values[:MOST_VALUES]]
    return {"values": shown, "more": len(values) - len(shown)}


def _shown(facet: str, value: str | None) -> bool:
    return value is not None or facet == "source"


def _label(facet: str, value: str | None) -> str:
    if value is None:
        return "no source"
    if facet == "faults":
        return visible(value).replace("_", " ")
    if facet == "beside":
        return CASES.get(value, value)
    if facet == "reason":
        return reason_words(value)
    return STEP_WORDS.get(value, value) if facet == "step" else visible(value)


def _masked(
    tables: duckdb.DuckDBPyConnection,
    names: Sequence[str],
    column: str,
    source: str,
    parameters: dict[str, object],
) -> dict[str, Any]:
    if not names:
        return _offered([])
    # Masks repeat, so that counting them first leaves few to take apart.
    masks = tables.execute(
        f"select {column}, sum(many)::bigint from {source} group by {column}",
        parameters,
    ).fetchall()
    counts = [sum(n for mask, n in masks if mask >> at & 1) for at in range(len(names))]
    labels = [_label(column, name) for name in names]
    pairs = [(v, label, n) for v, label, n in zip(names, labels, counts, strict=True) if n]
    pairs.sort(key=lambda pair: -pair[2])
    return _offered(pairs)


def plot_of(shelf: Shelf, question: Question, *, x: str, y: str, whose: Whose) -> dict[str, Any]:
    """Scatter plot of two metrics: a point per version, or a grid of counts where there are many.

    Args:
        shelf: The opened run.
        question: The query.
        x: Metric of the x axis.
        y: Metric of the y axis.
        whose: Which versions are drawn.

    Raises:
        DataError: There is no such metric.
    """
    for name in (x, y):
        if name not in shelf.meta.metrics:
            raise DataError(
                f"there is no metric {name!r}", hint=f"there are {', '.join(shelf.meta.metrics)}"
            )
    # The ranges that were brushed in this very picture do not empty it.
    others = tuple(r for r in question.ranges if not (r.whose == whose and r.metric in (x, y)))
    wider = replace(question, ranges=others)
    where, parameters = condition(wider, shelf.names)
    frame = {"x": _bounds(shelf, x), "y": _bounds(shelf, y)}
    with asked(shelf, wider) as (tables, state):
        found = _drawn(tables, _versions(whose, x, y, where), parameters, frame)
    return {**found, **state}


def _drawn(
    tables: duckdb.DuckDBPyConnection,
    source: str,
    parameters: dict[str, object],
    frame: dict[str, list[float]],
) -> dict[str, Any]:
    """Points, or a grid of counts where there are many; `source` has n, x, y and kind."""
    cells = tables.execute(_GRID.format(shown=source), parameters | _grid(frame)).fetchall()
    count = sum(cell[2] for cell in cells)
    found = {"count": count, "frame": frame}
    if count > MOST_POINTS:
        return {"kind": "grid", "bins": BINS, "cells": cells, **found}
    points = tables.execute(
        f"select e.example_id, x, y, kind from ({source}) s join e using (n) order by n",
        parameters,
    ).fetchall()
    return {"kind": "points", "points": points, **found}


def map_of(shelf: Shelf, question: Question) -> dict[str, Any]:
    """Rows on the map of their embeddings, each with the kind of its chosen version.

    `kind` is 0 where nothing is kept, 1 where the original is kept, 2 where a refinement is. What
    was selected on the map itself does not empty it.
    """
    wider = replace(question, area=None)
    where, parameters = condition(wider, shelf.names)
    shelf.row_map.wait(SEARCH_SECONDS)
    done = shelf.row_map.progress
    placed = shelf.row_map.placed()
    frame = {axis: _edges(placed[axis]) for axis in ("x", "y")}
    kind = "case when not kept then 0 when step = 'original' then 1 else 2 end"
    source = f"select n, x, y, {kind} as kind from e join placed using (n) where {where}"
    with asked(shelf, wider) as (tables, state):
        tables.register("placed", placed)
        found = _drawn(tables, source, parameters, frame)
    return {
        **found,
        "embedder": shelf.row_map.name,
        "drawn": shelf.row_map.drawn,
        "rows": shelf.row_map.rows,
        "progress": min(done, state["progress"]),
    }


def _edges(values: Any) -> list[float]:
    """Range of some numbers with a margin; a unit range where all are equal."""
    found: Any = pc.min_max(values).as_py()
    low, high = found["min"], found["max"]
    if low is None or low == high:
        return [(low or 0.0) - 1.0, (low or 0.0) + 1.0]
    margin = 0.03 * (high - low)
    return [low - margin, high + margin]


_GRID = f"""
select least({BINS - 1}, greatest(0, floor((x - $x0) / $dx)))::integer as i,
    least({BINS - 1}, greatest(0, floor((y - $y0) / $dy)))::integer as j,
    count(*), count(*) filter (where kind = 1), count(*) filter (where kind = 2)
from ({{shown}}) group by i, j
"""


def _versions(whose: Whose, x: str, y: str, where: str) -> str:
    """Versions with `kind`: 0 not chosen, 1 a chosen original, 2 a chosen rewrite."""
    if whose == "any":
        kind = "case when not chosen then 0 when step = 'original' then 1 else 2 end"
        name_x, name_y = quoted(x), quoted(y)
        inside = "" if where == ALL else f"n in (select n from e where {where}) and "
        return (
            f"select n, {name_x}::double as x, {name_y}::double as y, {kind} as kind from c "
            f"where {inside} {name_x} is not null and {name_y} is not null"
        )
    kind = "case when not kept then 0 when step = 'original' then 1 else 2 end"
    if whose == "original":
        kind = "case when kept and step = 'original' then 1 else 0 end"
    name_x, name_y = quoted(_COLUMN[whose] + x), quoted(_COLUMN[whose] + y)
    return (
        f"select n, {name_x}::double as x, {name_y}::double as y, {kind} as kind from e "
        f"where {where} and {name_x} is not null and {name_y} is not null"
    )


def _bounds(shelf: Shelf, metric: str) -> list[float]:
    """Frame of the plot: all but the outermost hundredth, including the line at 1 of a ratio."""
    low, high, inner_low, inner_high = (
        v if v is not None else 0.0 for v in shelf.meta.ranges[metric]
    )
    if metric in ("ifd", "r_ifd", "ifd_loss"):
        return [0.0, max(1.2, min(high, inner_high * 1.05))]
    width = (inner_high - inner_low) or 1.0
    return [max(low, inner_low - 0.05 * width), min(high, inner_high + 0.05 * width) or 1.0]


def _grid(frame: dict[str, list[float]]) -> dict[str, float]:
    (x0, x1), (y0, y1) = frame["x"], frame["y"]
    return {
        "x0": x0,
        "dx": max((x1 - x0) / BINS, math.ulp(1.0)),
        "y0": y0,
        "dy": max((y1 - y0) / BINS, math.ulp(1.0)),
    }


FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
_BATCH_ROWS = 2000
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("example_id", "row", "source", "kept", "step", "reason", "overruled")


def handed_out(shelf: Shelf, question: Question, *, form: str) -> Iterator[bytes]:
    """Shown examples in the shown order, as a file.

    `jsonl` holds the chosen versions as `selected.jsonl` does, so only examples that keep one;
    `csv` holds the list with the numbers of the original and of the chosen version.

    Args:
        shelf: The opened run.
        question: The filters and the order.
        form: The format of the file.

    Raises:
        SettingsError: There is no such format.
    """
    if form not in FORMATS:
        raise SettingsError(f"unknown format {form!r}", hint=f"formats are {', '.join(FORMATS)}")
    if question.words:
        shelf.searches.of(question.words).wait(_LONGEST_SEARCH_SECONDS)
    if question.near or question.area is not None:
        shelf.row_map.wait(_LONGEST_SEARCH_SECONDS)
    return _as_csv(shelf, question) if form == "csv" else _as_jsonl(shelf, question)


_LONGEST_SEARCH_SECONDS = 600.0


def _as_csv(shelf: Shelf, question: Question) -> Iterator[bytes]:
    where, parameters = condition(question, shelf.names)
    order = order_by(question.order, shelf.names)
    named = [(f"{m}_{whose}", quoted(p + m)) for m in shelf.meta.metrics for whose, p in _WHOSE]
    columns = [*_COLUMNS, *(f"{column} as {quoted(name)}" for name, column in named)]
    yield _csv_lines([[*_COLUMNS, *(name for name, _ in named)]])
    with asked(shelf, question) as (tables, _):
        query = f"select {', '.join(columns)} from e where {where} order by {order}"
        found = tables.execute(query, parameters)
        while rows := found.fetchmany(_BATCH_ROWS):
            yield _csv_lines(rows)


_WHOSE = (("original", "o_"), ("chosen", "k_"))


def _csv_lines(rows: list[Any]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([[_harmless(value) for value in row] for row in rows])
    return file.getvalue().encode()


def _harmless(value: object) -> object:
    """Text that a spreadsheet cannot take for a formula: a mark in front prevents it."""
    if isinstance(value, str) and value.startswith(_DANGEROUS):
        return f"'{value}"
    return value


def _as_jsonl(shelf: Shelf, question: Question) -> Iterator[bytes]:
    where, parameters = condition(question, shelf.names)
    order = order_by(question.order, shelf.names)
    with asked(shelf, question) as (tables, _):
        tables.execute(
            "create or replace temp table wanted as select row_number() over () as at, n from "
            f"(select n from e where kept and {where} order by {order})",
            parameters,
        )
        candidates = shelf.run.candidates
        more = tuple(n for n in ("tools", "template_args") if has_column(candidates, n))
        columns = ", ".join(f"k.{name}" for name in ("messages", *more, "example_id"))
        found = tables.execute(
            f"select {columns}, k.candidate_id, k.step, k.teacher, "
            "e.source::varchar, e.reason::varchar "
            f"from read_parquet({text(shelf.run.candidates)}, file_row_number = true) k "
            "join (select k, n from c where chosen and n in (select n from wanted)) c "
            "on c.k = k.file_row_number join wanted w on w.n = c.n join e on e.n = c.n "
            "order by w.at"
        )
        names = (
            "messages",
            *more,
            "example_id",
            "candidate_id",
            "step",
            "teacher",
            "source",
            "reason",
        )
        rule = shelf.manifest.get("stages", {}).get("select", {}).get("tally", {}).get("rule", {})
        while rows := found.fetchmany(_BATCH_ROWS):
            lines = []
            for row in rows:
                values = with_template_args(dict(zip(names, row, strict=True)))
                by_person = values["example_id"] in shelf.overrides
                values["messages"] = plain_turns(values["messages"])
                values["rule"] = "person" if by_person else rule.get("rule")
                lines.append(json.dumps(as_training_row(values), ensure_ascii=False))
            yield ("\n".join(lines) + "\n").encode()
