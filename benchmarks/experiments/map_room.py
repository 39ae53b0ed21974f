"""Table of the room for a choice (E0): all rewrites, all originals, the selected and the other version of each row.

    python benchmarks/experiments/map_room.py docs/experiments/raw/map-room.csv.gz docs/experiments/raw/map-room-2e-4.csv.gz

Excess: selected minus other version, less half of (rewrites minus originals). A choice without information that selects
three rewrites of four rows has an excess of 0, if the outcome is linear in the share of rewrites. `room` is the
difference of rewrites and originals in standard errors: the plan of the map asks for five.
"""

import argparse
from pathlib import Path

from map_table import Arms, difference, read_arms, shown, table, tasks_of

COMPARISONS = (
    ("refined", "original"),
    ("chosen", "refused"),
    ("chosen", "refined"),
    ("refused", "original"),
    ("refined", "untrained"),
    ("original", "untrained"),
)
PURE = ("refined", "original", "chosen", "refused")


def with_excess(arms: Arms) -> Arms:
    """Adds what the selected version would reach without information: the other version and half the difference."""
    if any(name not in arms for name in PURE):
        return arms
    seeds = set.intersection(*(set(arms[name]) for name in PURE))
    plain = {
        seed: {
            item: value + (arms["refined"][seed][item] - arms["original"][seed][item]) / 2
            for item, value in arms["refused"][seed].items()
        }
        for seed in seeds
    }
    return {**arms, "other and half": plain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    for path in parser.parse_args().files:
        for task in tasks_of(path):
            arms = with_excess(read_arms(path, task))
            rows = []
            for better, worse in (*COMPARISONS, ("chosen", "other and half")):
                found = difference(arms, better, worse)
                if found is None:
                    continue
                name = "excess" if worse == "other and half" else f"{better} minus {worse}"
                error = (found.high - found.low) / 3.92
                rows.append((
                    name, shown(found), f"{found.p_value:.3f}", f"{abs(found.mean) / error:.1f}",
                    f"{found.detectable:.4f}", str(found.seeds),
                ))  # fmt: skip
            print(f"\n#### {path.name}, {task}\n")
            table(
                (
                    "comparison",
                    "mean (95 % interval)",
                    "p",
                    "room",
                    "minimum detectable effect",
                    "seeds",
                ),
                rows,
            )


if __name__ == "__main__":
    main()
