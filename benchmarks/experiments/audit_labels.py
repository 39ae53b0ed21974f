"""What audits find in rows as they are, compared with a reader's labels.

    python benchmarks/experiments/audit_labels.py WORK/expert.npz WORK/alpaca.npz \
        --labels docs/experiments/raw/audit-labels.csv --out audit-labels-judged.csv

WORK is the folder of audit_sets.py. The labels have the columns `set`, `row` (the line of
`WORK/SET.jsonl`, from 0), `version` (`original` or `rewrite`; `row` where there is one version) and
`label`: `clean`, a kind of fault of the audit, or `wrong`. They were given without knowing any verdict.
A gate is fitted on one half of each set and judges the other, as `tutelage audit` does. With `--elsewhere`
a gate that was fitted on the first set judges further sets, of which only the rows were read.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gate_comparison import ReadSet, readings
from gate_elsewhere import fitted, verdicts

from tutelage.data import ORIGINAL, read
from tutelage.experiments.audit.findings import (
    KINDS,
    PASSED,
    SideFinding,
    crossed_gates,
    kind_of,
    sides_of,
)
from tutelage.gate import share_of

SEEN_BY_A_GATE = frozenset(KINDS)
TOP = 30


def judged(path: Path) -> tuple[list[dict[str, Any]], Mapping[str, SideFinding]]:
    """A line for each version with the verdict of the gate fitted on the other half, and the findings."""
    found = ReadSet.of(path)
    material = readings(found, fault="", exchanged=set())
    gates = crossed_gates(material, max_false_refusals=0.05, seed=0)
    versions = material.versions
    excess_N_D = gates.excess(versions)
    row_of = {
        r.example.example_id: r.row
        for r in read(str(path.with_suffix(".jsonl")))
        if r.example is not None
    }
    lines = []
    for version, verdict, excess_D in zip(versions, gates.judge(versions), excess_N_D, strict=True):
        kind = "row" if not found.has_originals else "rewrite"
        if found.has_originals and version.step == ORIGINAL:
            kind = "original"
        lines.append({
            "set": found.name, "row": row_of[version.example_id], "version": kind,
            "verdict": kind_of(verdict),
            "suspected": gates.suspected.get(version.candidate_id, ""),
            "excess": dict(zip(gates.faults, np.round(excess_D, 3).tolist(), strict=True)),
        })  # fmt: skip
    sides = {s.side: s for s in sides_of(material, gates, seed=0)}
    named = {"rewritten": "rewrite", "original": "original" if found.has_originals else "row"}
    return lines, {named[side]: finding for side, finding in sides.items()}


def with_labels(lines: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Lines with their labels; every line must have one."""
    with path.open() as file:
        labels = {(r["set"], int(r["row"]), r["version"]): r["label"] for r in csv.DictReader(file)}
    return [{**x, "label": labels[x["set"], x["row"], x["version"]]} for x in lines]


def shown(count: int, rows: int) -> str:
    """A share with its Wilson interval."""
    if not rows:
        return "none"
    s = share_of(count, rows)
    return f"{count} of {rows} ({100 * s.low:.0f} to {100 * s.high:.0f} %)"


def is_faulty(line: Mapping[str, Any]) -> bool:
    """Whether the reader saw a fault of a kind that the gate looks for."""
    return line["label"] in SEEN_BY_A_GATE


def side_rows(
    lines: Sequence[dict[str, Any]], sides: Mapping[str, SideFinding]
) -> Iterator[tuple[str, ...]]:
    """For each side: faulty by the reader, estimated, rejected, and what the rejected are."""
    for version, finding in sides.items():
        own = [x for x in lines if x["version"] == version]
        rejected = [x for x in own if x["verdict"] != PASSED]
        faulty = [x for x in own if is_faulty(x)]
        e = finding.estimate
        yield (
            f"{own[0]['set']}, {version}",
            shown(len(faulty), len(own)),
            "none" if e is None else f"{100 * e.share:.1f} ({100 * e.low:.1f} to {100 * e.high:.1f}) %",
            shown(sum(x["verdict"] != PASSED for x in faulty), len(faulty)),
            str(len(rejected)),
            ", ".join(f"{n} {c}" for n, c in Counter(x["label"] for x in rejected).most_common()),
        )  # fmt: skip


def precision(lines: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """For each kind: labels of the rows that it is named for, and of those its detectors score highest."""
    for kind, faults in KINDS.items():
        named = [x for x in lines if x["verdict"] == kind]
        scored = sorted(
            (max((x["excess"].get(f, -99.0) for f in faults), default=-99.0), i)
            for i, x in enumerate(lines)
        )[::-1][:TOP]
        top = [lines[i] for _, i in scored]
        labelled = [x for x in lines if x["label"] == kind]
        yield (
            kind,
            shown(sum(x["label"] == kind for x in named), len(named)),
            shown(sum(is_faulty(x) for x in named), len(named)),
            shown(sum(x["label"] == kind for x in top), len(top)),
            shown(sum(is_faulty(x) for x in top), len(top)),
            shown(sum(x["verdict"] != PASSED for x in labelled), len(labelled)),
        )


def table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> None:
    """Print a table."""
    print(f"\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def elsewhere(fitted_on: Path, others: Sequence[Path]) -> list[dict[str, Any]]:
    """Verdicts of a gate fitted on one set about the rows of others."""
    gate = fitted(ReadSet.of(fitted_on), budget=0.05)
    return [
        {"set": path.stem, "row": row, "version": "row", "verdict": fault, "suspected": ""}
        for path in others
        for row, fault in sorted(verdicts(gate, path.parent, path.stem).items())
    ]


def totals(every: Sequence[dict[str, Any]]) -> None:
    """Print how many of the faulty, wrong and clean texts are rejected."""
    rejected = [x for x in every if x["verdict"] != PASSED]
    faulty = [x for x in every if is_faulty(x)]
    wrong = [x for x in every if x["label"] == "wrong"]
    clean = [x for x in every if x["label"] == "clean"]
    for name, some in (("faulty", faulty), ("wrong", wrong), ("clean", clean)):
        hits = sum(x["verdict"] != PASSED for x in some)
        print(f"\nrejected of {name}: {shown(hits, len(some))}")
    print(f"\nfaulty of the rejected: {shown(sum(is_faulty(x) for x in rejected), len(rejected))}")
    by_label = Counter((x["label"], x["verdict"]) for x in every if x["label"] != "clean")
    print("\n" + "; ".join(f"{a} -> {b} {n}" for (a, b), n in sorted(by_label.items())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elsewhere", nargs="*", type=Path, default=[])
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="verdicts and labels, no text")
    given = parser.parse_args()
    every, rows = [], []
    for path in given.sets:
        lines, sides = judged(path)
        own = with_labels(lines, given.labels)
        every += own
        rows += list(side_rows(own, sides))
    table(
        ("rows", "faulty by the reader", "estimated by the audit", "of these rejected",
         "rejected", "labels of the rejected"),
        iter(rows),
    )  # fmt: skip
    table(
        ("kind", "named: this kind", "named: any fault", f"top {TOP}: this kind",
         f"top {TOP}: any fault", "labelled so: rejected"),
        precision(every),
    )  # fmt: skip
    totals(every)
    if given.elsewhere:
        further = with_labels(elsewhere(given.sets[0], given.elsewhere), given.labels)
        print(f"\nFitted on {given.sets[0].stem}, judged elsewhere:")
        totals(further)
        every += further
    with given.out.open("w", newline="") as stream:
        out = csv.DictWriter(stream, ("set", "row", "version", "verdict", "suspected", "label"))
        out.writeheader()
        out.writerows({k: x[k] for k in out.fieldnames} for x in every)


if __name__ == "__main__":
    main()
