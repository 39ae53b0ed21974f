"""The calibrated gate beside rules and filters, on what audit_sets.py read, and across data sets.

    python benchmarks/experiments/gate_comparison.py WORK/expert.npz WORK/gpt4.npz \
        --out gate-sets.csv.gz --table gate-sets.json

Everything that is fitted (a gate, a threshold, a length band) is fitted on one half of a set and
measured on the other, and the other way round. The gate is fitted as `tutelage audit` fits it.
Clean rows are the last versions as they came, and originals are counted on their own; both count
whether or not they look like a fault. `--out` gets a line for each text that was judged: ids and
numbers, no text. `--table` gets the shares with their Wilson intervals.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import ORIGINAL, RESPONSE_REFLECTION
from tutelage.experiments.audit.findings import AuditReadings, CrossedGates, crossed_gates
from tutelage.gate import DIFFERENCES, NAMES, GateRow, Part, fit_gate, share_of
from tutelage.gate.text_signs import sign_of
from tutelage.pipeline.gate_stage import GateMaterial, GateVersion
from tutelage.selection import SelectSettings, select

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

TEXT_FEATURES = tuple(NAMES[NAMES.index("instruction_copied") : len(NAMES) - len(DIFFERENCES)])
"""Features that need no student, with the two lengths below."""
END = ("end_surprise", "end_gap")
"""Features of the token that ends the turn."""
LENGTHS = ("log_tokens", "log_length_to_instruction")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSet:
    """What a student read of one data set: a line for each text."""

    name: str
    row_id: NDArray[np.str_] = field(repr=False)
    part: NDArray[np.str_] = field(repr=False)
    what: NDArray[np.str_] = field(repr=False)
    X: Numbers = field(repr=False)

    @classmethod
    def of(cls, path: Path) -> "ReadSet":
        """Reads the file of audit_sets.py."""
        with np.load(path) as found:
            return cls(
                name=path.stem, row_id=found["row_id"], part=found["part"], what=found["what"],
                X=found["features"],
            )  # fmt: skip

    @property
    def judged(self) -> Flags:
        """Clean rows and planted faults; originals beside a rewrite are read, not judged."""
        return self.what != "original"

    @property
    def has_originals(self) -> bool:
        return bool((self.what == "original").any())

    @property
    def alone(self) -> "ReadSet":
        """The same as if it had no originals."""
        own = self.judged
        return replace(
            self, row_id=self.row_id[own], part=self.part[own], what=self.what[own],
            X=without(self.X[own], DIFFERENCES),
        )  # fmt: skip

    @property
    def faults(self) -> list[str]:
        return sorted(set(self.what.tolist()) - {"clean", "original"})

    def column(self, name: str) -> Numbers:
        return self.X[:, NAMES.index(name)]

    def gate_rows(self, X: Numbers) -> list[GateRow]:
        """Rows to fit on, with these features."""
        return [
            GateRow(
                example_id=row_id, features_F=x_F, fault=None if what == "clean" else what,
                dose=None if what == "clean" else "strong",
            )
            for row_id, what, x_F in zip(
                self.row_id[self.judged].tolist(), self.what[self.judged].tolist(),
                X[self.judged], strict=True,
            )
        ]  # fmt: skip


def without(X: Numbers, names: Sequence[str]) -> Numbers:
    """The features with some of them missing."""
    found = X.copy()
    found[:, [NAMES.index(n) for n in names]] = np.nan
    return found


def readings(found: ReadSet, *, fault: str = "", exchanged: Collection[str] = ()) -> AuditReadings:
    """What an audit of these rows would have read; some rows exchanged for the same with a fault."""
    step = RESPONSE_REFLECTION if found.has_originals else ORIGINAL
    versions, planted = [], []
    for row_id, what, x_F in zip(found.row_id.tolist(), found.what.tolist(), found.X, strict=True):
        if what == "original":
            versions.append(_version(row_id, ORIGINAL, x_F))
        elif what == (fault if row_id in exchanged else "clean"):
            versions.append(_version(row_id, step, x_F))
        elif what != "clean" and row_id not in exchanged:
            row = GateRow(example_id=row_id, features_F=x_F, fault=what, dose="strong")
            planted.append(row)
            if found.has_originals:
                alone_F = without(x_F[None], DIFFERENCES)[0]
                planted.append(replace(row, features_F=alone_F, measured=False))
    return AuditReadings(
        material=GateMaterial(
            versions=versions, unread={}, clean=(), planted=planted,
            planted_examples=len({r.example_id for r in planted}),
        )
    )  # fmt: skip


def _version(row_id: str, step: str, x_F: Numbers) -> GateVersion:
    return GateVersion(
        candidate_id=f"{row_id} {step}", example_id=row_id, step=step, features_F=x_F
    )


def crossed(found: ReadSet, X: Numbers, *, budget: float) -> tuple[Flags, CrossedGates]:
    """Which texts are rejected by the gate that was fitted on the other half, and both gates."""
    gates = crossed_gates(readings(replace(found, X=X)), max_false_refusals=budget, seed=0)
    rows = [
        GateRow(example_id=row_id, features_F=x_F)
        for row_id, x_F in zip(found.row_id.tolist(), X, strict=True)
    ]
    return (gates.excess(rows) > 0).any(axis=1), gates


def above(found: ReadSet, values: Numbers, *, budget: float) -> Flags:
    """Which texts lie above a threshold that refuses the budget of clean rows of the other half."""
    refused = np.zeros(len(values), dtype=np.bool_)
    for part in ("fit", "held_out"):
        other = values[(found.what == "clean") & (found.part != part)]
        own = found.part == part
        refused[own] = values[own] > np.quantile(other, 1 - budget)
    return refused


def outside_band(found: ReadSet, *, budget: float) -> Flags:
    """Which texts are shorter or longer than nearly all clean rows of the other half."""
    values = found.column("log_tokens")
    return above(found, values, budget=budget / 2) | above(found, -values, budget=budget / 2)


def not_taken_by_srt(found: ReadSet) -> Flags:
    """Where the rule `srt` (safe, margin 0) does not choose the version over its original."""
    originals = dict(
        zip(found.row_id[found.what == "original"],
            np.flatnonzero(found.what == "original").tolist(), strict=True)
    )  # fmt: skip
    ifd, r_ifd = np.exp(found.column("log_ifd")), np.exp(found.column("log_r_ifd"))
    candidates: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for place in np.flatnonzero(found.judged).tolist():
        first = originals.get(found.row_id[place])
        for at, step in ((first, "original"), (place, "response_reflection")):
            if at is None:
                continue
            name = f"{place}:{step}"
            candidates.append(
                {"candidate_id": name, "example_id": str(place), "step": step, "status": "ok",
                 "parent_id": None if step == "original" else f"{place}:original"}
            )  # fmt: skip
            scores.append(
                {"candidate_id": name, "status": "ok", "ifd": float(ifd[at]),
                 "r_ifd": float(r_ifd[at]), "response_tokens": 1}
            )  # fmt: skip
    chosen = select(
        candidates=pa.Table.from_pylist(candidates), scores=pa.Table.from_pylist(scores),
        settings=SelectSettings(rule="srt", max_unscored_fraction=1.0),
    ).decisions  # fmt: skip
    taken = {
        int(row["example_id"])
        for row in chosen.to_pylist()
        if str(row["candidate_id"]).endswith("response_reflection")
    }
    return np.array([place not in taken for place in range(len(found.what))])


def methods(found: ReadSet, *, budget: float) -> dict[str, Flags]:
    """What each method refuses."""
    named: dict[str, Callable[[], Flags]] = {
        "text signs, no student": lambda: np.array(
            [sign_of(dict(zip(NAMES, x_F, strict=True))) is not None for x_F in found.X.tolist()]
        ),
        "`grape` (lowest likelihood)": lambda: above(
            found, found.column("surprise"), budget=budget
        ),
        "`rsr` (highest)": lambda: above(found, found.column("rsr"), budget=budget),
        "`ifd` (highest)": lambda: above(found, found.column("log_ifd"), budget=budget),
        "`r_ifd` (highest)": lambda: above(found, found.column("log_r_ifd"), budget=budget),
        "length band": lambda: outside_band(found, budget=budget),
        "filter `ifd`, below 1": lambda: found.column("log_ifd") >= 0,
        "filter `echo`": lambda: found.column("instruction_copied") > 0.95,
    }
    if found.has_originals:
        named["`srt`, not taken"] = lambda: not_taken_by_srt(found)
    return {name: make() for name, make in named.items()}


def shares(found: ReadSet, refused: Flags) -> dict[str, dict[str, float]]:
    """Rejected texts by what they are."""
    table = {}
    for what in ["clean", *(["original"] if found.has_originals else []), *found.faults]:
        own = refused[found.what == what]
        share = share_of(int(own.sum()), len(own))
        table[what] = {
            "refused": share.count, "rows": share.rows,
            "low": round(share.low, 4), "high": round(share.high, 4),
        }  # fmt: skip
    return table


def transferred(fitted: ReadSet, measured: ReadSet, *, budget: float) -> dict[str, Any]:
    """Fitted on all of one set, measured on all of another."""
    sets = (fitted, measured)
    names = () if all(s.has_originals for s in sets) else DIFFERENCES
    X = [without(s.X, names) for s in sets]
    rows = [
        GateRow(example_id=f"{part} {r.example_id}", features_F=r.features_F, fault=r.fault,
                dose=r.dose)
        for s, x, part in zip(sets, X, ("fit", "held_out"), strict=True)
        for r in s.gate_rows(x)
    ]  # fmt: skip
    parts: dict[str, Part] = {
        r.example_id: "fit" if r.example_id.startswith("fit ") else "held_out" for r in rows
    }
    gate = fit_gate(rows, max_false_refusals=budget, seed=0, parts=parts)
    return shares(measured, (gate.excess(X[1]) > 0).any(axis=1))


def compared(found: ReadSet, *, budget: float) -> tuple[dict[str, Any], dict[str, Flags]]:
    """All methods on one set, and the gate's results with each fault left out."""
    refused, gates = crossed(found, found.X, budget=budget)
    student = [n for n in NAMES if n not in (*TEXT_FEATURES, *LENGTHS)]
    alone, _ = crossed(found, without(found.X, student), budget=budget)
    endless, _ = crossed(found, without(found.X, END), budget=budget)
    by_method = {
        "calibrated gate": refused,
        "the same without a student": alone,
        "the same without the end of the turn": endless,
        **methods(found, budget=budget),
    }
    clean = [g.false_refusals for g in gates.both]
    return {
        "set": found.name,
        "rows": int((found.what == "clean").sum()),
        "methods": {name: shares(found, flags) for name, flags in by_method.items()},
        "clean, not suspected": {
            "refused": sum(s.count for s in clean), "rows": sum(s.rows for s in clean),
        },
        "suspected": dict(sorted(Counter(gates.suspected.values()).items())),
        "left_out": {
            r.fault: {
                "auc": round(r.auc, 3),
                "left_out_auc": None if r.left_out_auc is None else round(r.left_out_auc, 3),
                "refused": None if r.left_out_refused is None else r.left_out_refused.count,
                "rows": r.refused.rows,
            }
            for r in gates.results
        },
    }, by_method  # fmt: skip


def write_raw(path: Path, sets: Sequence[tuple[ReadSet, Mapping[str, Flags]]]) -> None:
    """A line for each text: ids and numbers."""
    numbers = ("log_ifd", "log_r_ifd", "surprise", "rsr", "log_tokens")
    with gzip.GzipFile(path, "wb", mtime=0) as packed:
        lines = [["set", "row_id", "part", "what", "gate", "no_student", *numbers]]
        for found, refused in sets:
            for i, what in enumerate(found.what.tolist()):
                lines.append(
                    [found.name, found.row_id[i][:12], found.part[i], what,
                     str(int(refused["calibrated gate"][i])),
                     str(int(refused["the same without a student"][i])),
                     *(f"{found.column(n)[i]:.5g}" for n in numbers)]
                )  # fmt: skip
        packed.write("".join(",".join(line) + "\n" for line in lines).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=0.05)
    parser.add_argument("--transfer", action="store_true")
    given = parser.parse_args()
    sets = [ReadSet.of(path) for path in given.sets]
    raw, tables = [], []
    for found in sets:
        table, refused = compared(found, budget=given.budget)
        raw.append((found, refused))
        if found.has_originals:
            alone = found.alone
            refused_alone, _ = crossed(alone, alone.X, budget=given.budget)
            table["fitted without originals"] = shares(alone, refused_alone)
        tables.append(table)
        print(json.dumps(table, indent=1), flush=True)
    across = [
        {"fitted on": a.name, "measured on": b.name,
         **transferred(a, b, budget=given.budget)}
        for a in sets for b in sets if given.transfer and a is not b
    ]  # fmt: skip
    given.table.write_text(json.dumps({"sets": tables, "transfer": across}, indent=1) + "\n")
    if given.out:
        write_raw(given.out, raw)


if __name__ == "__main__":
    main()
