"""Checks that the files of a run folder are whole: their pages, their columns, their types."""

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data.schemas import (
    DECISIONS,
    FINAL_DECISIONS,
    RUN_TABLES,
    SCORES,
    VERDICTS,
    only_columns,
)
from tutelage.errors import RunError

_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, UnicodeDecodeError)

_OPTIONAL = frozenset(
    (
        *("tools", "finish_reason", "detail", "criticism", "request_key", "weight", "extra"),
        *("straddles", "stripped", "control_tokens_in_data", "contract"),
    )
)
"""Columns that tables of an older version may lack."""

_UNCHECKED = ("statistics.parquet", "quality_gate.parquet")
_SCHEMAS = {name: schema for name, schema in RUN_TABLES.items() if name not in _UNCHECKED} | {
    "verdicts.parquet": only_columns(VERDICTS, ("candidate_id", "verdict", "evidence")),
    "filters.parquet": only_columns(FINAL_DECISIONS, ("candidate_id", "kept", "reason")),
}
_WITH_NUMBERS = (SCORES, DECISIONS)
"""Tables that have columns of numbers behind those of their schema."""

_State: TypeAlias = tuple[int, int, int, int]
_checked: dict[tuple[str, _State], str | None] = {}
_hashed: dict[tuple[str, _State], str] = {}


def is_whole(path: Path) -> bool:
    """Whether a file is there and can be read to its end."""
    return path.is_file() and problem_with(path) is None


def sound(path: Path) -> Path:
    """The same path, once it is sure that the file can be read to its end.

    Raises:
        RunError: It is damaged, or is not the table that its name says.
    """
    problem = problem_with(path)
    if problem is None:
        return path
    raise RunError(
        f"{path}: is damaged: {problem}",
        hint="restore it from a copy, or move it away: the command that wrote it writes it again, "
        "and paid replies are not asked for twice",
    )


def problem_with(path: Path) -> str | None:
    """What is wrong with a file, or None. Each state of a file is read once a process."""
    try:
        state = _state(path)
    except OSError as error:
        return error.strerror or str(error)
    known = (str(path), state)
    if known not in _checked:
        _checked[known] = _found(path)
    return _checked[known]


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits.

    Raises:
        RunError: It cannot be read.
    """
    try:
        known = (str(path), _state(path))
        if known not in _hashed:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            _hashed[known] = digest.hexdigest()
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check that you may read it"
        ) from error
    return _hashed[known]


def _state(path: Path) -> _State:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _found(path: Path) -> str | None:
    if path.suffix != ".parquet":
        return None if path.is_file() else "it is no file"
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            problem = _column_problem(file.schema_arrow, _SCHEMAS.get(path.name))
            if problem is not None:
                return problem
            for batch in file.iter_batches(batch_size=65_536):
                batch.validate(full=True)
    except _DAMAGE as error:
        return f"it cannot be read as Parquet: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _column_problem(found: pa.Schema, wanted: pa.Schema | None) -> str | None:
    if wanted is None:
        return None
    for field in wanted:
        if field.name not in found.names:
            if field.name in _OPTIONAL:
                continue
            return f"it has no column {field.name!r}"
        kind = found.field(field.name).type
        if not _alike(kind, field.type):
            return f"its column {field.name!r} holds {kind}, expected {field.type}"
    return next(filter(None, (_extra_problem(field, wanted) for field in found)), None)


def _extra_problem(field: "pa.Field[Any]", wanted: pa.Schema) -> str | None:
    """What is wrong with a column that a schema does not name, or None."""
    if field.name in wanted.names or wanted not in _WITH_NUMBERS:
        return None
    if _alike(field.type, pa.float64()) or _alike(field.type, pa.int64()):
        return None
    return f"its column {field.name!r} holds {field.type}, expected numbers"


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    if found == wanted or pa.types.is_null(found):
        return True
    if pa.types.is_dictionary(found):
        return _alike(found.value_type, wanted)
    if pa.types.is_list(wanted):
        if not (pa.types.is_list(found) or pa.types.is_large_list(found)):
            return False
        turn = found.value_type
        return pa.types.is_struct(turn) and all(
            turn.get_field_index(name) >= 0
            and _alike(turn.field(turn.get_field_index(name)).type, pa.string())
            for name in ("role", "content")
        )
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        lambda kind: (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
        ),
    )
    return any(kind(found) and kind(wanted) for kind in kinds)
