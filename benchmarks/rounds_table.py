"""Rounds as Markdown: coverage, held-out quality and drift by loop, round and seed; and flips.

    python benchmarks/rounds_table.py OUT [--sizes NAME=RUN ...]

OUT is what `benchmarks/rounds_loops.py` wrote, finished or not. Flips are printed with two noise
floors: the same round of another seed of the same loop, and (--sizes) other untrained students
that judged the same pool.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tutelage.experiments.rounds.model import flips, tally_flips

MEASURES = (
    ("held_out", "accuracy", "held-out right"),
    ("held_out", "nll_human", "human text, nats/token"),
    ("student", "divergence", "divergence from untrained"),
    ("student", "tokens", "tokens it writes"),
    ("student", "distinct_2", "its distinct-2"),
    ("data", "accuracy", "set right"),
    ("data", "tokens", "set tokens"),
    ("data", "js_words", "set JS words"),
)


def drift_rows(out: Path) -> Iterator[tuple[str, int, int, str, str]]:
    """(loop, round, seed, column, text) of everything that was measured."""
    for row in pq.read_table(out / "out" / "rounds.parquet").to_pylist():
        kept = f"{row['kept']} ({row['kept_refined']})"
        yield row["loop"], row["round"], row["seed"], "kept (refined)", kept
    for row in pq.read_table(out / "out" / "drift.parquet").to_pylist():
        for subject, measure, column in MEASURES:
            if (row["subject"], row["measure"]) != (subject, measure) or row["value"] is None:
                continue
            last = row["name"].rpartition("-" if subject == "data" else " ")[2]
            number = {"untrained": 0, "originals": None}.get(
                row["name"], int(last) if last.isdigit() else None
            )
            if number is None:
                continue
            text = f"{row['value']:.3f}" if row["value"] < 10 else f"{row['value']:.0f}"
            if row["change"] is not None and row["change_low"] is not None:
                text += f" ({row['change_low']:+.3f} to {row['change_high']:+.3f})"
            yield row["loop"], number, row["seed"], column, text


def print_drift(out: Path) -> None:
    texts: dict[tuple[str, int, int], dict[str, str]] = defaultdict(dict)
    for loop, number, seed, column, text in drift_rows(out):
        texts[loop, number, seed][column] = text
    columns = ["kept (refined)", *(c for *_, c in MEASURES)]
    columns = [c for c in columns if any(c in found for found in texts.values())]
    print("| loop | round | seed |", " | ".join(columns), "|")
    print("|---|---:|---:|" + "---:|" * len(columns))
    for (loop, number, seed), found in sorted(texts.items(), key=lambda x: (x[0][0], *x[0][1:])):
        print(f"| {loop} | {number} | {seed} |", " | ".join(found.get(c, "") for c in columns), "|")


def print_loops(out: Path) -> None:
    path = out / "out" / "loops.parquet"
    if not path.is_file():
        return
    print("\n| after | task | loop | minus | difference (95 %) | p, corrected | detectable |")
    print("|---:|---|---|---|---:|---:|---:|")
    for r in pq.read_table(path).to_pylist():
        span = f"{r['mean']:+.3f} ({r['low']:+.3f} to {r['high']:+.3f})"
        chances = f"{r['p_corrected']:.2f} | {r['detectable']:.3f}"
        print(f"| {r['after']} | {r['task']} | {r['loop']} | {r['against']} | {span} | {chances} |")


def decisions(folder: Path) -> Any:
    path = folder / "decisions.parquet"
    return pq.read_table(path) if path.is_file() else None


def print_flips(out: Path, sizes: dict[str, Path]) -> None:
    def row(what: str, one: Any, other: Any) -> None:
        if one is None or other is None:
            return
        tally = tally_flips(flips(one, other))
        counts = (tally.by_direction.get(d, 0) for d in ("other_version", "lost", "gained"))
        print(f"| {what} | {tally.examples} |", " | ".join(map(str, counts)), "|")

    base = out / "out"
    seeds = sorted(base.glob("seed-*"))
    print("\n| compared decisions | examples | other version | lost | gained |")
    print("|---|---:|---:|---:|---:|")
    for loop in ("gate", "no_gate", "random", "self_teaching"):
        for seed in seeds:
            rounds = sorted((seed / loop).glob("round-*"))
            for later in rounds[1:]:
                first, now = decisions(rounds[0]), decisions(later)
                row(f"{loop}, {seed.name}, round 0 and {later.name}", first, now)
        for one, other in combinations(seeds, 2):
            for folder in sorted((one / loop).glob("round-*"))[1:]:
                there = decisions(other / loop / folder.name)
                row(f"{loop}, {one.name} and {other.name}, {folder.name}", decisions(folder), there)
    mine = decisions(base / "pool")
    for name, run in sizes.items():
        row(f"untrained smollm2 and {name}", mine, decisions(run))
    for (a, one), (b, other) in combinations(sizes.items(), 2):
        row(f"untrained {a} and {b}", decisions(one), decisions(other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", nargs="*", default=[], metavar="NAME=RUN")
    given = parser.parse_args()
    print_drift(given.out)
    print_loops(given.out)
    sizes = (text.partition("=") for text in given.sizes)
    print_flips(given.out, {name: Path(run) for name, _, run in sizes})


if __name__ == "__main__":
    main()
