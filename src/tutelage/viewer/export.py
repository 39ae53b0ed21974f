"""Export of the shown examples as a file."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from tutelage.data.schemas import plain_turns
from tutelage.errors import SettingsError
from tutelage.pipeline.export_stage import as_training_row
from tutelage.pipeline.set_rows import has_column, with_template_args
from tutelage.viewer.index import quoted, text
from tutelage.viewer.list_view import asked
from tutelage.viewer.query import Question, condition, order_by
from tutelage.viewer.run_store import Shelf

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
