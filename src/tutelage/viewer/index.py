"""Index of a run for the viewer: one narrow file, built once from the run's tables.

    e   one row an example, in the order of the input: its decision, the numbers of the original
        and of the chosen version, sets as bit masks, and where its row lies in examples.parquet
    c   one row a candidate, in the order of e: its numbers, and where its rows lie in
        candidates.parquet and scores.parquet
    meta  what the page needs at its start, as JSON

Texts are not copied, but for the beginning of each instruction: they are read from Parquet by
row number when a person looks at them.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from tutelage.data import ORIGINAL, STEPS, content_hash, replacing
from tutelage.data.databases import hide_progress_bar
from tutelage.data.schemas import SCORES
from tutelage.pipeline import RunFolder
from tutelage.pipeline.run_dir import sound
from tutelage.progress import Progress
from tutelage.reporting.queries import quoted
from tutelage.selection import OVERRULED

VERSION = 3
MEMORY_LIMIT = "1GB"
SNIPPET_CHARACTERS = 160
FOLDER = ".view"
MASK_BITS = 62
"""Most teachers, statuses and faults with a bit of their own; less frequent ones share the last
bit.
"""
OTHERS = "(others)"

_TOKENS = ("response_tokens", "instruction_tokens")
_NOT_METRICS = frozenset(SCORES.names)
_SOURCES = (
    "rows",
    "examples",
    "candidates",
    "scores",
    "decisions",
    "chosen",
    "quality_gate_table",
)
_STEP_ORDER = " ".join(f"when '{step}' then {at}" for at, step in enumerate(STEPS))

_EXAMPLES = """
create temp table e0 as
select (row_number() over (order by "row", example_id) - 1)::integer as n, example_id, "row",
    file_row_number::integer as er, source,
    regexp_replace(left(list_last(list_filter(messages, lambda m: m.role = 'user')).content,
                        {characters}), '\\s+', ' ', 'g') as snippet
from read_parquet({examples}, file_row_number = true)
"""
_CANDIDATES = """
create table c as
select e0.n, k.file_row_number::integer as k, s.s, k.step, k.teacher,
    case when k.status <> 'ok' then k.status else coalesce(s.status, 'not_scored') end as status,
    q.fault, coalesce(d.kept and d.candidate_id = k.candidate_id, false) as first,
    {chosen} as chosen {metrics}
from read_parquet({candidates}, file_row_number = true) k
join e0 on e0.example_id = k.example_id
left join ({scores}) s on s.candidate_id = k.candidate_id
left join ({decisions}) d on d.example_id = k.example_id
left join ({gate}) q on q.candidate_id = k.candidate_id
{join}
order by e0.n, case k.step {steps} else 9 end, k.file_row_number
"""
_ROLLED = """
create table e as
select e0.n, e0.example_id, e0."row", e0.er, e0.source::source_name as source, e0.snippet,
    d.reason::reason_name as reason, coalesce(d.kept, false) as kept, d.step::step_name as step,
    coalesce(r.candidates, 0)::usmallint as candidates, coalesce(r.teachers, 0) as teachers,
    coalesce(r.statuses, 0) as statuses, coalesce(r.faults, 0) as faults,
    false as overruled {metrics}
from e0
left join ({decisions}) d on d.example_id = e0.example_id
left join (
    select n, count(*) as candidates, bit_or({teacher_bit}) as teachers,
        bit_or({status_bit}) as statuses, bit_or({fault_bit}) as faults {rolled}
    from c group by n
) r on r.n = e0.n
order by e0.n
"""


def index_key(run: RunFolder) -> str:
    """Hash that changes when a table of the run is rewritten."""
    facts: list[object] = [VERSION]
    for name in _SOURCES:
        path: Path = getattr(run, name)
        if path.exists():
            stat = path.stat()
            facts.append([name, stat.st_size, stat.st_mtime_ns])
    return content_hash(facts)


def open_index(run: RunFolder, *, scratch: Path, progress: Progress) -> Path:
    """Path of a run's index, which is built if it is missing or outdated.

    Args:
        run: The run folder; it must hold examples and candidates.
        scratch: Where the index goes if the run folder cannot be written to.
        progress: Notified while it is made.

    Raises:
        RunError: A table that is needed is missing, or damaged.
    """
    for path in (run.examples, run.candidates):
        run.need(path)
    key = index_key(run)
    folder = run.decided_in / FOLDER
    places = [folder, scratch]
    for place in places:
        path = place / "index.duckdb"
        if _is_of(path, key):
            return path
    try:
        folder.mkdir(exist_ok=True)
        place = folder if os.access(folder, os.W_OK) else scratch
    except OSError:
        place = scratch
    path = place / "index.duckdb"
    progress.begin("index", total=4, unit="steps")
    with replacing(path) as temporary:
        _build(run, temporary, key=key, progress=progress)
    progress.end(note=f"{path.stat().st_size / 1e6:,.0f} MB, made once")
    return path


def _is_of(path: Path, key: str) -> bool:
    if not path.is_file():
        return False
    try:
        with duckdb.connect(str(path), read_only=True) as tables:
            found = tables.execute("select value from meta where name = 'key'").fetchall()
    except duckdb.Error:
        return False  # cut short, or of another DuckDB
    return found == [(json.dumps(key),)]


def _build(run: RunFolder, path: Path, *, key: str, progress: Progress) -> None:
    manifest = run.shown_manifest()
    spill = path.with_suffix(".spill")
    with duckdb.connect(
        str(path), config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(spill)}
    ) as tables:
        hide_progress_bar(tables)
        several = run.chosen.exists()
        student = _student(tables, run, manifest)
        metrics = _metrics(tables, run)
        _run(tables, _EXAMPLES, characters=str(SNIPPET_CHARACTERS), examples=text(run.examples))
        progress.advance()
        _run(
            tables,
            _CANDIDATES,
            candidates=text(run.candidates),
            scores=_scores(run, student, metrics),
            decisions=_decisions(run),
            gate=_gate(run),
            steps=_STEP_ORDER,
            chosen="h.candidate_id is not null" if several else "first",
            join=_chosen(run) if several else "",
            metrics="".join(f", s.{quoted(m)}" for m in metrics),
        )
        progress.advance()
        teachers = _names(tables, "select teacher, count(*) from c where teacher is not null")
        statuses = _names(tables, "select status, count(*) from c")
        faults = _names(tables, "select fault, count(*) from c where fault is not null")
        bits = {"teacher": teachers, "status": statuses, "fault": faults}
        _roll(tables, run, metrics=metrics, bits=bits)
        progress.advance()
        meta = {
            "key": key,
            "metrics": metrics,
            "teachers": teachers,
            "statuses": statuses,
            "faults": faults,
            "student": student,
            "students": _students(tables, run),
            **_counts(tables, run, metrics),
        }
        tables.execute("create table meta (name varchar, value varchar)")
        rows = [[name, json.dumps(value)] for name, value in meta.items()]
        tables.executemany("insert into meta values (?, ?)", rows)
        tables.execute("checkpoint")
        progress.advance()


def _roll(
    tables: duckdb.DuckDBPyConnection,
    run: RunFolder,
    *,
    metrics: Sequence[str],
    bits: Mapping[str, Sequence[str]],
) -> None:
    """Aggregate candidates to examples; `bits` has the names for the masks, by column."""
    decisions = _decisions(run)
    _enum(tables, "source_name", "select distinct source from e0 where source is not null")
    _enum(tables, "reason_name", f"select reason from ({decisions}) union select '{OVERRULED}'")
    steps = " union ".join(f"select '{step}'" for step in STEPS)
    _enum(tables, "step_name", f"select step from ({decisions}) where step <> '' union {steps}")
    rolled = "".join(
        f", max({quoted(m)}) filter (where step = '{ORIGINAL}') as {quoted('o_' + m)}"
        f", max({quoted(m)}) filter (where first) as {quoted('k_' + m)}"
        for m in metrics
    )
    shown = "".join(f", r.{quoted('o_' + m)}, r.{quoted('k_' + m)}" for m in metrics)
    _run(
        tables,
        _ROLLED,
        decisions=decisions,
        **{f"{column}_bit": _bit(column, names) for column, names in bits.items()},
        rolled=rolled,
        metrics=shown,
    )


def _student(
    tables: duckdb.DuckDBPyConnection, run: RunFolder, manifest: dict[str, Any]
) -> str | None:
    """Student whose scores decided: the select stage's, else the run's, else any."""
    decided = manifest.get("stages", {}).get("select", {}).get("tally", {}).get("student")
    named = decided or manifest.get("student", {}).get("fingerprint")
    there = _students(tables, run)
    return named if named in there or not there else there[0]


def _students(tables: duckdb.DuckDBPyConnection, run: RunFolder) -> list[str]:
    if not run.scores.exists():
        return []
    query = f"select student, count(*) from read_parquet({text(sound(run.scores))})"
    found = tables.execute(f"{query} group by all order by 2 desc, 1").fetchall()
    return [str(name) for name, _ in found if name is not None]


def _metrics(tables: duckdb.DuckDBPyConnection, run: RunFolder) -> list[str]:
    """Numeric columns of the scores, token counts first because they always exist."""
    if not run.scores.exists():
        return []
    described = tables.execute(f"describe select * from read_parquet({text(run.scores)})")
    columns = [(row[0], row[1]) for row in described.fetchall()]
    named = [n for n, kind in columns if n not in _NOT_METRICS and kind in ("DOUBLE", "FLOAT")]
    return [*named, *(n for n, _ in columns if n in _TOKENS)]


def _scores(run: RunFolder, student: str | None, metrics: Sequence[str]) -> str:
    if not run.scores.exists():
        return "select null::varchar as candidate_id, null::integer as s, null::varchar as status"
    wanted = "".join(f", {quoted(m)}" for m in metrics)
    where = f"where student = {text(student)}" if student is not None else ""
    return (
        f"select candidate_id, file_row_number::integer as s, status {wanted} "
        f"from read_parquet({text(run.scores)}, file_row_number = true) {where}"
    )


def _decisions(run: RunFolder) -> str:
    if not run.decisions.exists():
        return (
            "select null::varchar as example_id, null::varchar as candidate_id, "
            "null::varchar as step, null::boolean as kept, null::varchar as reason where false"
        )
    path = text(sound(run.decisions))
    return f"select example_id, candidate_id, step, kept, reason from read_parquet({path})"


def _gate(run: RunFolder) -> str:
    """Fault of each version that the quality gate rejected."""
    if not run.quality_gate_table.exists():
        return "select null::varchar as candidate_id, null::varchar as fault where false"
    path = text(sound(run.quality_gate_table))
    return f"select candidate_id, fault from read_parquet({path}) where not passed"


def _chosen(run: RunFolder) -> str:
    """All chosen candidates, where a rule keeps several versions of an example."""
    path = text(sound(run.chosen))
    return (
        f"left join (select candidate_id from read_parquet({path})) h "
        "on h.candidate_id = k.candidate_id"
    )


def _names(tables: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    found = tables.execute(f"{query} group by all order by 2 desc, 1").fetchall()
    names = [str(name) for name, _ in found]
    return names if len(names) <= MASK_BITS else [*names[: MASK_BITS - 1], OTHERS]


def _bit(column: str, names: Sequence[str]) -> str:
    """Bit of each name; names without a bit of their own share the last one."""
    cases = " ".join(
        f"when {text(name)} then {1 << at}::ubigint"
        for at, name in enumerate(names)
        if name != OTHERS
    )
    other = f"{1 << (len(names) - 1)}::ubigint" if names and names[-1] == OTHERS else "0::ubigint"
    null = f"when {column} is null then 0::ubigint"
    if not cases:
        return "0::ubigint"
    return f"case {null} else case {column} {cases} else {other} end end"


def _counts(
    tables: duckdb.DuckDBPyConnection, run: RunFolder, metrics: Iterable[str]
) -> dict[str, Any]:
    examples, kept = tables.execute(
        "select count(*), count(*) filter (where kept) from e"
    ).fetchall()[0]
    ranges = {}
    for metric in metrics:
        name = quoted(metric)
        ranges[metric] = tables.execute(
            f"select min({name}), max({name}), approx_quantile({name}, 0.005), "
            f"approx_quantile({name}, 0.995) from c where isfinite({name}::double)"
        ).fetchall()[0]
    lost = {}
    if run.rows.exists():
        path = text(sound(run.rows))
        query = f"select status, count(*) from read_parquet({path}) where status <> 'ok'"
        lost = dict(tables.execute(f"{query} group by all order by 2 desc, 1").fetchall())
    textless = tables.execute(
        f"select count(*) from e where n not in (select n from c where step = '{ORIGINAL}' "
        "and status not in ('empty_response', 'empty_instruction'))"
    ).fetchall()[0][0]
    return {
        "examples": examples,
        "kept": kept,
        "candidates": tables.execute("select count(*) from c").fetchall()[0][0],
        "ranges": ranges,
        "lost": lost,
        "without_original": textless,
    }


def _enum(tables: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    found = tables.execute(f"select distinct * from ({query}) order by 1").fetchall()
    words = [str(word) for (word,) in found if word is not None]
    listed = ", ".join(text(word) for word in words) or "''"
    tables.execute(f"create type {name} as enum ({listed})")


def _run(tables: duckdb.DuckDBPyConnection, query: str, **parts: str) -> None:
    tables.execute(query.format(**parts))


def text(value: object) -> str:
    """Text literal as SQL, with quotes."""
    return "'" + str(value).replace("'", "''") + "'"
