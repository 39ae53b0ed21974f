"""Read a million Alpaca rows: CPU seconds and peak memory, for each format.

The aim: at most 20 s of CPU and 0.5 GB for a million rows of JSONL on a quiet machine. The rows are made up: texts of
the length that Alpaca has, one row in two with an input, one in ten not ASCII, one in a hundred
repeated, one in a thousand odd (malformed, without a response, with a number for a text).

    python benchmarks/read_million.py [rows] [format ...]

Formats: jsonl (default), json, csv, parquet, messages (JSONL with chat turns). Large files are read by several processes
where there are several cores; `TUTELAGE_READ_PROCESSES=1` reads in one.
"""

import csv
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WORDS = [
    *("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by"),
    *("describe", "explain", "summarize", "sentence", "following", "number", "answer", "language"),
]
ODD = '{"instruction": 12, "output": "A number asks."}', '{"instruction": "Cut', "[1, 2]"


def text(chance: random.Random, words: int) -> str:
    said = " ".join(chance.choices(WORDS, k=words))
    return said + chance.choice((".", "?", "!", '" he said.', ".\n- and so on"))


def made_rows(rows: int) -> Iterator[dict[str, object]]:
    chance = random.Random(0)
    for row in range(rows):
        if row % 100 == 99:
            chance.seed(row - 50)
        else:
            chance.seed(row)
        tail = " déjà vu - 你好" if chance.random() < 0.1 else ""
        yield {
            "instruction": text(chance, chance.randint(5, 20)) + tail,
            "input": text(chance, chance.randint(5, 40)) if chance.random() < 0.5 else "",
            "output": text(chance, chance.randint(5, 120)) + tail,
        }


def make(path: Path, form: str, rows: int) -> None:
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(made_rows(rows))), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if form == "csv":
            writer = csv.DictWriter(file, ["instruction", "input", "output"])
            writer.writeheader()
            writer.writerows(made_rows(rows))
            return
        if form == "json":
            file.write("[\n")
        for number, row in enumerate(made_rows(rows)):
            line = row
            if form == "messages":
                asked = f"{row['instruction']}\n{row['input']}"
                line = {
                    "messages": [
                        {"role": "user", "content": asked},
                        {"role": "assistant", "content": row["output"]},
                    ],
                    "source": "made up",
                }
            odd = form != "json" and number % 1000 == 500
            file.write(ODD[number // 1000 % len(ODD)] if odd else json.dumps(line))
            file.write(",\n" if form == "json" and number < rows - 1 else "\n")
        if form == "json":
            file.write("]\n")


def measure(path: Path) -> None:
    """Read the file once, and print what it cost."""
    from tutelage.data import read

    started, before = time.perf_counter(), time.process_time()
    tally: Counter[str] = Counter()
    digest = hashlib.blake2b(digest_size=8)
    for row in read(path):
        tally[row.status] += 1
        if row.candidates:
            digest.update(row.candidates[-1].candidate_id.encode())
    own = resource.getrusage(resource.RUSAGE_SELF)
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    own_cpu = time.process_time() - before
    of_others = others.ru_utime + others.ru_stime
    shared = (
        f" ({of_others:.1f} in other processes, of {others.ru_maxrss / 1024**2:.2f} GB each)"
        if of_others
        else ""
    )
    print(
        f"{path.suffix[1:]:<9} {sum(tally.values()):>9} rows  {own_cpu + of_others:6.1f} s of CPU{shared}  "
        f"{time.perf_counter() - started:6.1f} s  {own.ru_maxrss / 1024**2:5.2f} GB at the peak  "
        f"ids {digest.hexdigest()}  {dict(sorted(tally.items()))}",
        flush=True,
    )


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]))
        return
    if len(sys.argv) > 4 and sys.argv[1] == "--make":
        make(Path(sys.argv[4]), sys.argv[2], int(sys.argv[3]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
        for form in sys.argv[2:] or ["jsonl"]:
            path = Path(name, f"rows.{form}")
            # Both in processes of their own: the peak is that of reading, and of nothing else.
            for step in (["--make", form, str(rows)], ["--measure"]):
                subprocess.run([sys.executable, __file__, *step, str(path)], check=True)
            path.unlink()


if __name__ == "__main__":
    main()
