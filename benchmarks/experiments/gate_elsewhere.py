"""What a gate that was fitted on one data set refuses in others, and precision by labels of a reader.

    python benchmarks/experiments/gate_elsewhere.py WORK --fitted-on expert --sets dolly alpaca \
        --labels docs/experiments/raw/gate-labels.csv

WORK is the folder of audit_sets.py. Differences to originals are left out. The labels have the
columns `set`, `row` (the line of `WORK/SET.jsonl`, from 0) and `label`.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from gate_comparison import ReadSet, without

from tutelage.data import read
from tutelage.gate import DIFFERENCES, CalibratedGate, fit_gate, part_of, share_of

HELD_OUT = 0.12
"""Few, since the gate is measured on the other sets."""
SEED = 5


def fitted(found: ReadSet, *, budget: float) -> CalibratedGate:
    """A gate on nearly all rows of a set."""
    rows = found.gate_rows(without(found.X, DIFFERENCES))
    parts = {
        r.example_id: part_of(r.example_id, seed=SEED, held_out_fraction=HELD_OUT) for r in rows
    }
    return fit_gate(rows, max_false_refusals=budget, seed=0, parts=parts)


def verdicts(gate: CalibratedGate, work: Path, name: str) -> dict[int, str]:
    """For each row the fault for which it is refused, or `passed`."""
    found = ReadSet.of(work / f"{name}.npz")
    clean = found.what == "clean"
    judged = gate.judge(without(found.X, DIFFERENCES)[clean])
    row_of = {r.example.example_id: r.row for r in read(str(work / f"{name}.jsonl")) if r.example}
    return {
        row_of[str(row_id)]: "passed" if j.passed else j.fault
        for row_id, j in zip(found.row_id[clean], judged, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--fitted-on", default="expert")
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--budget", type=float, default=0.05)
    given = parser.parse_args()
    gate = fitted(ReadSet.of(given.work / f"{given.fitted_on}.npz"), budget=given.budget)
    found = {name: verdicts(gate, given.work, name) for name in given.sets}
    for name, by_row in found.items():
        named = Counter(by_row.values())
        share = share_of(len(by_row) - named["passed"], len(by_row))
        print(f"{name}: {share.count} of {share.rows} refused, {dict(named)}")
    if given.labels is None:
        return
    with given.labels.open() as stream:
        counts = Counter(
            (found[r["set"]][int(r["row"])], r["label"])
            for r in csv.DictReader(stream)
            if r["set"] in found
        )
    for (fault, label), rows in sorted(counts.items()):
        print(f"{fault:<16} {label:<8} {rows}")


if __name__ == "__main__":
    main()
