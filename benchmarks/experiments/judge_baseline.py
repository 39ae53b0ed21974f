"""How well a model that is asked for a verdict finds faulty answers, as a baseline for the gate.

    python benchmarks/experiments/judge_baseline.py WORK/small_models.jsonl WORK/small_models_2.jsonl \
        --labels docs/experiments/raw/audit-labels.csv --model FOLDER --clean 133 --out judge.csv

WORK is the folder of audit_sets.py. The model reads question and answer, is asked whether the answer is acceptable,
and its score is the log-odds of "No" against "Yes" as the next token: one reading a text, nothing is sampled. All
faulty texts of the labels are read, and as many clean ones as asked, drawn by their ids. A line is written for each
text as soon as it is read; a killed run continues.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.experiments.audit.findings import KINDS

ASKED = """You check training data for a language model. Below are a question and an answer to it.
The answer is unacceptable if it does not answer the question, is cut off, repeats the question or itself, refuses, \
is damaged text, is in the wrong language, or contains prompts or turns of a conversation.

Question:
{instruction}

Answer:
{output}

Is the answer acceptable? Reply with one word, Yes or No."""


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
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder")
    parser.add_argument("--clean", type=int, default=133)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    yes, no = (tokenizer.encode(word, add_special_tokens=False)[0] for word in ("Yes", "No"))
    done = set()
    if given.out.exists():
        with given.out.open() as file:
            done = {(r["set"], int(r["row"])) for r in csv.DictReader(file)}
    with given.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(("set", "row", "label", "log_odds_no"))
        for name, at, label, row in rows(given.sets, given.labels, clean=given.clean):
            if (name, at) in done:
                continue
            asked = ASKED.format(instruction=row["instruction"], output=row["output"])
            ids = tokenizer.apply_chat_template(
                [{"role": "user", "content": asked}], add_generation_prompt=True,
                return_tensors="pt", return_dict=True,
            )["input_ids"]  # fmt: skip
            with torch.inference_mode():
                logits = model(ids, logits_to_keep=1).logits[0, -1].log_softmax(-1)
            writer.writerow((name, at, label, f"{float(logits[no] - logits[yes]):.4f}"))
            file.flush()


if __name__ == "__main__":
    main()
