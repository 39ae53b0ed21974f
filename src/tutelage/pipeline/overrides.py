"""Manual overrides of decisions: the ledger keeps both, and the person's decision applies.

`decisions.parquet` stays what the rule decided. `overrides.jsonl` next to it is only ever appended
to: one JSON object a line, the last one of an example counts, and a withdrawal gives the decision
back to the rule. Whatever reads decisions through `open_tables` sees those in force.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from tutelage.data import content_hash, open_guarded
from tutelage.data.schemas import OVERRIDDEN
from tutelage.errors import DataError, RunError
from tutelage.pipeline.run_dir import RunFolder, check_kinds
from tutelage.selection import OVERRULED

PERSON = "person"
"""Name of the rule of a manual decision."""

MAX_NOTE_CHARACTERS = 4000

_IN_FORCE = """
create view decisions as
select d.* replace (
    case when o.example_id is null then d.candidate_id else o.candidate_id end as candidate_id,
    case when o.example_id is null then d.step else c.step end as step,
    case when o.example_id is null then d.kept else o.candidate_id is not null end as kept,
    case when o.example_id is null then d.reason else o.reason end as reason,
    case when o.example_id is null then d.rule else o.rule end as rule)
from decided d
left join (
    select o.* from overrides o where o.candidate_id is null
    or exists (select 1 from candidates k where k.candidate_id = o.candidate_id
               and k.example_id = o.example_id and k.status = 'ok')
) o on o.example_id = d.example_id
left join (select candidate_id, step from candidates
           where candidate_id in (select candidate_id from overrides)) c
    on c.candidate_id = o.candidate_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Manual decision on one example.

    Attributes:
        time: When, as ISO 8601 in UTC.
        example_id: The example.
        candidate_id: What is kept; None keeps nothing.
        note: Why, in the person's words.
        withdrawn: Whether the override was withdrawn; `candidate_id` is None then.
        was_candidate_id: What the rule had chosen at that time.
        was_reason: The rule's reason at that time.
    """

    time: str
    example_id: str
    candidate_id: str | None
    note: str = ""
    withdrawn: bool = False
    was_candidate_id: str | None = None
    was_reason: str | None = None


def overrule(run: RunFolder, example_id: str, *, candidate_id: str | None, note: str) -> Override:
    """Keep a candidate, or nothing, regardless of the rule.

    Args:
        run: The run folder.
        example_id: The example.
        candidate_id: A candidate of it with text; None keeps nothing.
        note: Why.

    Raises:
        DataError: There is no such example, or the candidate is not one that can be kept.
        RunError: Nothing has been decided yet, or the file cannot be written.
    """
    if len(note) > MAX_NOTE_CHARACTERS:
        raise DataError(
            f"the note has {len(note)} characters", hint=f"at most {MAX_NOTE_CHARACTERS}"
        )
    was = _decision(run, example_id)
    if candidate_id is not None:
        _check_candidate(run, example_id, candidate_id)
    return _append(run, example_id, was, candidate_id=candidate_id, note=note, withdrawn=False)


def withdraw(run: RunFolder, example_id: str, *, note: str = "") -> Override:
    """Withdraw a manual decision, so that the rule's decision applies again.

    Args:
        run: The run.
        example_id: The example.
        note: A remark for the ledger.

    Raises:
        DataError: There is no such example.
        RunError: Nothing has been decided yet, or the file cannot be written.
    """
    was = _decision(run, example_id)
    return _append(run, example_id, was, candidate_id=None, note=note, withdrawn=True)


def overrides_of(run: RunFolder) -> dict[str, Override]:
    """Current manual decision of each example; withdrawn ones are left out.

    Raises:
        RunError: The file holds something else.
    """
    last = {entry.example_id: entry for entry in override_history(run)}
    return {example_id: entry for example_id, entry in last.items() if not entry.withdrawn}


def override_history(run: RunFolder) -> Iterator[Override]:
    """All entries of the ledger, oldest first.

    Raises:
        RunError: A line is not an entry. A last line that was cut short is passed over.
    """
    if not run.overrides.exists():
        return
    check_kinds(run.overrides.parent)
    try:
        *lines, _ = run.overrides.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(
            f"{run.overrides}: cannot be read: {error.strerror or error}",
            hint="restore it, or move it away if no person overruled anything",
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _entry(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise RunError(
                f"{run.overrides}:{number}: is not an override: {error}",
                hint="fix or remove that line; nothing else depends on it",
            ) from error


def _entry(stored: Mapping[str, Any]) -> Override:
    entry = Override(**stored)
    for name, value in asdict(entry).items():
        kinds = _KINDS.get(name, (str, type(None)))
        if not isinstance(value, kinds):
            raise TypeError(f"{name} is {value!r:.60}")
        if isinstance(value, str) and name != "note":
            value.encode()  # half of a pair of surrogates is no text; a note may hold anything
    return entry


_KINDS = {"time": (str,), "example_id": (str,), "note": (str,), "withdrawn": (bool,)}
"""Types that are not optional text."""


def overrides_digest(run: RunFolder) -> str | None:
    """Hash of the current manual decisions; None without any."""
    found = overrides_of(run)
    if not found:
        return None
    return content_hash([[i, found[i].candidate_id] for i in sorted(found)])


def put_in_force(tables: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
    """Add the view `decisions` to a database with the views `decided` and `candidates`.

    An override whose candidate is not there any more, or has no text, is passed over.
    """
    found = overrides_of(run)
    if not found:
        tables.execute("create view decisions as select * from decided")
        return
    rows = [
        {
            "example_id": override.example_id,
            "candidate_id": override.candidate_id,
            "reason": OVERRULED,
            "rule": PERSON,
        }
        for override in found.values()
    ]
    given = pa.Table.from_pylist(rows, schema=OVERRIDDEN)
    tables.register("given_overrides", given)
    tables.execute("create temp table overrides as select * from given_overrides")
    tables.unregister("given_overrides")
    tables.execute(_IN_FORCE)


def _decision(run: RunFolder, example_id: str) -> tuple[str | None, str]:
    """Candidate that the rule chose, and its reason."""
    found = _rows(
        "select candidate_id, reason from read_parquet(?) where example_id = ?",
        str(run.need(run.decisions)),
        example_id,
    )
    if not found:
        raise DataError(
            f"there is no decision on an example {example_id!r} in {run.root}",
            hint="give an example_id of decisions.parquet",
        )
    candidate_id, reason = found[0]
    return candidate_id, reason


def _check_candidate(run: RunFolder, example_id: str, candidate_id: str) -> None:
    found = _rows(
        "select example_id, status from read_parquet(?) where candidate_id = ?",
        str(run.need(run.candidates)),
        candidate_id,
    )
    if not found or found[0][0] != example_id:
        raise DataError(f"{candidate_id!r} is no candidate of example {example_id}")
    if found[0][1] != "ok":
        raise DataError(
            f"candidate {candidate_id} has no text ({found[0][1]}), so it cannot be kept"
        )


def _rows(query: str, *parameters: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as tables:
        return tables.execute(query, list(parameters)).fetchall()


def _append(
    run: RunFolder,
    example_id: str,
    was: tuple[str | None, str],
    *,
    candidate_id: str | None,
    note: str,
    withdrawn: bool,
) -> Override:
    entry = Override(
        time=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        example_id=example_id,
        candidate_id=candidate_id,
        note=note,
        withdrawn=withdrawn,
        was_candidate_id=was[0],
        was_reason=was[1],
    )
    # ASCII escapes keep lone surrogates of a note writable.
    line = (json.dumps(asdict(entry)) + "\n").encode()
    try:
        descriptor = open_guarded(run.overrides, flags=os.O_RDWR | os.O_APPEND)
        with os.fdopen(descriptor, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _drop_torn_line(file)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"{run.overrides}: cannot be written: {error.strerror or error}",
            hint="the run folder must be writable to overrule a decision",
        ) from error
    return entry


def _drop_torn_line(file: BinaryIO) -> None:
    """Remove an incomplete last line that a crash left."""
    file.seek(0)
    whole, newline, torn = file.read().rpartition(b"\n")
    if torn:
        file.truncate(len(whole) + len(newline))
