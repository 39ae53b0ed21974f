"""How much do two students agree? Compare the decisions of two runs over the same examples.

    python benchmarks/compare_runs.py runs/one runs/two

Prints the share of examples with the same choice, its 95 % bootstrap interval over examples, and
Cohen's kappa (agreement beyond chance), then how the choices cross.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def choices(run: Path) -> dict[str, str]:
    table = pq.read_table(run / "decisions.parquet", columns=["example_id", "kept", "step"])
    return {r["example_id"]: r["step"] if r["kept"] else "none" for r in table.to_pylist()}


def kappa(one: list[str], two: list[str]) -> float:
    n = len(one)
    same = sum(a == b for a, b in zip(one, two, strict=True)) / n
    first, second = Counter(one), Counter(two)
    chance = sum(first[name] * second[name] for name in first) / n**2
    return (same - chance) / (1 - chance) if chance < 1 else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    first, second = (choices(run) for run in arguments.runs)
    shared = sorted(first.keys() & second.keys())
    one, two = [first[i] for i in shared], [second[i] for i in shared]
    same = np.array([a == b for a, b in zip(one, two, strict=True)])
    rng = np.random.default_rng(arguments.seed)
    draws = [same[rng.integers(0, len(same), len(same))].mean() for _ in range(arguments.resamples)]
    low, high = np.quantile(draws, [0.025, 0.975])
    crossing = Counter(f"{a} -> {b}" for a, b in zip(one, two, strict=True))
    print(
        json.dumps(
            {
                "examples": len(shared),
                "same_fraction": round(float(same.mean()), 4),
                "interval_95": [round(float(low), 4), round(float(high), 4)],
                "kappa": round(kappa(one, two), 4),
                "crossing": dict(crossing.most_common()),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
