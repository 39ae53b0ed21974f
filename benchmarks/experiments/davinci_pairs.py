"""The pairs of experiment 2: ordinary ones, neither answer long, drawn by a hash of their ids.

    python benchmarks/experiments/davinci_pairs.py --data FOLDER --out davinci.jsonl

Score them with each student (`tutelage run`), then give the runs to make_configs.py as
`--run davinci.smollm2=RUN --run davinci.gemma3=RUN`.
"""

import argparse
from pathlib import Path

from make_configs import draw, read_jsonl, write_jsonl

ORDINARY = 650  # the rest of the file is a slice of short, low-scored ones
COLUMNS = ("instruction", "input", "original_output", "refined_output")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=360)
    given = parser.parse_args()
    path = given.data / "refined_pairs" / "alpaca_davinci003_vs_gpt4.jsonl.gz"
    rows = [
        row
        for row in read_jsonl(path)[:ORDINARY]
        if not row["identical"]
        and max(len(row["original_output"]), len(row["refined_output"])) < 1000
        and len(row["input"]) < 600
    ]
    drawn = draw(rows, given.rows, "pair_id")
    write_jsonl(given.out, [{name: row[name] for name in COLUMNS} for row in drawn])


if __name__ == "__main__":
    main()
