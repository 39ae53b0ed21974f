"""Rows of a set of a run: the selection, a baseline, or the rejected examples."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tutelage.data.schemas import plain_turns
from tutelage.errors import SettingsError
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sql_views import open_tables, stream
from tutelage.pipeline.turn_formats import openai_turns

PROVENANCE = ("example_id", "candidate_id", "step", "teacher", "source", "reason", "rule")
"""Provenance columns next to `messages`; trainers ignore them."""

WEIGHT = "weight"
"""Column with the training weight of a row, where a rule gives weights."""

TEMPLATE_ARGS = "chat_template_kwargs"
"""The column of a row's own template arguments, by the name that TRL reads."""
_SOMETIMES = ("tools", "template_args")

_SELECTED = """
select c.messages{c_more}, d.example_id, h.candidate_id, c.step, c.teacher, e.source, d.reason,
       d.rule, h.weight
from chosen h
join decisions d on d.example_id = h.example_id
join candidates c on c.candidate_id = h.candidate_id
left join examples e on e.example_id = d.example_id
where d.kept
order by e.row, d.example_id, h.rank
"""
_NULL = """
select c.messages{c_more}, n.example_id, n.candidate_id, c.step, c.teacher, e.source,
       'null_' || n."null" as reason, n."null" as rule
from nulls n
join candidates c on c.candidate_id = n.candidate_id
left join examples e on e.example_id = n.example_id
where n."null" = ?
order by e.row, n.example_id, n.candidate_id
"""
_REJECTED = """
select e.messages{e_more}, d.example_id, d.reason, d.rule, e.source, e.row
from decisions d
left join examples e on e.example_id = d.example_id
where not d.kept
order by e.row, d.example_id
"""


def chosen_rows(run: RunFolder, *, chosen: str = "selected") -> Iterator[dict[str, Any]]:
    """Rows of a set in the order of the input.

    Args:
        run: The run folder.
        chosen: `selected`, or the name of a null.

    Raises:
        SettingsError: There is no such set; the hint lists those there are.
    """
    run.need(run.decisions)
    tables = open_tables(run)
    try:
        more = _more(run)
        if chosen == "selected":
            yield from map(_plain_row, stream(tables, _SELECTED.format_map(more)))
            return
        names = [
            n for (n,) in tables.execute('select distinct "null" from nulls order by 1').fetchall()
        ]
        if chosen not in names:
            raise SettingsError(
                f"there is no set {chosen!r} in {run.root}",
                hint=f"sets are {', '.join(['selected', *names])}",
            )
        yield from map(_plain_row, stream(tables, _NULL.format_map(more), [chosen]))
    finally:
        tables.close()


def _more(run: RunFolder) -> dict[str, str]:
    """The columns that a set has only where one of its rows has something in them."""
    return {
        f"{letter}_more": "".join(
            f", {letter}.{name}" for name in _SOMETIMES if has_column(table, name)
        )
        for letter, table in (("c", run.candidates), ("e", run.examples))
    }


def has_tools(table: Path) -> bool:
    """Whether a row of a Parquet table of candidates or examples has tools."""
    return has_column(table, "tools")


def has_column(table: Path, name: str) -> bool:
    """Whether a row of a Parquet table has something in this column, if there is such a column."""
    with pq.ParquetFile(table) as file:
        if name not in file.schema_arrow.names:  # a table of an older version
            return False
        return any(
            batch.column(0).null_count < batch.num_rows
            for batch in file.iter_batches(columns=[name])
        )


def with_template_args(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row, its template arguments as an object under the name that TRL reads."""
    plain = dict(row)
    if "template_args" in plain:
        plain[TEMPLATE_ARGS] = json.loads(plain.pop("template_args") or "{}")
    return plain


def template_args_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's own template arguments, as every row of a set with such arguments has them."""
    return {TEMPLATE_ARGS: row[TEMPLATE_ARGS]} if TEMPLATE_ARGS in row else {}


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """The same row, its turns without the fields that they do not have."""
    return {**with_template_args(row), "messages": plain_turns(row["messages"] or ())}


def rejected_rows(run: RunFolder) -> Iterator[dict[str, Any]]:
    """Examples without a chosen candidate, with the reasons, in the order of the input."""
    tables = open_tables(run)
    try:
        for row in stream(tables, _REJECTED.format_map(_more(run))):
            plain = with_template_args(row)
            yield {**plain, "messages": openai_turns(plain_turns(row["messages"] or ()))}
    finally:
        tables.close()
