"""Write the held-out items of all loops of rounds as a small file without any text of the data.

python benchmarks/experiments/raw_rounds.py OUT/out docs/experiments/raw/NAME.csv.gz
"""

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

COLUMNS = ("loop", "seed", "trainings", "task", "item_id", "value", "correct", "status")


def students(out: Path) -> Iterator[tuple[str, int | str, int, Path]]:
    """(loop, seed, number of trainings, its evaluation)."""
    yield "untrained", "", 0, out / "untrained" / "evaluation"
    for folder in sorted(out.glob("seed-*/*/student-*/evaluation")):
        seed, loop, student = folder.parts[-4:-1]
        yield loop, int(re.sub(r"\D", "", seed)), int(re.sub(r"\D", "", student)), folder


def main() -> None:
    out, file = Path(sys.argv[1]), Path(sys.argv[2])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    written = 0
    for loop, seed, trainings, folder in students(out):
        for table in sorted(folder.glob("*.parquet")):
            for row in pq.read_table(table).to_pylist():
                value = "" if row["value"] is None else f"{row['value']:.6g}"
                correct = "" if row["correct"] is None else int(row["correct"])
                place = (loop, seed, trainings, row["task"], row["item_id"])
                writer.writerow([*place, value, correct, row["status"]])
                written += 1
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    print(f"{file}: {written} items")


if __name__ == "__main__":
    main()
