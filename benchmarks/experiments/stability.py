"""How a ranking settles as questions grow: `python stability.py RANKED [RANKED ...]`.

For each number of questions n: the mean Spearman correlation of two rankings by disjoint draws of
n questions each (where 2 n are there), and of a ranking by n with the ranking by all the other
questions (where they are 50 at least, or as many as n); over 200 draws.
Seconds are those of reading, a teacher, if they were read first.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tutelage.experiments.rank import predictors_for
from tutelage.experiments.rank.predictors import cells_of
from tutelage.stats.rank_correlation import spearman

COUNTS = (3, 6, 12, 25, 50, 100, 200, 400, 800)
DRAWS = 200
LEAST_OTHERS = 50


def main() -> None:
    for root in map(Path, sys.argv[1:]):
        answers = pq.read_table(root / "answers.parquet")
        manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        seconds = manifest["stages"]["answers"]["seconds"]
        for predictor in predictors_for(answers.column_names):
            cells = cells_of(answers, columns=predictor.columns)
            columns, there = cells.grid(predictor)
            total = len(cells.questions)
            rng = np.random.default_rng(0)

            def values(places: np.ndarray, columns=columns, there=there, p=predictor) -> np.ndarray:
                counts = there[:, places].sum(axis=1)
                with np.errstate(invalid="ignore", divide="ignore"):
                    return p.of_means([c[:, places].sum(axis=1) / counts for c in columns])

            for n in COUNTS:
                if total - n < min(n, LEAST_OTHERS):
                    continue
                halves, rest = [], []
                for _ in range(DRAWS):
                    order = rng.permutation(total)
                    one = values(order[:n])
                    compared = [(rest, order[n:])]
                    if 2 * n <= total:
                        compared.append((halves, order[n : 2 * n]))
                    for found, other in compared:
                        both = np.isfinite(one) & np.isfinite(values(other))
                        found.append(spearman(one[both], values(other)[both]))
                each = seconds * n / total / len(cells.entrants)
                print(
                    f"{root.name:<14} {predictor.name:<12} n={n:<4} disjoint {mean(halves)} "
                    f"others {mean(rest)}  {each:.2f} s a teacher"
                )


def mean(values: list[float | None]) -> str:
    known = np.array([v for v in values if v is not None])
    return f"{known.mean():+.2f} (sd {known.std():.2f})" if len(known) else "-"


if __name__ == "__main__":
    main()
