"""Settings of database connections: DuckDB in notebooks, SQLite for several processes."""

import sqlite3
from time import monotonic, sleep

import duckdb


def hide_progress_bar(tables: duckdb.DuckDBPyConnection) -> None:
    """Turn off the progress bar of a connection, where it is on.

    In a notebook without ipywidgets it is off, and DuckDB refuses any statement that sets it.

    Args:
        tables: An open connection.
    """
    # All rows are fetched: a result that is not read to its end keeps the connection busy.
    ((is_on,),) = tables.execute("select current_setting('enable_progress_bar')").fetchall()
    if is_on:
        tables.execute("set enable_progress_bar = false")


_PAUSE_SECONDS = 0.02


def write_ahead(connection: sqlite3.Connection, *, seconds: float) -> None:
    """Switch a database to its write-ahead log, waiting for other processes that do the same.

    SQLite waits for locks by itself, but not in this statement: if two processes create the same
    file, the second immediately gets the error that the database is locked.

    Args:
        connection: In autocommit.
        seconds: How long to wait.

    Raises:
        sqlite3.OperationalError: It is still locked after that, or cannot be switched.
    """
    deadline = monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > deadline:
                raise
            sleep(_PAUSE_SECONDS)
        else:
            return
