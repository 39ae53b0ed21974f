"""Locks, temporary files and full disks: never through a link, never half-written."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from tutelage.data import (
    TableWriter,
    copy_file,
    lock_file,
    make_folder,
    remove_leftovers,
    remove_leftovers_below,
    write_jsonl,
    write_table,
    write_text,
)
from tutelage.errors import DataError, RunError, TutelageError


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
