"""Verified answers: does the student learn more from the likeliest one than from a random one?

    python benchmarks/experiments/verified_likely.py questions --data DATA --raw RAW --out OUT
    tutelage sample OUT/questions.jsonl --teacher ... --n 16 --out RUN
    tutelage verify RUN --check maths
    tutelage score RUN --student smollm2-135m --dtype bfloat16 --metrics grape
    python benchmarks/experiments/verified_likely.py plan --out OUT --run RUN --name first --seeds 12 13
    tutelage prove OUT/first.yaml
    python benchmarks/experiments/verified_likely.py report RAW.csv.gz

`questions` writes the questions that the teacher answers and the problems that students are asked: those of AddSub
that no earlier experiment has asked (RAW is the folder of the earlier numbers), then others of
SingleOp. No question of AddSub or SingleOp is trained on. `report` reads a table of raw items (`raw_items.py`) only.
"""

import argparse
import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from make_configs import draw, read_jsonl, write_jsonl
from make_maths import plain


ASKED = ("addsub", "singleop")
TRAINED = {"svamp": 120, "singleeq": 50, "multiarith": 30}
ARMS = {
    "grape": {"rule": "grape"},
    "random": {"rule": "random"},
    "length_matched": {"rule": "length_matched", "of": "grape"},
    "longest": {"rule": "longest"},
    "shortest": {"rule": "best_of_n", "best_by": "response_tokens", "best_is": "low"},
    "lowest_grape": {"rule": "best_of_n", "best_by": "grape", "best_is": "low"},
}
"""Arms in the order in which they are trained; all choose among right answers only."""


def questions(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    problems = read_jsonl(given.data / "math_word_problems" / "problems.jsonl.gz")
    problems = [p for p in problems if p["answer_num"] is not None]
    used = set()
    for path in sorted(given.raw.glob("maths-*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            used |= {row["item_id"] for row in csv.DictReader(file)}
    held_out = {plain(p["question"]) for p in problems if p["source"] in ASKED}
    asked = []
    for source in ASKED:
        own = {plain(p["question"]): p for p in problems if p["source"] == source}
        for p in asked:
            own.pop(plain(p["question"]), None)
        fresh = [p for p in own.values() if p["id"] not in used]
        asked += draw(fresh, given.items - len(asked), "id")
    rows = [{"id": p["id"], "question": p["question"], "answer": p["answer_num"]} for p in asked]
    write_jsonl(given.out / "asked.jsonl", rows)
    taken = []
    for source, count in TRAINED.items():
        own = {plain(p["question"]): p for p in problems if p["source"] == source}
        taken += draw([p for text, p in own.items() if text not in held_out], count, "id")
    rows = [
        {
            "instruction": p["question"],
            "reference": f"{p['answer_num']:g}",
            "source": p["source"],
            "question_id": p["id"],
        }
        for p in taken
    ]
    write_jsonl(given.out / "questions.jsonl", rows)
    print(f"{len(asked)} asked, {sum(p['source'] == 'addsub' for p in asked)} of AddSub")
    print(f"{len(taken)} trained on")


def plan(given: argparse.Namespace) -> None:
    arms = given.arms or list(ARMS)
    config = {
        "out": f"results-{given.name}",
        "students": [
            {"name": "smollm2", "model": "smollm2-135m", "run": str(given.run.resolve())}
        ],
        "arms": [{"name": name, "select": {**ARMS[name], "gate": "right"}} for name in arms],
        "choice": arms[0],
        "reference": arms[1],
        "examples": given.examples,
        "seeds": given.seeds,
        "balance": ["examples"],
        "primary": "answered",
        "tasks": [
            {"name": "answered", "kind": "exact_match", "max_new_tokens": 64, "path": "asked.jsonl"}
        ],
        "train": {"epochs": 1, "learning_rate": 1e-4, "batch_examples": 4},
        "evaluate": {"dtype": "bfloat16"},
    }
    path = given.out / f"{given.name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    print(path)


def report(given: argparse.Namespace) -> None:
    right: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for path in given.raw:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["correct"] in ("0", "1"):
                    key = (row["train_seed"], row["item_id"])
                    right[row["arm"]][key] = float(row["correct"])
    for arm, found in right.items():
        seeds = len({seed for seed, _ in found})
        print(f"{arm:15} {np.mean(list(found.values())):.4f} right, {seeds} seeds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("questions")
    part.add_argument("--data", type=Path, required=True)
    part.add_argument("--raw", type=Path, required=True)
    part.add_argument("--out", type=Path, required=True)
    part.add_argument("--items", type=int, default=300)
    part.set_defaults(do=questions)
    part = parts.add_parser("plan")
    part.add_argument("--out", type=Path, required=True)
    part.add_argument("--run", type=Path, required=True)
    part.add_argument("--name", required=True)
    part.add_argument("--seeds", type=int, nargs="+", required=True)
    part.add_argument("--arms", nargs="+", choices=sorted(ARMS))
    part.add_argument("--examples", type=int, default=32)
    part.set_defaults(do=plan)
    part = parts.add_parser("report")
    part.add_argument("raw", type=Path, nargs="+")
    part.set_defaults(do=report)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
