"""What sixteen answers a question are worth, and whether a student prefers the right ones.

    python benchmarks/sixteen_analysis.py RUN questions.jsonl --student smollm2-135m=FINGERPRINT \
        --table sixteen_answers.csv

RUN is a folder of `tutelage sample`, `tutelage verify` and `tutelage score`. Intervals are 95 % and
from a bootstrap over questions. The table holds numbers and ids only.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tutelage.stats.paired_design import bootstrap_means, paired_interval
from tutelage.verification import find_agreement

PREFERENCES = (
    ("grape", 1, "highest grape"),
    ("rsr", -1, "lowest rsr"),
    ("ifd", 1, "highest ifd"),
    ("ifd", -1, "lowest ifd"),
    ("response_tokens", 1, "longest"),
    ("response_tokens", -1, "shortest"),
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--student", action="append", default=[], metavar="NAME=FINGERPRINT")
    parser.add_argument("--table", type=Path)
    return parser.parse_args()


def share(values: list[float]) -> str:
    """A mean of shares, with the percentiles of the bootstrap."""
    low, high = np.quantile(bootstrap_means(np.array([values]), seed=0), [0.025, 0.975])
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def difference(values: list[float]) -> str:
    """A mean difference, with the interval that differences are given elsewhere."""
    found = paired_interval(np.array([values]))
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


class Question:
    """The samples of one question by one teacher, in the order they were asked for."""

    def __init__(self) -> None:
        self.ids: list[str] = []  # of the distinct texts
        self.copies: list[str | None] = []  # of every sample: the id of its text, or None
        self.texts: dict[str, str] = {}
        self.instruction: str | None = None


def main() -> None:
    arguments = parse()
    run = arguments.run
    examples = {
        row["example_id"]: (row["row"], row["source"])
        for row in pq.read_table(run / "examples.parquet").to_pylist()
    }
    verdicts = {
        row["candidate_id"]: row["verdict"]
        for row in pq.read_table(run / "verdicts.parquet").to_pylist()
    }
    names = [json.loads(line)["question_id"] for line in arguments.questions.open()]
    groups: dict[tuple[str, str], Question] = defaultdict(Question)
    others: dict[str, int] = defaultdict(int)
    for row in pq.read_table(run / "candidates.parquet").to_pylist():
        if row["step"] != "sample":
            continue
        group = groups[row["teacher"], row["example_id"]]
        if row["status"] == "ok":
            group.ids.append(row["candidate_id"])
            group.copies.append(row["candidate_id"])
            group.instruction = row["messages"][-2]["content"]
            group.texts[row["candidate_id"]] = row["messages"][-1]["content"]
        elif row["status"] == "duplicate_sample":
            group.copies.append(row["detail"].removeprefix("the same text as "))
        else:
            others[row["status"]] += 1
            group.copies.append(None)
    print("samples without a text:", dict(others) or "none")
    right = {i: float(v == "right") for i, v in verdicts.items()}
    rows = accuracy(groups, examples, verdicts, right, names)
    fingerprints = dict(text.split("=") for text in arguments.student)
    scores = pq.read_table(run / "scores.parquet").to_pylist() if fingerprints else []
    for name, fingerprint in fingerprints.items():
        mine = {s["candidate_id"]: s for s in scores if s["student"] == fingerprint}
        preferences(name, groups, mine, right, rows)
    if arguments.table:
        write(arguments.table, rows)


def accuracy(
    groups: dict[tuple[str, str], Question],
    examples: dict[str, tuple[int, str]],
    verdicts: dict[str, str],
    right: dict[str, float],
    names: list[str],
) -> dict[tuple[str, str], dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for (teacher, example), group in sorted(groups.items()):
        marks = [0.0 if i is None else right[i] for i in group.copies]
        texts = [None if i is None else group.texts[i] for i in group.copies]
        found = find_agreement(texts, instruction=group.instruction)
        votes = [m for m, agrees in zip(marks, found.agrees, strict=True) if agrees]
        row, source = examples[example]
        rows[teacher, example] = {
            "teacher": teacher,
            "question_id": names[row],
            "source": source,
            "samples": len(marks),
            "distinct": len(group.ids),
            "right": int(sum(marks)),
            "no_answer": sum(i is not None and verdicts[i] == "no_answer" for i in group.copies),
            "any_right": float(any(marks)),
            "majority_right": float(bool(votes) and votes[0] == 1.0),
            "majority_share": round(found.share or 0.0, 4),
            "tied": float(bool(found.tied)),
        }
    print("\n| teacher | source | questions | pass@1 | pass@16 | majority | distinct texts of 16 |")
    print("|---|---|---:|---|---|---|---:|")
    sources = sorted({r["source"] for r in rows.values()})
    for teacher in sorted({t for t, _ in rows}):
        for source in (*sources, None):
            some = [
                r for (t, _), r in rows.items() if t == teacher and source in (None, r["source"])
            ]
            cells = (
                share([r["right"] / r["samples"] for r in some]),
                share([r["any_right"] for r in some]),
                share([r["majority_right"] for r in some]),
            )
            distinct = np.mean([r["distinct"] for r in some])
            label = source or "all"
            print(f"| {teacher} | {label} | {len(some)} | {' | '.join(cells)} | {distinct:.1f} |")
    return rows


def preferences(
    name: str,
    groups: dict[tuple[str, str], Question],
    scores: dict[str, dict[str, Any]],
    right: dict[str, float],
    rows: dict[tuple[str, str], dict[str, Any]],
) -> None:
    teachers = sorted({t for t, _ in groups})
    pools: dict[str, dict[str, list[str]]] = {t: {} for t in teachers}
    both: dict[str, list[str]] = defaultdict(list)
    for (teacher, example), group in groups.items():
        usable = [i for i in group.ids if scores[i]["status"] == "ok"]
        pools[teacher][example] = usable
        both[example] += usable
    if len(teachers) > 1:
        pools["both"] = both
    wrote = {i: teacher for (teacher, _), group in groups.items() for i in group.ids}
    print(f"\n{name}: right among the preferred, less the mean over the distinct answers")
    print("| pool | preferred | questions | preferred right | random right | difference | by the "
          "first teacher | tokens |")  # fmt: skip
    print("|---|---|---:|---:|---:|---|---:|---:|")
    for pool, by_example in pools.items():
        mixed = {
            e: ids for e, ids in by_example.items() if ids and len({right[i] for i in ids}) > 1
        }
        for metric, sign, label in PREFERENCES:
            chosen = {
                e: min(ids, key=lambda i: (-sign * scores[i][metric], i))
                for e, ids in mixed.items()
            }
            means = {e: float(np.mean([right[i] for i in ids])) for e, ids in mixed.items()}
            gains = [right[i] - means[e] for e, i in chosen.items()]
            picked = np.mean([right[i] for i in chosen.values()])
            first = np.mean([wrote[i] == teachers[-1] for i in chosen.values()])
            tokens = np.mean([scores[i]["response_tokens"] for i in chosen.values()])
            print(
                f"| {pool} | {label} | {len(mixed)} | {picked:.3f} | "
                f"{np.mean(list(means.values())):.3f} | {difference(gains)} | {first:.2f} | "
                f"{tokens:.1f} |"
            )
            if pool in teachers:
                for e, i in chosen.items():
                    key = f"{name} {label} right"
                    rows[pool, e][key.replace(" ", "_")] = int(right[i])


def write(path: Path, rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows.values(), key=lambda r: (r["teacher"], r["question_id"])))


if __name__ == "__main__":
    main()
