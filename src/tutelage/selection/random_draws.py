"""Random numbers from an id and a seed, independent of the order of rows."""

from typing import Literal, TypeAlias

import duckdb
import pyarrow as pa

from tutelage.data.databases import hide_progress_bar
from tutelage.selection.candidate_table import Column, Floats, column_of, to_floats

Purpose: TypeAlias = Literal["rule", "nulls", "cut", "mix", "permuted", "length_matched"]

_HEX_DIGITS = 13
"""Hexadecimal digits of an MD5 that are used: 52 bits fit a float64 without rounding."""

# A query keeps the order of an Arrow table's rows unless it is told that it need not.
_QUERY = """
select ('0x' || left(md5($salt || id), $digits))::bigint::double / $scale as draw from given
"""


def draws(*columns: Column, seed: int, purpose: Purpose) -> tuple[Floats, ...]:
    """One random number per id: 52 bits of the MD5 of purpose, seed and id.

    Args:
        *columns: Columns of example or candidate ids; a null gets NaN.
        seed: Another seed gives independent numbers.
        purpose: What draws for different purposes draws independently: otherwise the null beside
            a random selection would be that selection.

    Returns:
        For each column float64 in [0, 1), the same on every machine and in every order.

    Examples:
        >>> draws(pa.array(["a"]), seed=0, purpose="nulls")[0].round(6).tolist()
        [0.881654]
    """
    salt = {"salt": f"{purpose}:{seed}:", "digits": _HEX_DIGITS, "scale": 16.0**_HEX_DIGITS}
    drawn = []
    with duckdb.connect() as tables:
        hide_progress_bar(tables)
        for ids in columns:
            tables.from_arrow(pa.table({"id": ids})).create_view("given", replace=True)
            table = tables.sql(_QUERY, params=salt).to_arrow_table()
            drawn.append(to_floats(column_of(table, "draw")))
    return tuple(drawn)
