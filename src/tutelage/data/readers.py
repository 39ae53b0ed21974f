"""Readers of instruction data, which account for every row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field

from tutelage.data.example import Candidate, Example
from tutelage.data.field_aliases import FieldMap, FieldName, Shape
from tutelage.data.field_values import UnreadableRowError, clean_text
from tutelage.data.file_formats import Format
from tutelage.data.file_records import Problem, Record
from tutelage.data.findings import Findings, hint_for, refuse_unfound
from tutelage.data.reader_processes import FEW_ROWS, Item, ReaderProcesses, process_count
from tutelage.data.row_parser import (
    ParsedRow,
    PlainTexts,
    blank_of,
    parse_row,
    plain_parts,
    plain_texts,
)
from tutelage.data.sources import IN_MEMORY, Part, Source, parts_of
from tutelage.errors import DataError

# Conversations that a file stores message by message, each naming the one it replies to
# (OASST).
#
#     message_id  parent_id  message_tree_id  role       text
#     a           null       a                prompter   Why?        part of a conversation
#     b           a          a                assistant  Because.    an example: a, b
#     c           b          a                prompter   And so?     part of a conversation
#
# Every message of the assistant becomes a row of its own, with the messages in front of it. Only
# the
# messages of the tree that is read at the moment are kept.


PART = "part_of_a_conversation"
"""Candidate status of a message that is not an answer; the conversations of its answers include it.
"""

_FIELDS = frozenset(("message_id", "parent_id", "role", "text"))


@dataclass(slots=True)
class Trees:
    """Messages of the conversation tree that is being read."""

    _tree: object = None
    _messages: dict[str, Mapping[str, object]] = field(default_factory=dict)

    def row_of(self, value: Mapping[str, object]) -> Mapping[str, object]:
        """Row with the whole conversation for a row that is one message; any other row unchanged.

        Raises:
            UnreadableRowError: `part_of_a_conversation`: the message is no answer.
                `missing_fields`: the message it replies to has not been read in its tree.
        """
        if not value.keys() >= _FIELDS:
            return value
        own, parent = str(value["message_id"]), value["parent_id"]
        tree = value.get("message_tree_id", self._tree if parent is not None else own)
        if tree != self._tree:
            self._tree, self._messages = tree, {}
        self._messages[own] = {
            "role": value["role"],
            "content": value["text"],
            "parent": parent,
        }
        if value["role"] != "assistant":
            raise UnreadableRowError(PART, "a question; its answers are in other rows")
        turns: list[Mapping[str, object]] = []
        at: object = own
        while at is not None:
            message = self._messages.get(str(at))
            if message is None or len(turns) > len(self._messages):
                raise UnreadableRowError(
                    "missing_fields", f"the message {at!r} that it replies to was not read before"
                )
            turns.append({"role": message["role"], "content": message["content"]})
            at = message["parent"]
        rest = {k: v for k, v in value.items() if k not in ("role", "text")}
        return {"messages": turns[::-1], **rest}


ROW_OK = "ok"
"""Row status: the row is an example. Each of its candidates has a status of its own."""

DUPLICATE = "duplicate"
"""Row status: earlier rows already gave everything this row holds."""

_NO_CANDIDATES: tuple[Candidate, ...] = ()
_FIELDS_KEPT = 20
_ROWS_AHEAD = 64
"""Rows checked for mapped names before the first row is given, so that a mistyped name is an error
before any work is done.
"""


class ReadSettings(BaseModel):
    """Settings of reading: field mapping, shape, format and split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format = Field(
        default="auto", description="The format of the files; auto detects it from their content."
    )
    shape: Shape = Field(
        default="auto",
        description="The shape of the rows; auto detects it from each row's fields. A row that "
        "lacks the fields of a given shape cannot be read. samples: rows of one instruction are "
        "responses to choose from.",
    )
    fields: dict[FieldName, str] = Field(
        default_factory=dict,
        description="Field names that differ from the usual ones, such as {instruction: question};"
        " a dot reaches a field inside a field (reward_model.ground_truth). A field named here is "
        "used for nothing else; a name that no row has is an error.",
    )
    source_name: str | None = Field(
        default=None,
        description="The source of rows without a mapped `source` field; by default the row's own "
        "source field, or the name of the file.",
    )
    teacher_name: str | None = Field(
        default=None,
        description="The writer of rewrites and samples in rows that do not name one.",
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Read only this many rows."
    )
    split: str | None = Field(default=None, description="The split of a dataset that has several.")
    subset: str | None = Field(
        default=None, description="The configuration of a hub dataset that has several."
    )
    revision: str | None = Field(
        default=None,
        description="The commit, branch or tag of a hub dataset; by default its newest commit, "
        "which the manifest records.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Outcome of one row of the input.

    Attributes:
        row: 0-based, counted over all files in order.
        file: The file that holds it, as the user wrote it.
        line: 1-based: the line it starts on, or its position in a file without lines.
        status: `ok`, `duplicate`, or why it is no example: `malformed_json`, `malformed_csv`,
            `bad_encoding`, `nested_too_deeply`, `row_too_large`, `broken_file`, `not_an_object`,
            `missing_fields`, `bad_type`, `no_user_turn`, `unexpected_turns`,
            `unsupported_role`, `unsupported_content`, `partly_trained`, `bad_candidates`,
            `part_of_a_conversation`.
        detail: For people: the place and what was found there, or how much of the row repeats
            what was read before.
        example: What it holds; rows with the same content have the same example. None where
            the row is no example.
        candidates: The versions it is the first to bring; a parent before what was made from
            it, unless an earlier row brought the parent.
        repeated: The versions it holds that an earlier row has brought.
    """

    row: int
    file: str
    line: int
    status: str
    detail: str | None = None
    example: Example | None = None
    candidates: tuple[Candidate, ...] = ()
    repeated: tuple[Candidate, ...] = ()


_BlankRow = blank_of(Row)


def _made(  # noqa: PLR0917  (called once a row: names cost time here)
    row: int,
    file: str,
    line: int,
    status: str,
    detail: str | None,
    example: Example,
    candidates: tuple[Candidate, ...],
    repeated: tuple[Candidate, ...],
) -> Row:
    made = _BlankRow()
    made.row = row
    made.file = file
    made.line = line
    made.status = status
    made.detail = detail
    made.example = example
    made.candidates = candidates
    made.repeated = repeated
    made.__class__ = Row
    return cast("Row", made)


class Rows:
    """Iterable over the rows of a source; each iteration reads it again, in bounded memory.

    Only the ids of what has been read are kept, about 100 bytes a candidate.

    Raises:
        DataError: From the iteration: a file is damaged from the start, not one of its rows
            could be read, or no row has a field that is mapped.

    Attributes:
        notes: After an iteration that came to its end: what a person should know about the data
            as a whole, such as that no row has a response.
        unanswered: Likewise: the files that have examples and not one response.
        source: What `read` was given.
    """

    def __init__(
        self, parts: tuple[Part, ...], settings: ReadSettings, *, source: Source = ()
    ) -> None:
        self._parts = parts
        self.settings = settings
        self.source = source
        self.notes: list[str] = []
        self.unanswered: tuple[str, ...] = ()

    @property
    def revisions(self) -> dict[str, str]:
        """Commit of each hub dataset, where the hub reported it."""
        return {part.name: part.revision for part in self._parts if part.revision is not None}

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files, in the order in which they are read."""
        return tuple(part.name for part in self._parts)

    def __repr__(self) -> str:
        return f"Rows({', '.join(self.files)})"

    def __iter__(self) -> Iterator[Row]:
        limit = self.settings.limit
        alone = limit is not None and limit <= FEW_ROWS
        reading = _Pass(self.settings)
        processes = ReaderProcesses(
            processes=1 if alone else process_count(), fields=reading.naming
        )
        with processes:
            groups: Iterator[tuple[Part, Iterable[Item]]] = (
                (part, processes.items(part, source=reading.source_name or part.source))
                for part in self._parts
            )
            if limit is not None or self.settings.fields:
                one_by_one = ((part, item) for part, items in groups for item in items)
                checked = self._looked_ahead(islice(one_by_one, limit))
                groups = ((part, (item,)) for part, item in checked)
            row_of, plain_row = reading.row_of, reading.plain_row
            for part, items in groups:
                for item in items:
                    yield row_of(item, part) if isinstance(item, Record) else plain_row(*item, part)
        reading.finish(self.files)
        self.notes = reading.findings.notes()
        self.unanswered = reading.findings.unanswered

    def _looked_ahead(self, items: Iterator[tuple[Part, Item]]) -> Iterator[tuple[Part, Item]]:
        """Same items, after checking that the mapped names occur among the first ones.

        Raises:
            DataError: No row has a mapped name: these are all there are, or all have the same
                columns.
        """
        if not self.settings.fields:
            return items
        ahead = list(islice(items, _ROWS_AHEAD))
        names = FieldMap(self.settings.fields, shape=self.settings.shape)
        for _, item in ahead:
            # Of rows that came as texts an earlier one had the same columns.
            if isinstance(item, Record) and isinstance(item.value, Mapping):
                names.open(item.value)
        place = _shown(self.files)
        if len(ahead) < _ROWS_AHEAD:
            refuse_unfound(names, place=place, rows="no row")
        elif len(self._parts) == 1 and self._parts[0].same_columns:
            names.excuse_roots()
            refuse_unfound(names, place=place, rows="no row")
        return chain(ahead, items)


def read(source: Source, settings: ReadSettings | None = None) -> Rows:
    """Iterable over the rows of instruction data, read when iterated.

    Args:
        source: A path, a folder, a glob pattern or several of them; the id of a hub dataset; a
            `datasets` object, a table or data frame; or any iterable of mappings.
        settings: How to read it; without them everything is found out from the content.

    Returns:
        An iterable with one `Row` for every row of the input, in order. Blank lines are no
        rows.

    Raises:
        DataError: There is no such source, or it is in no format that can be read.

    Examples:
        >>> rows = read([{"question": "2 + 2?", "answer": "4"}, {"question": "2 + 3?"}, ["?"]])
        >>> [(row.status, len(row.candidates)) for row in rows]
        [('ok', 1), ('ok', 0), ('not_an_object', 0)]
    """
    settings = settings or ReadSettings()
    return Rows(_parts(source, settings), settings, source=source)


def read_records(source: Source, settings: ReadSettings | None = None) -> Iterator[Record]:
    """Raw records of a source, before any field is interpreted.

    Args:
        source: As for `read`.
        settings: The format, the split and the limit count.

    Returns:
        One record for each row that `read` would give, in the same order.

    Raises:
        DataError: There is no such source, or it is in no format that can be read.
    """
    settings = settings or ReadSettings()
    return islice(
        (record for part in _parts(source, settings) for record in part.open()), settings.limit
    )


def _parts(source: Source, settings: ReadSettings) -> tuple[Part, ...]:
    return parts_of(
        source,
        forced=settings.format,
        split=settings.split,
        subset=settings.subset,
        revision=settings.revision,
    )


@dataclass(slots=True)
class _Pass:
    """State of one pass over the rows."""

    settings: ReadSettings
    fields: FieldMap = field(init=False)
    seen: set[bytes] = field(default_factory=set)
    rows: int = 0
    examples: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    names: dict[str, None] = field(default_factory=dict)
    first_detail: str | None = None
    findings: Findings = field(init=False)
    source_name: str | None = field(init=False)
    trees: Trees = field(default_factory=Trees)

    def __post_init__(self) -> None:
        self.source_name = self.settings.source_name
        self.fields = FieldMap(**self.naming)
        asked = self.settings.shape in ("pool", "samples") or "model" in self.settings.fields
        self.findings = Findings(self.fields, one_response_each=not asked)

    @property
    def naming(self) -> dict[str, Any]:
        """Arguments of the `FieldMap`."""
        without = () if self.settings.source_name is None else ("source",)
        return {
            "mapping": self.settings.fields,
            "shape": self.settings.shape,
            "without": without,
        }

    def row_of(self, record: Record, part: Part) -> Row:
        value = record.value
        if type(value) is dict and "parent_id" not in value:
            columns = self.fields.columns_of(value)
            if columns is not None:
                source = self.source_name or part.source
                texts = plain_texts(value, columns, source=source)
                if texts is not None:
                    return self.plain_row(record.line, texts, part)
        parsed = self._parsed(record, part)
        if isinstance(parsed, Problem):
            return self._failed(parsed, record, part)
        return self._row(record, part, parsed.example, parsed.candidates)

    def plain_row(self, line: int, texts: PlainTexts, part: Part) -> Row:
        """Row of the texts of a plain row."""
        example, found = plain_parts(texts)
        digest = bytes.fromhex(texts[1])
        if digest in self.seen:
            return self._row(Record(line, None, None), part, example, found)
        self.seen.add(digest)
        self.findings.add_plain(part.name, texts[-1], found[0])
        row = self.rows
        self.rows = row + 1
        self.examples += 1
        return _made(row, part.name, line, ROW_OK, None, example, found, _NO_CANDIDATES)

    def _row(
        self, record: Record, part: Part, example: Example, found: tuple[Candidate, ...]
    ) -> Row:
        """Row of an example, without candidates that an earlier row already gave."""
        row = self.rows
        self.rows += 1
        self.examples += 1
        candidates, repeated = found, _NO_CANDIDATES
        known_before = tuple([c for c in found if not self._is_new(c.candidate_id)])
        known, detail = False, None
        if known_before:
            candidates, repeated = _told_apart(found, known_before)
            known = not candidates
            detail = (
                f"{part.name}:{record.line}: {len(known_before)} of {len(found)} "
                "candidates are repeated"
            )
        elif not found:
            known = not self._is_new(example.example_id)
            detail = f"{part.name}:{record.line}: the example is repeated" if known else None
        if not known:
            self.findings.add(part.name, record.value, found)
        status = DUPLICATE if known else ROW_OK
        return _made(row, part.name, record.line, status, detail, example, candidates, repeated)

    def _is_new(self, hexadecimal: str) -> bool:
        digest = bytes.fromhex(hexadecimal)
        if digest in self.seen:
            return False
        self.seen.add(digest)
        return True

    def _parsed(self, record: Record, part: Part) -> ParsedRow | Problem:
        if record.problem is not None:
            return record.problem
        if not isinstance(record.value, Mapping):
            return Problem("not_an_object", f"found {type(record.value).__name__}")
        settings = self.settings
        try:
            value = record.value
            if "parent_id" in value:
                value = self.trees.row_of(value)
            return parse_row(
                self.fields.open(value),
                shape=settings.shape,
                source=self.source_name or part.source,
                teacher=settings.teacher_name,
            )
        except UnreadableRowError as error:
            return Problem(error.status, error.detail)
        except RecursionError:
            return Problem("nested_too_deeply", "brackets nested too deeply")

    def _failed(self, problem: Problem, record: Record, part: Part) -> Row:
        row = self.rows
        self.rows += 1
        detail = clean_text(f"{part.name}:{record.line}: {problem.detail}")
        self.statuses[problem.status] += 1
        self.first_detail = self.first_detail or detail
        if isinstance(record.value, Mapping) and len(self.names) < _FIELDS_KEPT:
            self.names |= dict.fromkeys(clean_text(str(name)) for name in record.value)
        return Row(row=row, file=part.name, line=record.line, status=problem.status, detail=detail)

    def finish(self, files: tuple[str, ...]) -> None:
        """Raise an error where no row became an example."""
        place = _shown(files)
        if not self.rows and files != (IN_MEMORY,):
            raise DataError(f"{place}: contains no rows", hint="is it the right file?")
        refuse_unfound(self.fields, place=place, rows=f"none of the {self.rows:,} rows")
        if self.examples or not self.rows:
            return
        tally = ", ".join(f"{rows} {status}" for status, rows in self.statuses.most_common())
        raise DataError(
            f"{place}: none of the {self.rows} row{'s' if self.rows > 1 else ''} could be read "
            f"({tally}); "
            f"the first: {self.first_detail}",
            hint=hint_for(self.statuses, self.names, self.findings.likely_response()),
        )


def _told_apart(
    candidates: tuple[Candidate, ...], known: tuple[Candidate, ...]
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Candidates split into new ones and those that an earlier row already gave.

    One that occurs twice in its own row is new once.
    """
    places = {id(candidate) for candidate in known}
    new = tuple(c for c in candidates if id(c) not in places)
    return new, tuple(c for c in known if c not in new)


def _shown(files: tuple[str, ...]) -> str:
    return ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")  # noqa: PLR2004
