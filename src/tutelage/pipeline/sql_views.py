"""SQL views of a run's tables, joined by id."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from tutelage.pipeline.overrides import PERSON, put_in_force
from tutelage.pipeline.run_dir import RunFolder, sound

MEMORY_LIMIT = "3GB"
BATCH_ROWS = 8192

_VIEWS = {"decisions": "decided", "chosen": "chosen_by_rule"}

_ONE_EACH = """
create view chosen_by_rule as
select example_id, candidate_id, 0::integer as rank, null::double as weight
from decided where kept
"""
_CHOSEN = f"""
create view chosen as
select h.example_id, h.candidate_id, h.rank, h.weight
from chosen_by_rule h join decisions d on d.example_id = h.example_id
where d.rule <> '{PERSON}'
union all
select example_id, candidate_id, 0::integer, null::double
from decisions where kept and rule = '{PERSON}'
"""  # noqa: S608  (a word of ours)


def open_tables(run: RunFolder, *, student: str | None = None) -> duckdb.DuckDBPyConnection:
    """In-memory database with a view for each table of the run.

    Args:
        run: The run folder.
        student: Show only this student's scores; None shows all.

    Returns:
        A connection with views named as the files are. `decisions` and `chosen` are those in
        force, with what persons overruled; `decided` and `chosen_by_rule` are what the rule said.
        Close it.

    Raises:
        RunError: A table is damaged.
    """
    tables = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "preserve_insertion_order": True})
    names = ("rows", "examples", "candidates", "scores", "decisions", "chosen", "nulls")
    for name in (*names, "verdicts", "filters"):
        path: Path = getattr(run, name)
        if path.exists():
            relation = tables.read_parquet(str(sound(path)))
            if name == "scores" and student is not None:
                column = duckdb.ColumnExpression("student")
                relation = relation.filter(column == duckdb.ConstantExpression(student))
            if name == "chosen" and "weight" not in relation.columns:  # of an older version
                relation = relation.project("*, null::double as weight")
            relation.create_view(_VIEWS.get(name, name))
    if run.decisions.exists() and run.candidates.exists():
        put_in_force(tables, run)
        if not run.chosen.exists():  # decided before there was that file
            tables.execute(_ONE_EACH)
        tables.execute(_CHOSEN)
    return tables


def stream(
    tables: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> Iterator[dict[str, Any]]:
    """Rows of a query, fetched in batches.

    Args:
        tables: The database.
        query: The SQL.
        parameters: Values of its placeholders.
    """
    for batch in tables.sql(query, params=parameters).to_arrow_reader(BATCH_ROWS):
        yield from batch.to_pylist()
