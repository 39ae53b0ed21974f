"""An A/A test of `tutelage prove`: how often are two random sets of the same size told apart?

    python benchmarks/experiments/aa_test.py --rows selected.jsonl --tokenizer FOLDER --out FOLDER

Each repetition draws two independent sets from the same rows with each seed, trains a small model
with random weights on both, and compares them exactly as an experiment does. At 95 % about one
repetition in twenty should show a difference that is not there. Killed, it continues.
"""

import argparse
import json
from pathlib import Path

from tutelage.data import content_hash
from tutelage.experiments.prove.compare import compare_all
from tutelage.experiments.prove.config import ProveSettings
from tutelage.experiments.prove.run import read_results, run_experiment
from tutelage.progress import Silent
from tutelage.student import StudentSettings
from tutelage.student.components import OpenStudent


def small_student(folder: Path, tokenizer: str) -> Path:
    """Two layers with random weights behind a real tokenizer and its chat template."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").is_file():
        return folder
    parts = OpenStudent(StudentSettings(model=tokenizer))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=parts.folder.vocabulary_tokens, hidden_size=64, intermediate_size=160,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in parts.folder.path.iterdir():
        if file.name.startswith(("tokenizer", "special", "chat_template")):
            shutil.copyfile(file, folder / file.name)
    return folder


def settings(number: int, out: Path, student: Path, *, lock: Path | None) -> ProveSettings:
    arms = [
        {"name": name, "file": str(out / "rows.jsonl"), "draw": 2 * number + which}
        for which, name in enumerate(("one", "other"), start=1)
    ]
    task = {"name": "held_out", "kind": "held_out", "path": str(out / "held_out.jsonl")}
    return ProveSettings.model_validate(
        {
            "out": str(out / f"repetition-{number:02}"),
            "students": [{"name": "small", "model": str(student)}],
            "arms": arms,
            "choice": "one",
            "reference": "other",
            "seeds": [0, 1, 2],
            "examples": 48,
            "balance": ["examples"],
            "tasks": [task],
            "train": {"learning_rate": 3e-3, "batch_examples": 8, "dtype": "float32"},
            "evaluate": {"dtype": "float32"},
            "lock": None if lock is None else str(lock),
            "turn_seconds": 200.0,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--tokenizer", default="smollm2-135m")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--lock", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    lines = given.rows.read_text().splitlines()
    lines = sorted((x for x in lines if len(x) < 2500), key=lambda x: content_hash("aa", x))
    (given.out / "held_out.jsonl").write_text("\n".join(lines[:60]) + "\n")
    (given.out / "rows.jsonl").write_text("\n".join(lines[60:660]) + "\n")
    student = small_student(given.out / "student", given.tokenizer)
    found = []
    for number in range(given.repetitions):
        made = settings(number, given.out, student, lock=given.lock)
        run_experiment(made, progress=Silent())
        (c,) = (c for c in compare_all(read_results(made.out), made) if c.against == "other")
        i = c.interval
        found.append(
            {
                "repetition": number, "mean": i.mean, "low": i.low, "high": i.high,
                "p": i.p_value, "detectable": i.detectable, "shown": i.excludes_zero,
            }
        )  # fmt: skip
        (given.out / "aa.json").write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found[-1]), flush=True)
    shown = sum(r["shown"] for r in found)
    print(f"{shown} of {len(found)} repetitions show a difference that is not there")


if __name__ == "__main__":
    main()
