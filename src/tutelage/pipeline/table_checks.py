"""Checks of the files of a run folder: their pages, columns and types, ids and words.

They run once for each state of a file, and over columns, not over rows: a million candidates take
about half a second.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import OK, STEPS
from tutelage.data.schemas import (
    ANSWERS,
    COMPARED_LOOPS,
    DECISIONS,
    FINAL_DECISIONS,
    RESULTS,
    ROUNDS,
    RUN_TABLES,
    SCORES,
    STANDINGS,
    VERDICTS,
    column,
    only_columns,
    table_schema,
)
from tutelage.errors import RunError
from tutelage.verification import RULINGS

# ----------------------------------------------------------------------------------------------
# Checks that the files of a run folder are whole: their pages, their columns, their types.
# ----------------------------------------------------------------------------------------------


_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, UnicodeDecodeError)

_OPTIONAL = frozenset(
    (
        *("tools", "finish_reason", "detail", "criticism", "request_key", "weight", "extra"),
        *("straddles", "stripped", "control_tokens_in_data", "contract", "template_args", "check"),
    )
)
"""Columns that tables of an older version may lack."""

_UNCHECKED = ("statistics.parquet", "quality_gate.parquet")
_SCHEMAS = {name: schema for name, schema in RUN_TABLES.items() if name not in _UNCHECKED} | {
    "verdicts.parquet": table_schema(
        only_columns(VERDICTS, ("candidate_id", "verdict", "evidence")),
        column("check", pa.string()),
    ),
    "filters.parquet": only_columns(FINAL_DECISIONS, ("candidate_id", "kept", "reason")),
    "results.parquet": RESULTS,
    "answers.parquet": ANSWERS,
    "standings.parquet": STANDINGS,
    "rounds.parquet": ROUNDS,
    "loops.parquet": COMPARED_LOOPS,
}
_WITH_NUMBERS = (SCORES, DECISIONS, ANSWERS)
"""Tables that have columns of numbers behind those of their schema."""

State: TypeAlias = tuple[int, int, int, int]
_checked: dict[tuple[str, State], str | None] = {}
_hashed: dict[tuple[str, State], str] = {}


def is_whole(path: Path) -> bool:
    """Whether a file exists and can be read to its end."""
    return path.is_file() and problem_with(path) is None


def sound(path: Path) -> Path:
    """Same path, after checking that the file can be read to its end.

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


def check_kinds(folder: Path) -> None:
    """Raise an error for a pipe, a socket or a device: reading one may never end.

    Raises:
        RunError: It holds one, or a link to one.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise RunError(
                f"{path}: is neither a file nor a folder, but a pipe, a socket or a device",
                hint="move it away; a run folder holds files alone",
            )


def problem_with(path: Path) -> str | None:
    """Problem of a file, or None. Each state of a file is read once per process."""
    try:
        state = state_of(path)
    except OSError as error:
        return error.strerror or str(error)
    if not path.is_file() and not path.is_dir():
        return "it is a pipe, a socket or a device"
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
        known = (str(path), state_of(path))
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


def state_of(path: Path) -> State:
    """State of a file by which a change of it shows: inode, size and times."""
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
            content = ContentCheck(RULES.get(path.name), file.schema_arrow)
            for batch in file.iter_batches(batch_size=65_536):
                batch.validate(full=True)
                content.add(batch)
            return content.problem()
    except _DAMAGE as error:
        return f"it cannot be read as Parquet: {str(error).splitlines()[0] if str(error) else ''}"


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
    """Problem of a column that a schema does not name, or None."""
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


# ----------------------------------------------------------------------------------------------
# Content of a table: ids that are there once, and words that mean something.
# ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """Conditions that every row of a table fulfils.

    Attributes:
        what: What a row is, for messages.
        key: The columns that name a row; no two rows have the same values.
        filled: Columns that are never null.
        words: The words that a column may hold.
        printable: Columns of free words, without control characters; a status is not empty.
        text_if_ok: Whether a row with the status `ok` has messages.
    """

    what: str
    key: tuple[str, ...]
    filled: tuple[str, ...] = ()
    words: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    printable: tuple[str, ...] = ()
    text_if_ok: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read for the check, without the messages."""
        return tuple(dict.fromkeys((*self.key, *self.filled, *self.words, *self.printable)))


_VERSIONS = TableRule(
    what="candidate",
    key=("candidate_id",),
    filled=("candidate_id", "example_id", "step", "status"),
    words={"step": STEPS},
    printable=("status",),
    text_if_ok=True,
)
_READINGS = TableRule(
    what="candidate",
    key=("candidate_id", "student"),
    filled=("candidate_id", "status"),  # scores of an older version may not name the student
    printable=("status",),
)
_ANY = TableRule(what="row", key=())
RULES: Mapping[str, TableRule] = MappingProxyType(
    {
        "rows.parquet": TableRule(
            what="row", key=("row",), filled=("row", "status"), printable=("status",)
        ),
        "examples.parquet": TableRule(
            what="example", key=("example_id",), filled=("example_id", "messages")
        ),
        "loaded.parquet": _VERSIONS,
        "candidates.parquet": _VERSIONS,
        "scores.parquet": _READINGS,
        "statistics.parquet": _READINGS,
        "decisions.parquet": TableRule(
            what="example",
            key=("example_id",),
            filled=("example_id", "kept", "reason", "rule"),
            printable=("reason", "rule"),
        ),
        "chosen.parquet": TableRule(
            what="candidate", key=("candidate_id",), filled=("candidate_id", "example_id")
        ),
        "nulls.parquet": TableRule(
            what="candidate",
            key=("candidate_id", "null", "seed"),
            filled=("candidate_id", "null", "example_id"),
            printable=("null",),
        ),
        "verdicts.parquet": TableRule(
            what="candidate",
            key=("candidate_id", "check"),
            filled=("candidate_id", "verdict"),
            words={"verdict": RULINGS},
        ),
        "filters.parquet": TableRule(
            what="candidate",
            key=("candidate_id",),
            filled=("candidate_id", "kept", "reason"),
            printable=("reason",),
        ),
        "quality_gate.parquet": TableRule(
            what="candidate", key=("candidate_id",), filled=("candidate_id", "status")
        ),
    }
)
"""Rules of the tables of a run folder, by file name."""


class ContentCheck:
    """Check of one table, which is given batch by batch.

    Args:
        rule: Its rule; None where it has none.
        schema: Its schema; columns that it lacks are not checked.
    """

    def __init__(self, rule: TableRule | None, schema: pa.Schema) -> None:
        self._rule = rule = rule or _ANY
        self._names = [name for name in rule.columns if name in schema.names]
        self._kept = [name for name in self._names if name != "messages"]
        self._texts = rule.text_if_ok and {"status", "messages"} <= set(schema.names)
        self._batches: list[pa.RecordBatch] = []
        self._problem: str | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Check what can be said of a batch alone, and keep the columns for the rest."""
        if self._problem is None:
            self._problem = self._null(batch) or self._without_text(batch)
        if self._kept:
            self._batches.append(batch.select(self._kept))

    def problem(self) -> str | None:
        """First problem that was found, or None."""
        if self._problem is not None or not self._batches or not self._rule.key:
            return self._problem
        table = pa.Table.from_batches(self._batches)
        return self._unknown(table) or self._doubled(table)

    def _null(self, batch: pa.RecordBatch) -> str | None:
        for name in self._rule.filled:
            if name in self._names and batch.column(name).null_count:
                count = batch.column(name).null_count
                return f"{count} {'row has' if count == 1 else 'rows have'} no {name}"
        return None

    def _without_text(self, batch: pa.RecordBatch) -> str | None:
        if not self._texts:
            return None
        lost = pc.and_(
            pc.equal(_texts(batch.column("status")), pa.scalar(OK)),
            pc.is_null(batch.column("messages")),
        )
        at: Any = pc.index(lost, pa.scalar(value=True))
        if at.as_py() < 0:
            return None
        name = batch.column("candidate_id")[at.as_py()].as_py()
        return f"{self._rule.what} {name!r} has the status {OK} but no messages"

    def _unknown(self, table: pa.Table) -> str | None:
        """Problem of the words in a column."""
        for name in self._names:
            known = self._rule.words.get(name)
            if known is None and name not in self._rule.printable:
                continue
            for word in table[name].unique().to_pylist():
                if known is not None and word not in known:
                    return (
                        f"its column {name!r} holds {word!r}, which is none of {', '.join(known)}"
                    )
                if not (known or (str(word).isprintable() and (word or name != "status"))):
                    return f"its column {name!r} holds {word!r}, which is no word"
        return None

    def _doubled(self, table: pa.Table) -> str | None:
        """Problem of two rows with the same key."""
        names = [
            name
            for name in self._rule.key
            if name in self._names and not pa.types.is_null(table.schema.field(name).type)
        ]
        codes = np.zeros(table.num_rows, dtype=np.int64)
        for name in names:
            column: Any = table[name].combine_chunks()
            if not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            found = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            codes = codes * (len(column.dictionary) + 1) + found + 1
        ordered = np.sort(codes)
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if not len(twice):
            return None
        at = int(np.flatnonzero(codes == ordered[twice[0]])[0])
        return f"{self._rule.what} {table[names[0]][at].as_py()!r} occurs twice"


def unknown_ids(ids: "pa.ChunkedArray[Any]", known: "pa.ChunkedArray[Any]") -> list[str]:
    """Ids that are not among the known ones, each once."""
    found = _texts(ids.combine_chunks()).unique()
    lost = pc.invert(pc.is_in(found, value_set=_texts(known.combine_chunks())))
    missing: list[str] = found.filter(lost).to_pylist()
    return missing


def _texts(column: Any) -> Any:
    return column if column.type == pa.string() else column.cast(pa.string())
