"""An opened run: its index, a second student's decisions, manual decisions and texts by row."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.data import ORIGINAL
from tutelage.data.databases import hide_progress_bar
from tutelage.data.schemas import columns_of, table_schema
from tutelage.filters import Embedder
from tutelage.pipeline import RunFolder
from tutelage.pipeline.overrides import Override, overrides_of
from tutelage.pipeline.run_dir import sound
from tutelage.reporting.number_format import STEP_WORDS, reason_words
from tutelage.reporting.queries import quoted
from tutelage.selection import OVERRULED
from tutelage.viewer.index import MEMORY_LIMIT, index_key, text
from tutelage.viewer.query import Names
from tutelage.viewer.search import RowMap, Search, Searches

CASES: dict[str, str] = {
    "same": "both keep the same version",
    "other": "they keep different versions",
    "only_first": "only the first keeps one",
    "only_second": "only the second keeps one",
    "neither": "neither keeps one",
}
_COMPARED = """
create or replace table beside as
select e.n, case
    when a.kept and b.kept and a.candidate_id = b.candidate_id then 'same'
    when a.kept and b.kept then 'other' when a.kept then 'only_first'
    when b.kept then 'only_second' else 'neither' end as beside
from ix.e e join read_parquet({mine}) a on a.example_id = e.example_id
join read_parquet({theirs}) b on b.example_id = e.example_id
"""
_SCORES = "select * from read_parquet({scores}) where candidate_id in (select unnest($ids)) {whose}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """Run of the second student.

    Attributes:
        run: Its folder.
        name: What the page calls the student.
        student: The fingerprint of its scores.
    """

    run: RunFolder
    name: str
    student: str | None

    def compare(self, tables: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
        """Create the table `beside` with the decisions of both students on each example.

        Raises:
            RunError: One of the two has no decisions.
        """
        mine, theirs = (text(sound(r.need(r.decisions))) for r in (run, self.run))
        tables.execute(_COMPARED.format(mine=mine, theirs=theirs))

    def about(
        self, tables: duckdb.DuckDBPyConnection, example_id: str, ids: list[str]
    ) -> dict[str, Any]:
        """Decision of the second student on one example, and its numbers by candidate.

        Args:
            tables: The connection.
            example_id: The example.
            ids: Ids of its candidates.
        """
        query = f"select * from read_parquet({text(self.run.decisions)}) where example_id = $id"
        found = tables.sql(query, params={"id": example_id}).to_arrow_table().to_pylist()
        decision = found[0] if found else None
        return {
            "name": self.name,
            "candidate_id": decision["candidate_id"] if decision else None,
            "step_words": _words(decision["step"]) if decision else None,
            "reason_words": reason_words(decision["reason"]) if decision else None,
            "judged": decision is not None,
            "numbers": self._numbers(tables, ids),
        }

    def _numbers(
        self, tables: duckdb.DuckDBPyConnection, ids: list[str]
    ) -> dict[str, dict[str, float]]:
        if not self.run.scores.exists():
            return {}
        whose = f"and student = {text(self.student)}" if self.student else ""
        query = _SCORES.format(scores=text(self.run.scores), whose=whose)
        rows = tables.sql(query, params={"ids": ids}).to_arrow_table().to_pylist()
        return {
            row["candidate_id"]: {
                name: value
                for name, value in row.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            for row in rows
        }


def _words(step: str | None) -> str | None:
    return None if step is None else STEP_WORDS.get(step, step)


def second_selection(run: RunFolder, name: str) -> Second:
    """Another selection of the same run.

    Raises:
        SettingsError: There is no selection of that name.
    """
    other = run.selected_as(name)
    student = other.shown_manifest().get("stages", {}).get("select", {}).get("tally", {})
    return Second(run=other, name=f"selection {name}", student=student.get("student"))


def open_second(root: Path) -> Second:
    """Open the run of a second student.

    Raises:
        RunError: There is no run.
    """
    run = RunFolder(root=root).existing()
    student = run.read_manifest().get("student", {})
    name = Path(str(student.get("model") or root)).name
    return Second(run=run, name=name, student=student.get("fingerprint"))


# ----------------------------------------------------------------------------------------------
# Recent answers, so that the same question is not computed twice.
# ----------------------------------------------------------------------------------------------


class Answers:
    """Cache of answers by query.

    Args:
        most: How many are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    def of(
        self, key: tuple[object, ...], work: Callable[[], Any], *, keep: Callable[[Any], bool]
    ) -> Any:
        """Cached answer, or a new one, which is cached if `keep` says so.

        Args:
            key: Key of the answer.
            work: Computes the answer.
            keep: Whether an answer is cached.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = work()
        if not keep(answer):
            return answer
        with self._lock:
            self._kept[key] = answer
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return answer


# ----------------------------------------------------------------------------------------------
# Run store.
# ----------------------------------------------------------------------------------------------


KEPT_RANGES = 8
"""Cached sets of examples with a version within some ranges; four bytes per example each."""

KEPT_BYTES = 128 * 1024**2
"""Row groups of a file that stay in memory; tutelage writes some 8,000 rows in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Metadata of the index; see `tutelage.viewer.index`."""

    key: str
    metrics: tuple[str, ...]
    teachers: tuple[str, ...]
    statuses: tuple[str, ...]
    faults: tuple[str, ...]
    student: str | None
    students: tuple[str, ...]
    examples: int
    kept: int
    candidates: int
    ranges: dict[str, list[float | None]]
    lost: dict[str, int]
    without_original: int


class RowsOnDisk:
    """Rows of a Parquet file by number, read one row group at a time.

    Args:
        path: The file.

    Attributes:
        rows: How many there are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = pq.ParquetFile(path)
        counts = [
            self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)
        ]
        self._starts = np.cumsum([0, *counts])
        self.rows = int(self._starts[-1])
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()

    def take(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Rows in the order of the given numbers."""
        with self._lock:
            return [self._row(number) for number in numbers]

    def table(self, number: int) -> pa.Table:
        """One row as a table."""
        with self._lock:
            return self._slice(number)

    def _row(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._slice(number).to_pylist()[0]
        return row

    def _slice(self, number: int) -> pa.Table:
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        if group not in self._kept:
            self._kept[group] = self._file.read_row_group(group)
            while len(self._kept) > 1 and sum(t.nbytes for t in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return self._kept[group].slice(number - int(self._starts[group]), 1)

    def close(self) -> None:
        """Close the Parquet file."""
        with self._lock:
            self._kept.clear()
            self._file.close()


class Shelf:
    """An opened run folder.

    Args:
        run: The run folder.
        index: The path that `open_index` gave.
        second: The run of a second student over the same rows.
        embedder: The static embedding model of the search by meaning and of the map; None where
            there is none: the map then knows words only.
    """

    def __init__(
        self,
        run: RunFolder,
        index: Path,
        *,
        second: Second | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.run = run
        self.second = second
        self.embedder = embedder
        self._tables = duckdb.connect(
            config={"memory_limit": MEMORY_LIMIT, "preserve_insertion_order": True}
        )
        hide_progress_bar(self._tables)
        self._tables.execute(f"attach {text(index)} as ix (read_only)")
        found = self._tables.execute("select name, value from ix.meta").fetchall()
        values: dict[str, Any] = {name: json.loads(value) for name, value in found}
        for name in ("metrics", "teachers", "statuses", "faults", "students"):
            values[name] = tuple(values[name])
        self.meta = Meta(**values)
        self.names = Names(
            metrics=self.meta.metrics,
            teachers=self.meta.teachers,
            statuses=self.meta.statuses,
            faults=self.meta.faults,
            beside=second is not None,
        )
        self.manifest = run.shown_manifest()
        self.candidates = RowsOnDisk(run.candidates)
        self.examples = RowsOnDisk(run.examples)
        self.scores = RowsOnDisk(run.scores) if run.scores.exists() else None
        self.statistics = RowsOnDisk(run.statistics) if run.statistics.exists() else None
        self.searches = Searches(self._search)
        self.ranged = Answers(KEPT_RANGES)
        self.combinations = Answers(KEPT_RANGES)
        self.near = Answers(KEPT_RANGES)
        self._numbers: tuple[tuple[Path, NDArray[np.int32]], ...] | None = None
        self.overrides: dict[str, Override] = {}
        self.version = 0
        self._deciding = threading.Lock()
        self._row_map: RowMap | None = None
        self._mapping = threading.Lock()
        if second is not None:
            second.compare(self._tables, run)
        self.refresh()

    def refresh(self) -> None:
        """Apply the current manual decisions."""
        with self._deciding:  # two that replace the same table at once: DuckDB refuses one
            self.overrides = overrides_of(self.run)
            rows = [self._patched(override) for override in self.overrides.values()]
            wanted = [row for row in rows if row is not None]
            schema = table_schema(columns_of(("n", "k"), pa.int32()))
            with self.cursor() as tables:
                tables.execute("begin transaction")
                tables.register("wanted", pa.Table.from_pylist(wanted, schema=schema))
                tables.execute(self._patch_query())
                tables.execute(self._examples_query(patched=bool(wanted)))
                tables.execute(
                    "create or replace view c as select c.* replace (case when p.n is null then "
                    "c.chosen else c.k = p.chosen_k end as chosen) from ix.c c "
                    "left join patched p on p.n = c.n"
                    if wanted
                    else "create or replace view c as select * from ix.c"
                )
                tables.execute("commit")
            self.version += 1

    def _examples_query(self, *, patched: bool) -> str:
        examples = "select * from ix.e"
        if patched:
            examples += " where n not in (select n from patch) union all select * from patch"
        if self.second is not None:
            examples = f"select u.*, b.beside from ({examples}) u left join beside b on b.n = u.n"
        return f"create or replace view e as {examples}"

    def _patch_query(self) -> str:
        numbers = "".join(f", o.{quoted('o_' + m)}, k.{quoted(m)}" for m in self.meta.metrics)
        return (
            "create or replace table patched as select n, coalesce(k, -1) as chosen_k from wanted;"
            "create or replace table patch as select o.n, o.example_id, o.row, o.er, o.source, "
            f"o.snippet, '{OVERRULED}' as reason, w.k is not null as kept, k.step as step, "
            f"o.candidates, o.teachers, o.statuses, o.faults, true as overruled {numbers} "
            "from ix.e o join wanted w on w.n = o.n left join ix.c k on k.n = w.n and k.k = w.k"
        )

    def _patched(self, override: Override) -> dict[str, int | None] | None:
        """Number of the example and row of the candidate, if both still exist."""
        found = self.ask("select n from ix.e where example_id = $id", {"id": override.example_id})
        if not found:
            return None
        n = int(found[0][0])
        if override.candidate_id is None:
            return {"n": n, "k": None}
        for row, candidate in self.versions(n):
            if candidate["candidate_id"] == override.candidate_id:
                return {"n": n, "k": row} if candidate["status"] == "ok" else None
        return None

    def versions(self, n: int) -> list[tuple[int, dict[str, Any]]]:
        """Candidates of an example with their row numbers, the original first."""
        rows = [int(k) for (k,) in self.ask("select k from ix.c where n = $n", {"n": n})]
        return list(zip(rows, self.candidates.take(rows), strict=True))

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """New connection for one request."""
        tables = self._tables.cursor()
        try:
            yield tables
        finally:
            tables.close()

    def ask(self, query: str, parameters: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with self.cursor() as tables:
            return tables.execute(query, parameters or {}).fetchall()

    @property
    def is_stale(self) -> bool:
        """Whether a table of the run was rewritten after the index was built."""
        return index_key(self.run) != self.meta.key

    def _search(self, words: str) -> Search:
        if self._numbers is None:
            with self.cursor() as tables:
                of_row = tables.execute("select k, n from ix.c").fetchnumpy()
                found = _by_row(of_row["k"], of_row["n"], self.run.candidates)
                self._numbers = ((self.run.candidates, found),)
                if self.meta.without_original:
                    of_row = tables.execute(
                        "select er, n from ix.e where n not in (select n from ix.c where "
                        f"step = '{ORIGINAL}' and status not like 'empty%')"
                    ).fetchnumpy()
                    more = _by_row(of_row["er"], of_row["n"], self.run.examples)
                    self._numbers += ((self.run.examples, more),)
        return Search(words, sources=self._numbers, examples=self.meta.examples)

    @property
    def row_map(self) -> RowMap:
        """Embeddings of the rows, which a thread computes from the first use."""
        with self._mapping:
            if self._row_map is None:
                with self.cursor() as tables:
                    of_row = tables.execute("select er, n from ix.e").fetchnumpy()
                numbers = _by_row(of_row["er"], of_row["n"], self.run.examples)
                self._row_map = RowMap(self.run.examples, numbers, embedder=self.embedder)
            return self._row_map

    def nearest(self, text: str) -> pa.Table:
        """Rows nearest to a text in meaning; see `RowMap.near`."""
        done = self.row_map.done
        found: pa.Table = self.near.of(
            (text, done), lambda: self.row_map.near(text), keep=lambda _: done
        )
        return found

    def close(self) -> None:
        """Close the files and connections."""
        self.searches.close()
        if self._row_map is not None:
            self._row_map.stop()
        for rows in (self.candidates, self.examples, self.scores, self.statistics):
            if rows is not None:
                rows.close()
        self._tables.close()


def _by_row(rows: NDArray[np.int32], examples: NDArray[np.int32], path: Path) -> NDArray[np.int32]:
    """Example of each row of a file; -1 for rows that do not count."""
    of_row = np.full(pq.read_metadata(path).num_rows, -1, dtype=np.int32)
    of_row[np.asarray(rows)] = np.asarray(examples)
    return of_row
