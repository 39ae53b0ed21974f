"""Write an experiment's items as a small file without any text of the data.

python benchmarks/experiments/raw_items.py RESULTS docs/experiments/raw/NAME.csv.gz
"""

import csv
import gzip
import io
import sys
from pathlib import Path

from tutelage.experiments.prove.run import read_results

PLACE = ("student", "arm", "train_seed", "balance", "task", "item_id")
COLUMNS = (*PLACE, "value", "correct", "status")


def main() -> None:
    out, file = Path(sys.argv[1]), Path(sys.argv[2])
    rows = read_results(out).select(list(COLUMNS)).to_pylist()
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
