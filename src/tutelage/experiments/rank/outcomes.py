"""How well did the predictions predict? Rank correlations with what was measured."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import CORRELATIONS
from tutelage.errors import DataError
from tutelage.stats.rank_correlation import spearman, spearman_interval


def outcomes_of(path: Path, *, entrant: str, columns: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measured results of entrants from a CSV file with a head; empty cells are left out.

    Raises:
        DataError: A column is missing, or a cell is no number.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in columns}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            for name in (entrant, *columns):
                if name not in row:
                    raise DataError(f"{path}: has no column {name!r}")
            for name in columns:
                if row[name]:
                    try:
                        found[name][row[entrant]] = float(row[name])
                    except ValueError as error:
                        raise DataError(f"{path}:{number}: {name} is {row[name]!r}") from error
    return found


def correlations(
    standings: pa.Table,
    outcomes: Mapping[str, Mapping[str, float]],
    *,
    level: float = 0.95,
    domain: str = "all",
) -> pa.Table:
    """Spearman's correlation of each predictor with each measured outcome, over entrants.

    Args:
        standings: The STANDINGS schema.
        outcomes: By name of the outcome and entrant; higher is better.
        level: Of the intervals.
        domain: Which part of the standings.

    Returns:
        The CORRELATIONS schema.
    """
    values: dict[str, dict[str, float]] = {}
    better: dict[str, str] = {}
    for row in standings.to_pylist():
        if row["domain"] == domain and row["value"] is not None:
            values.setdefault(row["predictor"], {})[row["entrant"]] = row["value"]
            better[row["predictor"]] = row["better"]
    rows: list[dict[str, Any]] = []
    for predictor, predicted in values.items():
        for outcome, measured in outcomes.items():
            names = sorted(predicted.keys() & measured.keys())
            a, b = (np.array([v[n] for n in names]) for v in (predicted, measured))
            rho = spearman(a, b)
            low, high = (None, None)
            if rho is not None:
                low, high = spearman_interval(rho, n=len(names), level=level)
            sign = -1 if better[predictor] == "lower" else 1
            rows.append(
                {
                    "predictor": predictor,
                    "outcome": outcome,
                    "better": better[predictor],
                    "spearman": rho,
                    "low": low,
                    "high": high,
                    "as_claimed": None if rho is None else sign * rho,
                    "entrants": len(names),
                }
            )
    return pa.Table.from_pylist(rows, schema=CORRELATIONS)
