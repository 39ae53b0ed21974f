"""Random numbers that belong to an id and a seed, so that no order of rows can change them."""

from typing import Literal

import duckdb
import pyarrow as pa

from tutelage.selection.columns import Column, Floats, column_of, to_floats

_HEX_DIGITS = 13
"""How many of the 32 digits of an MD5 are used: 52 bits fit a float64 without rounding."""

_QUERY = """
select ('0x' || left(md5($salt || id), $digits))::bigint::double / $scale as draw from given
"""


def draws(ids: Column, *, seed: int, purpose: Literal["rule", "nulls"]) -> Floats:
    """One random number for each id: 52 bits of the MD5 of purpose, seed and id.

    Args:
        ids: Example or candidate ids; a null gets NaN.
        seed: Another seed gives independent numbers.
        purpose: The random rule and the random nulls draw independently of each other: otherwise
            the null beside a random selection would be that selection.

    Returns:
        float64 in [0, 1), the same on every machine.

    Examples:
        >>> draws(pa.array(["a"]), seed=0, purpose="nulls").round(6).tolist()
        [0.180503]
    """
    with duckdb.connect() as tables:
        tables.execute("set enable_progress_bar = false")
        tables.from_arrow(pa.table({"id": ids})).create_view("given")
        salt = {"salt": f"{purpose}:{seed}:", "digits": _HEX_DIGITS, "scale": 16.0**_HEX_DIGITS}
        return to_floats(column_of(tables.sql(_QUERY, params=salt).to_arrow_table(), "draw"))
