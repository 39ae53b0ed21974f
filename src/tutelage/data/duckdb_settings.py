"""Settings of DuckDB connections."""

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
