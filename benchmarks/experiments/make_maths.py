"""Write experiment 3: verifiable word problems, as YAML files and row files in a working folder.

    python benchmarks/experiments/make_maths.py --data FOLDER --out FOLDER [--model gemma3=FOLDER]

Rationales of one teacher (gpt-3.5) to SVAMP and SingleEq train, right ones or all; answers of many
systems to GSM8K test questions train 1, 4 or 16 to a question, as many rows each. SingleOp and
MultiArith are held out; a question that is in both, apart from case and spaces, is not trained on.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import yaml
from make_configs import STUDENTS, draw, read_jsonl, write_jsonl

HELD_OUT = ("singleop", "multiarith")
TRAINED = ("svamp", "singleeq")
STYLES = ("cot", "json_cot")


def plain(question: str) -> str:
    return re.sub(r"\W+", " ", question.lower()).strip()


def row(question: str, reasoning: str, answer: object) -> dict[str, str]:
    text = str(answer)
    text = text.removesuffix(".0")
    return {"instruction": question, "output": f"{reasoning.strip()}\nThe answer is {text}."}


def rationales(data: Path, held_out: set[str]) -> dict[str, list[dict[str, Any]]]:
    rows = read_jsonl(data / "math_word_problems" / "teacher_rationales_gpt35.jsonl.gz")
    rows = [r for r in rows if r["source"] in TRAINED and plain(r["question"]) not in held_out]
    unique = list({plain(r["question"]): r for r in rows}.values())
    return {
        "verified": [
            row(r["question"], r["rationale"], r["pred"]) for r in unique if r["is_correct"]
        ],
        "all": [row(r["question"], r["rationale"], r["pred"]) for r in unique],
        "wrong": [
            row(r["question"], r["rationale"], r["pred"])
            for r in unique
            if not r["is_correct"] and r["pred"] not in (None, "")
        ],
    }


def answers(data: Path, held_out: set[str], *, rows: int) -> dict[str, list[dict[str, Any]]]:
    """As many rows with 1, 4 and 16 right answers to a question; few questions, many answers."""
    pool: dict[str, list[dict[str, Any]]] = {}
    for r in read_jsonl(data / "gsm8k" / "multi_teacher.jsonl.gz"):
        sure = r["is_correct"] and r["check"] == "exact" and r["style"] in STYLES
        if sure and plain(r["question"]) not in held_out and 40 < len(r["reasoning"] or "") < 900:
            r["id"] = f"{r['prompt_id']} {r['model']}"
            pool.setdefault(r["prompt_id"], []).append(r)
    enough = [{"id": name} for name, found in pool.items() if len(found) >= 16]
    questions = [q["id"] for q in draw(enough, rows, "id")]
    made = {}
    for per_question in (1, 4, 16):
        taken = [
            r
            for name in questions[: rows // per_question]
            for r in draw(pool[name], per_question, "id")
        ]
        made[f"answers_{per_question}"] = [
            row(r["question"], r["reasoning"], r["gold"]) for r in taken
        ]
    return made


def tasks(data: Path, out: Path) -> tuple[list[dict[str, Any]], set[str]]:
    problems = read_jsonl(data / "math_word_problems" / "problems.jsonl.gz")
    problems = [p for p in problems if p["source"] in HELD_OUT and p["answer_num"] is not None]
    unique = list({plain(p["question"]): p for p in problems}.values())
    made: list[dict[str, Any]] = []
    for source in HELD_OUT:
        own = draw([p for p in unique if p["source"] == source], 48, "id")
        items = [{"id": p["id"], "question": p["question"], "answer": p["answer_num"]} for p in own]
        path = write_jsonl(out / f"{source}.jsonl", items)
        settings = {"path": path.name, "max_new_tokens": 96}
        made.append({"name": source, "kind": "exact_match", **settings})
        if source == "multiarith":
            made.append({"name": f"{source}_steps", "kind": "steps", **settings})
        answered = [{"instruction": p["question"], "output": f"The answer is {n}."} for p in own
                    for n in [str(p["answer_num"]).removesuffix(".0")]]  # fmt: skip
        path = write_jsonl(out / f"{source}_answers.jsonl", answered)
        made.append({"name": f"{source}_answers", "kind": "held_out", "path": path.name})
    return made, {plain(p["question"]) for p in problems}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", action="append", default=[], metavar="STUDENT=FOLDER")
    parser.add_argument("--examples", type=int, default=128)
    given = parser.parse_args()
    for text in given.model:
        student, folder = text.split("=", 1)
        STUDENTS[student]["model"] = folder
    given.out.mkdir(parents=True, exist_ok=True)
    made, held_out = tasks(given.data, given.out)
    sets = rationales(given.data, held_out) | answers(given.data, held_out, rows=4 * given.examples)
    for name, rows in sets.items():
        write_jsonl(given.out / f"{name}.jsonl", rows)
        print(name, len(rows))
    comparisons = {
        "maths-verified": ("verified", "all", ["verified", "all", "wrong"]),
        "maths-answers": ("answers_4", "answers_1", ["answers_1", "answers_4", "answers_16"]),
    }
    for name, (choice, reference, arms) in comparisons.items():
        config = {
            "out": f"results-{name}",
            "students": [{"name": s, **STUDENTS[s]} for s in STUDENTS],
            "arms": [{"name": arm, "file": f"{arm}.jsonl"} for arm in arms],
            "choice": choice,
            "reference": reference,
            "seeds": [0, 1, 2],
            "examples": min(given.examples, *(len(sets[arm]) for arm in arms)),
            "balance": ["examples"],
            "primary": "singleop",
            "tasks": made,
            "train": {"epochs": 2, "learning_rate": 5e-5, "batch_examples": 4},
            "evaluate": {"dtype": "bfloat16"},
            "lock": "turn.lock",
            "turn_seconds": 200.0,
        }
        path = given.out / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        print(path)


if __name__ == "__main__":
    main()
