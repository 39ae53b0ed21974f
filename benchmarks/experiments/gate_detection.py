"""Fits the calibrated gate on either half of what gate_readings.py read, and measures it on the other.

    python benchmarks/experiments/gate_detection.py readings.pickle --out calibrated-gate.csv

Each row of the table is a fault and a dose: how many plants were refused at the budget, of how many, the AUC,
and both with the fault left out of the fit. The first row is clean revisions.
"""

import argparse
import csv
import pickle
from pathlib import Path

import gate_readings
from gate_readings import ReadText

from tutelage.gate import (
    GateRow,
    Part,
    features_of,
    fit_gate,
    gate_fit,
    plain_features,
    pooled_results,
)

FEWEST = 30
"""Smaller than what the product asks for, so that an experiment that was stopped early can be read."""


class _Readings(pickle.Unpickler):
    """Reads the file of gate_readings.py, which wrote its classes as those of a main program."""

    def find_class(self, module: str, name: str) -> object:
        return (
            getattr(gate_readings, name)
            if module == "__main__"
            else super().find_class(module, name)
        )


def gate_rows(texts: list[ReadText]) -> tuple[list[GateRow], dict[str, Part]]:
    """Rows to fit on, and the half of each example."""
    originals = {t.row_id: plain_features(t.text) for t in texts if t.what == "original"}
    rows = []
    for t in texts:
        if t.what == "original":  # experts revised these for their faults, so they are not clean
            continue
        fault = None if t.what == "clean" else t.what
        rows.append(
            GateRow(
                example_id=t.row_id, features_F=features_of(t.text, original=originals.get(t.row_id)), fault=fault,
                dose=t.dose,
            )
        )  # fmt: skip
    return rows, {t.row_id: "fit" if t.part == "fit" else "held_out" for t in texts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readings", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=0.05)
    given = parser.parse_args()
    gate_fit.MIN_EXAMPLES = FEWEST
    with given.readings.open("rb") as stream:
        rows, halves = gate_rows(_Readings(stream).load())
    others: dict[str, Part] = {k: "held_out" if p == "fit" else "fit" for k, p in halves.items()}
    gates = [
        fit_gate(rows, max_false_refusals=given.budget, seed=0, parts=p) for p in (halves, others)
    ]
    clean = [g.false_refusals for g in gates]
    with given.out.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(
            ("fault", "dose", "refused", "rows", "auc", "left_out_refused", "left_out_auc")
        )
        out.writerow(
            ("clean", "", sum(s.count for s in clean), sum(s.rows for s in clean), "", "", "")
        )
        for r in pooled_results(gates):
            left = r.left_out_refused
            out.writerow(
                (r.fault, r.dose, r.refused.count, r.refused.rows, round(r.auc, 3),
                 "" if left is None else left.count,
                 "" if r.left_out_auc is None else round(r.left_out_auc, 3))
            )  # fmt: skip


if __name__ == "__main__":
    main()
