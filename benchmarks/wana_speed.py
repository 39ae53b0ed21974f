"""IFD beside wana 0.5.1, the same rows, the same model folder, each as its own command.

    python benchmarks/wana_speed.py /path/to/wana --rows 40

`wana score ROWS --scorer ifd --provider transformers_cpu --model FOLDER` beside `tutelage score
ROWS --metrics ifd --no-cache`, by turns. Both are timed as whole commands; a command over one row
is timed too, and what it takes is what starting and loading cost. Which dtype wana computes in is
transformers' choice (it loads a folder in the dtype of its weights since version 5), so both of
ours stand beside it. Results are appended to benchmarks/results/wana_speed.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from score_speed import MODELS, refined_rows

HERE = Path(__file__).parent


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wana", help="the command of wana 0.5.1, in an environment of its own")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    folder = str(MODELS / args.model)
    tutelage = str(Path(sys.executable).with_name("tutelage"))
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        sizes = {"one": 1, "all": args.rows}
        for name, count in sizes.items():
            with (Path(place) / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                for row in refined_rows(args.rows)[:count]:
                    turns = [{"role": m.role, "content": m.content} for m in row.messages]
                    print(json.dumps({"messages": turns}), file=file)
        for _ in range(args.rounds):
            for name in sizes:
                rows = f"{place}/{name}.jsonl"
                wana = [args.wana, "score", rows, "-o", f"{place}/w.jsonl", "--scorer", "ifd"]
                wana += ["--provider", "transformers_cpu", "--model", folder]
                spent.setdefault(f"wana {name}", []).append(timed(wana))
                for dtype in ("bfloat16", "float32"):
                    ours = [tutelage, "score", rows, "--student", folder, "--dtype", dtype]
                    ours += ["--metrics", "ifd", "--no-cache", "--out", f"{place}/t.parquet"]
                    spent.setdefault(f"{dtype} {name}", []).append(timed(ours))
    best = {name: min(seconds) for name, seconds in spent.items()}
    reading = {
        who: best[f"{who} all"] - best[f"{who} one"] for who in ("wana", "bfloat16", "float32")
    }
    row = {
        "model": args.model,
        "rows": args.rows,
        "rounds": args.rounds,
        "whole_command_seconds": {k: round(v, 2) for k, v in best.items()},
        "reading_seconds": {k: round(v, 2) for k, v in reading.items()},
        "times_wana_whole": {
            d: round(best["wana all"] / best[f"{d} all"], 2) for d in ("bfloat16", "float32")
        },
        "times_wana_reading": {
            d: round(reading["wana"] / reading[d], 2) for d in ("bfloat16", "float32")
        },
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(row, indent=2))
    with (HERE / "results" / "wana_speed.jsonl").open("a", encoding="utf-8") as file:
        print(json.dumps(row), file=file)


if __name__ == "__main__":
    main()
