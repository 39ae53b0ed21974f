"""Database of a run's tables and facts of its manifest, for all counts of a report."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from tutelage.data.schemas import CANDIDATES, CHOSEN, DECISIONS, EXAMPLES, NULLS, ROWS, SCORES
from tutelage.reporting.number_format import UNKNOWN
from tutelage.reporting.run_summary import Account

HIDDEN = "(not shown)"
MAX_VALUE_CHARACTERS = 300
MAX_ENTRIES = 400

_SECRET_NAME = re.compile(
    r"(^|[._-])(api_?key|key_value|password|passwd|secret|authorization|bearer|cookie"
    r"|(access|auth|hf|api|id|refresh)_token|token)$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\b(sk|hf|gsk|xai|ghp|gho|glpat|AIza|AKIA)[-_]?[A-Za-z0-9_-]{16,}|://[^/\s:@]+:[^/\s@]+@"
)


def read_account(manifest: Mapping[str, Any]) -> Account:
    """Time by stage and the teacher's counts, wherever the manifest has them."""
    teacher = _teacher(manifest)
    cost, currency = _number(teacher.get("cost")), teacher.get("currency")
    before = _number(teacher.get("spent_before")) or 0.0
    paid = None if cost is None else cost + before
    return Account(
        seconds=tuple(_seconds(manifest)),
        teacher=tuple(_tally(teacher)),
        cost=paid if currency else None,
        currency=str(currency) if currency else None,
    )


def _stage_words(name: str, *, decider: str | None) -> str:
    """Name of a stage for people; the stage of the deciding student is called `score`."""
    kind, _, which = name.partition(":")
    if kind == "score" and which:
        return "score" if which == decider else f"scores of student {which[:8]}"
    return f"{kind} {which}".rstrip()


def _seconds(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    decider = decider_of(manifest)
    for name, stage in _mapping(manifest.get("stages")).items():
        seconds = _number(_mapping(stage).get("seconds"))
        if seconds is not None:
            yield _stage_words(str(name), decider=decider), seconds
    for name, value in _mapping(manifest.get("seconds")).items():
        seconds = _number(value)
        if seconds is not None:
            yield str(name), seconds


def _teacher(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    stages = _mapping(manifest.get("stages")).values()
    places = (
        *(_mapping(_mapping(stage).get("tally")).get("teacher") for stage in stages),
        manifest.get("teacher_tally"),
        _mapping(manifest.get("teacher")).get("tally"),
    )
    return next((place for place in map(_mapping, places) if "asked" in place), {})


def _tally(teacher: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float]]:
    for name, value in teacher.items():
        if isinstance(value, Mapping):
            for kind, count in value.items():
                if _number(count) is not None:
                    yield f"{name}: {kind}", count
        elif isinstance(value, str) or _number(value) is not None:
            yield str(name), value


def decider_of(manifest: Mapping[str, Any]) -> str | None:
    """Fingerprint of the student that decided, or else of the configured one."""
    tally = _mapping(_mapping(_mapping(manifest.get("stages")).get("select")).get("tally"))
    names = (tally.get("student"), _mapping(manifest.get("student")).get("fingerprint"))
    return next((str(name) for name in names if name), None)


def mode_of(manifest: Mapping[str, Any]) -> str | None:
    """Mode of the srt rule, if the manifest names one."""
    tally = _mapping(_mapping(_mapping(manifest.get("stages")).get("select")).get("tally"))
    settings = _mapping(_mapping(manifest.get("settings")).get("select"))
    modes = (_mapping(tally.get("rule")).get("mode"), settings.get("mode"))
    return next((str(mode) for mode in modes if mode), None)


def flatten(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Manifest as dotted names and texts, in its order, without secrets."""
    entries = list(_flat("", manifest))
    left = len(entries) - MAX_ENTRIES
    shown = entries[:MAX_ENTRIES]
    return (*shown, *([("(more)", f"{left} more entries in manifest.json")] if left > 0 else []))


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        for index, inner in enumerate(value):
            yield from _flat(f"{name}.{index}", inner)
    else:
        yield name, _shown(name, value)


def _shown(name: str, value: object) -> str:
    if isinstance(value, str | bytes) and value and _SECRET_NAME.search(name):
        return HIDDEN
    if value is None:
        return UNKNOWN
    if isinstance(value, list | tuple):
        text = ", ".join(str(v) for v in value) or "(none)"
    else:
        text = str(value)
    if _SECRET_VALUE.search(text):
        return HIDDEN
    if len(text) > MAX_VALUE_CHARACTERS:
        return f"{text[:MAX_VALUE_CHARACTERS]} … ({len(text):,} characters)"
    return text


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


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
            query: SQL; `{name}` is a placeholder for a part.
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
