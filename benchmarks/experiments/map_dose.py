"""Table and figure of the dose of a fault, and the break-even shares that follow from it.

    python benchmarks/experiments/map_dose.py docs/experiments/raw/map-dose.csv.gz --fault scrambled --picture docs/images/dose.svg

Arms: `original`, `refined` (all rewrites, no fault) and `FAULT_25`, `FAULT_50`, ... (all rewrites, that
percentage of them faulty, nested). Benefit B: refined minus original. Harm H: original minus the
arm in which every rewrite is faulty, or, where that is missing, extrapolated from the largest share.
"""

import argparse
from pathlib import Path

import numpy as np
from map_table import OPEN, Arms, difference, read_arms, shown, table, tasks_of

from tutelage.gate import break_even_share
from tutelage.reporting.charts import interval_chart
from tutelage.stats.paired_design import Interval

RATES = ((0.96, 0.25), (0.70, 0.01))
"""Shares of faulty and of clean rewrites that are rejected: `gated` of E1, and the gate fitted on the pool."""


def doses_of(arms: Arms, fault: str) -> list[tuple[int, str]]:
    """Percentage of faulty rewrites and name of each arm, the smallest first."""
    ends = [(int(name.rpartition("_")[2]), name) for name in arms if name.startswith(f"{fault}_")]
    return sorted([(0, "refined"), *ends])


def bend(arms: Arms, fault: str) -> Interval | None:
    """The half dose minus the mean of none and all: 0 where the outcome is linear in the share."""
    half, none, full = f"{fault}_50", "refined", f"{fault}_100"
    if any(name not in arms for name in (half, none, full)):
        return None
    seeds = set(arms[none]) & set(arms[full])
    middle = {
        seed: {i: (v + arms[full][seed][i]) / 2 for i, v in arms[none][seed].items()}
        for seed in seeds
    }
    return difference({**arms, "middle": middle}, half, "middle")


def dose_table(arms: Arms, fault: str) -> list[tuple[str, float, float, float]]:
    """Print every dose against none and against the originals; rows of the figure."""
    rows, drawn = [], []
    for percent, name in doses_of(arms, fault):
        to_none, to_original = difference(arms, name, "refined"), difference(arms, name, "original")
        rows.append((
            f"{percent} %",
            "" if percent == 0 else shown(to_none),
            shown(to_original),
            "" if to_original is None else f"{to_original.detectable:.4f}",
            "" if to_original is None else f"{to_original.p_value:.3f}",
            "" if to_original is None else str(to_original.seeds),
        ))  # fmt: skip
        if to_original is not None:
            label = f"{percent} %"
            drawn.append((label, to_original.mean, to_original.low, to_original.high))
    head = ("share of faulty rewrites", "minus no faulty ones", "minus all originals",
            "smallest difference found in 4 of 5", "p", "seeds")  # fmt: skip
    table(head, rows)
    return drawn


def ratio_interval(arms: Arms, worst: str, *, draws: int = 2000) -> tuple[float, float]:
    """Ends of the 95 % interval of B / H: seeds and items are drawn with replacement."""
    names = ("refined", "original", worst)
    seeds = sorted(set.intersection(*(set(arms[n]) for n in names)))
    items = sorted(set.intersection(*(set(arms[n][s]) for n in names for s in seeds)))
    good, plain, bad = (np.array([[arms[n][s][i] for i in items] for s in seeds]) for n in names)
    chance = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        own = np.ix_(
            chance.integers(len(seeds), size=len(seeds)),
            chance.integers(len(items), size=len(items)),
        )
        found.append((good[own] - plain[own]).mean() / (plain[own] - bad[own]).mean())
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def break_even(arms: Arms, fault: str) -> None:
    """Print B, H and the share above which choosing pays, where both are clearly above 0."""
    percent, worst = doses_of(arms, fault)[-1]
    benefit, harm = difference(arms, "refined", "original"), difference(arms, "original", worst)
    print(
        f"\nB = {shown(benefit)}; H at {percent} % = {shown(harm)}; bend {shown(bend(arms, fault))}"
    )
    if benefit is None or harm is None:
        return
    clear = all(i.mean > 3 * i.standard_error for i in (benefit, harm))
    print("B and H are above 0 by three standard errors:", "yes" if clear else "no")
    if not clear:
        return
    low, high = ratio_interval(arms, worst)
    print(f"B / H = {benefit.mean / harm.mean:.2f} ({low:.2f} to {high:.2f})")
    for hits, false in RATES:
        at = [
            break_even_share(hit_rate=hits, false_refusals=false, benefit_to_harm=r) or 1.0
            for r in (benefit.mean / harm.mean, low, high)
        ]
        told = f"pays above {at[0]:.3f} ({at[1]:.3f} to {at[2]:.3f})"
        print(f"faulty rejected {hits:.0%}, clean rejected {false:.0%}: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--fault", default="scrambled")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    drawn = []
    for task in tasks_of(given.file):
        arms = read_arms(given.file, task)
        print(f"\n#### {given.fault}, {task}")
        found = dose_table(arms, given.fault)
        outcome = "open references" if task == OPEN else "gain"
        drawn += [(f"{outcome}, {label}", *ends) for label, *ends in found]
        break_even(arms, given.fault)
        for name in ("refined", "original"):
            print(f"{name} minus untrained: {shown(difference(arms, name, 'untrained'))}")
        chosen = difference(arms, "chosen", "refused")
        if chosen is not None:
            print(
                f"selected minus the other version: {shown(chosen)}, p {chosen.p_value:.3f}, {chosen.seeds} seeds"
            )
    if given.picture:
        unit = "rewrites minus originals, nats per token, 95 % interval"
        given.picture.write_text(interval_chart(drawn, unit=unit, first=[]))


if __name__ == "__main__":
    main()
