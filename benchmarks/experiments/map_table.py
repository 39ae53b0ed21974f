"""Tables and figures of docs/experiments/where-choosing-pays.md, computed from the raw items.

    python benchmarks/experiments/map_table.py docs/experiments/raw mismatch echo truncated mismatch-again --pictures docs/images

Reads map-FAULT.csv.gz (written by raw_items.py) and map-FAULT-rates.json. The arms oracle and clean have the same rows
for every fault and are trained once, so seeds that one file lacks are taken from the other files. A comparison uses the
seeds that all its arms have. Harm and benefit are those of a whole set compared with the originals, assuming that the
outcome is linear in the share: ungated is half faulty and half clean, oracle half original and half clean.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tutelage.stats.paired_design import Interval, efficiency, paired_items

Arms: TypeAlias = dict[str, dict[int, dict[str, float]]]
OPEN = "open_references"
SAME = ("oracle", "clean")
PAIRS = (
    ("choice", "permuted"),
    ("gated", "permuted_gated"),
    ("choice", "ungated"),
    ("gated", "ungated"),
    ("gated", "choice"),
    ("permuted", "ungated"),
    ("permuted_gated", "ungated"),
    ("oracle", "ungated"),
    ("choice", "oracle"),
    ("gated", "oracle"),
    ("clean", "ungated"),
    ("clean", "oracle"),
    ("cheap", "ungated"),
    ("choice", "cheap"),
    ("gated", "cheap"),
    ("gate_alone", "gated"),
    ("gate_alone", "ungated"),
    ("gate_alone", "permuted_gated"),
    ("gate_alone", "oracle"),
    ("gate_alone", "clean"),
)
DRAWN = (
    ("choice", "permuted"),
    ("gated", "permuted_gated"),
    ("choice", "ungated"),
    ("gated", "ungated"),
    ("permuted", "ungated"),
    ("permuted_gated", "ungated"),
    ("oracle", "ungated"),
    ("clean", "ungated"),
)
"""Comparisons in the figure of open references; the figure of the gain shows the first four."""


def read_arms(path: Path, task: str) -> Arms:
    """Values by arm, seed and item."""
    arms: Arms = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            if row["task"] == task and row["value"]:
                seeds = arms.setdefault(row["arm"], {})
                seeds.setdefault(int(row["train_seed"]), {})[row["item_id"]] = float(row["value"])
    return arms


def all_arms(folder: Path, fault: str, faults: Sequence[str], task: str) -> Arms:
    """Arms of a fault, including seeds of oracle and clean that were trained for another fault."""
    arms = read_arms(folder / f"map-{fault}.csv.gz", task)
    seeds = {seed for name, by_seed in arms.items() if name != "untrained" for seed in by_seed}
    for other in faults:
        for name, by_seed in read_arms(folder / f"map-{other}.csv.gz", task).items():
            shared = {seed: items for seed, items in by_seed.items() if seed in seeds}
            if name in SAME and shared:
                arms[name] = shared | arms.get(name, {})
    return arms


def tasks_of(path: Path) -> list[str]:
    """Outcomes in a file, in its order."""
    with gzip.open(path, "rt") as file:
        return list(dict.fromkeys(row["task"] for row in csv.DictReader(file)))


def difference(arms: Arms, arm: str, against: str) -> Interval | None:
    """Difference of one arm minus another over their common seeds.

    The untrained student has no seeds and is compared with every seed.
    """
    if arm not in arms or against not in arms:
        return None
    base = arms[against]
    if against == "untrained":
        base = dict.fromkeys(arms[arm], next(iter(base.values())))
    seeds = sorted(arms[arm].keys() & base.keys())
    paired = paired_items([(seed, arms[arm][seed], base[seed]) for seed in seeds])
    return None if paired is None else paired.interval(level=0.95)


def ratio(arms: Arms, choice: str) -> str:
    """Efficiency of a choice with its interval, as text."""
    names = (choice, "oracle", "ungated")
    if any(name not in arms for name in names):
        return ""
    seeds = sorted(set.intersection(*(set(arms[name]) for name in names)))
    items = sorted(set.intersection(*(set(arms[n][s]) for n in names for s in seeds)))
    values = [np.array([[arms[n][s][i] for i in items] for s in seeds]) for n in names]
    found = efficiency(choice_S_I=values[0], oracle_S_I=values[1], ungated_S_I=values[2])
    if found is None:
        return "no room shown"
    return f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"


def shown(i: Interval | None) -> str:
    if i is None:
        return ""
    star = "*" if i.excludes_zero else ""
    return f"{i.mean:+.4f} ({i.low:+.4f} to {i.high:+.4f}){star}"


def scaled(i: Interval | None, factor: float) -> str:
    if i is None:
        return ""
    ends = sorted((factor * i.low, factor * i.high))
    return f"{factor * i.mean:+.4f} ({ends[0]:+.4f} to {ends[1]:+.4f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n| {' | '.join(head)} |")
    print("|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print(f"| {' | '.join(row)} |")


def rates(folder: Path, faults: Sequence[str]) -> None:
    rows = []
    for fault in faults:
        path = folder / f"map-{fault}-rates.json"
        if not path.is_file():
            continue
        for arm, r in json.loads(path.read_text())["rates"].items():
            if arm in ("ungated", "oracle"):
                continue
            rows.append((
                fault,
                arm,
                f"{r['faulty refused']:g} of {r['faulty']:g}",
                f"{r['faulty refused'] / r['faulty']:.2f}",
                f"{r['clean refused']:g} of {r['clean']:g}",
                f"{r['clean refused'] / r['clean']:.2f}",
            ))  # fmt: skip
    table(("fault", "arm", "faulty rejected", "share", "clean rejected", "share"), rows)


def comparisons(arms: Arms, task: str, fault: str) -> None:
    print(f"\n#### {fault}, {task}")
    rows = []
    for arm, against in PAIRS:
        i = difference(arms, arm, against)
        if i is not None:
            rows.append((
                f"{arm} minus {against}", shown(i), f"{i.p_value:.3f}", f"{i.detectable:.4f}",
                str(i.seeds),
            ))  # fmt: skip
    for arm in arms:
        i = difference(arms, arm, "untrained") if arm != "untrained" else None
        if i is not None:
            rows.append((f"{arm} minus untrained", shown(i), "", "", str(i.seeds)))
    table(
        (
            "comparison",
            "mean (95 % interval)",
            "p",
            "minimum detectable effect",
            "seeds",
        ),
        rows,
    )
    print(
        "\n\\* 0 lies outside the bootstrap interval, which decides by the plan; p is Student's t."
    )
    print("\nefficiency:", {arm: ratio(arms, arm) for arm in ("choice", "gated") if arm in arms})
    print("harm of the fault:", scaled(difference(arms, "oracle", "ungated"), 2.0))
    print("benefit of a clean revision:", scaled(difference(arms, "clean", "oracle"), 2.0))


def picture(path: Path, folder: Path, faults: Sequence[str], *, gain: bool) -> None:
    """Write a figure of differences with intervals, by fault."""
    from tutelage.reporting.charts import interval_chart

    rows = []
    for fault in faults:
        file = folder / f"map-{fault}.csv.gz"
        for task in tasks_of(file):
            if (task != OPEN) != gain:
                continue
            arms = all_arms(folder, fault, faults, task)
            for arm, against in DRAWN[:4] if gain else DRAWN:
                i = difference(arms, arm, against)
                if i is not None:
                    name = f"{fault}: {arm} minus {against}".replace("permuted_gated", "permuted")
                    name = name.replace("mismatch-again", "again").replace(
                        "scrambled-again", "scrambled"
                    )
                    rows.append((name, i.mean, i.low, i.high))
    outcome = "the gain from the instruction" if gain else "open references"
    primary = [name for name, *_ in rows if name.endswith(" minus permuted")]
    unit = f"nats per token on {outcome}, 95 % interval"
    path.write_text(interval_chart(rows, unit=unit, first=primary))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("faults", nargs="+")
    parser.add_argument("--pictures", type=Path, help="a folder")
    given = parser.parse_args()
    rates(given.folder, given.faults)
    for fault in given.faults:
        file = given.folder / f"map-{fault}.csv.gz"
        for task in tasks_of(file):
            comparisons(all_arms(given.folder, fault, given.faults, task), task, fault)
    if given.pictures:
        for name, gain in (("where-choosing-pays", False), ("where-choosing-pays-gain", True)):
            picture(given.pictures / f"{name}.svg", given.folder, given.faults, gain=gain)


if __name__ == "__main__":
    main()
