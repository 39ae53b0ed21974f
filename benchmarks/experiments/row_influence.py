"""Which version of each row helps an outcome more by its gradient, and whether scores tell which.

    python benchmarks/experiments/row_influence.py read --work WORK --out influence.csv
    python benchmarks/experiments/row_influence.py table --work WORK --out influence.csv

WORK is the folder of make_map.py (`pool`, and pool-clean.parquet with the scores of its pairs). For both versions of
every row the gradient of its mean loss is multiplied with the gradient of an outcome: what one small step of gradient
descent on this version alone would gain, per unit of the learning rate. `step` does the same with the signs of the
row's gradient, as the first step of Adam does. Outcomes are split into two halves of items: what is chosen by one half
is measured on the other. One line for each version, written as soon as it is computed; a killed run continues.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from make_map import POOL, joined, pool_of, read_jsonl, scores, takes_refinement

from tutelage.data import Candidate, read
from tutelage.models.loading import load_model
from tutelage.stats.rank_correlation import spearman
from tutelage.student import StudentSettings, open_student

OUTCOMES = ("gain", "open")
FIELDS = ("row", "version", "outcome", "half", "product", "step")
DRAWS = 5_000


def candidates(path: Path) -> list[Candidate]:
    """The responses of a file."""
    return [r.candidates[-1] for r in read(str(path)) if r.candidates]


class Gradients:
    """Gradients of a student with respect to all its weights."""

    def __init__(self, model: str) -> None:
        import torch

        self.torch = torch
        torch.manual_seed(0)
        self.student: Any = open_student(StudentSettings(model=model, dtype="float32"))
        parts = self.student.parts
        self.model: Any = load_model(
            parts.folder, parts.settings, device=parts.device, dtype="float32"
        )
        self.weights = list(self.model.requires_grad_(requires_grad=True).parameters())

    def loss(self, candidate: Candidate, *, alone: bool) -> Any:
        """Mean negative log-likelihood of a response, with or without its instruction."""
        torch = self.torch
        side = self.student.parts.builder.encode(candidate, "response")
        passage = (side.alone if alone else side.given)[0]
        ids = torch.tensor(passage.ids_T.astype(np.int64))[None]
        labels = ids.clone()
        labels[:, : passage.target_start] = -100
        return self.model(input_ids=ids, labels=labels).loss

    def take(self) -> Any:
        """The gradients that were added up, as one vector; they are set back to none."""
        flat = self.torch.cat([p.grad.reshape(-1) for p in self.weights])
        self.model.zero_grad(set_to_none=True)
        return flat

    def outcome(self, name: str, items: list[Candidate]) -> Any:
        """Gradient of an outcome that falls as it gets better: mean loss, or minus the gain."""
        for item in items:
            (self.loss(item, alone=False) / len(items)).backward()
            if name == "gain":
                (-self.loss(item, alone=True) / len(items)).backward()
        return self.take()


def compute(work: Path, out: Path, *, model: str) -> None:
    """Write products of gradients."""
    gradients = Gradients(model)
    files = {"gain": work / "gain_pairs_new.jsonl", "open": work / "open_references.jsonl"}
    wanted: dict[tuple[str, int], Any] = {}
    for name in OUTCOMES:
        items = candidates(files[name])
        for half in (0, 1):
            wanted[name, half] = gradients.outcome(name, items[half::2])
            print(name, half, len(items[half::2]), flush=True)
    done = set()
    if out.exists():
        with out.open() as file:
            done = {(int(r["row"]), r["version"]) for r in csv.DictReader(file)}
    versions: dict[str, Callable[[dict[str, Any]], str]] = {
        "original": lambda row: row["original_output"],
        "refined": lambda row: row["refined_output"],
    }
    with out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(FIELDS)
        for at, row in enumerate(read_jsonl(work / "pairs.jsonl")[:POOL]):
            for version, text in versions.items():
                if (at, version) in done:
                    continue
                rows = read([{"instruction": joined(row), "output": text(row)}])
                gradients.loss(next(iter(rows)).candidates[-1], alone=False).backward()
                own = gradients.take()
                sign = own.sign()
                lines = [
                    (at, version, name, half, f"{float(own @ to):.6g}", f"{float(sign @ to):.6g}")
                    for (name, half), to in wanted.items()
                ]
                writer.writerows(lines)
                file.flush()


def differences(path: Path, outcome: str, field: str) -> np.ndarray:
    """Refined minus original for each half and row: above 0 where the rewrite helps more."""
    values = np.full((2, POOL, 2), np.nan)
    with path.open() as file:
        for r in csv.DictReader(file):
            if r["outcome"] == outcome:
                values[int(r["half"]), int(r["row"]), int(r["version"] == "refined")] = float(
                    r[field]
                )
    found: np.ndarray = values[:, :, 1] - values[:, :, 0]
    return found


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    found = spearman(a, b)
    return float("nan") if found is None else found


def interval(value: Callable[[np.ndarray], float], rows: int) -> str:
    """A statistic of rows with its bootstrap interval."""
    chance = np.random.default_rng(0)
    drawn = [value(chance.integers(rows, size=rows)) for _ in range(DRAWS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{value(np.arange(rows)):+.3f} ({low:+.3f} to {high:+.3f})"


def margins(work: Path) -> dict[str, np.ndarray]:
    """How much better each score calls the rewrite."""
    both = scores(pool_of(work, "clean", 0, "parquet"))
    pairs = [(v["original"], v["response_reflection"]) for v in both]
    texts = read_jsonl(work / "pairs.jsonl")[:POOL]
    return {
        "srt (r_ifd lower)": np.array([o["r_ifd"] - r["r_ifd"] for o, r in pairs]),
        "ifd lower": np.array([o["ifd"] - r["ifd"] for o, r in pairs]),
        "grape (more likely)": np.array([r["grape"] - o["grape"] for o, r in pairs]),
        "rsr lower": np.array([o["rsr"] - r["rsr"] for o, r in pairs]),
        "longer": np.array(
            [len(t["refined_output"]) - len(t["original_output"]) for t in texts], dtype=float
        ),
        "srt selects it": np.array([float(takes_refinement(v)) for v in both]),
    }


def table(work: Path, out: Path) -> Iterator[tuple[str, ...]]:
    """Lines of the table: outcome, kind of step, statistic, value."""
    scored = margins(work)
    for outcome in OUTCOMES:
        for field in ("product", "step"):
            d = differences(out, outcome, field)
            mean = d.mean(axis=0)
            unit = np.abs(mean).mean()
            head = (outcome, field)
            yield (*head, "rewrite helps more, share of rows", f"{(mean > 0).mean():.3f}")
            yield (
                *head,
                "halves of items agree, Spearman",
                interval(lambda i, d=d: rank_correlation(d[0][i], d[1][i]), POOL),
            )
            best = np.concatenate(
                [np.maximum(0, np.sign(d[0])) * d[1], np.maximum(0, np.sign(d[1])) * d[0]]
            )
            rows = best.reshape(2, POOL).mean(axis=0) / unit
            alls = mean / unit
            yield (*head, "chosen by the other half minus all rewrites, in mean absolute differences",
                   interval(lambda i, r=rows, a=alls: float((r[i] - a[i]).mean()), POOL))  # fmt: skip
            yield (*head, "chosen by the other half minus all originals",
                   interval(lambda i, r=rows: float(r[i].mean()), POOL))  # fmt: skip
            for name, margin in scored.items():
                ok = np.isfinite(margin)
                yield (*head, f"{name}: Spearman with the difference",
                       interval(lambda i, m=margin, a=mean, ok=ok: rank_correlation(m[i][ok[i]], a[i][ok[i]]), POOL))  # fmt: skip
            takes = scored["srt selects it"] > 0
            yield (*head, "rows where srt selects the rewrite minus the others, mean difference",
                   interval(lambda i, t=takes, a=alls: float(a[i][t[i]].mean() - a[i][~t[i]].mean()), POOL))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("read", "table"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    given = parser.parse_args()
    if given.what == "read":
        compute(given.work, given.out, model=given.model)
        return
    print("| outcome | step | what | value (95 % interval over rows) |\n|---|---|---|---:|")
    for line in table(given.work, given.out):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
