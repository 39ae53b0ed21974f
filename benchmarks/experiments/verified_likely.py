"""Verified answers: does the student learn more from the likeliest one than from a random one?

    python benchmarks/experiments/verified_likely.py questions --data DATA --raw RAW --out OUT
    tutelage sample OUT/questions.jsonl --teacher TEACHER --teacher-kind local --n 16 --out RUN
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
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from make_configs import draw, read_jsonl, write_jsonl
from make_maths import plain

from tutelage.stats.paired_design import paired_items

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

PAIRS = (
    ("grape", "random"),
    ("grape", "length_matched"),
    ("grape", "longest"),
    ("grape", "shortest"),
    ("grape", "lowest_grape"),
    ("longest", "random"),
    ("shortest", "random"),
    ("lowest_grape", "random"),
    ("length_matched", "random"),
)
"""Comparisons, the primary one first."""


def questions(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    problems = read_jsonl(given.data / "math_word_problems" / "problems.jsonl.gz")
    problems = [p for p in problems if p["answer_num"] is not None]
    used = set()
    for path in sorted(given.raw.glob("maths-*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            used |= {row["item_id"] for row in csv.DictReader(file)}
    held_out = {plain(p["question"]) for p in problems if p["source"] in ASKED}
    asked: list[Any] = []
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
        "students": [{"name": "smollm2", "model": "smollm2-135m", "run": str(given.run.resolve())}],
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
    arms: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    unchecked = total = 0
    for path in given.raw:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                total += 1
                unchecked += not row["correct"]
                if row["correct"] or not given.leave_out:
                    right = float(row["correct"] or 0)
                    arms[row["arm"]][int(row["train_seed"])][row["item_id"]] = right
    print(f"{unchecked} of {total} answers cannot be checked")
    print("\n| arm | seeds | right |\n|---|---:|---:|")
    for arm in ("untrained", *ARMS):
        if arm in arms:
            shares = [np.mean(list(items.values())) for items in arms[arm].values()]
            print(f"| {arm} | {len(shares)} | {np.mean(shares):.3f} |")
    print("\n| arms | seeds | difference | p | detectable |\n|---|---:|---:|---:|---:|")
    for first, second in PAIRS:
        seeds = sorted(arms[first].keys() & arms[second].keys())
        paired = paired_items([(s, arms[first][s], arms[second][s]) for s in seeds])
        if paired is None:
            continue
        i = paired.interval(level=0.95)
        found = f"{i.mean:+.4f} ({i.low:+.4f} to {i.high:+.4f})"
        print(
            f"| {first} minus {second} | {len(seeds)} | {found} | {i.p_value:.3f} | {i.detectable:.3f} |"
        )


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
    part.add_argument(
        "--leave-out",
        action="store_true",
        help="leave out answers that cannot be checked, instead of counting them as not right",
    )
    part.set_defaults(do=report)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
