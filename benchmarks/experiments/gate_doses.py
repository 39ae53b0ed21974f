"""How many mild faults the gate rejects, fitted on strong doses or on both, on what audit_sets.py read.

    python benchmarks/experiments/audit_sets.py ... --sets expert gpt4 rationales --only-read
    python benchmarks/experiments/audit_sets.py ... --sets expert gpt4 rationales --only-read --dose mild
    python benchmarks/experiments/gate_doses.py WORK/expert.npz WORK/gpt4.npz WORK/rationales.npz --out gate-doses.csv

Two-fold: each text is judged by the gate that was fitted on the other half. `strong`: planted faults of the fit
have the strong dose, as in an audit; `both`: also the mild one, as in a run.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from gate_comparison import ReadSet, readings

from tutelage.experiments.audit.findings import CrossedGates, crossed_gates
from tutelage.gate import GateRow, share_of

BUDGET = 0.05
Line = tuple[str, str, str, str, int, int, float, float]


def fitted(found: ReadSet, mild: ReadSet | None) -> CrossedGates:
    """Crossed gates on strong plants, or on these and mild ones."""
    own = readings(found)
    if mild is not None:
        more = [replace(row, dose="mild") for row in readings(mild).material.planted]
        planted = [*own.material.planted, *more]
        own = replace(own, material=replace(own.material, planted=planted))
    return crossed_gates(own, max_false_refusals=BUDGET, seed=0)


def counts(found: ReadSet, gates: CrossedGates, *, dose: str, fit: str) -> list[Line]:
    """Rejected texts by what they are."""
    rows = [
        GateRow(example_id=row_id, features_F=x_F)
        for row_id, x_F in zip(found.row_id.tolist(), found.X, strict=True)
    ]
    rejected = (gates.excess(rows) > 0).any(axis=1)
    clean = ("clean", "original") if dose == "strong" else ()
    lines: list[Line] = []
    for what in [w for w in (*clean, *found.faults) if (found.what == w).any()]:
        own = rejected[found.what == what]
        share = share_of(int(own.sum()), len(own))
        name = "" if what in ("clean", "original") else dose
        low, high = round(share.low, 4), round(share.high, 4)
        lines.append((found.name, fit, what, name, share.count, share.rows, low, high))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    lines: list[Line] = []
    for path in given.sets:
        strong = ReadSet.of(path)
        mild = ReadSet.of(path.with_name(f"{path.stem}-mild.npz"))
        if not np.array_equal(strong.X[~_planted(strong)], mild.X[~_planted(mild)], equal_nan=True):
            raise SystemExit(f"{path}: the two files are not readings of the same rows")
        for fit, extra in (("strong", None), ("both", mild)):
            gates = fitted(strong, extra)
            lines += counts(strong, gates, dose="strong", fit=fit)
            lines += counts(replace(mild, name=strong.name), gates, dose="mild", fit=fit)
        print(*lines, sep="\n", flush=True)
    with given.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("set", "fitted_on", "what", "dose", "rejected", "texts", "low", "high"))
        writer.writerows(lines)


def _planted(found: ReadSet) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return ~np.isin(found.what, ("clean", "original"))


if __name__ == "__main__":
    main()
