"""Large files are read by several processes; the rows are those that one process reads."""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.data import ReadSettings, Row, Rows, byte_streams, read, reader_processes, readers
from tutelage.data.field_aliases import FieldMap
from tutelage.data.reader_processes import (
    PROCESSES_VARIABLE,
    Segment,
    items_of,
    process_count,
    reply_of,
)
from tutelage.errors import DataError


class Here:
    """A reader process that is none: it answers at once, in this process."""

    started = ended = 0

    def __init__(self, naming: dict[str, Any]) -> None:
        type(self).started += 1
        self.fields = FieldMap(**naming)
        self.waiting: bytes | None = None
        self.asked = 0

    def is_free(self) -> bool:
        self.asked += 1
        return self.asked > 1 and self.waiting is None  # it takes a while to start

    def ask(self, segment: Segment, source: str | None) -> bool:
        self.waiting = reply_of(segment, fields=self.fields, source=source)
        return True

    def has_replied(self) -> bool:
        self.asked += 1
        return self.asked % 3 != 0  # now and then the reader must wait

    def reply(self) -> bytes | None:
        reply, self.waiting = self.waiting, None
        return reply

    def end(self) -> None:
        type(self).ended += 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is large, and is cut into small segments."""
    monkeypatch.setattr(reader_processes, "LARGE_BYTES", 0)
    monkeypatch.setattr(reader_processes, "LARGE_PACKED_BYTES", 0)
    monkeypatch.setattr(reader_processes, "SEGMENT_BYTES", 256)
    monkeypatch.setattr(byte_streams, "_CHUNK_BYTES", 100)
    monkeypatch.setattr("tutelage.data.sources._BATCH_ROWS", 4)


def compare(monkeypatch: pytest.MonkeyPatch, source: Any, given: ReadSettings | None = None) -> Any:
    """What reading gives, the same with processes as without."""

    def outcome(processes: int) -> Any:
        monkeypatch.setattr(readers, "process_count", lambda: processes)
        rows: Rows = read(source, given)
        try:
            found = list(rows)
        except DataError as error:
            return str(error), error.hint
        return found, rows.notes, rows.unanswered

    monkeypatch.setattr(reader_processes, "_Process", Here)
    alone = outcome(1)
    before = Here.started
    assert outcome(3) == alone
    assert Here.started == before + 2
    return alone


ROWS: list[dict[str, Any]] = [
    *(
        {"instruction": f"Add {n} and 1.", "input": "", "output": f"It is {n + 1}."}
        for n in range(9)
    ),
    {"instruction": "Add 3 and 1.", "input": "", "output": "It is 4."},
    {"instruction": "Add 4 and 1.", "input": None, "output": "Five."},
    {"instruction": "Ünï", "input": "\u2028", "output": 'a "b"\n\\', "id": 7},
    {"instruction": 12, "output": "A number asks."},
    {"prompt": "Hi", "rationale": "x" * 50, "completion": "Yes.", "passages": ["A text."]},
    {"prompt": "Hello", "rationale": "x" * 50, "completion": "Yes.", "passages": ["A text."]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]},
    {"messages": [{"role": "user", "content": "Hey"}, {"role": "assistant", "content": "Yes?"}]},
    {"messages": [{"role": "user", "content": "Hi"}]},
    {"nothing": "of use"},
    {"instruction": "Rate", "responses": ["good", "bad"]},
    {"message_id": "a", "parent_id": None, "role": "prompter", "text": "Why?"},
    {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "Because."},
    *({"instruction": f"Take {n} of 9.", "input": "nine", "output": f"{9 - n}"} for n in range(9)),
]
ODD = [
    b"[1, 2]",
    b"",
    b'{"instruction": "Cut',
    b"\xff\xfe",
    b"[" * 2000,
    b'{"a": NaN}',
    b"\xef\xbb\xbf{}",
]


def jsonl(path: Path) -> None:
    lines = [json.dumps(row).encode() for row in ROWS]
    for place, odd in enumerate(ODD):
        lines.insert(3 * place + 2, odd)
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))


def packed(path: Path) -> None:
    jsonl(path)
    path.write_bytes(gzip.compress(path.read_bytes() * 20))


def broken(path: Path) -> None:
    packed(path)
    path.write_bytes(path.read_bytes()[:-40])


def list_of_rows(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1))


def broken_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1)[:1500] + "}, {")


def table_text(path: Path) -> None:
    lines = ["instruction,output", '"Add\n1 and 1.",2', "Add 2,3", "a,b,c", "", 'ä,"x ""y"""']
    path.write_text("\n".join([*lines, *(f"Add {n} and 1,{n + 1}" for n in range(40)), "Add 2,3"]))


def parquet(path: Path) -> None:
    pq.write_table(
        pa.Table.from_pylist([row for row in ROWS if "input" in row and "id" not in row]), path
    )


def dates(path: Path) -> None:
    days = pa.array(range(20), pa.int32()).cast(pa.date32())
    texts = pa.array([f"Add {n}." for n in range(20)])
    table = pa.table({"instruction": texts, "output": texts, "passages": days})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


FORMS: list[Callable[[Path], None]] = [
    *(jsonl, packed, broken, list_of_rows, broken_list, table_text, parquet, dates),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.usefixtures("small")
def test_rows_of_every_format_are_the_same(
    form: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    form(path)
    found, _, _ = compare(monkeypatch, path)
    assert len(found) >= 10


@pytest.mark.usefixtures("small")
def test_rows_that_are_not_shared_are_not_hoarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    dates(path)
    longest = 0

    class Watched(reader_processes.ReaderProcesses):
        def _hand_out(self, segments: Any, held: Any, source: str | None) -> None:
            nonlocal longest
            super()._hand_out(segments, held, source)
            longest = max(longest, len(held))

    monkeypatch.setattr(reader_processes, "ROW_BYTES", 1)  # every batch is too large to copy
    monkeypatch.setattr(readers, "ReaderProcesses", Watched)
    compare(monkeypatch, path)
    assert longest == 1


@pytest.mark.usefixtures("small")
def test_settings_hold_for_rows_of_processes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "rows.jsonl", tmp_path / "table.csv"
    jsonl(path)
    table_text(other)
    found, _, _ = compare(monkeypatch, [path, other], ReadSettings(source_name="mine"))
    assert {row.example.source for row in found if row.example} == {"mine"}
    monkeypatch.setattr(readers, "FEW_ROWS", 0)
    assert len(compare(monkeypatch, path, ReadSettings(limit=20))[0]) == 20
    error, hint = compare(monkeypatch, other, ReadSettings(fields={"response": "outputt"}))
    assert "outputt" in error
    assert "did you mean" in hint
    found, _, _ = compare(monkeypatch, path, ReadSettings(fields={"reference": "rationale"}))
    assert sum(row.example is not None and row.example.reference is not None for row in found) == 2


@pytest.mark.usefixtures("small")
def test_a_row_longer_than_the_limit_is_lost_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_streams, "ROW_BYTES", 2000)
    monkeypatch.setattr(reader_processes, "ROW_BYTES", 2000)
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in ROWS if "output" in row]
    path.write_text("\n".join([*lines, json.dumps({"prompt": "x" * 3000}), *lines]))
    found, _, _ = compare(monkeypatch, path)
    assert [row.status for row in found].count("row_too_large") == 1


lines = st.lists(
    st.one_of(
        st.sampled_from(ROWS).map(lambda row: json.dumps(row).encode()),
        st.sampled_from(ODD),
        st.binary(max_size=30),
    ),
    max_size=30,
)


@given(lines)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.usefixtures("small")
def test_any_lines_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[bytes]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(found) + b'\n{"prompt": "Hi", "completion": "Yes"}' * 5)
    compare(monkeypatch, path, ReadSettings(format="jsonl"))


def read_by_two(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    monkeypatch.setattr(readers, "process_count", lambda: 2)
    return list(read(path))


@pytest.mark.usefixtures("small")
def test_processes_read_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    jsonl(path)
    path.write_bytes(path.read_bytes() * 30)
    alone = list(read(path))
    started: list[reader_processes._Process] = []
    replies: list[bytes | None] = []

    class Watched(reader_processes._Process):
        def __init__(self, naming: dict[str, Any]) -> None:
            super().__init__(naming)
            started.append(self)
            while self._state == "starting":  # so that it reads something on any machine
                self.is_free()

        def reply(self) -> bytes | None:
            if len(replies) == 6:
                self._process.kill()  # with a segment that nobody will answer
                self._process.wait()
            replies.append(super().reply())
            return replies[-1]

    monkeypatch.setattr(reader_processes, "_Process", Watched)
    assert read_by_two(path, monkeypatch) == alone
    assert len(started) == 1
    assert all(process._process.poll() is not None for process in started)
    read_there = [items_of(reply) for reply in replies if reply is not None]
    assert len(read_there) >= 6
    assert any(not isinstance(item, tuple) or len(item) == 2 for item in read_there[0] or ())


@pytest.mark.usefixtures("small")
def test_processes_end_with_the_first_rows_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    jsonl(path)
    monkeypatch.setattr(reader_processes, "_Process", Here)
    monkeypatch.setattr(readers, "process_count", lambda: 2)
    started, ended = Here.started, Here.ended
    rows = iter(read(path))
    next(rows)
    assert (Here.started, Here.ended) == (started + 1, ended)
    rows.close()  # type: ignore[attr-defined]
    assert Here.ended == ended + 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("command", ["raise SystemExit(1)", None])
def test_a_process_that_does_not_start_costs_no_row(
    command: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    jsonl(path)
    alone = list(read(path))
    if command is None:

        def refused(*_args: object, **_kwargs: object) -> None:
            raise BlockingIOError("no more processes")

        monkeypatch.setattr(subprocess, "Popen", refused)
    else:
        monkeypatch.setattr(reader_processes, "_COMMAND", command)
    assert read_by_two(path, monkeypatch) == alone


def test_small_files_and_rows_in_memory_start_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("started a process")

    monkeypatch.setattr(subprocess, "Popen", refused)
    path = tmp_path / "rows.jsonl"
    jsonl(path)
    assert len(read_by_two(path, monkeypatch)) > len(ROWS)
    assert len(list(read(ROWS))) == len(ROWS)


def test_the_environment_limits_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reader_processes.os, "sched_getaffinity", lambda _: set(range(8)), raising=False
    )
    monkeypatch.delenv(PROCESSES_VARIABLE, raising=False)
    assert process_count() == 3
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    assert process_count() == 2
    monkeypatch.setenv(PROCESSES_VARIABLE, "two")
    with pytest.raises(DataError, match="is 'two', not a number"):
        process_count()
