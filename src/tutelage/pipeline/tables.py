"""Tables of a run: SQL views joined by id, and the verdicts of each check."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import content_hash, write_table
from tutelage.errors import SettingsError
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


UNNAMED = "unnamed"
"""Check name of verdicts written before checks had names."""


def checks_of(run: RunFolder) -> list[str]:
    """Checks with verdicts in a run, the most recent last."""
    if not run.verdicts.exists():
        return []
    there = {str(name) for name in _verdicts(run)["check"].unique().to_pylist()}
    done = [
        name.partition(":")[2]
        for name in run.read_manifest().get("stages", {})
        if name.startswith("verify:")
    ]
    order = {name: place for place, name in enumerate(done)}
    return sorted(there, key=lambda name: (order.get(name, -1), name))


def feeding_check(run: RunFolder, wanted: str | None) -> str | None:
    """Check whose verdicts the gate uses: the requested one, or the most recent.

    Returns:
        Its name, or None where nothing was verified.

    Raises:
        SettingsError: The run has no verdicts of the one that is wanted.
    """
    there = checks_of(run)
    if wanted is None:
        return there[-1] if there else None
    if wanted not in there:
        found = f"the run has verdicts of {', '.join(there)}" if there else "nothing was verified"
        raise SettingsError(
            f"gate_check: {run.root} has no verdicts of the check {wanted!r}",
            hint=f"{found}; `tutelage verify RUN --check {wanted}` creates them",
        )
    return wanted


def choice_in_words(run: RunFolder, wanted: str | None) -> str | None:
    """Note on which of several checks the gate uses; None where it is clear."""
    there = checks_of(run)
    if wanted is not None or len(there) < 2:  # noqa: PLR2004
        return None
    return (
        f"the run has verdicts of {len(there)} checks ({', '.join(sorted(there))}); the gate uses "
        f"the last one that was done, {there[-1]}: --gate-check names another"
    )


def verdicts_for_gate(run: RunFolder, wanted: str | None) -> pa.Table | None:
    """Verdicts that the gate uses, or None where nothing was verified."""
    check = feeding_check(run, wanted)
    return None if check is None else verdicts_of(run, check)


def verdicts_of(run: RunFolder, check: str) -> pa.Table:
    """Verdicts of one check."""
    every = _verdicts(run)
    return every.filter(pc.equal(every["check"], pa.scalar(check)))


def verdicts_digest(run: RunFolder, check: str) -> str | None:
    """Hash of the verdicts of one check, or None without any."""
    if not run.verdicts.exists():
        return None
    found = verdicts_of(run, check)
    if not found.num_rows:
        return None
    rows = found.select(["candidate_id", "verdict"]).sort_by("candidate_id")
    return content_hash([column.to_pylist() for column in rows.columns])


def write_verdicts(run: RunFolder, check: str, verdicts: pa.Table) -> None:
    """Replace the verdicts of one check; those of other checks stay.

    Args:
        run: The run.
        check: Name of the check.
        verdicts: Table of the VERDICTS schema.

    Raises:
        RunError: The table with the others is damaged; it is left as it is.
    """
    parts = []
    if run.verdicts.exists():
        every = _verdicts(run)
        parts.append(every.filter(pc.not_equal(every["check"], pa.scalar(check))))
    column = pa.array([check] * verdicts.num_rows, pa.string())
    parts.append(verdicts.append_column("check", column))
    write_table(run.verdicts, pa.concat_tables(parts, promote_options="default"))


def _verdicts(run: RunFolder) -> pa.Table:
    table = pq.read_table(sound(run.verdicts))
    if "check" not in table.column_names:
        table = table.append_column("check", pa.array([UNNAMED] * table.num_rows, pa.string()))
    return table
