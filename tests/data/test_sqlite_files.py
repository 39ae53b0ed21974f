"""Several processes that make one SQLite file."""

import sqlite3
import threading
from pathlib import Path

import pytest

from tutelage.data.databases import write_ahead


@pytest.mark.parametrize("held_seconds", [0.0, 0.3])
def test_the_switch_waits_for_whoever_holds_the_file(tmp_path: Path, held_seconds: float) -> None:
    path = tmp_path / "one.sqlite"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("CREATE TABLE t (x)")
    timer = threading.Timer(held_seconds, lambda: holder.execute("COMMIT"))
    timer.start()
    other = sqlite3.connect(path, isolation_level=None, timeout=0.0)
    write_ahead(other, seconds=10.0)
    timer.join()
    assert other.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    other.close()
    holder.close()


def test_the_wait_ends(tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("CREATE TABLE t (x)")
    other = sqlite3.connect(path, isolation_level=None, timeout=0.0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(other, seconds=0.1)
    other.close()
    holder.close()
