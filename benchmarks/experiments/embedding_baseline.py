"""How many planted faults the similarity of instruction and answer finds, as a baseline for the gate.

    python benchmarks/experiments/embedding_baseline.py WORK/expert.jsonl WORK/gpt4.jsonl WORK/rationales.jsonl \
        --model FOLDER --out embedding-baseline.csv

WORK is the folder of audit_sets.py; the same faults are planted into the same rows. A text is rejected if its cosine
similarity to its instruction is below that of 95 % of the clean rows of the other half. Two embeddings: hashed words
(TF-IDF, no model), and the mean of a model's last hidden states over the text, less the mean of all texts.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from tutelage.data import read
from tutelage.experiments.audit.findings import half_of
from tutelage.experiments.audit.run import PLANTS, draw_sample
from tutelage.filters.config import WordsEmbedder
from tutelage.filters.embeddings import make_embedder
from tutelage.pipeline import gate_stage
from tutelage.progress import Silent
from tutelage.selection import SelectSettings

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
BUDGET = 0.05


def hidden_states(folder: Path) -> Embed:
    """Mean of the last hidden states of each text, less their common mean, as unit vectors."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        means = []
        with torch.inference_mode():
            for text in texts:
                ids = tokenizer(text or " ", return_tensors="pt")["input_ids"]
                means.append(model(ids).last_hidden_state[0].mean(dim=0).numpy())
        vectors = np.stack(means) - np.mean(means, axis=0)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    return embed


def similarities(pairs: Sequence[tuple[str, str]], embed: Embed) -> NDArray[np.float32]:
    """Cosine of the instruction and the response of each pair."""
    texts = sorted({text for pair in pairs for text in pair})
    place = {text: i for i, text in enumerate(texts)}
    vectors = embed(texts)
    asked, answered = ([place[pair[side]] for pair in pairs] for side in (0, 1))
    found: NDArray[np.float32] = (vectors[asked] * vectors[answered]).sum(axis=1)
    return found


def texts_of(path: Path, *, planted: int, seed: int) -> list[tuple[str, str, str, str]]:
    """Clean rows and planted faults: example, what it is, instruction and response."""
    settings = SelectSettings(quality_gate_examples=planted, seed=seed)
    sample = draw_sample(read(path), examples=10_000, seed=seed, progress=Silent())
    clean = gate_stage._sample(sample.candidates, SelectSettings(quality_gate_examples=10_000))  # noqa: SLF001
    plants = gate_stage._plants(  # noqa: SLF001
        gate_stage._sample(sample.candidates, settings), settings, PLANTS["doses"],  # noqa: SLF001
        PLANTS["held_out_fraction"],
    )  # fmt: skip
    return [(c.example_id, "clean", c.instruction, c.response) for c in clean] + [
        (c.example_id, fault, c.instruction, c.response) for c, fault, _ in plants
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, help="folder; by default only words are compared")
    parser.add_argument("--planted", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    embedders: dict[str, Embed] = {"words": make_embedder(WordsEmbedder()).embed}
    if given.model is not None:
        embedders[given.model.name] = hidden_states(given.model)
    lines = []
    for path in given.sets:
        texts = texts_of(path, planted=given.planted, seed=given.seed)
        what = np.array([w for _, w, _, _ in texts])
        half = np.array([half_of(name, seed=given.seed) for name, *_ in texts])
        for name, embed in embedders.items():
            values = similarities([(asked, answer) for _, _, asked, answer in texts], embed)
            refused = np.zeros(len(texts), dtype=np.bool_)
            for part in ("fit", "held_out"):
                other = values[(what == "clean") & (half != part)]
                own = half == part
                refused[own] = values[own] < np.quantile(other, BUDGET)
            for kind in dict.fromkeys(what.tolist()):
                own = what == kind
                lines.append((path.stem, name, kind, int(refused[own].sum()), int(own.sum())))
                print(*lines[-1], flush=True)
    with given.out.open("w", newline="") as file:
        csv.writer(file).writerows([("set", "embedding", "what", "rejected", "texts"), *lines])


if __name__ == "__main__":
    main()
