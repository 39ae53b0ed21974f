"""Which teacher teaches? Train students on the same questions as answered by different teachers.

    python benchmarks/experiments/teach_by_teachers.py make --data DATA --ranked RANKED --out OUT
    tutelage prove OUT/prove.yaml
    python benchmarks/rank_teachers.py OUT/pool.jsonl STUDENT --questions 650 --out OUT/ranked \\
        --predictors rsr,likelihood,mean_rank,length --right-field is_correct
    python benchmarks/experiments/teach_by_teachers.py report --ranked RANKED --out OUT

`make` takes teachers spread evenly over a ranking (all their answers are in pool.jsonl, to rank
just them by more questions), half of the GSM8K test questions (by a hash of
their ids) for training, and tasks that no teacher wrote: the likelihood of human solutions of the
training questions, the likelihood of the right final answer to the other half of the test
questions, and answers to one-step problems that small students can get right. `report` correlates
every predictor of the ranking with the measured results. The scores have nothing to do with
published GSM8K scores: the test questions are trained on.
"""

import argparse
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from tutelage.data import content_hash, write_jsonl
from tutelage.experiments.prove.run import read_results
from tutelage.experiments.rank.proxy_page import correlations
from tutelage.stats.rank_correlation import spearman

DOUBTFUL = frozenset(
    f"{n:04}" for n in (368, 403, 454, 649, 652, 749, 768, 782, 823, 952, 962, 1016, 1309)
)
"""Questions whose gold answer is doubtful."""


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def spread(ranked: Path, *, count: int, by: str) -> list[str]:
    """Teachers at even distances of rank, the first and the last among them."""
    rows = pq.read_table(ranked / "standings.parquet").to_pylist()
    mine = [
        row["entrant"]
        for row in rows
        if row["domain"] == "all" and row["predictor"] == by and row["value"] is not None
    ]
    return [mine[round(i * (len(mine) - 1) / (count - 1))] for i in range(count)]


def trains(prompt_id: str) -> bool:
    return int(content_hash("gsm8k half", prompt_id)[:4], 16) % 2 == 0


def make(given: argparse.Namespace) -> None:
    data, out = given.data, given.out
    out.mkdir(parents=True, exist_ok=True)
    teachers = spread(given.ranked, count=given.teachers, by=given.by)
    answers: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    gold: dict[str, dict[str, Any]] = {}
    pool: list[dict[str, Any]] = []
    for row in rows_of(data / "gsm8k/multi_teacher.jsonl.gz"):
        key = row["prompt_id"]
        if key.rpartition("-")[2] in DOUBTFUL:
            continue
        gold[key] = {"instruction": row["question"], "output": f"The answer is {row['gold']:g}."}
        if row["model"] in teachers:
            pool.append(row)
        if row["model"] in teachers and trains(key) and row["output"].strip():
            said = {"instruction": row["question"], "output": row["output"].strip()}
            answers[row["model"]][key] = said
    write_jsonl(out / "pool.jsonl", pool)
    shared = set.intersection(*(set(found) for found in answers.values()))
    for number, teacher in enumerate(teachers):
        found = [answers[teacher][key] for key in sorted(shared)]
        write_jsonl(out / f"arm-{number:02}.jsonl", found)
    tasks = write_tasks(data, out, gold, items=given.items)
    config = {
        "out": "results",
        "students": [
            {"name": "smollm2", "model": "smollm2-135m"},
            {"name": "gemma3", "model": given.gemma, "template": "alpaca"},
        ],
        "arms": [
            {"name": f"t{n:02}", "file": f"arm-{n:02}.jsonl"}
            for n in range(len(teachers))
            if n not in given.without
        ],
        "choice": "t00",
        "reference": f"t{len(teachers) - 1:02}",
        "seeds": [0, 1, 2],
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
    (out / "prove.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (out / "teachers.json").write_text(json.dumps(teachers, indent=2), encoding="utf-8")
    print(json.dumps({"teachers": teachers, "shared_questions": len(shared)}, indent=2))


def write_tasks(
    data: Path, out: Path, gold: dict[str, dict[str, Any]], *, items: int
) -> list[dict[str, Any]]:
    human = []
    for row in rows_of(data / "gsm8k/train.jsonl.gz"):
        text = re.sub(r"<<.*?>>", "", row["solution"]) + f"\nThe answer is {row['final_answer']}."
        human.append({"instruction": row["question"], "output": text})
    human.sort(key=lambda row: content_hash("human", row["instruction"]))
    write_jsonl(out / "human.jsonl", human[:items])
    held = [gold[key] for key in sorted(gold) if not trains(key)]
    held.sort(key=lambda row: content_hash("held", row["instruction"]))
    write_jsonl(out / "final.jsonl", held[:items])
    easy = [
        {"id": row["id"], "question": row["question"], "answer": f"{row['answer_num']:g}"}
        for row in rows_of(data / "math_word_problems/problems.jsonl.gz")
        if row["source"] in ("singleop", "addsub") and row["answer_num"] is not None
    ]
    easy.sort(key=lambda row: content_hash("easy", row["id"]))
    write_jsonl(out / "easy.jsonl", easy[: items // 2])
    return [
        {"name": "human_solutions", "kind": "held_out", "path": "human.jsonl"},
        {"name": "final_answers", "kind": "held_out", "path": "final.jsonl"},
        {"name": "one_step", "kind": "exact_match", "path": "easy.jsonl", "max_new_tokens": 64},
    ]


def agreement(seeds: list[dict[str, list[float]]]) -> str:
    """How alike two seeds order the teachers: no predictor can be expected to do better."""
    found = []
    for one, other in combinations(seeds, 2):
        names = sorted(set(one) & set(other))
        a, b = (np.array([np.mean(side[name]) for name in names]) for side in (one, other))
        rho = spearman(a, b)
        found.append("-" if rho is None else f"{rho:+.2f}")
    return ", ".join(found)


def report(given: argparse.Namespace) -> None:
    teachers = json.loads((given.out / "teachers.json").read_text(encoding="utf-8"))
    folders = [given.out / name for name in given.results]
    results = [row for folder in folders for row in read_results(folder).to_pylist()]
    standings = pq.read_table(given.ranked / "standings.parquet")
    values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    by_seed: dict[tuple[str, str], dict[int, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in results:
        if row["arm"].startswith("t") and row["arm"][1:].isdigit() and row["value"] is not None:
            teacher = teachers[int(row["arm"][1:])]
            values[row["student"], row["task"]][teacher].append(row["value"])
            of_seed = by_seed[row["student"], row["task"]][row["train_seed"]]
            of_seed[teacher].append(row["value"])
    outcomes = {
        f"{student}:{task}": {name: sum(v) / len(v) for name, v in found.items()}
        for (student, task), found in values.items()
    }
    rows = [row for row in standings.to_pylist() if row["domain"] == "all"]
    predicted = {(row["predictor"], row["entrant"]): row["value"] for row in rows}
    names = sorted({name for found in outcomes.values() for name in found})
    names.sort(key=lambda name: predicted.get(("rsr", name)) or 0.0)
    predictors = sorted({predictor for predictor, _ in predicted})
    print("| teacher |", " | ".join([*predictors, *outcomes]), "|")
    print("|---|" + "---:|" * (len(predictors) + len(outcomes)))
    for name in names:
        numbers = [predicted.get((predictor, name)) for predictor in predictors]
        numbers += [found.get(name) for found in outcomes.values()]
        cells = ["" if n is None else f"{n:.0f}" if n > 50 else f"{n:.3f}" for n in numbers]
        print(f"| {name} |", " | ".join(cells), "|")
    for (student, task), seeds in by_seed.items():
        print(f"{student}:{task}: seeds agree by {agreement(list(seeds.values()))}")
    for row in correlations(standings, outcomes).to_pylist():
        if row["spearman"] is not None and row["low"] is not None:
            print(
                f"{row['predictor']:<15} {row['outcome']:<26} {row['spearman']:+.2f} "
                f"({row['low']:+.2f} to {row['high']:+.2f}) n={row['entrants']}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "report"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--ranked", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", nargs="+", default=["results"], help="one for each student")
    parser.add_argument("--teachers", type=int, default=12)
    parser.add_argument("--without", type=int, nargs="*", default=[], help="for want of time")
    parser.add_argument("--by", default="rsr")
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--gemma", default="gemma3-270m")
    given = parser.parse_args()
    (make if given.what == "make" else report)(given)


if __name__ == "__main__":
    main()
