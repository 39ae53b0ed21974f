"""The calibrated gate beside rules, filters, an embedding and a judge model, on the same planted faults.

    python benchmarks/experiments/gate_versus_others.py docs/experiments/raw

Prints the tables of docs/experiments/calibrated-gate.md for SmolLM2. It reads numbers only: gate-smollm2-version-7.csv.gz
(gate_comparison.py), metric-auc.csv.gz (metric_auc.py), embedding-baseline.csv, embedding-model.csv and
judge-planted.csv. A threshold on one number is chosen on the clean rewrites of the other half, so that 5 % of them are
rejected.
"""

import argparse
import csv
import gzip
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

Row: TypeAlias = dict[str, str]
Shares: TypeAlias = dict[str, float]
BUDGET = 0.05


def rows_of(path: Path) -> list[Row]:
    packed = path.read_bytes()
    text = gzip.decompress(packed) if path.suffix == ".gz" else packed
    return list(csv.DictReader(text.decode().splitlines()))


def above(rows: list[Row], value: Callable[[Row], float], *, budget: float = BUDGET) -> list[bool]:
    """Whether each text lies above the threshold of the clean rewrites of the other half."""
    limits = {
        part: np.quantile(
            [value(r) for r in rows if r["what"] == "clean" and r["part"] != part], 1 - budget
        )
        for part in ("fit", "held_out")
    }
    return [value(row) > limits[row["part"]] for row in rows]


def shares(rows: list[Row], rejected: list[bool]) -> Shares:
    """Rejected share of the clean rewrites and of each fault."""
    found: dict[str, list[bool]] = defaultdict(list)
    for row, flag in zip(rows, rejected, strict=True):
        found[row["what"]].append(flag)
    return {what: float(np.mean(flags)) for what, flags in found.items()}


def counted(rows: list[Row]) -> Shares:
    return {row["what"]: int(row["rejected"]) / int(row["texts"]) for row in rows}


def methods(raw: Path, dataset: str) -> dict[str, Shares]:
    """Rejected shares by method, for one dataset."""
    rows = [r for r in rows_of(raw / "gate-smollm2-version-7.csv.gz") if r["set"] == dataset]
    numbers: dict[str, Callable[[Row], float]] = {
        "`ifd`, highest": lambda r: float(r["log_ifd"]),
        "`r_ifd`, highest": lambda r: float(r["log_r_ifd"]),
        "`grape`, lowest likelihood": lambda r: float(r["surprise"]),
        "`rsr`, highest": lambda r: float(r["rsr"]),
    }
    found = {
        "calibrated gate": shares(rows, [r["gate"] == "1" for r in rows]),
        "the same gate without a student": shares(rows, [r["no_student"] == "1" for r in rows]),
    }
    taken = [
        r
        for r in rows_of(raw / "metric-auc.csv.gz")
        if (r["student"], r["set"], r["number"]) == ("SmolLM2-135M", dataset, "taken_by_srt")
    ]
    if taken:
        found["`srt`, keeps the original"] = {r["fault"]: 1 - float(r["auc"]) for r in taken}
    for name, value in numbers.items():
        found[name] = shares(rows, above(rows, value))
    short, long = (
        above(rows, lambda r, sign=sign: sign * float(r["log_tokens"]), budget=BUDGET / 2)
        for sign in (-1, 1)
    )
    found["length band"] = shares(rows, [a or b for a, b in zip(short, long, strict=True)])
    found["filter `ifd`, below 1"] = shares(rows, [float(r["log_ifd"]) >= 0 for r in rows])
    words = [r for r in rows_of(raw / "embedding-baseline.csv") if r["set"] == dataset]
    found["similarity of instruction and answer, hashed words"] = counted(words)
    hidden = [
        r
        for r in rows_of(raw / "embedding-model.csv")
        if r["set"] == dataset and r["embedding"] != "words"
    ]
    if hidden:
        found["the same, hidden states of the student"] = counted(hidden)
    if dataset == "expert":
        judged = rows_of(raw / "judge-planted.csv")
        rejected = [r["judge_rejects"] == "1" for r in judged]
        found["judge model of 1.5B (12 texts of each fault)"] = shares(judged, rejected)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    given = parser.parse_args()
    for dataset in ("expert", "gpt4"):
        found = methods(given.raw, dataset)
        faults = sorted(set(found["calibrated gate"]) - {"clean", "original"})
        print(f"\n{dataset}\n")
        print("| method | clean |", " | ".join(f"`{f}`" for f in faults), "| mean |")
        print("|---|" + "---:|" * (len(faults) + 2))
        for name, by in found.items():
            cells = [by.get(what) for what in ("clean", *faults)]
            shown = ["" if cell is None else f"{100 * cell:.0f}" for cell in cells]
            mean = "" if None in cells else f"{100 * np.mean([by[f] for f in faults]):.0f}"
            print(f"| {name} |", " | ".join(shown), f"| {mean} |")


if __name__ == "__main__":
    main()
