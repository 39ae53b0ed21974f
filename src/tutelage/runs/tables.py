"""The tables of a run as SQL views, joined by id."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from tutelage.runs.folder import RunFolder, sound
from tutelage.runs.overruling import put_in_force

MEMORY_LIMIT = "3GB"
BATCH_ROWS = 8192


def open_tables(run: RunFolder, *, student: str | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory with a view for each table that the run has.

    Args:
        run: The run folder.
        student: Show only this student's scores; None shows all.

    Returns:
        A connection with views named as the files are. `decisions` are those in force, with what
        persons overruled; `decided` is what the rule said. Close it.

    Raises:
        RunError: A table is damaged.
    """
    tables = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "preserve_insertion_order": True})
    for name in ("rows", "examples", "candidates", "scores", "decisions", "nulls"):
        path: Path = getattr(run, name)
        if path.exists():
            relation = tables.read_parquet(str(sound(path)))
            if name == "scores" and student is not None:
                column = duckdb.ColumnExpression("student")
                relation = relation.filter(column == duckdb.ConstantExpression(student))
            relation.create_view("decided" if name == "decisions" else name)
    if run.decisions.exists() and run.candidates.exists():
        put_in_force(tables, run)
    return tables


def stream(
    tables: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> Iterator[dict[str, Any]]:
    """The rows of a query, a batch at a time."""
    for batch in tables.sql(query, params=parameters).to_arrow_reader(BATCH_ROWS):
        yield from batch.to_pylist()
