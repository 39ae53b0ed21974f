"""How fast the student reads, beside the plain loop, and whether it reads the same.

    python benchmarks/score_speed.py refined --model smollm2-135m --rows 150
    python benchmarks/score_speed.py pool --model smollm2-135m --rows 10
    python benchmarks/score_speed.py pool --context-words 400 --rows 10
    python benchmarks/score_speed.py again --rows 150        a second scoring, with process start
    python benchmarks/score_speed.py memory --model smollm2-135m

`refined`: IFD and r-IFD of rows with an original and a refined pair (four views each). `pool`: 16
candidates of one instruction, each read after it. Blocks of both sides alternate within one run,
so that a busy machine slows both alike; processor seconds stand beside wall seconds for the same
reason. Fails when a float32 number differs from the plain loop's by more than 5e-4 nats.
Results are appended to benchmarks/results/score_speed.jsonl.
"""

import argparse
import gzip
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from plain_loop import PlainLoop

from tutelage.data import VIEW_NAMES, Candidate, Message, candidate_id_of
from tutelage.student import StudentSettings, open_student

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared" / "data"
MODELS = Path.home() / ".cache" / "tutelage" / "models"
TOLERANCE = 5e-4
POOL = 16


def candidate(instruction: str, response: str) -> Candidate:
    turns = (
        Message(role="user", content=instruction),
        Message(role="assistant", content=response),
    )
    name = candidate_id_of(
        example_id="e", step="original", parent_id=None, teacher=None, messages=turns
    )
    return Candidate(candidate_id=name, example_id="e", messages=turns)


def lines(name: str) -> Iterator[dict]:
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def refined_rows(count: int) -> list[Candidate]:
    found = []
    for row in lines("refined_pairs/coachlm_expert_revision.jsonl.gz"):
        for kind, output in (("", "original_output"), ("refined_", "refined_output")):
            parts = (row[f"{kind}instruction"], row[f"{kind}input"])
            instruction = "\n".join(part for part in parts if part)
            if instruction.strip() and row[output].strip():
                found.append(candidate(instruction, row[output]))
        if len(found) >= 2 * count:
            break
    return found[: 2 * count]


def pool_rows(count: int, context_words: int) -> list[Candidate]:
    """`count` questions with 16 responses each; a longer context is made of other questions."""
    by_question: dict[str, list[str]] = {}
    for row in lines("gsm8k/multi_teacher.jsonl.gz"):
        text = row.get("reasoning") or row["output"]
        if text.strip():
            by_question.setdefault(row["question"], []).append(text)
    questions = [q for q, texts in by_question.items() if len(texts) >= POOL]
    found = []
    for at, question in enumerate(questions[:count]):
        front = ""
        others = itertools.cycle(questions[at + 1 :] + questions[:at])
        while len(front.split()) < context_words:
            front += next(others) + "\n\n"
        found += [candidate(front + question, text) for text in by_question[question][:POOL]]
    return found


@contextmanager
def clock(into: dict[str, float]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into["wall"] += time.perf_counter() - wall
    into["cpu"] += time.process_time() - cpu


def passages_of(student, candidates, views):
    """Every passage of every view, as the plain loop has to read them."""
    builder = student.parts.builder
    found = []
    for row in candidates:
        sides = {}
        for view in views:
            side = "response" if view.startswith("response") else "instruction"
            if side not in sides:
                sides[side] = builder.encode(row, side)
            found.append((sides[side].given if "_given_" in view else sides[side].alone)[0])
    return found


def compare(args, candidates, views) -> list[dict]:
    folder = MODELS / args.model
    template = "alpaca" if args.model.startswith("gemma") else "chat"
    students, loops = {}, {}
    for dtype in args.dtypes.split(","):
        settings = StudentSettings(
            model=str(folder), template=template, dtype=dtype, use_cache=False
        )
        students[dtype] = open_student(settings)
        loops[dtype] = PlainLoop(folder, dtype=dtype)
        list(students[dtype].read(candidates[:1], views=views))
    plain_rows = max(1, args.plain_rows)
    times = {(who, d): {"wall": 0.0, "cpu": 0.0} for who in ("ours", "plain") for d in students}
    tokens = {(who, d): 0 for who in ("ours", "plain") for d in students}
    worst = dict.fromkeys(students, 0.0)
    block = args.block * (POOL if args.what == "pool" else 2)
    for start in range(0, len(candidates), block):
        rows = candidates[start : start + block]
        for dtype, student in students.items():
            with clock(times["ours", dtype]):
                outcomes = list(student.read(rows, views=views, statistics=args.statistics))
            tokens["ours", dtype] += sum(len(p.ids_T) for p in passages_of(student, rows, views))
            sample = range(0, len(rows), plain_rows)
            passages = passages_of(student, [rows[i] for i in sample], views)
            tokens["plain", dtype] += sum(len(p.ids_T) for p in passages)
            with clock(times["plain", dtype]):
                expected = loops[dtype].read(passages)
            found = [outcomes[i].views[view].mean_nll for i in sample for view in views]
            worst[dtype] = max(
                worst[dtype], *(abs(a - b) for a, b in zip(found, expected, strict=True))
            )
    return rows_of(args, times, tokens, worst, len(candidates))


def rows_of(args, times, tokens, worst, count) -> list[dict]:
    table = []
    for (who, dtype), spent in times.items():
        rate = {kind: tokens[who, dtype] / seconds for kind, seconds in spent.items()}
        table.append(
            {
                "what": args.what,
                "model": args.model,
                "context_words": args.context_words if args.what == "pool" else None,
                "who": who,
                "dtype": dtype,
                "candidates": count,
                "tokens": tokens[who, dtype],
                "wall_seconds": round(spent["wall"], 2),
                "cpu_seconds": round(spent["cpu"], 2),
                "tokens_per_wall_second": round(rate["wall"], 1),
                "tokens_per_cpu_second": round(rate["cpu"], 1),
                "worst_nats": worst[dtype] if who == "ours" else None,
            }
        )
    for row in table:
        for other in table:
            if row["who"] == "ours" and other["who"] == "plain":
                name = f"times_plain_{other['dtype']}"
                row[f"{name}_wall"] = round(
                    row["tokens_per_wall_second"] / other["tokens_per_wall_second"], 2
                )
                row[f"{name}_cpu"] = round(
                    row["tokens_per_cpu_second"] / other["tokens_per_cpu_second"], 2
                )
    return table


def again(args) -> list[dict]:
    """The same scoring twice, each in a process of its own, with a cache that starts empty."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        with rows.open("w", encoding="utf-8") as file:
            for row in refined_rows(args.rows):
                print(json.dumps([[m.role, m.content] for m in row.messages]), file=file)
        command = [sys.executable, str(HERE / "cached_rows.py"), str(MODELS / args.model)]
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run([*command, str(rows), f"{folder}/cache.sqlite"], check=True)
            seconds.append(time.perf_counter() - start)
    first, second = seconds
    return [
        {
            "what": "again",
            "model": args.model,
            "candidates": 2 * args.rows,
            "first_wall_seconds": round(first, 2),
            "second_wall_seconds": round(second, 3),
            "times": round(first / second, 1),
        }
    ]


def memory(args) -> list[dict]:
    """Peak memory of reading both views of IFD of one row of 8k tokens, at the same time."""
    template = "alpaca" if args.model.startswith("gemma") else "chat"
    settings = StudentSettings(
        model=str(MODELS / args.model), template=template, dtype="bfloat16", use_cache=False
    )
    with open_student(settings) as student:
        words = " ".join(
            text for row in lines("gsm8k/multi_teacher.jsonl.gz") for text in [row["question"]][:1]
        )[:40_000]
        (tokens,) = student.parts.builder.tokenizer.tokenize([words])
        text = words[: int(tokens.starts_T[min(8000, len(tokens.ids_T) - 1)])]
        spent = {"wall": 0.0, "cpu": 0.0}
        with clock(spent):
            (outcome,) = student.read(
                [candidate("Write it down.", text)], views=VIEW_NAMES[:2], statistics="full"
            )
        read = outcome.views["response_given_instruction"].tokens
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        {
            "what": "memory",
            "model": args.model,
            "tokens": read,
            "peak_gib": round(peak, 2),
            "wall_seconds": round(spent["wall"], 1),
            "cpu_seconds": round(spent["cpu"], 1),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["refined", "pool", "again", "memory"])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--context-words", type=int, default=0)
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--statistics", default="nll")
    parser.add_argument("--block", type=int, default=25, help="rows between two changes of side")
    parser.add_argument("--plain-rows", type=int, default=1, help="the plain loop reads each Nth")
    args = parser.parse_args()
    if args.what == "refined":
        table = compare(args, refined_rows(args.rows), VIEW_NAMES)
    elif args.what == "pool":
        rows = pool_rows(args.rows, args.context_words)
        table = compare(args, rows, VIEW_NAMES[:1])
    else:
        table = again(args) if args.what == "again" else memory(args)
    machine = {
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "processor": platform.machine(),
        "torch": torch.__version__,
    }
    results = HERE / "results" / "score_speed.jsonl"
    results.parent.mkdir(exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        for row in table:
            print(json.dumps(row))
            print(json.dumps(row | machine), file=file)
    differ = [
        r for r in table if r.get("dtype") == "float32" and (r.get("worst_nats") or 0) > TOLERANCE
    ]
    if differ:
        raise SystemExit(f"float32 differs from the plain loop by {differ[0]['worst_nats']} nats")


if __name__ == "__main__":
    main()
