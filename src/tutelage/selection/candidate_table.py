"""Table of all candidates with their scores, as arrays, in an order that depends on ids alone.

    E   examples, ascending by example id
    N   candidates, ascending by example id, then candidate id; an example without any has one
        blank row

Because the order is that of the ids, "the id decides" is "the smaller index decides", and neither
the order of rows in a file nor the number of DuckDB's threads can change a decision. Random
numbers are hashes of ids too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from tutelage.data import INSTRUCTION_REFLECTION, OK, ORIGINAL, RESPONSE_REFLECTION, SAMPLE, STEPS
from tutelage.data.databases import hide_progress_bar
from tutelage.errors import DataError

# ----------------------------------------------------------------------------------------------
# Arrow columns as numpy arrays and back. Only here NaN and the index -1 mean null.
# ----------------------------------------------------------------------------------------------


Column: TypeAlias = "pa.Array[Any]"
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Indexes: TypeAlias = NDArray[np.int64]

NONE = -1
"""Index that means "no candidate"."""


def column_of(table: pa.Table, name: str) -> Column:
    """Column of a table as one array."""
    return table[name].combine_chunks()


def filled(column: Column, value: object) -> Column:
    """Column with its nulls replaced by a value."""
    fill: Any = pc.fill_null
    without_nulls: Column = fill(column, value)
    return without_nulls


def to_numpy(column: Column) -> NDArray[Any]:
    """Numpy array of a column without nulls."""
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def to_floats(column: Column) -> Floats:
    """Float64 values of a column, NaN for null."""
    return to_numpy(filled(column, np.nan)).astype(np.float64, copy=False)


def from_floats(values: Floats) -> Column:
    """Float64 column, null for NaN."""
    column: Column = pa.array(values, pa.float64(), mask=np.isnan(values))
    return column


def equals(column: Column, value: str) -> Bools:
    """Mask of rows with this text; false for null."""
    return to_numpy(filled(pc.equal(column, pa.scalar(value)), False)).astype(np.bool_)


def follows_equal(column: Column) -> Bools:
    """Mask of values equal to the one before; false for the first and for nulls."""
    if len(column) == 0:
        return np.zeros(0, dtype=np.bool_)
    same = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
    rest = to_numpy(filled(same, False)).astype(np.bool_)
    return np.concatenate([np.zeros(1, dtype=np.bool_), rest])


def encode(column: Column) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct texts of a column, and the index of each row's text, -1 for null."""
    encoded: Any = pc.dictionary_encode(column)
    codes = to_numpy(filled(encoded.indices, NONE)).astype(np.int64)
    return tuple(str(word) for word in encoded.dictionary.to_pylist()), codes


def take(column: Column, index: NDArray[np.int64]) -> Column:
    """Values at these rows; null at -1."""
    rows: Any = pa.array(index, pa.int64(), mask=index == NONE)
    taken: Column = column.take(rows)
    return taken


def constant(value: str, rows: int) -> Column:
    """Text column with the same value in every row."""
    return take(pa.array([value], pa.string()), np.zeros(rows, dtype=np.int64))


def count_values(column: Column) -> dict[str, int]:
    """Count of each text, most frequent first, then by text."""
    counted: Any = pc.value_counts(column)
    pairs = [(str(pair["values"]), int(pair["counts"])) for pair in counted.to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


# ----------------------------------------------------------------------------------------------
# Candidate table.
# ----------------------------------------------------------------------------------------------


TableSource: TypeAlias = pa.Table | ds.Dataset | Path
"""Sources of tables: an Arrow table or data set, or the path of a Parquet file. Only the needed
columns are read, so a path saves the memory of the texts.
"""

NOT_SCORED = "not_scored"
"""Status of a candidate with text but without the needed score."""

_FURTHEST = 100

_QUERY = """
select {example}.example_id, {source} as source, c.candidate_id, c.parent_id,
  {teacher} as teacher,
  {step} as step,
  c.status as written,
  coalesce(case when c.status <> 'ok' then c.status else s.status end, '{not_scored}') as status,
  {numbers}
from {tables} left join s on c.candidate_id = s.candidate_id
order by {example}.example_id, c.candidate_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All candidates with everything that a rule may use.

    Attributes:
        example_ids: E ids, ascending, each once.
        sources: The source of each example; null where there is none or none was given.
        candidate_ids: N ids; null in the blank row of an example without candidates.
        starts_E: Where each example's rows begin.
        example_N: Which example each row belongs to.
        step_N: Index into `STEPS`; -1 in a blank row.
        changed_N: How far from the original: 0 an original, 1 a sample or the rewritten response
            of an original, 2 a rewritten instruction, 3 the rewritten response of anything else.
        parent_N: Row of the candidate it was made from, within its example; else -1.
        written_N: Whether the candidate has text: its own status is ok.
        usable_N: Whether it has text and the student scored it: both statuses are ok.
        statuses: The words that `status_N` points to.
        status_N: Why it is not usable, or ok.
        teachers: The names that `teacher_N` points to.
        teacher_N: Index of the teacher that wrote it; -1 where none is named.
        numbers: N values for each metric, NaN exactly where there is no number. A comparison with
            NaN is false, which is what every rule wants of an unscored candidate.
    """

    example_ids: Column
    sources: Column
    candidate_ids: Column
    starts_E: Indexes
    example_N: Indexes
    step_N: NDArray[np.int8]
    changed_N: NDArray[np.int8]
    parent_N: Indexes
    written_N: Bools
    usable_N: Bools
    statuses: tuple[str, ...]
    status_N: Indexes
    teachers: tuple[str, ...]
    teacher_N: Indexes
    numbers: Mapping[str, Floats]

    @property
    def examples(self) -> int:
        """Number of examples in the pool."""
        return len(self.starts_E)

    def of_step(self, step: str) -> Bools:
        """Mask of candidates of a step."""
        rows: Bools = self.step_N == STEPS.index(step)
        return rows

    def at(self, name: str, chosen_E: Indexes) -> Floats:
        """Metric of one candidate per example; NaN where none was chosen or it has no number."""
        return np.where(chosen_E == NONE, np.nan, self.numbers[name][chosen_E])

    def best(self, eligible_N: Bools, values_N: Floats, *, highest: bool) -> Indexes:
        """Best eligible candidate of each example.

        Args:
            eligible_N: Mask of candidates that may be chosen. A NaN is never chosen.
            values_N: The compared metric.
            highest: Whether higher is better.

        Returns:
            E rows, or -1. Equal values go to the less changed candidate, then to the smaller id.
        """
        keys_N = np.where(
            eligible_N & ~np.isnan(values_N), values_N if highest else -values_N, -np.inf
        )
        tops_E = np.maximum.reduceat(keys_N, self.starts_E)
        return self.least_changed((keys_N == tops_E[self.example_N]) & (keys_N > -np.inf))

    def least_changed(self, eligible_N: Bools) -> Indexes:
        """Least changed eligible candidate of each example, then the smaller id; or -1."""
        distance_N = np.where(eligible_N, self.changed_N, np.int8(_FURTHEST))
        least_E = np.minimum.reduceat(distance_N, self.starts_E)
        tied_N = eligible_N & (distance_N == least_E[self.example_N])
        rows = len(self.step_N)
        found_E = np.minimum.reduceat(np.where(tied_N, np.arange(rows), rows), self.starts_E)
        return np.where(found_E == rows, NONE, found_E)

    def ranks(self, eligible_N: Bools, values_N: Floats, *, highest: bool) -> Indexes:
        """Rank of each eligible candidate within its example, from 0.

        Args:
            eligible_N: Mask of candidates that are ranked. A NaN never is.
            values_N: The compared metric.
            highest: Whether higher is better.

        Returns:
            N places from 0 on, -1 where a candidate takes no part. Rank 0 is `best`, and equal
            values are ordered as there.
        """
        rows = np.flatnonzero(eligible_N & ~np.isnan(values_N))
        cost = -values_N[rows] if highest else values_N[rows]
        ordered = rows[np.lexsort((rows, self.changed_N[rows], cost, self.example_N[rows]))]
        example = self.example_N[ordered]
        first = np.searchsorted(example, example, side="left")
        ranks = np.full(len(values_N), NONE, dtype=np.int64)
        ranks[ordered] = np.arange(len(ordered)) - first
        return ranks

    def consider(self, tiers: Sequence[Bools], values_N: Floats, *, highest: bool) -> Indexes:
        """Best candidate of the first non-empty tier, which a reason refers to.

        Args:
            tiers: Masks of candidates, the first non-empty one per example counts.
            values_N: The compared metric.
            highest: Whether higher is better.
        """
        found_E = np.full(self.examples, NONE, dtype=np.int64)
        for tier_N in tiers:
            best_E = self.best(tier_N, values_N, highest=highest)
            best_E = np.where(best_E == NONE, self.least_changed(tier_N), best_E)
            found_E = np.where(found_E == NONE, best_E, found_E)
        return found_E


def load_pool(
    *,
    candidates: TableSource,
    scores: TableSource,
    metrics: Sequence[str],
    examples: TableSource | None = None,
    student: str | None = None,
) -> Pool:
    """Join candidates and scores by id and sort them.

    Args:
        candidates: The columns candidate_id, example_id, parent_id, step and status are read, and
            teacher where there is one.
        scores: The columns candidate_id, status and the metrics are read.
        metrics: Columns of the scores that the rule needs.
        examples: The column example_id, and source where there is one; None takes the examples
            that have candidates.
        student: Use this student's scores only.

    Returns:
        The pool. It does not depend on the order of any table's rows.

    Raises:
        DataError: A column is missing, an id is missing or there twice, or a candidate belongs to
            no example.
    """
    with duckdb.connect(config={"preserve_insertion_order": False}) as tables:
        hide_progress_bar(tables)
        candidate_columns = _view(tables, "c", candidates)
        score_columns = _view(tables, "s", scores, student=student)
        _need(candidate_columns, "candidates", ("candidate_id", "example_id", "parent_id", "step"))
        _need(candidate_columns, "candidates", ("status",))
        _need(score_columns, "scores", ("candidate_id", "status", *metrics))
        example_columns = [] if examples is None else _view(tables, "e", examples)
        cases = " ".join(f"when '{step}' then {code}" for code, step in enumerate(STEPS))
        numbers = ", ".join(
            f"case when c.status = 'ok' and s.status = 'ok' and isfinite(s.{name}::double) "
            f"then s.{name}::double end as {name}"
            for name in metrics
        )
        query = _QUERY.format(
            example="c" if examples is None else "e",
            source="e.source" if "source" in example_columns else "null::varchar",
            teacher="c.teacher" if "teacher" in candidate_columns else "null::varchar",
            step=f"(case c.step {cases} end)::tinyint",
            not_scored=NOT_SCORED,
            numbers=numbers or "null as nothing",
            tables="c" if examples is None else "e left join c on e.example_id = c.example_id",
        )
        table = tables.sql(query).to_arrow_table()
        _check(tables, table, students=student is None and "student" in score_columns)
    return _pool_of(table, metrics)


def with_columns(pool: Pool, columns: pa.Table) -> Pool:
    """Pool with further metrics; NaN where a candidate has none.

    Args:
        pool: The pool.
        columns: `candidate_id`, and one column of numbers for each name.
    """
    index = pc.index_in(pool.candidate_ids, value_set=column_of(columns, "candidate_id"))
    place_N = to_numpy(filled(index, NONE)).astype(np.int64)
    more = {
        name: np.append(to_floats(column_of(columns, name)), np.nan)[place_N]
        for name in columns.column_names
        if name != "candidate_id"
    }
    return replace(pool, numbers={**pool.numbers, **more})


def _view(
    tables: duckdb.DuckDBPyConnection, name: str, source: TableSource, *, student: str | None = None
) -> list[str]:
    relation = (
        tables.read_parquet(str(source)) if isinstance(source, Path) else tables.from_arrow(source)
    )
    if student is not None:
        relation = relation.filter(
            duckdb.ColumnExpression("student") == duckdb.ConstantExpression(student)
        )
    relation.create_view(name)
    return relation.columns


def _need(columns: Sequence[str], table: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            raise DataError(
                f"the {table} table has no column {name!r}",
                hint=f"score again with {name} among --metrics"
                if table == "scores"
                else f"its columns are {', '.join(columns)}",
            )


def _check(tables: duckdb.DuckDBPyConnection, table: pa.Table, *, students: bool) -> None:
    if table["example_id"].null_count:
        raise DataError("a row without an example_id", hint="ids come from the load stage")
    ids = column_of(table, "candidate_id")
    twice = np.flatnonzero(follows_equal(ids))
    if len(twice):
        raise DataError(
            f"candidate {ids[int(twice[0])]} occurs twice in the candidates or in the scores",
            hint="name one student: the scores may hold several"
            if students
            else "restore the tables from a copy, or write them again with the same `tutelage run`",
        )
    found = len(ids) - ids.null_count
    given = tables.sql("select count(*) from c").fetchall()[0][0]
    if found != given:
        raise DataError(
            f"{given} candidates, but {found} of them with an id and a known example",
            hint="the tables must come from the same run",
        )
    unknown = table.filter(pc.and_(pc.is_valid(table["candidate_id"]), pc.is_null(table["step"])))
    if len(unknown):
        raise DataError(
            f"candidate {unknown['candidate_id'][0]}: its step is not one of {', '.join(STEPS)}",
            hint="the table was changed, or written by a newer version: restore it from a copy",
        )


def _pool_of(table: pa.Table, metrics: Sequence[str]) -> Pool:
    examples = column_of(table, "example_id")
    if not len(examples):
        raise DataError("there is no example to decide on")
    is_start_N = ~follows_equal(examples)
    starts_E = np.flatnonzero(is_start_N).astype(np.int64)
    example_N = np.cumsum(is_start_N) - 1
    candidates = column_of(table, "candidate_id")
    step_N = to_numpy(filled(column_of(table, "step"), NONE)).astype(np.int8)
    parent_N = _parents(column_of(table, "parent_id"), candidates, example_N)
    statuses, status_N = encode(column_of(table, "status"))
    teachers, teacher_N = encode(column_of(table, "teacher"))
    return Pool(
        example_ids=take(examples, starts_E),
        sources=take(column_of(table, "source"), starts_E),
        candidate_ids=candidates,
        starts_E=starts_E,
        example_N=example_N,
        step_N=step_N,
        changed_N=_changed(step_N, parent_N),
        parent_N=parent_N,
        written_N=equals(column_of(table, "written"), OK),
        usable_N=np.array([status == OK for status in statuses])[status_N],
        statuses=statuses,
        status_N=status_N,
        teachers=teachers,
        teacher_N=teacher_N,
        numbers={name: to_floats(column_of(table, name)) for name in metrics},
    )


def _parents(parents: Column, candidates: Column, example_N: Indexes) -> Indexes:
    """Row of each parent within the same example; else -1."""
    found = pc.index_in(parents, value_set=candidates, skip_nulls=True)
    found_N = to_numpy(filled(found, NONE)).astype(np.int64)
    return np.where((found_N != NONE) & (example_N[found_N] == example_N), found_N, NONE)


def _changed(step_N: NDArray[np.int8], parent_N: Indexes) -> NDArray[np.int8]:
    of_original_N = (parent_N != NONE) & (step_N[parent_N] == STEPS.index(ORIGINAL))
    distance = np.zeros(len(step_N), dtype=np.int8)
    distance[step_N == STEPS.index(SAMPLE)] = 1
    distance[step_N == STEPS.index(INSTRUCTION_REFLECTION)] = 2
    reflected_N = step_N == STEPS.index(RESPONSE_REFLECTION)
    distance[reflected_N] = np.where(of_original_N, 1, 3)[reflected_N]
    return distance


Purpose: TypeAlias = Literal["rule", "nulls", "cut", "mix", "permuted", "length_matched"]

_HEX_DIGITS = 13
"""Hexadecimal digits of an MD5 that are used: 52 bits fit a float64 without rounding."""

# DuckDB keeps the row order of an Arrow table (`preserve_insertion_order` is on by default).
_RANDOM_QUERY = """
select ('0x' || left(md5($salt || id), $digits))::bigint::double / $scale as draw from given
"""


def draws(*columns: Column, seed: int, purpose: Purpose) -> tuple[Floats, ...]:
    """One random number per id: 52 bits of the MD5 of purpose, seed and id.

    Args:
        *columns: Columns of example or candidate ids; a null gets NaN.
        seed: Another seed gives independent numbers.
        purpose: Numbers for different purposes are independent: otherwise the random baseline
            of a random selection would be that selection.

    Returns:
        For each column float64 in [0, 1), the same on every machine and in every order.

    Examples:
        >>> draws(pa.array(["a"]), seed=0, purpose="nulls")[0].round(6).tolist()
        [0.881654]
    """
    salt = {"salt": f"{purpose}:{seed}:", "digits": _HEX_DIGITS, "scale": 16.0**_HEX_DIGITS}
    drawn = []
    with duckdb.connect() as tables:
        hide_progress_bar(tables)
        for ids in columns:
            tables.from_arrow(pa.table({"id": ids})).create_view("given", replace=True)
            table = tables.sql(_RANDOM_QUERY, params=salt).to_arrow_table()
            drawn.append(to_floats(column_of(table, "draw")))
    return tuple(drawn)
