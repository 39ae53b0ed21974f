"""Tests of the journal: what is in it stays in it."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.errors import JournalError, UnusableReplyError
from tutelage.teacher import Entry, Journal, Request, journal_file
from tutelage.teacher.journal_file import answer_of

RequestFor = Callable[..., Request]


def entry_of(request: Request, text: str | None = "yes", **changes: object) -> Entry:
    entry = Entry(
        request_key=request.key,
        model="served",
        text=text,
        problem=None if text is not None else "refused: no",
        finish_reason="stop",
        prompt_tokens=7,
        completion_tokens=3,
        cost=0.25,
        currency="USD",
        seconds=0.5,
        run="r",
    )
    return replace(entry, **changes)


def keep(journal: Journal, *requests: Request, text: str | None = "yes") -> list[Entry]:
    async def all_of_them() -> list[Entry]:
        return await asyncio.gather(*(journal.keep(r, entry_of(r, text)) for r in requests))

    return asyncio.run(all_of_them())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(max_size=9))
def test_what_was_kept_comes_back_as_it_was(
    tmp_path: Path, request_for: RequestFor, text: str, asked: str
) -> None:
    path = tmp_path / "journal.sqlite"
    request = request_for(asked, seed=len(text))
    with Journal(path) as journal:
        first = journal.get(request.key) or keep(journal, request, text=text)[0]
    with Journal(path, read_only=True) as journal:
        assert journal.get(request.key) == first
    assert first == entry_of(request, first.text)


def test_a_text_that_no_file_could_hold_is_mended(
    journal: Journal, request_for: RequestFor
) -> None:
    request = request_for("half a pair \ud83d")
    (kept,) = keep(journal, request, text="half \ud83d of a \ude00 pair \0 end")
    assert kept.text == "half \ufffd of a \ufffd pair \0 end"


def test_the_first_answer_to_a_request_stays(journal: Journal, request_for: RequestFor) -> None:
    request = request_for()
    keep(journal, request, text="first")
    (kept,) = keep(journal, request, text="second")
    assert kept.text == "first"
    assert len(journal) == 1


def test_an_answer_without_text_is_kept_with_its_problem(
    journal: Journal, request_for: RequestFor
) -> None:
    (kept,) = keep(journal, request_for(), text=None)
    with pytest.raises(UnusableReplyError, match="served: refused: no"):
        answer_of(kept)


def test_failures_are_no_answers(journal: Journal, request_for: RequestFor) -> None:
    request = request_for()
    for kind in ("TeacherBusyError", "TeacherBusyError", "TeacherError"):
        asyncio.run(journal.note_failure(request, kind=kind, message="no"))
    assert journal.get(request.key) is None
    assert journal.failures() == {"TeacherBusyError": 2, "TeacherError": 1}


def test_many_keys_can_be_looked_up_at_once(journal: Journal, request_for: RequestFor) -> None:
    requests = [request_for(seed=i) for i in range(1203)]
    keep(journal, *requests[::2])
    assert journal.known(r.key for r in requests) == {r.key for r in requests[::2]}


def test_what_a_run_spent_is_its_own_in_its_currency(
    journal: Journal, request_for: RequestFor
) -> None:
    keep(journal, request_for(seed=1), request_for(seed=2))
    other = entry_of(request_for(seed=3), currency="EUR")
    asyncio.run(journal.keep(request_for(seed=3), other))
    assert journal.spent(run="r", currency="USD") == 0.5
    assert journal.spent(run="r", currency="EUR") == 0.25
    assert journal.spent(run="another", currency="USD") == 0.0


def test_abilities_are_remembered_by_endpoint(journal: Journal) -> None:
    async def remember() -> None:
        await journal.keep_ability(teacher="t", endpoint="one", obeys_schema=True)
        await journal.keep_ability(teacher="t", endpoint="two", obeys_schema=False)

    asyncio.run(remember())
    assert journal.obeys_schema(teacher="t", endpoint="one") is True
    assert journal.obeys_schema(teacher="t", endpoint="two") is False
    assert journal.obeys_schema(teacher="t") is False  # where it was asked last
    assert journal.obeys_schema(teacher="t", endpoint="three") is None
    assert journal.obeys_schema(teacher="u") is None


def test_writing_does_not_hold_up_the_event_loop(journal: Journal, request_for: RequestFor) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    async def scene() -> None:
        watching = asyncio.create_task(watch())
        for start in range(0, 300, 10):
            some = [request_for(seed=i) for i in range(start, start + 10)]
            await asyncio.gather(*(journal.keep(r, entry_of(r, "x" * 20_000)) for r in some))
        watching.cancel()

    asyncio.run(scene())
    assert len(journal) == 300
    assert longest < 0.1


def test_a_cancelled_caller_does_not_take_back_the_write(
    tmp_path: Path, request_for: RequestFor
) -> None:
    path = tmp_path / "journal.sqlite"
    requests = [request_for(seed=i) for i in range(50)]

    async def scene(journal: Journal) -> None:
        writing = [asyncio.create_task(journal.keep(r, entry_of(r))) for r in requests]
        await asyncio.sleep(0)  # all have begun, none has been committed yet
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)

    with Journal(path) as journal:
        asyncio.run(scene(journal))
    with Journal(path) as journal:
        assert len(journal) == 50


def test_a_missing_journal_is_made_for_writing_only(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no teacher cache"):
        Journal(tmp_path / "a" / "journal.sqlite", read_only=True)
    Journal(tmp_path / "a" / "journal.sqlite").close()
    assert (tmp_path / "a" / "journal.sqlite").is_file()


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE replies (mine TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="not a teacher cache of tutelage") as caught:
        Journal(path)
    assert "another file" in (caught.value.hint or "")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is text, not a database " * 99, b"SQLite format 3\0" + b"x" * 9000]
)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_file_is_named_with_what_to_do(
    tmp_path: Path, content: bytes, *, read_only: bool
) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.sqlite: ") as caught:
        Journal(path, read_only=read_only)
    assert caught.value.hint
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_an_error_not_a_missing_reply(
    tmp_path: Path, request_for: RequestFor
) -> None:
    path = tmp_path / "journal.sqlite"
    requests = [request_for(seed=i) for i in range(200)]
    with Journal(path) as journal:
        keep(journal, *requests, text="x" * 500)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with Journal(path, read_only=True) as journal, pytest.raises(JournalError) as caught:
        [journal.get(r.key) for r in requests]
    assert "recover" in (caught.value.hint or "")


def test_a_journal_of_a_later_version_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="version 99"):
        Journal(path)


def test_an_empty_file_becomes_a_journal_but_is_none_to_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.touch()
    with pytest.raises(JournalError):
        Journal(path, read_only=True)
    Journal(path).close()
    Journal(path, read_only=True).close()


def test_a_closed_journal_says_so(tmp_path: Path, request_for: RequestFor) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.get("x")
    with pytest.raises(JournalError, match="closed"):
        keep(journal, request_for())
    with pytest.raises(JournalError, match="closed"):
        asyncio.run(journal.check_writable())


def test_a_packed_journal_is_read_without_writing_beside_it(
    tmp_path: Path, request_for: RequestFor
) -> None:
    one, two = request_for(seed=1), request_for(seed=2)
    folder = tmp_path / "package"
    folder.mkdir()
    packed = folder / "demo.sqlite"
    with Journal(tmp_path / "journal.sqlite") as journal:
        keep(journal, one, two)
        asyncio.run(journal.keep_ability(teacher="m", endpoint="e", obeys_schema=True))
        assert journal.pack(packed, request_keys={one.key}) == 1
        with pytest.raises(JournalError, match="already exists"):
            journal.pack(packed)
    packed.chmod(stat.S_IREAD)
    folder.chmod(stat.S_IREAD | stat.S_IEXEC)
    before = packed.read_bytes()
    try:
        with Journal(packed, read_only=True) as journal:
            assert journal.get(one.key) == entry_of(one)
            assert journal.get(two.key) is None
            assert journal.obeys_schema(teacher="m") is True
            assert [p.name for p in folder.iterdir()] == ["demo.sqlite"]
            with pytest.raises(JournalError, match="reading only"):
                keep(journal, two)
            with pytest.raises(JournalError, match="reading only"):
                asyncio.run(journal.check_writable())
        assert [p.name for p in folder.iterdir()] == ["demo.sqlite"]
    finally:
        folder.chmod(stat.S_IRWXU)
    assert packed.read_bytes() == before


def test_a_live_journal_can_be_read_while_it_is_written(
    tmp_path: Path, request_for: RequestFor
) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as writing, Journal(path, read_only=True) as reading:
        keep(writing, request_for(seed=1))
        assert len(reading) == 1
        keep(writing, request_for(seed=2))
        assert len(reading) == 2


def test_the_file_promises_what_the_journal_needs(tmp_path: Path) -> None:
    connection = journal_file.connect(tmp_path / "journal.sqlite", read_only=False)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # full
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
    connection.close()


def _full(connection: sqlite3.Connection, *, pages: int | None) -> None:
    now = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {now + 1 if pages is None else pages}")


def test_a_full_disk_stops_the_asking_and_loses_nothing_when_room_is_made(
    tmp_path: Path, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect = journal_file.connect

    def remember(path: Path, *, read_only: bool) -> sqlite3.Connection:
        opened.append(connect(path, read_only=read_only))
        return opened[-1]

    monkeypatch.setattr(journal_file, "connect", remember)
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        writer = opened[1]
        keep(journal, request_for(seed=0))
        _full(writer, pages=None)
        with pytest.raises(JournalError, match="full") as caught:
            keep(journal, request_for(seed=1), text="x" * 100_000)
        assert "make room" in (caught.value.hint or "")
        assert journal.get(request_for(seed=1).key) is None
        with pytest.raises(JournalError, match="full"):
            asyncio.run(journal.check_writable())  # before another request is paid for
        _full(writer, pages=100_000)
        asyncio.run(journal.check_writable())
        kept = journal.get(request_for(seed=1).key)
        assert kept is not None
        assert kept.text == "x" * 100_000
        keep(journal, request_for(seed=2))
        assert len(journal) == 3


def test_what_never_found_room_is_not_lost_in_silence(
    tmp_path: Path, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect = journal_file.connect

    def remember(path: Path, *, read_only: bool) -> sqlite3.Connection:
        opened.append(connect(path, read_only=read_only))
        return opened[-1]

    monkeypatch.setattr(journal_file, "connect", remember)
    journal = Journal(tmp_path / "journal.sqlite")
    _full(opened[1], pages=None)
    with pytest.raises(JournalError, match="full"):
        keep(journal, request_for(seed=1), text="x" * 100_000)
    with pytest.raises(JournalError, match="1 writes were lost"):
        journal.close()


_WRITES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tutelage.data import Message
from tutelage.teacher import Entry, Journal, Request

async def main():
    with Journal(Path(sys.argv[1])) as journal:
        async def one(seed):
            message = Message(role="user", content=sys.argv[2])
            request = Request(model="m", messages=(message,), seed=seed)
            entry = Entry(request_key=request.key, model="m", text=f"{seed}", finish_reason="stop")
            await journal.keep(request, entry)
            print(request.key, flush=True)
        start = 0
        while start < int(sys.argv[3]):
            await asyncio.gather(*(one(start + i) for i in range(8)))
            start += 8

asyncio.run(main())
"""


def _writes(path: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _WRITES_FOR_EVER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_nothing_that_was_promised_is_missing_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for name in ("one", "two"):
        with _writes(path, name, 10**6) as process:
            assert process.stdout is not None
            promised = [process.stdout.readline().strip() for _ in range(60)]
            process.kill()
            promised += process.stdout.read().split()
        whole = [key for key in promised if len(key) == 20]
        with Journal(path) as journal:
            assert journal.known(whole) == set(whole)
            assert len(whole) >= 60


def test_two_processes_can_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with _writes(path, "one", 200) as one, _writes(path, "two", 200) as two:
        printed = [process.communicate(timeout=60)[0].split() for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0)
    with Journal(path) as journal:
        assert journal.known(printed[0] + printed[1]) == {*printed[0], *printed[1]}
        assert len(journal) == 400


def test_a_journal_laid_out_between_two_questions_is_one(tmp_path: Path) -> None:
    from tutelage.teacher import journal_file

    path = tmp_path / "journal.sqlite"

    class Late:
        """A connection whose first question is answered before another lays the file out."""

        def __init__(self) -> None:
            self.inner = sqlite3.connect(path, isolation_level=None)
            self.asked = 0

        def execute(self, text: str) -> sqlite3.Cursor:
            answer = self.inner.execute(text)
            self.asked += 1
            if self.asked == 1:
                rows = answer.fetchall()
                journal_file.connect(path, read_only=False).close()
                return self.inner.execute(f"SELECT {rows[0][0]}")
            return answer

    journal_file._check(Late(), path, read_only=False)
