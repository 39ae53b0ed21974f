"""Data arguments of the Python API: a path, rows, a table or a data frame."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from tutelage.data import Rows, replacing
from tutelage.data.file_formats import chosen_split
from tutelage.data.sources import IN_MEMORY
from tutelage.errors import DataError, TutelageError

Data: TypeAlias = Any
"""A path, a folder, a pattern, the id of a hub dataset, or a list of these; a list of dicts or
any other iterable of mappings; a pyarrow table; a `datasets.Dataset`; a pandas or polars frame;
what `tutelage.read` returns; or a mapping of settings with `path`."""

ROWS_FILE = "input.jsonl"
TABLE_FILE = "input.arrow"

_KEEPS_ORDER = pa.array([{"b": 0, "a": 0}]).type.field(0).name == "b"
"""Whether this pyarrow keeps the order of keys (24 and later do; earlier ones sort them). The order
of a tool's keys is part of the prompt, so it must not depend on the version."""


def is_path(data: Data) -> bool:
    """Whether data is one path, pattern or hub id, rather than in memory."""
    return isinstance(data, str | Path)


def is_settings(data: Data) -> bool:
    """Whether data is settings of the reader."""
    return (
        isinstance(data, Mapping)
        and isinstance(data.get("path", ""), str)
        and not any(hasattr(value, "column_names") for value in data.values())
    )


def names_files(data: Data) -> bool:
    """Whether data is a path or a list of paths."""
    listed = isinstance(data, list | tuple) and bool(data) and all(map(is_path, data))
    return is_path(data) or listed


def data_values(data: Data, options: Mapping[str, Any], *, folder: Path) -> dict[str, Any]:
    """Settings that read some data, with a `path`.

    Rows that are held in memory are written to a file, so that a run can account for them and
    continue later; equal rows give an equal file.

    Args:
        data: See `Data`.
        options: Settings of the reader; they win over those that come with `data`.
        folder: Where a file for rows in memory is written.

    Raises:
        DataError: It cannot be read as rows.
    """
    if isinstance(data, Rows):
        with_it = data.settings.model_dump(exclude_unset=True)
        return data_values(data.source, {**with_it, **options}, folder=folder)
    if isinstance(data, BaseModel):
        return {**data.model_dump(exclude_unset=True), **options}
    if isinstance(data, Mapping) and "path" in data:
        inner = {name: value for name, value in data.items() if name != "path"}
        return data_values(data["path"], {**inner, **options}, folder=folder)
    if names_files(data):
        path = str(data) if is_path(data) else tuple(map(str, data))
        return {"path": path, **options}
    held = in_memory(data, split=options.get("split"))
    if not len(held):
        raise DataError(
            f"{IN_MEMORY}: the {type(data).__name__} contains no rows",
            hint="pass at least one row; was everything filtered out before?",
        )
    return {"path": str(_written(held, folder)), **_without_split(options)}


def _without_split(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the split, since the written file holds only the chosen one."""
    return {name: value for name, value in options.items() if name != "split"}


def in_memory(data: Data, *, split: str | None = None) -> pa.Table | list[Any]:
    """Rows in memory as an Arrow table, or as a list where they are Python objects.

    Args:
        data: A table, a data frame, a `datasets` object or an iterable of mappings.
        split: Which split of a `DatasetDict`.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, Mapping):
        return in_memory(_split_of(data, split=split))
    table = _as_table(data)
    if table is not None:
        return table
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise DataError(
            f"cannot read rows from {type(data).__name__}",
            hint="pass a path, a list of dicts, a table, a Dataset or a data frame",
        )
    return list(data)


def _as_table(data: Data) -> pa.Table | list[Any] | None:
    """Arrow table of a data frame or data set, or None for anything else."""
    library = _library_of(data)
    found: pa.Table | None = None
    if library == "pandas" and hasattr(data, "to_dict"):
        return _from_pandas(data)
    if library == "polars":
        found = (data if hasattr(data, "to_arrow") else data.collect()).to_arrow()
    elif library == "datasets" and hasattr(data, "num_rows"):
        # Its own table would ignore what `select`, `filter` and `shuffle` did.
        found = data.with_format("arrow")[:]
    elif hasattr(data, "__arrow_c_stream__"):
        try:
            found = pa.RecordBatchReader.from_stream(data).read_all()
        except pa.ArrowException as error:
            raise DataError(f"this {type(data).__name__} cannot be read: {error}") from error
    return found


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Context manager that gives a temporary folder for rows in memory.

    Errors raised inside refer to those rows instead of the file.
    """
    with TemporaryDirectory(prefix="tutelage-") as folder:
        try:
            yield folder
        except TutelageError as error:
            message = str(error)
            for name in (ROWS_FILE, TABLE_FILE):
                message = message.replace(str(Path(folder) / name), IN_MEMORY)
            error.args = (message, *error.args[1:])
            raise


def in_words_of_memory(table: pa.Table, folder: Path) -> pa.Table:
    """Table whose details refer to rows in memory instead of the temporary file.

    Args:
        table: A table with a column `detail`.
        folder: Where that file was.
    """
    column = table["detail"]
    for name in (ROWS_FILE, TABLE_FILE):
        column = pc.replace_substring(column, str(folder / name), IN_MEMORY)
    place = table.column_names.index("detail")
    return table.set_column(place, table.schema.field("detail"), column)


def _library_of(data: Data) -> str | None:
    """Library of an object, by the name of its module; libraries are never imported for this."""
    for parent in type(data).__mro__:
        name = parent.__module__.partition(".")[0]
        if name in ("pandas", "polars", "datasets"):
            return name
    return None


def _split_of(data: Mapping[Any, Any], *, split: str | None) -> Any:
    names = [str(name) for name in data]
    if not names or not all(hasattr(rows, "column_names") for rows in data.values()):
        raise DataError(
            f"a single mapping with the keys {', '.join(names[:8])} is not a source",
            hint="pass a list of rows, even for one row: [row]; columns: pyarrow.table(columns)",
        )
    return data[chosen_split(names, split=split, place=IN_MEMORY)]


def _from_pandas(frame: Any) -> pa.Table | list[Any]:
    if not hasattr(frame, "columns"):
        raise DataError(
            f"cannot read rows from a pandas {type(frame).__name__}",
            hint="pass a DataFrame, such as series.to_frame()",
        )
    if not frame.columns.is_unique:
        repeated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
        raise DataError(
            f"the data frame has several columns {', '.join(repeated)}",
            hint="rename or drop them: a row can have one value of each name",
        )
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except pa.ArrowException:  # a column of several types: the rows themselves can have them
        return _rows_of(frame)
    nested = any(pa.types.is_nested(field.type) for field in table.schema)
    return table if _KEEPS_ORDER or not nested else _rows_of(frame)


def _rows_of(frame: Any) -> list[Any]:
    rows = frame.to_dict("records")
    return [{str(name): _known(value) for name, value in row.items()} for row in rows]


def _known(value: Any) -> Any:
    """Value with NaN, NaT and NA of pandas replaced by None."""
    if isinstance(value, str | list | tuple | Mapping):
        return value
    try:
        return None if bool(value != value) else value  # noqa: PLR0124  (only NaN and NaT differ)
    except (TypeError, ValueError):  # NA has no truth value; an array has several
        return None if type(value).__name__ == "NAType" else value


def _written(held: pa.Table | list[Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(held, pa.Table):
        path = folder / TABLE_FILE
        with (
            replacing(path) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, held.schema) as writer,
        ):
            writer.write_table(held)
        return path
    path = folder / ROWS_FILE
    with replacing(path) as temporary, temporary.open("x", encoding="utf-8") as text:
        text.writelines(_lines(held))
    return path


def _lines(rows: Sequence[Any]) -> Iterator[str]:
    for number, row in enumerate(rows):
        try:
            yield json.dumps(row, default=_plain) + "\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"row {number}: cannot be written as JSON: {error}",
                hint="give texts, numbers, lists and mappings",
            ) from error


def _plain(value: Any) -> Any:
    """JSON-compatible form of a value."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, set | frozenset | Mapping):
        return dict(value) if isinstance(value, Mapping) else sorted(value)
    if hasattr(value, "tolist"):  # of numpy, whose numbers are none of Python's
        return value.tolist()
    raise TypeError(f"found {type(value).__name__}")
