"""One measure of one set, and many of them as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from tutelage.data.schemas import DRIFT
from tutelage.stats.intervals import Estimate

UNITS: Mapping[str, str] = MappingProxyType(
    {
        "words": "words a text",
        "tokens": "tokens a text",
        "distinct_1": "share of words",
        "distinct_2": "share of word pairs",
        "distinct_3": "share of word triples",
        "compression_ratio": "ratio",
        "spread": "cosine distance",
        "js_words": "bits",
        "js_word_pairs": "bits",
        "accuracy": "share of checked",
        "nll_untrained": "nats a token",
        "nll_current": "nats a token",
        "nll_human": "nats a token",
        "divergence": "nats a token",
    }
)
"""The unit of each measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measure of one set.

    Attributes:
        subject: Whose text it is about, as the caller says.
        name: Of the set.
        baseline: Of the set it is compared with; None for the baseline itself.
        measure: Such as `distinct_2` or `share:TEACHER`.
        unit: Of value and change.
        value: With its 95 % interval over instructions.
        texts: How many texts it rests on.
        change: Against the baseline; None for the baseline, and for measures that are a distance
            to the baseline already.
        noise: For a divergence: its 95th percentile where each text's set is a coin toss (within
            an instruction that both sets answer). Below it there is no drift to see.
    """

    subject: str
    name: str
    baseline: str | None
    measure: str
    unit: str
    value: Estimate
    texts: int
    change: Estimate | None = None
    noise: float | None = None


def lines_to_table(lines: Sequence[Line]) -> pa.Table:
    """Lines as a table of the DRIFT schema, in the order given."""
    return pa.Table.from_pylist([line_to_row(line) for line in lines], schema=DRIFT)


def line_to_row(line: Line) -> dict[str, str | float | int | None]:
    """One line as a row of the DRIFT schema."""
    change = line.change
    return {
        "subject": line.subject,
        "name": line.name,
        "baseline": line.baseline,
        "measure": line.measure,
        "unit": line.unit,
        "value": line.value.value,
        "low": line.value.low,
        "high": line.value.high,
        "change": change.value if change else None,
        "change_low": change.low if change else None,
        "change_high": change.high if change else None,
        "noise": line.noise,
        "texts": line.texts,
    }


def lines_from_table(table: pa.Table) -> tuple[Line, ...]:
    """The inverse of `lines_to_table`."""
    return tuple(_line_from_row(row) for row in table.select(DRIFT.names).to_pylist())


def _line_from_row(row: Mapping[str, Any]) -> Line:
    plain = ("subject", "name", "baseline", "measure", "unit", "texts", "noise")
    change = None
    if row["change"] is not None:
        change = Estimate(value=row["change"], low=row["change_low"], high=row["change_high"])
    return Line(
        value=Estimate(value=row["value"], low=row["low"], high=row["high"]),
        change=change,
        **{name: row[name] for name in plain},
    )
