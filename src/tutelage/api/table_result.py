"""Result of a function: an Arrow table with what was kept and dropped, and why."""

import html
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tutelage.errors import MissingExtraError

_PREVIEW_ROWS = 5
_PREVIEW_COLUMNS = 8
_CELL_CHARACTERS = 80
_REASONS_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Rule by which a table says which of its rows were kept.

    Attributes:
        column: The column that decides.
        kept: Its values in rows that were kept.
        reason: The column that says why.
    """

    column: str
    kept: tuple[Any, ...]
    reason: str


BY_STATUS = Outcome(column="status", kept=("ok",), reason="status")
BY_ROW_STATUS = Outcome(column="status", kept=("ok", "duplicate"), reason="status")
BY_DECISION = Outcome(column="kept", kept=(True,), reason="reason")
BY_VERDICT = Outcome(column="verdict", kept=("right",), reason="verdict")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Result:
    """An Arrow table with the summary that the command line prints.

    Anything that reads Arrow data takes it directly: `pa.table(result)`, `pl.DataFrame(result)`.

    Attributes:
        table: All rows, including those that were dropped.
        summary: The tally of the stage: what `tutelage COMMAND` prints as JSON.
        outcome: How the table says which rows were kept; None if no row can be dropped.

    Examples:
        >>> table = pa.table({"example_id": ["a", "b"], "kept": [True, False],
        ...                   "reason": ["won", "no_candidate"]})
        >>> result = Result(table=table, outcome=BY_DECISION)
        >>> result
        Result: 2 rows, 1 kept, 1 dropped (no_candidate 1)
        >>> result.dropped["example_id"].to_pylist()
        ['b']
    """

    table: pa.Table
    summary: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None

    @property
    def kept(self) -> pa.Table:
        """The rows that were kept."""
        return self.table.filter(self._mask())

    @property
    def dropped(self) -> pa.Table:
        """The rows that were not kept; each says why."""
        return self.table.filter(pc.invert(self._mask()))

    @property
    def reasons(self) -> dict[str, int]:
        """Number of rows by reason, the most frequent first."""
        return _counts(self.table, self.outcome)

    @property
    def num_rows(self) -> int:
        """How many rows the table has."""
        return int(self.table.num_rows)

    @property
    def column_names(self) -> list[str]:
        """The names of the columns of the table."""
        return list(self.table.column_names)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the table."""
        return self.table.schema

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows as a list of dictionaries."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def to_pandas(self) -> Any:
        """The table as a pandas data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            return self.table.to_pandas()
        except ImportError as error:
            raise MissingExtraError(
                f"pandas cannot be loaded: {error}", hint="pip install pandas"
            ) from error

    def to_polars(self) -> Any:
        """The table as a polars data frame.

        Raises:
            MissingExtraError: polars is not installed.
        """
        try:
            import polars as pl
        except ImportError as error:
            raise MissingExtraError(
                f"polars cannot be loaded: {error}", hint="pip install polars"
            ) from error
        return pl.from_arrow(self.table)

    def to_dataset(self) -> Any:
        """The table as a `datasets.Dataset`.

        Raises:
            MissingExtraError: `datasets` is not installed.
        """
        try:
            from datasets import Dataset
        except ImportError as error:
            raise MissingExtraError(
                f"datasets cannot be loaded: {error}", hint="pip install 'tutelage[datasets]'"
            ) from error
        return Dataset(self.table.replace_schema_metadata(None))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        stream: object = self.table.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]
        return stream

    def __len__(self) -> int:
        return self.num_rows

    def __bool__(self) -> bool:
        return True  # a result without rows is a result

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches():
            yield from batch.to_pylist()

    def __getitem__(self, column: str) -> Any:
        return self.table[column]

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {_headline(self.table, self.outcome)}"

    def _repr_html_(self) -> str:
        heading = html.escape(f"{type(self).__name__}: {_headline(self.table, self.outcome)}")
        return f"<div><p><b>{heading}</b></p>{_reasons_html(self)}{_preview_html(self.table)}</div>"

    def _mask(self) -> Any:
        if self.outcome is None:
            return pa.array([True] * self.num_rows, pa.bool_())
        column = self.table[self.outcome.column]
        wanted = pa.array(self.outcome.kept, column.type)
        return pc.is_in(column, value_set=wanted)


def _counts(table: pa.Table, outcome: Outcome | None) -> dict[str, int]:
    if outcome is None:
        return {}
    found = Counter(map(str, table[outcome.reason].to_pylist()))
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _headline(table: pa.Table, outcome: Outcome | None) -> str:
    rows = f"{table.num_rows:,} row{'' if table.num_rows == 1 else 's'}"
    if outcome is None:
        return f"{rows}, columns {', '.join(map(_shown, table.column_names))}"
    whole = Result(table=table, outcome=outcome)
    dropped = whole.dropped
    why = _counts(dropped, outcome)
    words = ", ".join(f"{_shown(reason)} {count:,}" for reason, count in why.items())
    told = f" ({words})" if why else ""
    kept = table.num_rows - dropped.num_rows
    return f"{rows}, {kept:,} kept, {dropped.num_rows:,} dropped{told}"


def _reasons_html(result: Result) -> str:
    """HTML table of the counts of kept and dropped rows by reason."""
    if result.outcome is None:
        return ""
    parts = (("kept", result.kept), ("dropped", result.dropped))
    rows = [
        (what, reason, f"{count:,}")
        for what, table in parts
        for reason, count in list(_counts(table, result.outcome).items())[:_REASONS_SHOWN]
    ]
    return _html_table(("", result.outcome.reason, "rows"), rows)


def _preview_html(table: pa.Table) -> str:
    names = table.column_names[:_PREVIEW_COLUMNS]
    rows = table.select(names).slice(0, _PREVIEW_ROWS).to_pylist()
    if not rows:
        return ""
    shown = _html_table(names, [[_cell(row[name]) for name in names] for row in rows])
    left = len(table.column_names) - len(names)
    more = f", and {left} more columns" if left else ""
    return f"{shown}<p>The first {len(rows)} of {table.num_rows:,} rows{more}.</p>"


def table_html(table: pa.Table) -> str:
    """A small table whole, as HTML."""
    names = table.column_names
    return _html_table(names, [[_cell(row[name]) for name in names] for row in table.to_pylist()])


def _html_table(names: Any, rows: Any) -> str:
    head = "".join(f"<th>{html.escape(_shown(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_shown(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return "–"  # noqa: RUF001  (a dash for what is not there)
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _shown(text: object) -> str:
    r"""Text with invisible characters as escapes.

    Examples:
        >>> _shown("a\x1bb\u202ec")
        'a\\x1bb\\u202ec'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
