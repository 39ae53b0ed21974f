"""Where scores go: the scores table and, where asked for, the token statistics beside it."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from tutelage.data import TableWriter
from tutelage.data.schemas import INPUT_PLACE, TOKENS, table_schema
from tutelage.data.token_table import IS_TOKENS

_GROUP_ROWS = 256
"""Rows of token statistics in memory at once: their size grows with the length of the texts."""


class ScoreTables:
    """Writes rows that hold scores and perhaps token statistics, each into its table.

    Use it as a context manager: both files appear when the block ends well.

    Args:
        out: The scores table.
        schema: Of the scores table.
        statistics: The token statistics, or None.
    """

    def __init__(self, out: Path, schema: pa.Schema, *, statistics: Path | None) -> None:
        self._scores = TableWriter(out, schema)
        place = [field for field in INPUT_PLACE if field.name in schema.names]
        self._schema = table_schema(place, TOKENS).with_metadata(IS_TOKENS)
        self._tokens = None if statistics is None else TableWriter(statistics, self._schema)
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._scores)
            if self._tokens is not None:
                stack.enter_context(self._tokens)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def append(self, row: Mapping[str, Any]) -> None:
        """Append one row to each table."""
        names = self._scores.schema.names
        self._scores.append([{name: row.get(name) for name in names}])
        if self._tokens is not None:
            self._waiting.append({name: row.get(name) for name in self._schema.names})
            if len(self._waiting) == _GROUP_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._tokens is not None and self._waiting:
            self._tokens.append_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []
