"""Report of proxy trainings: sentences and sections of the page."""

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import CORRELATIONS, PROBES, SWEEP
from tutelage.errors import DataError
from tutelage.experiments.rank.answer_pool import Ranked
from tutelage.experiments.rank.page import write_ranking
from tutelage.experiments.rank.proxy_training import Probed
from tutelage.reporting import Cell, Figure, Section, Table, schema_columns
from tutelage.reporting.number_format import count, share
from tutelage.stats.rank_correlation import MIN_PAIRS, spearman, spearman_interval

# ----------------------------------------------------------------------------------------------
# How well did the predictions predict? Rank correlations with what was measured.
# ----------------------------------------------------------------------------------------------


def outcomes_of(path: Path, *, entrant: str, columns: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measured outcomes of entrants from a CSV file with a header; empty cells are left out.

    Args:
        path: The file.
        entrant: Name of the column with the entrants.
        columns: Names of the columns with outcomes.

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
        level: Confidence level of the intervals.
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


# ----------------------------------------------------------------------------------------------
# Proxy page.
# ----------------------------------------------------------------------------------------------


_GAIN = (
    "Gain: difference from the mean of all sources of the rung. Shrunk: the gain reduced by the "
    "share of noise in the spread, which estimates the gain in a repetition."
)


def probed_in_words(probed: Probed) -> list[str]:
    """Results of the training runs in a few sentences."""
    said = []
    if probed.winner:
        w = probed.winner
        said.append(
            f"By small training runs {w['source']} is first: {w['measured']:+.3g} over the mean of "
            f"the last rung as measured, {w['split']:+.3g} corrected for selection bias; half of "
            f"the data chooses it {share(w['again_fraction'])} of the time."
        )
    if probed.unfinished:
        said.append(f"{probed.unfinished} training runs are not done; the same command continues.")
    for row in probed.sweep.to_pylist():
        if row["less_all"] is not None:
            shown = row["low"] > 0 or row["high"] < 0
            better = "better" if row["less_all"] > 0 else "worse"
            verdict = f"it is {better}" if shown else "no significant difference"
            said.append(
                f"{row['mix']} ({', '.join(row['sources'])}) minus the mix of all: "
                f"{row['less_all']:+.3g} ({row['low']:+.3g} to {row['high']:+.3g}): {verdict}."
            )
    for name, rows in probed.left_out.items():
        said.append(f"{name} was left out: it has {count(rows, 'row')}.")
    return said


def predictions_checked(ranked: Ranked, probed: Probed) -> pa.Table:
    """Accuracy of the predictions: each predictor compared with the first rung's trainings.

    Returns:
        The CORRELATIONS schema; empty until all trainings of the first rung are done.
    """
    first = [row for row in probed.probes.to_pylist() if row["rung"] == 1]
    measured = {row["source"]: row["value"] for row in first if row["value"] is not None}
    outcomes = {"small trainings": measured} if len(measured) > MIN_PAIRS else {}
    return correlations(ranked.standings, outcomes)


def _checked_in_words(ranked: Ranked, probed: Probed) -> list[str]:
    return [
        f"{row['predictor']} ({row['better']} is claimed to be better) correlates with the first "
        f"small training runs by {row['spearman']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f}; "
        f"Spearman, {row['entrants']} sources)."
        for row in predictions_checked(ranked, probed).to_pylist()
        if row["predictor"] == ranked.by and row["spearman"] is not None
    ]


def probed_summary(ranked: Ranked, probed: Probed) -> dict[str, Any]:
    """Output of the command."""
    return {
        "in_words": [*probed_in_words(probed), *_checked_in_words(ranked, probed)],
        "order": list(probed.order),
        "winner": dict(probed.winner),
        "left_out": dict(probed.left_out),
        "unfinished": probed.unfinished,
        "rungs": probed.probes.to_pylist(),
        "sweep": probed.sweep.to_pylist(),
        "predictions": predictions_checked(ranked, probed).to_pylist(),
    }


def write_probed(ranked: Ranked, probed: Probed, *, level: float) -> None:
    """Rewrite the page of the ranking with the results of the trainings in front.

    Args:
        ranked: The ranking.
        probed: Results of the trainings.
        level: Level of the intervals.
    """
    write_ranking(
        ranked,
        level=level,
        opening=[*probed_in_words(probed), *_checked_in_words(ranked, probed)],
        more=probed_sections(ranked, probed),
    )


def probed_sections(ranked: Ranked, probed: Probed) -> list[Section]:
    """Sections: the rungs, the accuracy of the predictions, and the sweep if it is finished."""
    sections = [
        Section(
            key="probes",
            title="Small training runs",
            paragraphs=(_GAIN,),
            tables=(_rungs_table(probed.probes.to_pylist()),),
        )
    ]
    checked = predictions_checked(ranked, probed).to_pylist()
    if checked:
        sections.append(_checked_section(checked))
    if probed.sweep.num_rows:
        sections.append(_sweep_section(probed.sweep.to_pylist()))
    return sections


def _rungs_table(rows: list[dict[str, Any]]) -> Table:
    names = ("rung", "source", "predicted_rank", "examples", "value", "gain", "shrunk_gain")
    cells: list[tuple[Cell, ...]] = [
        (*(row[n] for n in names), "yes" if row["goes_on"] else "no") for row in rows
    ]
    return Table(
        caption="Rung by rung, best first",
        columns=schema_columns(PROBES, (*names, "goes_on")),
        rows=tuple(cells),
    )


def _checked_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    names = ("predictor", "better", "spearman", "low", "high", "entrants")
    table = Table(
        caption="Spearman's correlation with the training runs of the first rung",
        columns=schema_columns(CORRELATIONS, names),
        rows=tuple(tuple(row[n] for n in names) for row in rows),
        note="With few sources the intervals are wide: after Bonett and Wright, 95 %.",
    )
    return Section(key="predictions", title="Accuracy of the predictions", tables=(table,))


def _sweep_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    from tutelage.reporting.charts import interval_chart

    names = ("mix", "value", "less_all", "low", "high")
    table = Table(
        caption="Mixes with as many examples in all",
        columns=schema_columns(SWEEP, names),
        rows=tuple(tuple(row[n] for n in names) for row in rows),
        note="Measured on items and seeds that the rungs did not choose by.",
    )
    points = [
        (row["mix"], row["less_all"] or 0.0, row["low"], row["high"])
        for row in rows
    ]  # fmt: skip
    best = max(rows, key=lambda row: row["value"])["mix"]
    figure = Figure(
        title="How many sources to mix",
        alt="The value of each mix minus that of all sources, with its interval.",
        draw=partial(interval_chart, points, unit="minus the mix of all", first=[best]),
        table=table,
        layout="wide",
        in_text=False,
    )
    return Section(key="sweep", title="How many of the best to mix", figures=(figure,))
