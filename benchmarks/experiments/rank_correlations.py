"""How well do predictors predict? Correlations of a ranking with what is known of its teachers.

    python rank_correlations.py RANKED --outcomes models.csv --columns win_rate,lc_win_rate

prints one line a predictor and outcome: Spearman's correlation with its 95 % interval, as it
stands. A ranking of a pool with correctness also shows how predictors go with each other.
"""

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from tutelage.experiments.rank.proxy_page import correlations, outcomes_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ranked", type=Path)
    parser.add_argument("--outcomes", type=Path)
    parser.add_argument("--columns", default="")
    given = parser.parse_args()
    standings = pq.read_table(given.ranked / "standings.parquet")
    outcomes: dict[str, dict[str, float]] = {}
    if given.outcomes is not None:
        outcomes |= outcomes_of(given.outcomes, entrant="model", columns=given.columns.split(","))
    for row in standings.to_pylist():
        if row["domain"] == "all" and row["value"] is not None:
            outcomes.setdefault(f"({row['predictor']})", {})[row["entrant"]] = row["value"]
    for row in correlations(standings, outcomes).to_pylist():
        if row["outcome"] != f"({row['predictor']})" and row["spearman"] is not None:
            print(
                f"{row['predictor']:<15} {row['outcome']:<22} {row['spearman']:+.2f} "
                f"({row['low']:+.2f} to {row['high']:+.2f}) n={row['entrants']}"
            )


if __name__ == "__main__":
    main()
