"""Labels by eye for what audits refused and passed: a blind sample to read, and what came of it.

    python benchmarks/experiments/audit_labels.py draw WORK --sets expert gpt4 --out sample.txt
    python benchmarks/experiments/audit_labels.py score WORK --labels audit-labels.csv

`draw` prints texts in random order without the verdict: as many that were refused as that passed,
pooled over the sets, every kind of fault that was named as evenly as there are rows. `score` wants
`set,row,label` with the labels `faulty`, `clean` or `unsure`, and gives the precision by kind.
"""

import argparse
import csv
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tutelage.data import content_hash
from tutelage.gate import share_of


def verdicts(work: Path, name: str) -> dict[int, str]:
    """For each row of the audited side the kind of fault for which it was refused, or `passed`."""
    rows = (work / f"{name}.jsonl").read_text("utf-8").splitlines()
    audit = json.loads((work / name / "audit.json").read_text("utf-8"))
    main = audit["sides"][0]["side"]
    found = dict.fromkeys(range(len(rows)), "passed")
    for e in audit["examples"]:
        is_main = (e["step"] == "original") == (main == "original")
        if is_main and e["fault"] is not None:
            found[e["row"]] = e["kind"]
    return found


def draw(given: argparse.Namespace) -> None:
    by_kind: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name in given.sets:
        for row, kind in verdicts(given.work, name).items():
            by_kind[kind].append((name, row))
    for kind, places in by_kind.items():
        places.sort(key=lambda p: content_hash("label", kind, *p))
    passed = by_kind.pop("passed")[: given.count]
    refused: list[tuple[str, int]] = []
    while len(refused) < given.count and any(by_kind.values()):
        for kind in sorted(by_kind):
            refused += by_kind[kind][:1]
            del by_kind[kind][:1]
    sample = sorted([*passed, *refused[: given.count]], key=lambda p: content_hash("order", *p))
    texts = []
    for name, place in sample:
        lines = (given.work / f"{name}.jsonl").read_text("utf-8").splitlines()
        row: dict[str, Any] = json.loads(lines[place])
        answer = row.get("refined_output", row.get("output"))
        texts.append(f"--- {name},{place}\nQ: {row['instruction']}\nA: {answer}\n")
    given.out.write_text("\n".join(texts), "utf-8")


def score(given: argparse.Namespace) -> None:
    with given.labels.open() as stream:
        labels = {(r["set"], int(r["row"])): r["label"] for r in csv.DictReader(stream)}
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for (name, row), label in labels.items():
        kind = verdicts(given.work, name)[row]
        by_kind[kind][label] += 1
        if kind != "passed":
            by_kind["any refused"][label] += 1
    for kind, counts in sorted(by_kind.items()):
        share = share_of(counts["faulty"], counts.total())
        print(
            f"{kind:<20} faulty {share.count} of {share.rows} "
            f"({share.low:.0%} to {share.high:.0%}), unsure {counts['unsure']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["draw", "score"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--sets", nargs="+", default=[])
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("sample.txt"))
    parser.add_argument("--labels", type=Path, default=Path("audit-labels.csv"))
    given = parser.parse_args()
    {"draw": draw, "score": score}[given.task](given)


if __name__ == "__main__":
    main()
