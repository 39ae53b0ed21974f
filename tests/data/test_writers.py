"""A file is complete or absent; locks and temporary files are safe, and a full disk is an error."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import (
    TableWriter,
    copy_file,
    lock_file,
    make_folder,
    remove_leftovers,
    remove_leftovers_below,
    replacing,
    write_jsonl,
    write_table,
    write_text,
)
from tutelage.data.schemas import ROWS
from tutelage.errors import DataError, RunError, TutelageError

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("text", pa.string())])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(error: BaseException):
    yield {"id": 1}
    raise error


def test_jsonl_is_one_object_a_line_in_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert write_jsonl(path, [{"a": "é\n"}, {"b": [1, None]}, {"c": "\ud800"}]) == 3
    assert path.read_bytes() == '{"a": "é\\n"}\n{"b": [1, null]}\n{"c": "\ufffd"}\n'.encode()
    assert write_jsonl(path, []) == 0
    assert path.read_bytes() == b""


def test_a_table_may_have_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"t\xff.parquet")
    write_table(path, pa.table({"id": pa.array([1], pa.int64())}))
    assert pq.read_table(pa.BufferReader(path.read_bytes()))["id"].to_pylist() == [1]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_jsonl(tmp_path / "out.jsonl", [])
    assert (tmp_path / "out.jsonl").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, error) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(type(error)):
        write_jsonl(path, failing(error))
    table = tmp_path / "out.parquet"
    with pytest.raises(type(error)), TableWriter(table, SCHEMA) as writer:
        writer.append(failing(error))
    assert names(tmp_path) == ["out.jsonl"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_json_has_no_word_for_is_an_error_that_names_the_line(tmp_path: Path, value) -> None:
    with pytest.raises(DataError, match=r"out\.jsonl:2: "):
        write_jsonl(tmp_path / "out.jsonl", [{}, {"v": value}])
    assert names(tmp_path) == []


def test_a_full_disk_is_said_plainly_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: write_jsonl(tmp_path / "out", [{"a": 1}]),
        lambda: write_table(tmp_path / "out", SCHEMA.empty_table()),
    ):
        with pytest.raises(DataError, match="disk is full") as caught:
            write()
        assert "free some space" in caught.value.hint
        assert names(tmp_path) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files makes the system refuse to write on, as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    noise = [{"id": i, "text": os.urandom(500).hex()} for i in range(1000)]
    try:
        with pytest.raises(DataError, match="disk is full"):
            write_jsonl(tmp_path / "out.jsonl", noise)
        with (
            pytest.raises(DataError, match="disk is full"),
            TableWriter(tmp_path / "t", SCHEMA) as table,
        ):
            table.append(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_jsonl(tmp_path / "no" / "out", [])
    with (
        pytest.raises(DataError, match="cannot be written"),
        TableWriter(tmp_path / "no" / "t", SCHEMA),
    ):
        pass


def test_the_new_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert names(tmp_path) == ["page.html"]


def test_a_table_is_written_in_pieces_and_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with TableWriter(path, SCHEMA) as table:
        table.append({"id": i, "text": str(i)} for i in range(20_000))
        table.append([{"id": 20_000}])
        table.append_table(pa.table({"text": ["x"], "id": pa.array([20_001], pa.int32())}))
        assert not path.exists()
    assert table.rows == 20_002
    written = pq.read_table(path)
    assert written.schema == SCHEMA
    assert written["id"].to_pylist() == list(range(20_002))
    assert written["text"].to_pylist()[-2:] == [None, "x"]


def test_an_empty_table_has_its_schema(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "t", ROWS):
        pass
    assert pq.read_schema(tmp_path / "t") == ROWS


@pytest.mark.parametrize("row", [{"id": "x"}, {"other": 1}, {"text": "\ud800"}, {"id": 2**70}])
def test_a_row_that_does_not_fit_is_an_error_that_names_the_file(tmp_path: Path, row: dict) -> None:
    with (
        pytest.raises(DataError, match=r"t\.parquet"),
        TableWriter(tmp_path / "t.parquet", SCHEMA) as table,
    ):
        table.append([row])
    with (
        pytest.raises(DataError, match=r"t\.parquet"),
        TableWriter(tmp_path / "t.parquet", SCHEMA) as table,
    ):
        table.append_table(pa.table({"x": [1]}))
    assert names(tmp_path) == []


def test_a_file_that_is_written_again_takes_the_leftovers_of_killed_programs_with_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "train.jsonl"
    over = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True,
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    (tmp_path / f".train.jsonl.{over}.0123abcd.tmp").write_text("half")
    others = (
        f".train.jsonl.{os.getpid()}.0123abcd.tmp",  # of a program that runs
        f".train.jsonl.more.{over}.0123abcd.tmp",  # of another file
        ".train.jsonl.tmp",
        "train.tmp",
    )
    for name in others:
        (tmp_path / name).write_text("x")
    write_jsonl(path, [{"a": 1}])
    assert {p.name for p in tmp_path.iterdir()} == {"train.jsonl", *others}


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_lock_is_not_followed_and_not_truncated(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    link = tmp_path / ".lock"
    link.symlink_to(precious)
    with pytest.raises(RunError, match=r"\.lock: is a symbolic link"), lock_file(link):
        pass
    assert precious.read_text() == "keep me"
    link.unlink()
    link.write_text("what somebody noted")
    with lock_file(link) as free:
        assert free
    assert link.read_text() == "what somebody noted"


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with lock_file(tmp_path / ".lock") as first, lock_file(tmp_path / ".lock") as second:
        assert (first, second) == (True, False)
    with lock_file(tmp_path / ".lock") as again:
        assert again


def test_a_lock_that_cannot_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written") as caught, lock_file(tmp_path / "no/l"):
        pass
    assert caught.value.hint


def test_leftovers_of_dead_programs_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".scores.parquet.{ended.pid}.0123abcd.tmp"
    alive = tmp_path / f".scores.parquet.{os.getpid()}.0123abcd.tmp"
    old, kept = tmp_path / "manifest.json.part", tmp_path / "scores.parquet"
    for path in (dead, alive, old, kept):
        path.write_text("x")
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    (tmp_path / "candidates.part").symlink_to(precious)
    (tmp_path / "folder.part").mkdir()
    removed = remove_leftovers(tmp_path)
    assert sorted(removed) == sorted([dead.name, old.name, "candidates.part"])
    assert precious.read_text() == "keep me"
    assert alive.exists()
    assert (tmp_path / "folder.part").is_dir()
    assert kept.exists()


@pytest.mark.parametrize("kind", ["table", "jsonl", "text", "copy"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    large = tmp_path / "large"
    large.write_bytes(os.urandom(400_000))
    table = pa.table({"x": pa.array([os.urandom(64).hex() for _ in range(9000)])})
    works = {
        "table": lambda: write_table(path, table),
        "jsonl": lambda: write_jsonl(path, ({"x": "y" * 99} for _ in range(9000))),
        "text": lambda: write_text(path, "y" * 400_000),
        "copy": lambda: copy_file(large, path),
    }
    with at_most(50_000), pytest.raises(DataError, match="out: cannot be written") as caught:
        works[kind]()
    assert caught.value.hint
    assert path.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large", "out"]


def test_a_table_is_not_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    monkeypatch.setattr("tutelage.data.writers.secrets.token_hex", lambda _: "0123abcd")
    temporary = tmp_path / f".t.parquet.{os.getpid()}.0123abcd.tmp"
    temporary.symlink_to(precious)
    with pytest.raises(TutelageError, match="cannot be written"):
        write_table(tmp_path / "t.parquet", pa.table({"x": [1]}))
    assert precious.read_text() == "keep me"


def test_what_a_block_raises_is_not_hidden_by_a_full_disk(tmp_path: Path) -> None:
    table = TableWriter(tmp_path / "t.parquet", pa.schema([("x", pa.int64())]))
    with pytest.raises(KeyError), table:  # noqa: PT012
        table.append([{"x": 1}])
        raise KeyError("the caller's own")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        make_folder(tmp_path / "file" / "below")


def test_leftovers_in_folders_of_a_folder_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    inner = tmp_path / "cells" / "a"
    inner.mkdir(parents=True)
    names = {
        ".manifest.json.999999999.0123abcd.tmp": False,
        f".manifest.json.{os.getpid()}.0123abcd.tmp": True,
        "mine.tmp": True,
        ".mine.tmp": True,
        "rows.part": True,
    }
    for name in names:
        (inner / name).write_text("half")
    remove_leftovers_below(tmp_path)
    assert {name: (inner / name).exists() for name in names} == names
    remove_leftovers_below(tmp_path / "nowhere")
