"""Rounds with the gate, without it, with a random choice and with the student as its own teacher.

    python benchmarks/rounds_loops.py --data DATA --out OUT --task word_problems
    python benchmarks/rounds_loops.py --data DATA --out OUT --task open --seeds 0,1
    python benchmarks/rounds_loops.py --data DATA --out OUT --task word_problems --summary

DATA is the folder of the real data beside the project; nothing of it is written into this
repository. OUT gets the rows, the settings and the runs. A run that is stopped is continued by the
same command; more seeds or rounds are added to what is there. --summary reads only.
"""

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SOURCES = ("addsub", "singleeq", "svamp", "multiarith")
POOL, HELD_OUT = 25, 15  # of each source
OPEN_POOL = 64


def lines(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    yield from map(json.loads, text.splitlines())


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    if path.exists():  # what a run began with stays as it is
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def number(value: float) -> str:
    return str(int(value)) if float(value) == int(value) else str(value)


def word_problems(data: Path, out: Path) -> None:
    """Terse originals, a teacher's rationales (right and wrong as they came), held-out problems."""
    found = lines(data / "math_word_problems" / "teacher_rationales_gpt35.jsonl.gz")
    by_source: dict[str, list[dict[str, Any]]] = {source: [] for source in SOURCES}
    seen = set()
    for row in sorted(found, key=lambda r: digest(r["source"] + r["question"])):
        same = "".join(row["question"].lower().split())
        if same not in seen and row["source"] in by_source:
            seen.add(same)
            by_source[row["source"]].append(row)
    pool, held_out = [], []
    for source in SOURCES:
        for row in by_source[source][40 : 40 + POOL]:
            answer = number(row["answer"])
            pool.append(
                {
                    "instruction": row["question"],
                    "original_output": f"The answer is {answer}.",
                    "refined_output": row["rationale"],
                    "reference": answer,
                    "source": source,
                }
            )
        held_out += [
            {
                "id": digest(row["question"])[:12],
                "question": row["question"],
                "answer": number(row["answer"]),
            }
            for row in by_source[source][80 : 80 + HELD_OUT]
        ]
    write(out / "pool.jsonl", pool)
    write(out / "held_out.jsonl", held_out)


def open_task(data: Path, out: Path) -> None:
    """Alpaca pairs and their revision by human experts."""
    found = lines(data / "refined_pairs" / "coachlm_expert_revision.jsonl.gz")
    rows = sorted(found, key=lambda r: digest(json.dumps(r)))
    write(
        out / "pool.jsonl",
        [
            {
                name: row[name]
                for name in (
                    "instruction",
                    "input",
                    "original_output",
                    "refined_instruction",
                    "refined_input",
                    "refined_output",
                )
            }
            for row in rows[:OPEN_POOL]
        ],
    )


def held_out(data: Path, out: Path, *, texts: int, instructions: int) -> None:
    """Human text, and instructions to see how a student writes."""
    found = lines(data / "instruction_sources" / "dolly_3k_alpagasus.jsonl.gz")
    rows = sorted(found, key=lambda r: digest(json.dumps(r)))
    short = [r for r in rows if 60 < len(r["output"]) < 500 and not r.get("input")]
    write(
        out / "human.jsonl",
        [{"instruction": r["instruction"], "output": r["output"]} for r in short[:texts]],
    )
    prompts = sorted(
        lines(data / "eval" / "instruction_prompts.jsonl"), key=lambda r: digest(json.dumps(r))
    )
    asked = [r for r in prompts if len(r["instruction"]) < 300]
    write(
        out / "instructions.jsonl",
        [{"instruction": r["instruction"]} for r in asked[:instructions]],
    )


def settings(task: str, out: Path, *, seeds: list[int], rounds: int) -> dict[str, Any]:
    checkable = task == "word_problems"
    tasks: list[dict[str, Any]] = [
        {"name": "human", "kind": "held_out", "path": str(out / "human.jsonl")}
    ]
    if checkable:
        tasks.insert(
            0,
            {
                "name": "problems",
                "kind": "exact_match",
                "path": str(out / "held_out.jsonl"),
                "max_new_tokens": 96,
            },
        )
    return {
        "data": {"path": str(out / "pool.jsonl")},
        "student": {"model": "smollm2-135m"},
        "out": str(out / "out"),
        "rounds": rounds,
        "loops": ["gate", "no_gate", "random", "self_teaching"],
        "seeds": seeds,
        "check": {"check": "maths", "processes": 1} if checkable else None,
        "select": {"rule": "srt", "mode": "safe"},
        "train": {
            "epochs": 1,
            "learning_rate": 5e-5,
            "batch_examples": 8 if checkable else 4,
            "checkpoint_steps": 10,
        },
        "own_answers": {
            "sampled": 1,
            "greedy": 0,
            "temperature": 0.7,
            "max_tokens": 160 if checkable else 96,
        },
        "embedder": {"kind": "words"},
        "held_out": {
            "instructions": {"path": str(out / "instructions.jsonl")},
            "answers": {"sampled": 1, "greedy": 0, "temperature": 1.0, "max_tokens": 48},
            "tasks": tasks,
        },
    }


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def summary(out: Path) -> None:
    from tutelage.experiments.rounds.tables import flip_summary

    for row in pq.read_table(out / "out" / "rounds.parquet").to_pylist():
        print({name: value for name, value in row.items() if name != "student"})
    for line in pq.read_table(out / "out" / "drift.parquet").to_pylist():
        if line["baseline"] is None and line["round"]:
            continue
        interval = f"({shown(line['low'])} to {shown(line['high'])})"
        change = f"({shown(line['change_low'])} to {shown(line['change_high'])})"
        print(
            *(line["seed"], line["loop"], line["round"], line["subject"], line["name"]),
            *(line["measure"], shown(line["value"]), interval),
            *("change", shown(line["change"]), change, "noise", shown(line["noise"])),
        )
    for row in flip_summary(pq.read_table(out / "out" / "flips.parquet")):
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", choices=["word_problems", "open"], default="word_problems")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    if given.summary:
        summary(given.out)
        return
    if given.task == "word_problems":
        word_problems(given.data, given.out)
        held_out(given.data, given.out, texts=40, instructions=24)
    else:
        open_task(given.data, given.out)
        held_out(given.data, given.out, texts=30, instructions=16)
    from tutelage.cli.output import shown_progress
    from tutelage.experiments.rounds import RoundsSettings, run_rounds

    seeds = [int(seed) for seed in given.seeds.split(",")]
    values = settings(given.task, given.out, seeds=seeds, rounds=given.rounds)
    with shown_progress() as progress:
        run_rounds(RoundsSettings.model_validate(values), progress=progress)
    summary(given.out)


if __name__ == "__main__":
    main()
