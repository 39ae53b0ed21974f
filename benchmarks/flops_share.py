"""What share of the machine's own bfloat16 matrix products the student's arithmetic reaches.

    python benchmarks/flops_share.py --model smollm2-135m
    python benchmarks/flops_share.py --model smollm2-135m --profile 256

The peak is the best of several large products in torch, measured before and after each length.
Each share stands twice: of FLOP by wall second, and by processor second, which a busy machine
disturbs less.
Counted are model FLOPs: two for each weight of the layers and token, the causal half of the
attention, and the head at the targets only. Passages share nothing, half of each is target.
Results are appended to benchmarks/results/flops_share.jsonl.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from score_speed import MODELS

from tutelage.student import StudentSettings, open_student
from tutelage.student.passage_reader import PassageReader
from tutelage.student.passages import passage_of

HERE = Path(__file__).parent
LENGTHS = (64, 128, 256, 512, 1024, 2048)


def peak(seconds: float = 1.0) -> tuple[float, float]:
    """The most FLOP by wall second and by processor second that matrix products have reached."""
    best = by_cpu = 0.0
    for rows, inner, columns in ((4096, 4096, 4096), (4096, 1024, 4096), (2048, 2048, 8192)):
        a = torch.randn(rows, inner, dtype=torch.bfloat16)
        b = torch.randn(inner, columns, dtype=torch.bfloat16)
        begin, cpu, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() < begin + seconds / 3:
            start = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - start))
            count += 1
        spent = time.process_time() - cpu
        by_cpu = max(by_cpu, 2 * rows * inner * columns * count / spent)
    return best, by_cpu


def model_flops(config: dict, lengths: list[int], targets: list[int]) -> float:
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or hidden // heads
    kv = config.get("num_key_value_heads") or heads
    attention = hidden * width * (2 * heads + 2 * kv)
    weights = layers * (attention + 3 * hidden * config["intermediate_size"])
    products = 2.0 * weights * sum(lengths)
    scores = sum(2.0 * layers * heads * width * t * (t + 1) for t in lengths)
    return products + scores + 2.0 * hidden * config["vocab_size"] * sum(targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=16384, help="tokens of each length")
    parser.add_argument("--profile", type=int, help="print where the time goes at this length")
    args = parser.parse_args()
    folder = MODELS / args.model
    config = json.loads((folder / "config.json").read_text())
    template = "alpaca" if args.model.startswith("gemma") else "chat"
    student = open_student(
        StudentSettings(model=str(folder), template=template, dtype="bfloat16", use_cache=False)
    )
    reader = PassageReader(open_engine=student.parts.engine, cache=None)
    random = np.random.default_rng(0)

    def passages(length: int) -> list:
        ids = random.integers(10, config["vocab_size"], size=(args.tokens // length, length))
        return [passage_of(row[: length // 2].tolist(), row[length // 2 :].tolist()) for row in ids]

    def read(batch: list, *, full: bool) -> tuple[float, float]:
        start, cpu = time.perf_counter(), time.process_time()
        reader.read({passage.key: passage for passage in batch}, full=full)
        return time.perf_counter() - start, time.process_time() - cpu

    read(passages(256)[:8], full=True)
    if args.profile:
        batch = passages(args.profile)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            wall, _ = read(batch, full=False)
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=14))
        print(f"wall {wall:.2f} s for {args.tokens} tokens, not in torch: see the difference")
        return
    table = []
    before = peak()
    for length in LENGTHS:
        batch = passages(length)
        flops = model_flops(config, [len(p.ids_T) for p in batch], [p.targets for p in batch])
        row = {"model": args.model, "length": length, "tokens": len(batch) * length}
        spent = {full: [read(batch, full=full) for _ in range(2)] for full in (False, True)}
        after = peak()
        top, top_cpu = (max(pair) for pair in zip(before, after, strict=True))
        before = after
        for full, times in spent.items():
            name = "full" if full else "nll"
            wall, cpu = (min(part) for part in zip(*times, strict=True))
            row[f"{name}_tokens_per_second"] = round(row["tokens"] / wall)
            row[f"{name}_share"] = round(flops / wall / top, 3)
            row[f"{name}_share_cpu"] = round(flops / cpu / top_cpu, 3)
        row |= {"peak_tflops": round(top / 1e12, 3), "load": round(os.getloadavg()[0], 1)}
        row |= {"threads": torch.get_num_threads()}
        table.append(row)
        print(json.dumps(row), flush=True)
    with (HERE / "results" / "flops_share.jsonl").open("a", encoding="utf-8") as file:
        for row in table:
            print(json.dumps(row), file=file)


if __name__ == "__main__":
    main()
