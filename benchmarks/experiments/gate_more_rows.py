"""How the gate finds faults of real rows with more rows, and with labels of some of them.

    python benchmarks/experiments/gate_more_rows.py WORK --labels docs/experiments/raw/audit-labels.csv \
        --out gate-more-rows.csv

WORK is the folder of audit_sets.py with the five sets of small models; faults were planted into the first.
`test`: gates fitted on the first set, on the first three, and on these with the labels of their faulty texts as rows
that a person rejected, judge the last two sets. `curve`: five-fold over all questions, fitted on a sample of the other
folds' rows. A line for each gate: how many faulty, clean and wrong texts there are, and how many it rejects.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gate_comparison import without
from gate_elsewhere import HELD_OUT, SEED

from tutelage.data import read
from tutelage.experiments.audit.findings import KINDS
from tutelage.gate import DIFFERENCES, CalibratedGate, GateRow, fit_gate, part_of
from tutelage.stats.rank_correlation import auc

SETS = ("small_models", "small_models_2", "small_models_3", "small_models_4", "small_models_5")
TRAINED, NEW = SETS[:3], SETS[3:]
FOLDS = 5
SPLITS = 6
"""Divisions of the rows into those a gate is fitted on and the few that it holds out."""
SIZES = {70: 3, 140: 3, 280: 3, 380: 1}
"""Rows that a gate is fitted on, and how many samples of that size are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One labelled text, or one planted fault in it."""

    set: str
    row: int
    question: str
    features_F: Any
    what: str

    @property
    def is_faulty(self) -> bool:
        return self.what in KINDS

    def as_row(self, *, labelled: bool = False) -> GateRow:
        """As a clean row; with its label as one that a person rejected."""
        name = f"{self.set}-{self.row}"
        if labelled and self.is_faulty:
            return GateRow(
                example_id=f"{name}-rejected", features_F=self.features_F, fault="rejected",
                dose="given",
            )  # fmt: skip
        return GateRow(example_id=name, features_F=self.features_F)

    def as_plant(self) -> GateRow:
        return GateRow(
            example_id=f"{self.set}-{self.row}", features_F=self.features_F, fault=self.what,
            dose="strong",
        )  # fmt: skip


def texts(work: Path, labels: Path) -> tuple[list[Text], list[Text]]:
    """The labelled texts, and the planted faults."""
    with labels.open() as file:
        known = {(r["set"], int(r["row"])): r["label"] for r in csv.DictReader(file)}
    plain, planted = [], []
    for name in SETS:
        path = work / f"{name}.jsonl"
        questions = [json.loads(x)["instruction"] for x in path.read_text("utf-8").splitlines()]
        row_of = {r.example.example_id: r.row for r in read(str(path)) if r.example is not None}
        with np.load(work / f"{name}.npz") as found:
            features = without(found["features"], DIFFERENCES)
            for row_id, what, x_F in zip(found["row_id"], found["what"], features, strict=True):
                row = row_of[str(row_id)]
                is_plain = what == "clean"
                text = Text(
                    set=name, row=row, question=questions[row], features_F=x_F,
                    what=known[name, row] if is_plain else str(what),
                )  # fmt: skip
                (plain if is_plain else planted).append(text)
    return plain, planted


def fitted(rows: Sequence[GateRow], *, split: int = 0) -> CalibratedGate:
    """A gate on nearly all rows, since it is measured on others."""
    parts = {
        r.example_id: part_of(r.example_id, seed=SEED + split, held_out_fraction=HELD_OUT)
        for r in rows
    }
    return fit_gate(rows, max_false_refusals=0.05, seed=0, parts=parts)


def counts(judged: Sequence[tuple[Text, bool]]) -> dict[str, int]:
    """How many texts of each sort there are, and how many are rejected."""
    found: dict[str, int] = {}
    for sort in ("faulty", "clean", "wrong"):
        own = [no for t, no in judged if (t.is_faulty if sort == "faulty" else t.what == sort)]
        found |= {sort: len(own), f"{sort}_rejected": sum(own)}
    return found


def verdicts(gate: CalibratedGate, judged: Sequence[Text]) -> list[tuple[Text, bool]]:
    found = gate.judge(np.stack([t.features_F for t in judged]))
    return [(t, not j.passed) for t, j in zip(judged, found, strict=True)]


def on_new_texts(plain: Sequence[Text], planted: Sequence[Text]) -> Iterator[dict[str, Any]]:
    """Gates of three kinds on the last two sets."""
    plants = [t.as_plant() for t in planted]
    for what, sets, labelled in (
        ("first set", SETS[:1], False),
        ("three sets", TRAINED, False),
        ("three sets, labelled", TRAINED, True),
    ):
        rows = [t.as_row(labelled=labelled) for t in plain if t.set in sets]
        for split in range(SPLITS):
            gate = fitted([*rows, *plants], split=split)
            judged = verdicts(gate, [t for t in plain if t.set in NEW])
            yield {"what": what, "rows": len(rows), "repeat": split, **counts(judged)}


def curve(plain: Sequence[Text], planted: Sequence[Text]) -> Iterator[dict[str, Any]]:
    """Five-fold by question, fitted on samples of several sizes."""
    for size, repeats in SIZES.items():
        for repeat in range(repeats):
            judged: list[tuple[Text, bool]] = []
            for fold in range(FOLDS):
                others = [t for t in plain if _fold(t) != fold]
                drawn = sorted(others, key=lambda t: _hash(f"{repeat} {t.set} {t.row}"))[:size]
                plants = [t.as_plant() for t in planted if _fold(t) != fold]
                gate = fitted([*(t.as_row() for t in drawn), *plants])
                judged += verdicts(gate, [t for t in plain if _fold(t) == fold])
            yield {"what": "five-fold", "rows": size, "repeat": repeat, **counts(judged)}


def with_labels(plain: Sequence[Text], planted: Sequence[Text]) -> Iterator[dict[str, Any]]:
    """Five-fold by question on all other folds' rows, with and without their labels."""
    for labelled in (False, True):
        for split in range(SPLITS):
            judged: list[tuple[Text, bool]] = []
            for fold in range(FOLDS):
                rows = [t.as_row(labelled=labelled) for t in plain if _fold(t) != fold]
                plants = [t.as_plant() for t in planted if _fold(t) != fold]
                gate = fitted([*rows, *plants], split=split)
                judged += verdicts(gate, [t for t in plain if _fold(t) == fold])
            what = "all five sets, labelled" if labelled else "all five sets"
            yield {
                "what": what,
                "rows": len(plain) * (FOLDS - 1) // FOLDS,
                "repeat": split,
                **counts(judged),
            }


def ceiling(plain: Sequence[Text]) -> None:
    """Print the AUC of models trained on the labels, five-fold by question."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    models: dict[str, Callable[[], Any]] = {
        "random forest": lambda: RandomForestClassifier(
            500, min_samples_leaf=2, class_weight="balanced", random_state=0
        ),
        "logistic regression": lambda: make_pipeline(
            QuantileTransformer(n_quantiles=50, output_distribution="normal"),
            LogisticRegression(C=0.02, class_weight="balanced"),
        ),
    }
    X = np.stack([t.features_F for t in plain])
    fold_N = np.array([_fold(t) for t in plain])
    sort_N = np.array(["faulty" if t.is_faulty else t.what for t in plain])
    for against in ("faulty", "wrong"):
        own_N = np.isin(sort_N, [against, "clean"])
        is_N = sort_N == against
        for name, make in models.items():
            score_N = np.full(len(plain), np.nan)
            for fold in range(FOLDS):
                model = make_pipeline(SimpleImputer(keep_empty_features=True), make())
                model.fit(X[own_N & (fold_N != fold)], is_N[own_N & (fold_N != fold)])
                place_N = own_N & (fold_N == fold)
                score_N[place_N] = model.predict_proba(X[place_N])[:, 1]
            limit = np.quantile(score_N[sort_N == "clean"], 0.95)
            hits = int((score_N[is_N] > limit).sum())
            found = auc(score_N[is_N], score_N[sort_N == "clean"])
            print(
                f"{against} against clean, {name}: AUC {found:.3f}; {hits} of {is_N.sum()} at 5 %"
            )


def _fold(text: Text) -> int:
    return _hash(f"f{text.question}") % FOLDS


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--only", choices=("test", "curve", "labels", "ceiling"))
    parser.add_argument("--out", type=Path, default=Path("gate-more-rows.csv"))
    given = parser.parse_args()
    plain, planted = texts(given.work, given.labels)
    if given.only == "ceiling":
        ceiling(plain)
        return
    with given.out.open("w", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for name, lines in (
            ("test", on_new_texts),
            ("curve", curve),
            ("labels", with_labels),
        ):
            if given.only not in (None, name):
                continue
            for line in lines(plain, planted):
                writer = writer or csv.DictWriter(file, list(line), lineterminator="\n")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(line)
                file.flush()
                print(line, flush=True)


if __name__ == "__main__":
    main()
