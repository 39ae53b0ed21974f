"""Real rewrites of a weak teacher: faults that nobody planted, and what gate and rule make of them.

    tutelage refine WORK/weak-rows.jsonl --teacher NAME --base-url URL --steps response --max-tokens 300 --out WORK/weak-run
    python benchmarks/experiments/weak_rewrites.py rows --data FOLDER --out WORK/weak-rows.jsonl
    python benchmarks/experiments/weak_rewrites.py read --run WORK/weak-run --work WORK --cache readings.sqlite
    python benchmarks/experiments/weak_rewrites.py judge --work WORK --labels weak-labels.csv --out weak-rewrites.csv

`rows` draws short Alpaca rows that the audits did not use. `read` takes the first usable rewrites that change the
answer, plants faults and reads everything, as an audit would; with `--dose mild`, the mild ones. `judge` compares the labels (row, reader and label) with
the verdicts of the gate of the other half, and with `srt`; `--doses both` fits the gate on strong and mild faults.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from audit_sets import SETS, audited, drawn
from gate_comparison import ReadSet, not_taken_by_srt
from gate_doses import fitted

from tutelage.experiments.audit.findings import KINDS
from tutelage.gate import DOSES, FAULTS, GateRow, share_of

AUDITED, DRAWN = 100, 340
REWRITES = 150
NAME = "weak"


def rows(data: Path) -> list[dict[str, Any]]:
    """Alpaca rows beyond those of the audits, in the same order."""
    found = drawn(SETS["alpaca"](data), count=DRAWN, shortest=60, longest=220)
    return found[AUDITED:]


def rewrites(run: Path) -> list[dict[str, Any]]:
    """The first usable rewrites of a run that change the answer, in the order of its rows."""
    place = {r["example_id"]: r["row"] for r in pq.read_table(run / "rows.parquet").to_pylist()}
    versions: dict[str, dict[str, Any]] = {}
    for row in pq.read_table(run / "candidates.parquet").to_pylist():
        if row["status"] == "ok":
            versions.setdefault(row["example_id"], {})[row["step"]] = row["messages"]
    pairs = []
    for example in sorted(versions, key=place.__getitem__):
        own = versions[example]
        if {"original", "response_reflection"} <= set(own):
            before, after = (own[s][-1]["content"] for s in ("original", "response_reflection"))
            if before.strip() != after.strip():
                pairs.append(
                    {"instruction": own["original"][0]["content"], "original_output": before,
                     "refined_output": after}
                )  # fmt: skip
    return pairs[:REWRITES]


def judged(work: Path, labels: Path, *, doses: str) -> list[dict[str, Any]]:
    """A line for each rewrite: how many readers call it faulty, wrong or clean, and the verdicts."""
    found = ReadSet.of(work / f"{NAME}.npz")
    mild = work / f"{NAME}-mild.npz"
    gates = fitted(found, ReadSet.of(mild) if doses == "both" else None)
    order = np.flatnonzero(found.what == "clean")
    gate_rows = [GateRow(example_id=found.row_id[i], features_F=found.X[i]) for i in order.tolist()]
    verdicts = gates.judge(gate_rows)
    refused_by_srt = not_taken_by_srt(found)
    judged_places = np.flatnonzero(found.judged)
    by_srt = dict(zip(judged_places.tolist(), refused_by_srt[found.judged].tolist(), strict=True))
    said: dict[int, list[str]] = {}
    with labels.open() as file:
        for line in csv.DictReader(file):
            said.setdefault(int(line["row"]), []).append(line["label"])
    places = places_of(work)
    lines = []
    for i, verdict in zip(order.tolist(), verdicts, strict=True):
        row = places[found.row_id[i]]
        own = said[row]
        lines.append({
            "row": row, "faulty": sum(label in KINDS for label in own) / len(own),
            "wrong": sum(label == "wrong" for label in own) / len(own),
            "clean": sum(label == "clean" for label in own) / len(own),
            "labels": " ".join(own), "gate_rejects": int(not verdict.passed),
            "gate_fault": "" if verdict.passed else verdict.fault, "srt_rejects": int(by_srt[i]),
        })  # fmt: skip
    return sorted(lines, key=lambda line: int(line["row"]))


def places_of(work: Path) -> dict[str, int]:
    """The row of each example of WORK/weak.jsonl."""
    from tutelage.data import read

    found = read(work / f"{NAME}.jsonl")
    return {str(row.example.example_id): row.row for row in found if row.example is not None}


def told(lines: Sequence[dict[str, Any]]) -> None:
    """Prints shares of rejected rewrites by label; a rewrite counts by the share of its readers."""
    for what in ("faulty", "wrong", "clean"):
        weight = np.array([line[what] for line in lines])
        for by in ("gate_rejects", "srt_rejects"):
            flags = np.array([line[by] for line in lines])
            share = share_of(round(float((weight * flags).sum())), round(float(weight.sum())))
            print(
                f"{what}: {by} {(weight * flags).sum():g} of {weight.sum():g} "
                f"({share.low:.0%} to {share.high:.0%})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("rows", "read", "judge"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--dose", choices=DOSES, default="strong")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--doses", choices=("strong", "both"), default="strong")
    given = parser.parse_args()
    if given.step == "rows":
        lines = [json.dumps(r, ensure_ascii=False) + "\n" for r in rows(given.data)]
        given.out.write_text("".join(lines), "utf-8")
    elif given.step == "read":
        settings = argparse.Namespace(
            work=given.work, cache=given.cache, student="smollm2-135m", template="chat",
            planted=90, seed=0, only_cached=False, only_read=True, faults=FAULTS, dose=given.dose,
        )  # fmt: skip
        audited(NAME, rewrites(given.run), settings)
    else:
        found = judged(given.work, given.labels, doses=given.doses)
        told(found)
        with given.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
