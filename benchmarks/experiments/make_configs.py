"""Write the experiments of docs/experiments as YAML files into a working folder.

    python benchmarks/experiments/make_configs.py --data FOLDER --out FOLDER \
        --run coachlm.smollm2=RUN --run coachlm.gemma3=RUN ...

FOLDER is where the real data lies; RUN is a run folder in which that student scored that data.
Nothing of the data is copied but the items of the tasks, into the working folder.
"""

import argparse
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

STUDENTS = {
    "smollm2": {"model": "smollm2-135m", "template": "chat"},
    "gemma3": {"model": "gemma3-270m", "template": "alpaca"},
}
ARMS = {
    "choice": {"rule": "srt", "mode": "safe"},
    "random": {"rule": "random"},
    "original": {"rule": "all_original"},
    "refined": {"rule": "all_refined"},
    "longest": {"rule": "longest", "keep_fraction": 0.3},
}
MORE_RULES = {
    "srt_paper": {"rule": "srt", "mode": "paper"},
    "grape": {"rule": "grape"},
    "rsr": {"rule": "rsr"},
    "ifd_top": {"rule": "ifd_top", "keep_fraction": 0.3},
}


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def draw(rows: list[dict[str, Any]], count: int, key: str) -> list[dict[str, Any]]:
    """The same rows whatever order they come in."""
    rank = lambda row: hashlib.sha256(f"draw {row[key]}".encode()).hexdigest()  # noqa: E731
    return sorted(rows, key=rank)[:count]


def tasks(data: Path, out: Path, *, items: list[int]) -> list[dict[str, Any]]:
    """Likelihood tasks that neither originals nor refinements wrote the answers of."""
    found = []
    references, arc, piqa = items
    for name, count in (("arc_easy_test", arc), ("piqa_test", piqa)):
        if not count:
            continue
        rows = draw(read_jsonl(data / "eval" / "mcq" / f"{name}.jsonl"), count, "id")
        path = write_jsonl(out / f"{name}.jsonl", rows)
        found.append({"name": name, "kind": "choice", "path": path.name})
    rows = read_jsonl(data / "eval" / "instruction_prompts.jsonl")
    rows = [r for r in rows if r.get("reference") and 40 < len(r["reference"]) < 1200]
    rows = draw(rows, references, "id")
    pairs = [{"instruction": r["instruction"], "output": r["reference"]} for r in rows]
    path = write_jsonl(out / "open_references.jsonl", pairs)
    return [{"name": "open_references", "kind": "held_out", "path": path.name}, *found]


def experiment(
    name: str,
    students: list[str],
    runs: dict[str, str],
    arms: dict[str, Any],
    made: list[dict[str, Any]],
    *,
    examples: int,
    held_out: int,
    balance: list[str],
) -> dict[str, Any]:
    listed = [{"name": arm, "select": select} for arm, select in arms.items()]
    listed += [
        {"name": f"choice_of_{other}", "select": ARMS["choice"], "chooser": other}
        for other in students
        if len(students) > 1
    ]
    return {
        "out": f"results-{name}",
        "students": [{"name": s, **STUDENTS[s], "run": runs[f"{name}.{s}"]} for s in students],
        "arms": listed,
        "seeds": [0, 1, 2],
        "examples": examples,
        "balance": balance,
        "held_out": held_out,
        "primary": "open_references",
        "tasks": made,
        "train": {"epochs": 1, "learning_rate": 5e-5, "batch_examples": 4},
        "evaluate": {"dtype": "bfloat16"},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--model", action="append", default=[], metavar="STUDENT=FOLDER")
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--held-out", type=int, default=60)
    parser.add_argument(
        "--items", type=int, nargs=3, default=[80, 80, 60], metavar=("REFERENCES", "ARC", "PIQA")
    )
    parser.add_argument("--balance", nargs="+", default=["examples", "tokens"])
    parser.add_argument(
        "--plain-arms", action="store_true", help="without srt_paper, grape, rsr and ifd_top"
    )
    given = parser.parse_args()
    runs = dict(text.split("=", 1) for text in given.run)
    for text in given.model:
        student, folder = text.split("=", 1)
        STUDENTS[student]["model"] = folder
    given.out.mkdir(parents=True, exist_ok=True)
    made = tasks(given.data, given.out, items=given.items)
    for name in sorted({key.split(".")[0] for key in runs}):
        students = [s for s in STUDENTS if f"{name}.{s}" in runs]
        arms = ARMS if name == "coachlm" or given.plain_arms else ARMS | MORE_RULES
        # SmolLM2 first: the rest is more of the same question.
        config = experiment(
            name, students, runs, arms, made,
            examples=given.examples, held_out=given.held_out, balance=given.balance,
        )  # fmt: skip
        path = given.out / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        print(path)


if __name__ == "__main__":
    main()
