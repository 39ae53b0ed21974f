"""Can a score that needs no training predict which of 53 teachers a student learns most from?

    python benchmarks/experiments/all_teachers.py make --data DATA --out OUT --examples 32 --items 100
    tutelage prove OUT/seed-3.yaml          # and the other seeds, in any order
    python benchmarks/experiments/all_teachers.py scores --out OUT --student smollm2-135m --questions 48
    python benchmarks/experiments/all_teachers.py report --out OUT --raw RAW.csv.gz --scores SCORES.csv

`make` takes every system of the GSM8K pool and the questions of one half that all of them answered. A text is the
reasoning of an answer and one more line, the same words for all unless it ends so already: "The answer is N." with
the system's own N. So no JSON is trained on. There are two tasks that no system wrote: human solutions of the training questions, and right final answers to the other half of the test
questions. `scores` computes the predictors from other questions of the first half than the students are trained on.
`report` needs only the two tables of numbers, so anybody can run it. The results have nothing to do with published
GSM8K scores: the test questions are trained on.
"""

import argparse
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from teach_by_teachers import DOUBTFUL, rows_of, trains, write_tasks

from tutelage.data import content_hash, write_jsonl
from tutelage.stats.rank_correlation import average_ranks, spearman, spearman_interval

PLAN = {
    "rsr": "lower",
    "ifd": "higher",
    "likelihood": "higher",
    "mean_rank": "lower",
    "lalp": "higher",
    "aslec_drop": "higher",
    "grace": "lower",
    "accuracy": "higher",
    "length": "neither",
}
"""Predictors, fixed before any training run, and which direction is claimed to be better."""
METRICS = ("ifd", "grape", "mean_rank", "mean_surprisal", "lalp", "aslec_drop")
RESAMPLES = 10_000


def make(given: argparse.Namespace) -> None:
    data, out = given.data, given.out
    out.mkdir(parents=True, exist_ok=True)
    answers: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    right: dict[str, list[bool]] = defaultdict(list)
    gold: dict[str, dict[str, Any]] = {}
    styles: dict[str, str] = {}
    for row in rows_of(data / "gsm8k/multi_teacher.jsonl.gz"):
        key = row["prompt_id"]
        if key.rpartition("-")[2] in DOUBTFUL:
            continue
        gold[key] = {"instruction": row["question"], "output": f"The answer is {row['gold']:g}."}
        styles[row["model"]] = row["style"]
        if row["is_correct"] is not None:
            right[row["model"]].append(bool(row["is_correct"]))
        text = (row["reasoning"] or "").strip()
        if trains(key) and text:
            said = row["final_answer"]
            if said is not None and "the answer is" not in text.rpartition("\n")[2].lower():
                text += f"\nThe answer is {said.removesuffix('.0')}."
            answers[row["model"]][key] = {"instruction": row["question"], "output": text}
    teachers = sorted(answers, key=lambda name: content_hash("teacher", name))
    shared = sorted(set.intersection(*(set(found) for found in answers.values())))
    shared.sort(key=lambda key: content_hash("question of the scores", key))
    scored, trained = shared[: given.questions], sorted(shared[given.questions :])
    for number, teacher in enumerate(teachers):
        write_jsonl(out / f"arm-{number:02}.jsonl", [answers[teacher][key] for key in trained])
    pool = [
        {"id": f"{number:02}-{key}", **answers[teacher][key]}
        for key in scored
        for number, teacher in enumerate(teachers)
    ]
    write_jsonl(out / "scored.jsonl", pool)
    tasks = write_tasks(data, out, gold, items=given.items)[:2]
    tasks[1] |= {"limit": given.final_items}
    for seed in given.seeds:
        config = {
            "out": f"results-{seed}",
            "students": [{"name": "smollm2", "model": "smollm2-135m"}],
            "arms": [
                {"name": f"t{n:02}", "file": f"arm-{n:02}.jsonl"} for n in range(len(teachers))
            ],
            "choice": "t00",
            "reference": f"t{len(teachers) - 1:02}",
            "seeds": [seed],
            "examples": given.examples,
            "balance": ["examples"],
            "tasks": tasks,
            "train": {
                "epochs": 1,
                "learning_rate": given.learning_rate,
                "batch_examples": 4,
            },
            "evaluate": {"dtype": "bfloat16"},
        }
        text = yaml.safe_dump(config, sort_keys=False)
        (out / f"seed-{seed}.yaml").write_text(text, encoding="utf-8")
    facts = [
        {"arm": f"t{n:02}", "teacher": name, "style": styles[name], "accuracy": np.mean(right[name])}
        for n, name in enumerate(teachers)
    ]
    (out / "teachers.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    said = {"teachers": len(teachers), "trained": len(trained), "scored": len(scored)}
    print(json.dumps(said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--final-items", type=int, default=60)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    given = parser.parse_args()
    make(given)


if __name__ == "__main__":
    main()
