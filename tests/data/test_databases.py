"""Databases: the progress bar of DuckDB, and one SQLite file that several processes create."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import tutelage
from tutelage.data.databases import hide_progress_bar, write_ahead


class Refuses:
    """A connection in a notebook without ipywidgets."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def execute(self, statement: str) -> Any:
        self.asked.append(statement)
        if statement.startswith("set "):
            raise duckdb.InvalidInputException("required package 'ipywidgets' is missing")
        return duckdb.connect().execute("select false")


def test_a_bar_that_is_off_is_not_set() -> None:
    notebook = Refuses()
    hide_progress_bar(notebook)  # type: ignore[arg-type]
    assert len(notebook.asked) == 1


@pytest.mark.parametrize("before", ["true", "false"])
def test_the_bar_is_off_afterwards(before: str) -> None:
    with duckdb.connect() as tables:
        tables.execute(f"set enable_progress_bar = {before}")
        hide_progress_bar(tables)
        tables.from_arrow(pa.table({"n": [1]})).create_view("v")  # the connection is free
        found = tables.execute("select current_setting('enable_progress_bar')").fetchone()
    assert found == (False,)


def test_nobody_else_sets_it() -> None:
    sources = Path(tutelage.__file__).parent.rglob("*.py")
    setting = [p.name for p in sources if "set enable_progress_bar" in p.read_text("utf-8")]
    assert setting == ["databases.py"]


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
