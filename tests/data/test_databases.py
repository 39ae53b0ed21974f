"""The progress bar of DuckDB, which a notebook without widgets refuses to set."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import tutelage
from tutelage.data.databases import hide_progress_bar


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
