"""Two pools of question sources, and what is measured: `python make_sources.py DATA OUT`.

OUT/words/    seven sources of word problems with a number as the answer. A question that several
              sources hold belongs to the smallest of them: MAWPS holds most of four others. All
              answers have one form, so sources differ by their questions.
OUT/chat/     five sources of instructions.

Each has pool.jsonl, held_out.jsonl (as many questions of each source, for nobody to train on) and
probe.yaml for `tutelage rank sources pool.jsonl --probe probe.yaml`.
"""

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tutelage.data import content_hash, write_jsonl

CHAT = {
    "alpaca": "alpaca_cleaned_52k.jsonl.gz",
    "dolly": "dolly_3k_alpagasus.jsonl.gz",
    "roleplay": "gpteacher_roleplay.jsonl.gz",
    "seed175": "self_instruct_seed175.jsonl",
    "from_scratch": "llms_from_scratch_1100.jsonl",
}
MOST_CHARACTERS = 1200
"""Longer conversations take too long to train on here."""
MOST_ROWS = 1500


def lines(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.casefold()).strip()


def words(data: Path) -> list[dict[str, Any]]:
    rows = [
        row
        for row in lines(data / "math_word_problems/problems.jsonl.gz")
        if row["answer_num"] is not None
    ]
    sizes = Counter(row["source"] for row in rows)
    rows.sort(key=lambda row: (sizes[row["source"]], row["id"]))
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        seen.setdefault(plain(row["question"]), row)
    return [
        {
            "instruction": row["question"],
            "output": f"The answer is {row['answer_num']:g}.",
            "source": row["source"],
        }
        for row in seen.values()
    ]


def chat(data: Path) -> list[dict[str, Any]]:
    rows = []
    for source, name in CHAT.items():
        found = []
        for row in lines(data / "instruction_sources" / name):
            instruction, given = str(row["instruction"]), str(row.get("input") or "")
            output = str(row.get("output") or row.get("response") or "")
            if output.strip() and len(instruction) + len(given) + len(output) <= MOST_CHARACTERS:
                text = f"{instruction}\n{given}" if given.strip() else instruction
                found.append({"instruction": text, "output": output, "source": source})
        found.sort(key=lambda row: content_hash("chat", row["instruction"]))
        rows += found[:MOST_ROWS]
    return rows


def write(folder: Path, rows: list[dict[str, Any]], *, held: int, probe: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows, key=lambda row: content_hash("held", row["instruction"]))
    taken: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    out: list[dict[str, Any]] = []
    for row in ordered:
        taken[row["source"]] += 1
        (out if taken[row["source"]] <= held else kept).append(row)
    write_jsonl(folder / "pool.jsonl", kept)
    write_jsonl(folder / "held_out.jsonl", out)
    (folder / "probe.yaml").write_text(yaml.safe_dump(probe, sort_keys=False), encoding="utf-8")
    print(folder.name, dict(Counter(row["source"] for row in kept)), "held out", len(out))


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    probe = {
        "tasks": [{"name": "held_out", "kind": "held_out", "path": "held_out.jsonl"}],
        "examples": 48,
        "growth": 2.0,
        "rungs": 2,
        "seeds": [0, 1],
        "sweep": [1, 2, 4],
        "sweep_seeds": [10, 11],
        "train": {"learning_rate": 5e-5, "batch_examples": 8, "microbatch_examples": 4},
        "evaluate": {"dtype": "bfloat16"},
    }
    write(out / "words", words(data), held=12, probe=probe)
    write(out / "chat", chat(data), held=16, probe={**probe, "sweep": [1, 2]})


if __name__ == "__main__":
    main()
