"""How well a model that is asked for a verdict finds faulty answers, as a baseline for the gate.

    python benchmarks/experiments/judge_baseline.py WORK/small_models.jsonl WORK/small_models_2.jsonl \
        --labels docs/experiments/raw/audit-labels.csv --model FOLDER --clean 133 --out judge.csv

WORK is the folder of audit_sets.py. The model reads question and answer, is asked whether the answer is acceptable,
and its score is the log-odds of "No" against "Yes" as the next token: one reading a text, nothing is sampled. All
faulty texts of the labels are read, and as many clean ones as asked, drawn by their ids. A line is written for each
text as soon as it is read; a killed run continues.

    python benchmarks/experiments/judge_baseline.py WORK/expert.jsonl --planted 12 --model FOLDER --clean 60 --out judge-planted.csv

reads planted faults instead, so many of each, drawn by their ids among those that audit_sets.py plants into 90 rows
(`--plants`). What all prompts have in common is read once.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from embedding_baseline import texts_of
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from tutelage.experiments.audit.findings import KINDS

ASKED = """You check training data for a language model. Below are a question and an answer to it.
The answer is unacceptable if it does not answer the question, is cut off, repeats the question or itself, refuses, \
is damaged text, is in the wrong language, or contains prompts or turns of a conversation.

Question:
{instruction}

Answer:
{output}

Is the answer acceptable? Reply with one word, Yes or No."""


class Judge:
    """A model that is asked for a verdict."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._words = [
            self._tokenizer.encode(word, add_special_tokens=False)[0] for word in ("Yes", "No")
        ]
        same = zip(self._ids("One question?", "Two."), self._ids("Ask me.", "1"), strict=False)
        self._common = 0
        for one, other in same:
            if one != other:
                break
            self._common += 1
        self._cache: DynamicCache | None = None

    def _ids(self, instruction: str, output: str) -> list[int]:
        asked = ASKED.format(instruction=instruction, output=output)
        ids: list[int] = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        return ids

    def log_odds_no(self, instruction: str, output: str) -> float:
        """Log-odds of "No" against "Yes"."""
        ids = self._ids(instruction, output)
        with torch.inference_mode():
            if self._cache is None:
                self._cache = DynamicCache()
                first = torch.tensor([ids[: self._common]])
                self._model(first, past_key_values=self._cache, logits_to_keep=1)
            rest = torch.tensor([ids[self._common :]])
            logits = self._model(rest, past_key_values=self._cache, logits_to_keep=1).logits[0, -1]
            self._cache.crop(-rest.shape[1])
        yes, no = (float(logits[word]) for word in self._words)
        return no - yes


def planted_rows(
    paths: list[Path], *, plants: int, count: int, clean: int
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Some planted faults of each kind and some clean rows: set, row, what it is and text."""
    for path in paths:
        kept: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {}
        for row_id, what, instruction, output in texts_of(path, planted=plants, seed=0):
            text = {"instruction": instruction, "output": output}
            kept.setdefault(what, []).append((path.stem, row_id, what, text))
        for what, own in kept.items():
            order = sorted(own, key=lambda x: hashlib.sha256(f"judge {x[1]}".encode()).hexdigest())
            yield from order[: clean if what == "clean" else count]


def rows(
    paths: list[Path], labels: Path, *, clean: int
) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
    """All faulty texts and a sample of the clean ones: set, row, label and text."""
    with labels.open() as file:
        known = {
            (r["set"], int(r["row"])): r["label"]
            for r in csv.DictReader(file)
            if r["version"] == "row"
        }
    found = [
        (path.stem, at, known[path.stem, at], json.loads(line))
        for path in paths
        for at, line in enumerate(path.read_text("utf-8").splitlines())
    ]
    drawn = sorted(
        (x for x in found if x[2] == "clean"),
        key=lambda x: hashlib.sha256(f"judge {x[0]} {x[1]}".encode()).hexdigest(),
    )
    yield from [x for x in found if x[2] in KINDS] + drawn[:clean]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--planted", type=int, help="planted faults of each kind, without labels")
    parser.add_argument("--plants", type=int, default=90)
    parser.add_argument("--model", type=Path, required=True, help="folder")
    parser.add_argument("--clean", type=int, default=133)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if (given.planted is None) == (given.labels is None):
        parser.error("give either --labels or --planted")
    texts: Iterator[tuple[str, Any, str, dict[str, Any]]]
    if given.planted is None:
        texts = rows(given.sets, given.labels, clean=given.clean)
    else:
        texts = planted_rows(
            given.sets, plants=given.plants, count=given.planted, clean=given.clean
        )
    judge = Judge(given.model)
    done = set()
    if given.out.exists():
        with given.out.open() as file:
            done = {(r["set"], r["row"], r["label"]) for r in csv.DictReader(file)}
    with given.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(("set", "row", "label", "log_odds_no"))
        for name, at, label, row in texts:
            if (name, str(at), label) in done:
                continue
            odds = judge.log_odds_no(row["instruction"], row["output"])
            writer.writerow((name, at, label, f"{odds:.4f}"))
            file.flush()


if __name__ == "__main__":
    main()
