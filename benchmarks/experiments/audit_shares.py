"""How near the audit's estimated shares come to the truth, from what audit_sets.py read.

    python benchmarks/experiments/audit_shares.py WORK/expert.npz WORK/rationales.npz \
        --faults truncation echo --shares 0 0.1 0.3 0.5 --out audit-shares.csv

A share of the rows is exchanged for the same rows with a fault, as the student read them; the rows
are nested from share to share. Faults planted into an exchanged row are left out, so the gate is
fitted on plants into the other rows alone. Nothing is read again.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gate_comparison import ReadSet, readings

from tutelage.data import content_hash
from tutelage.errors import DataError
from tutelage.experiments.audit.findings import (
    KINDS,
    crossed_gates,
    recommendation_of,
    sides_of,
)


def exchanged_rows(found: ReadSet, *, fault: str, share: float) -> set[str]:
    """The rows that are exchanged: a share of those that could be given the fault."""
    able = set(found.row_id[found.what == fault].tolist())
    order = sorted(able, key=lambda row_id: content_hash("exchanged", fault, row_id))
    return set(order[: round(share * len(able))])


def with_the_fault(found: ReadSet, *, fault: str) -> ReadSet:
    """The rows that were read with the fault, too, and all that was read of them."""
    own = np.isin(found.row_id, found.row_id[found.what == fault])
    return ReadSet(
        name=found.name, row_id=found.row_id[own], part=found.part[own], what=found.what[own],
        X=found.X[own],
    )  # fmt: skip


def estimates(
    found: ReadSet, *, fault: str, shares: Sequence[float], seed: int
) -> Iterator[dict[str, Any]]:
    """For each share what the audit makes of it."""
    kind = next(k for k, faults in KINDS.items() if fault in faults)
    found = with_the_fault(found, fault=fault)
    for share in shares:
        exchanged = exchanged_rows(found, fault=fault, share=share)
        rows = int((found.what == "clean").sum())
        line = {"set": found.name, "fault": fault, "truth": round(len(exchanged) / rows, 3)}
        read = readings(found, fault=fault, exchanged=exchanged)
        try:
            gates = crossed_gates(read, max_false_refusals=0.05, seed=seed)
        except DataError as error:
            yield {**line, "advice": f"none: {error}"}
            continue
        side = sides_of(read, gates, seed=seed)[0]
        own = next(k for k in side.kinds if k.kind == kind)
        advice = recommendation_of(side, checkable=False)
        yield {
            **line,
            "any": side.estimate and side.estimate.share,
            "any_low": side.estimate and side.estimate.low,
            "any_high": side.estimate and side.estimate.high,
            "kind": own.estimate.share if own.estimate else own.reason,
            "kind_low": own.estimate and own.estimate.low,
            "kind_high": own.estimate and own.estimate.high,
            "refused": side.refused and round(side.refused.fraction, 3),
            "suspected": side.suspected.get(fault, 0),
            "hit_rate": own.hit_rate and round(own.hit_rate.fraction, 3),
            "alike": own.alike and round(own.alike.fraction, 3),
            "doubtful": own.is_doubtful,
            "advice": advice and f"{advice.advice}, {advice.because}",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--faults", nargs="+", default=["truncation"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.1, 0.3, 0.5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    lines = []
    for path in given.sets:
        for fault in given.faults:
            for line in estimates(
                ReadSet.of(path), fault=fault, shares=given.shares, seed=given.seed
            ):
                lines.append(line)
                print(line, flush=True)
    with given.out.open("w", newline="") as stream:
        out = csv.DictWriter(stream, max(lines, key=len))
        out.writeheader()
        out.writerows(lines)


if __name__ == "__main__":
    main()
