"""Write an experiment's items as a small file without any text of the data.

python benchmarks/experiments/raw_items.py RESULTS docs/experiments/raw/NAME.csv.gz

RESULTS: the folder of an experiment, or its results.parquet, which holds what was finished when it was last reported.
"""

import csv
import gzip
import io
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tutelage.experiments.prove.run import read_results

PLACE = ("student", "arm", "train_seed", "balance", "task", "item_id")
COLUMNS = (*PLACE, "value", "correct", "status")


def main() -> None:
    out, file = Path(sys.argv[1]), Path(sys.argv[2])
    table = pq.read_table(out) if out.suffix == ".parquet" else read_results(out)
    rows = table.select(list(COLUMNS)).to_pylist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        value = "" if row["value"] is None else f"{row['value']:.6g}"
        correct = "" if row["correct"] is None else int(row["correct"])
        writer.writerow([*(row[c] for c in PLACE), value, correct, row["status"]])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    print(f"{file}: {len(rows)} items")


if __name__ == "__main__":
    main()
