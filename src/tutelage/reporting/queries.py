"""Database of a run's tables, joined once for all counts of a report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from tutelage.data.schemas import CANDIDATES, CHOSEN, DECISIONS, EXAMPLES, NULLS, ROWS, SCORES
from tutelage.reporting.manifest_facts import decider_of

TableSource: TypeAlias = pa.Table | Path
"""Source of a table: an Arrow table, or a Parquet file of the same columns."""

MEMORY_LIMIT = "2GB"
SAMPLE_CANDIDATES = 50_000
"""Sample size of a rank correlation that is exact to about 0.005."""

_SCHEMAS: Mapping[str, pa.Schema] = {
    "rows": ROWS,
    "examples": EXAMPLES,
    "candidates": CANDIDATES,
    "scores": SCORES,
    "decisions": DECISIONS,
    "nulls": NULLS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTables:
    """Tables of a report; see `tutelage.data.schemas`. Any of them may be missing.

    Attributes:
        rows: Input rows.
        examples: One row an example.
        candidates: All versions of all examples.
        scores: Candidate by student, with a column a metric.
        decisions: One row an example.
        chosen: One row a chosen candidate; None: those that the decisions name.
        nulls: Sets of the same size, chosen without the student.
        manifest: Settings, versions, seeds, timing and the teacher's tally, as JSON has them.
        title: How the report calls the run.
        student: Fingerprint of the student to report on; None for the one the manifest names, or
            else the one with most scores.
    """

    rows: TableSource | None = None
    examples: TableSource | None = None
    candidates: TableSource | None = None
    scores: TableSource | None = None
    decisions: TableSource | None = None
    chosen: TableSource | None = None
    nulls: TableSource | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    title: str = "run"
    student: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Connection with the table `judged`: one row per candidate, joined with all other tables.

    Attributes:
        connection: With the views rows, examples, candidates, scores, decisions and nulls too.
        metrics: The columns of the scores that hold a number somewhere, in their order.
        student: The fingerprint whose scores are shown; None where nothing was scored.
        other_students: The fingerprints of the others.
        decided: Whether there is a decisions table.
    """

    connection: duckdb.DuckDBPyConnection
    metrics: tuple[str, ...]
    student: str | None
    other_students: tuple[str, ...]
    decided: bool

    def ask(
        self, query: str, parameters: Mapping[str, object] | None = None, **parts: str
    ) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Args:
            query: SQL; `{name}` stands for a part.
            parameters: For its dollar names.
            **parts: SQL made from our own words and from identifiers that `quoted` has quoted.
        """
        text = query.format(**parts) if parts else query
        return self.connection.execute(text, dict(parameters or {})).fetchall()

    def table(self, query: str, **parts: str) -> pa.Table:
        """Result of a query as an Arrow table."""
        table: pa.Table = self.connection.sql(query.format(**parts)).to_arrow_table()
        return table


def quoted(identifier: str) -> str:
    """Column name as SQL, with quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text literal as SQL, with quotes."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def opened(tables: ReportTables) -> Iterator[Database]:
    """Context manager of an in-memory database with the tables of a run.

    The join lies in a temporary file, so that memory stays bounded whatever the size of the run.
    """
    with TemporaryDirectory(prefix="tutelage-report-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": folder,
            "preserve_insertion_order": False,
        }
        connection = duckdb.connect(str(Path(folder) / "report.duckdb"), config=settings)
        try:
            for name, schema in _SCHEMAS.items():
                _view(connection, name, getattr(tables, name), schema)
            student, others = _students(connection, tables)
            metrics = _metrics(connection)
            chosen = "decided"
            if tables.chosen is not None:
                _view(connection, "given_chosen", tables.chosen, CHOSEN)
                chosen = "given_chosen"
            _join(connection, student=student, metrics=metrics, chosen=chosen)
            yield Database(
                connection=connection,
                metrics=_with_numbers(connection, metrics),
                student=student,
                other_students=others,
                decided=tables.decisions is not None,
            )
        finally:
            connection.close()


def _view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: TableSource | None,
    schema: pa.Schema,
) -> None:
    if isinstance(source, Path):
        connection.read_parquet(str(source)).create_view(name)
    else:
        connection.register(name, schema.empty_table() if source is None else source)


def _students(
    connection: duckdb.DuckDBPyConnection, tables: ReportTables
) -> tuple[str | None, tuple[str, ...]]:
    found = connection.execute(
        "SELECT student FROM scores WHERE student IS NOT NULL"
        " GROUP BY student ORDER BY count(*) DESC, student"
    ).fetchall()
    names = [str(name) for (name,) in found]
    wanted = (tables.student, decider_of(tables.manifest))
    student = next((w for w in wanted if w in names), names[0] if names else None)
    return student, tuple(n for n in names if n != student)


def _metrics(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    columns = connection.execute("DESCRIBE scores").fetchall()
    kinds = ("DOUBLE", "FLOAT")
    return tuple(c[0] for c in columns if c[0] not in SCORES.names and c[1] in kinds)


_DECIDED = """
CREATE TABLE decided AS
SELECT example_id, any_value(candidate_id) AS candidate_id, any_value(step) AS step,
    coalesce(bool_or(kept), false) AS kept, any_value(reason) AS reason, any_value(rule) AS rule
FROM decisions GROUP BY example_id
"""
_REPEATED = "SELECT count(candidate_id) > count(DISTINCT candidate_id) FROM {table} WHERE {where}"
_ONCE = "QUALIFY row_number() OVER (PARTITION BY candidate_id ORDER BY status) = 1"
_JOIN = """
CREATE TABLE judged AS
WITH mine AS (SELECT * FROM scores WHERE {student} {scores_once})
SELECT
    c.candidate_id, c.example_id, c.parent_id, c.step, c.teacher,
    coalesce(c.status, 'ok') AS status,
    CASE WHEN c.step = 'original' THEN 'original' ELSE 'refinement' END AS grp,
    s.status AS score_status, s.detail AS score_detail, s.response_tokens, s.instruction_tokens,
    e.source,
    coalesce(d.kept, false) AND h.candidate_id IS NOT NULL AS chosen
    {metrics}
FROM (
    SELECT candidate_id, example_id, parent_id, step, teacher, status FROM candidates
    {candidates_once}
) AS c
LEFT JOIN mine AS s USING (candidate_id)
LEFT JOIN (SELECT example_id, source FROM examples) AS e ON e.example_id = c.example_id
LEFT JOIN decided AS d ON d.example_id = c.example_id
LEFT JOIN (SELECT DISTINCT candidate_id FROM {chosen}) AS h ON h.candidate_id = c.candidate_id
"""

_SAMPLE = """
CREATE TABLE sampled AS
SELECT *, md5_number_lower(candidate_id) AS place FROM judged
WHERE score_status = 'ok' AND md5_number_lower(candidate_id) % 1000000 < $millionths
"""


def _join(
    connection: duckdb.DuckDBPyConnection,
    *,
    student: str | None,
    metrics: Sequence[str],
    chosen: str,
) -> None:
    # A metric that is not finite, or in a row with a status, does not count as a number.
    number = "\n, CASE WHEN s.status = 'ok' AND isfinite(s.{0}) THEN s.{0} END AS {0}"
    columns = "".join(number.format(quoted(name)) for name in metrics)
    connection.execute(_DECIDED)
    mine = "true" if student is None else f"student = {literal(student)}"

    def once(table: str, where: str) -> str:
        # Sorting out repeats costs more than all the rest, and there rarely are any.
        found = connection.execute(_REPEATED.format(table=table, where=where)).fetchall()
        return _ONCE if found[0][0] else ""

    connection.execute(
        _JOIN.format(
            metrics=columns,
            student=mine,
            chosen=chosen,
            candidates_once=once("candidates", "true"),
            scores_once=once("scores", mine),
        )
    )
    scored = connection.execute("SELECT count(*) FROM judged WHERE score_status = 'ok'").fetchall()
    candidates = scored[0][0]
    millionths = 1_000_000 * SAMPLE_CANDIDATES // max(candidates, SAMPLE_CANDIDATES)
    connection.execute(_SAMPLE, {"millionths": millionths})


def _with_numbers(connection: duckdb.DuckDBPyConnection, metrics: Sequence[str]) -> tuple[str, ...]:
    if not metrics:
        return ()
    counts = ", ".join(f"count({quoted(name)})" for name in metrics)
    query = "SELECT {counts} FROM judged"
    (found,) = connection.execute(query.format(counts=counts)).fetchall()
    return tuple(name for name, count in zip(metrics, found, strict=True) if count)
