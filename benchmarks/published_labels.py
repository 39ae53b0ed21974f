"""Agreement of the maths verifier with published labels of GSM8K answers.

    python benchmarks/published_labels.py            all answers whose label is sure, one process

`right` counts as agreement with a right label, any other verdict as agreement with a wrong one.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

from tutelage.verification import VerifySettings, verify_responses

DATA = Path(__file__).parents[2] / "shared" / "data" / "gsm8k" / "multi_teacher.jsonl.gz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--check", default="maths")
    args = parser.parse_args()
    with gzip.open(args.data, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["check"] == "exact"]
    started = time.process_time()
    table = verify_responses(
        rows,
        VerifySettings(check=args.check, processes=1),
        response_field="output",
        reference_field="gold",
    )
    verdicts = table.column("verdict").to_pylist()
    pairs = [(row["is_correct"], v) for row, v in zip(rows, verdicts, strict=True)]
    agreeing = sum((v == "right") == bool(label) for label, v in pairs)
    named = sum(v == ("right" if label else "wrong") for label, v in pairs)
    print(f"{agreeing} of {len(rows)} ({agreeing / len(rows):.3%}); by name {named}", end="; ")
    print(f"{time.process_time() - started:.1f} s of processor time")


if __name__ == "__main__":
    main()
