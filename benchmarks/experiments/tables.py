"""Comparisons of an experiment as Markdown tables, also of an unfinished one.

    python benchmarks/experiments/tables.py WORK/coachlm.yaml

Every interval is over items and seeds. A star marks a difference that is significant after the
correction for all comparisons of the same outcome, a star in brackets one whose interval excludes
0 only before the correction. Comparisons that do not have all seeds yet are left out.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tutelage.experiments.prove.compare import Compared, compare_all
from tutelage.experiments.prove.config import load_prove_settings
from tutelage.experiments.prove.run import read_results


def cell(c: Compared) -> str:
    i = c.interval
    star = "*" if c.p_corrected < 0.05 else "(*)" if i.excludes_zero else ""
    return f"{i.mean:+.3f} ({i.low:+.3f} to {i.high:+.3f}){star}"


def table(caption: str, first: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Print a table from (row name, column name, text), in the given order."""
    if not rows:
        return
    print(f"\n{caption}:")
    names, columns = (list(dict.fromkeys(r[n] for r in rows)) for n in (0, 1))
    texts = {(name, column): text for name, column, text in rows}
    print(f"\n| {first} |", " | ".join(c.replace(" - ", " minus ") for c in columns), "|")
    print("|---|" + "---:|" * len(columns))
    for name in names:
        print(f"| {name} |", " | ".join(texts.get((name, c), "") for c in columns), "|")


def main() -> None:
    settings = load_prove_settings(Path(sys.argv[1]))
    results = read_results(settings.out)
    rows = results.select(["student", "arm", "train_seed", "balance"]).to_pylist()
    cells = {tuple(row.values()) for row in rows}
    print("finished cells:", dict(Counter(f"{s}, {b}" for s, _, _, b in cells)))
    seeds = len(settings.seeds)
    found = [c for c in compare_all(results, settings) if c.interval.seeds == seeds]
    primary = settings.primary or settings.tasks[0].name
    for balance in settings.balance:
        made = [c for c in found if c.balance == balance]
        first = [c for c in made if c.task == primary]
        measure = "value" if any(c.measure == "value" for c in first) else "right"
        first = [c for c in first if c.measure == measure]
        print(f"\n### {primary}, equal {balance}")
        arms = [(f"{c.arm} minus {c.against}", c.student, cell(c)) for c in first]
        table(f"Differences between the arms on the primary outcome, `{primary}`", "arms", arms)
        choice, reference = settings.choice, settings.reference
        ours = [c for c in made if (c.arm, c.against) == (choice, reference)]
        base = [c for c in made if c.against == "untrained"]
        for caption, found_here in (
            (f"`{choice}` minus `{reference}` on every outcome", ours),
            (f"`{reference}` minus the untrained student on every outcome", base),
        ):
            cells_here = [(f"{c.task} {c.measure}", c.student, cell(c)) for c in found_here]
            table(caption, "outcome", cells_here)
        detectable = [
            f"{c.student.replace(' - ', ' minus ')} "
            + (
                f"{c.interval.detectable:.3f}"
                if c.interval.standard_error
                else "unknown: no item varied"
            )
            for c in first
            if c in ours
        ]
        print(
            f"\nMinimum detectable effect (80 % power) of `{choice}` minus `{reference}` on the "
            f"primary outcome: {'; '.join(detectable)}"
        )


if __name__ == "__main__":
    main()
