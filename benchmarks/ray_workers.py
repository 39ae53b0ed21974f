"""Two one-thread workers of a Ray pool beside one, and beside the student in this process.

    python benchmarks/ray_workers.py --candidates 256 --chunk 16

IFD and r-IFD of refined rows (four views each). The cluster is started beforehand; each side's
time holds starting its workers and loading their models, and `reading` is from the first part to
the last. Fails where a number differs: bit for bit between one and two workers, by more than 1e-4
nats in float32 from the student in this process, which has other threads. Results are appended to
benchmarks/results/ray_workers.jsonl.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import ray
from score_speed import MODELS, refined_rows

from tutelage.data import VIEW_NAMES
from tutelage.pipeline import score_data
from tutelage.progress import Silent
from tutelage.student import passages

HERE = Path(__file__).parent
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


class Clock(Silent):
    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.before_first = 0

    def advance(self, count: int = 1, *, note: str | None = None) -> None:  # noqa: ARG002
        self.last = time.perf_counter()
        if not self.first:
            self.first, self.before_first = self.last, count


def score(folder: Path, name: str, args: argparse.Namespace, **more: object) -> dict:
    clock = Clock()
    start = time.perf_counter()
    score_data(
        data={"path": str(folder / "rows.jsonl")},
        student={"model": str(MODELS / args.model), "dtype": args.dtype, "use_cache": False},
        metrics=["ifd", "r_ifd"],
        out=folder / f"{name}.parquet",
        progress=clock,
        **more,
    )
    wall = time.perf_counter() - start
    after = args.candidates - clock.before_first
    rate = after / (clock.last - clock.first) if after and clock.last > clock.first else None
    return {"who": name, "wall_seconds": round(wall, 1), "candidates_per_second_reading": rate}


def numbers(path: Path) -> list[list[float]]:
    table = pq.read_table(path)
    return [table[f"nll_{view}"].to_pylist() for view in VIEW_NAMES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--candidates", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=16, help="candidates that a worker reads")
    args = parser.parse_args()
    passages.CHUNK_CANDIDATES = args.chunk
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
            for row in refined_rows(args.candidates)[: args.candidates]:
                turns = [{"role": m.role, "content": m.content} for m in row.messages]
                print(json.dumps({"messages": turns}), file=file)
        table = [
            score(folder, "one", args, engine="ray", ray={"workers": 1}),
            score(folder, "two", args, engine="ray", ray={"workers": 2}),
            score(folder, "here", args),
        ]
        one, two, here = (numbers(folder / f"{row['who']}.parquet") for row in table)
        far = max(
            abs(a - b)
            for ours, theirs in zip(two, here, strict=True)
            for a, b in zip(ours, theirs, strict=True)
            if a is not None
        )
        statuses = [
            pq.read_table(folder / f"{row['who']}.parquet").select(["candidate_id", "status"])
            for row in table
        ]
    ray.shutdown()
    for row in table:
        row |= {"model": args.model, "dtype": args.dtype, "candidates": args.candidates}
        row |= {"chunk": args.chunk, "load": round(os.getloadavg()[0], 1)}
        row |= {"machine": platform.machine(), "cores": os.cpu_count()}
        row["times_one"] = round(table[0]["wall_seconds"] / row["wall_seconds"], 2)
        if row["candidates_per_second_reading"] and table[0]["candidates_per_second_reading"]:
            ratio = row["candidates_per_second_reading"] / table[0]["candidates_per_second_reading"]
            row["times_one_reading"] = round(ratio, 2)
    table[1]["equal_to_one"] = one == two
    table[1]["worst_nats_from_here"] = far
    with (HERE / "results" / "ray_workers.jsonl").open("a", encoding="utf-8") as file:
        for row in table:
            print(json.dumps(row))
            print(json.dumps(row), file=file)
    if one != two or far > TOLERANCE[args.dtype] or not statuses[0].equals(statuses[2]):
        raise SystemExit("the tables differ")


if __name__ == "__main__":
    main()
