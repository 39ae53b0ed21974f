"""Write experiment 3: verifiable word problems, as YAML files and row files in a working folder.

    python benchmarks/experiments/make_maths.py --data FOLDER --out FOLDER [--run RUN] \\
        [--model gemma3=FOLDER]
    tutelage prove OUT/maths-verified.yaml     # and maths-answers.yaml, maths-choice.yaml

Three parts, one set of tasks:

* maths-verified: rationales of one teacher (gpt-3.5) to SVAMP and SingleEq, right ones or all.
* maths-answers: answers of many systems to GSM8K test questions, 1, 4 or 16 to a question, as many
  rows each.
* maths-choice (with RUN, which `docs/experiments/sixteen-answers.md` makes and both students have
  scored): the student's choice among sixteen verified answers, beside the nulls.

SingleOp and MultiArith are held out; a question that is in what is trained on, apart from case and
spaces, is not asked, and what is asked is not trained on. `--answered addsub multiarith` holds
these out, lets the student answer them, and asks nothing else; `--skip 100` asks others than the
first hundred, so that a finding can be tried again with new problems and new `--seeds`.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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


def problems_of(
    data: Path, trained: set[str], sources: tuple[str, ...]
) -> tuple[list[dict[str, Any]], set[str]]:
    """What may be asked of these sources, and every question of theirs."""
    problems = read_jsonl(data / "math_word_problems" / "problems.jsonl.gz")
    problems = [p for p in problems if p["source"] in sources and p["answer_num"] is not None]
    unique = list({plain(p["question"]): p for p in problems}.values())
    asked = [p for p in unique if plain(p["question"]) not in trained]
    return asked, {plain(p["question"]) for p in problems}


def answered_tasks(
    data: Path, out: Path, trained: set[str], *, items: int, skip: int, sources: tuple[str, ...]
) -> tuple[list[dict[str, Any]], set[str]]:
    asked, held_out = problems_of(data, trained, sources)
    made: list[dict[str, Any]] = []
    for source in sources:
        own = draw([p for p in asked if p["source"] == source], skip + items, "id")[skip:]
        rows = [{"id": p["id"], "question": p["question"], "answer": p["answer_num"]} for p in own]
        path = write_jsonl(out / f"answered_{source}.jsonl", rows)
        made.append(
            {"name": source, "kind": "exact_match", "max_new_tokens": 64, "path": path.name}
        )
    return made, held_out


def tasks(
    data: Path, out: Path, trained: set[str], *, items: int
) -> tuple[list[dict[str, Any]], set[str]]:
    asked, held_out = problems_of(data, trained, HELD_OUT)
    made: list[dict[str, Any]] = []
    for source in HELD_OUT:
        own = draw([p for p in asked if p["source"] == source], items, "id")
        rows = [{"id": p["id"], "question": p["question"], "answer": p["answer_num"]} for p in own]
        path = write_jsonl(out / f"m_{source}.jsonl", rows)
        if source == "singleop":
            task = {"name": source, "kind": "exact_match", "max_new_tokens": 64}
        else:
            task = {"name": f"{source}_steps", "kind": "steps", "max_new_tokens": 80, "limit": 24}
        made.append({**task, "path": path.name})
        answered = [{"instruction": p["question"], "output": f"The answer is {n}."} for p in own
                    for n in [str(p["answer_num"]).removesuffix(".0")]]  # fmt: skip
        path = write_jsonl(out / f"m_{source}_answers.jsonl", answered)
        made.append({"name": f"{source}_answers", "kind": "held_out", "path": path.name})
    return made, held_out


def questions(run: Path) -> set[str]:
    """What the run asked, so that none of it is asked again."""
    rows = pq.read_table(run / "candidates.parquet", columns=["messages"]).to_pylist()
    return {plain(row["messages"][0]["content"]) for row in rows if row["messages"]}


def choosing() -> list[dict[str, Any]]:
    """The student's choice among right answers, its nulls, and the other student's choice."""
    grape = {"rule": "grape", "gate": "right"}
    arms: list[dict[str, Any]] = [
        {"name": "choice", "select": grape},
        {"name": "random", "select": {"rule": "random", "gate": "right"}},
        {"name": "longest", "select": {"rule": "longest", "gate": "right"}},
        {"name": "random_any", "select": {"rule": "random", "gate": "off"}},
    ]
    return arms + [
        {"name": f"choice_of_{student}", "select": grape, "chooser": student}
        for student in STUDENTS
    ]


def write_config(
    out: Path,
    name: str,
    arms: list[dict[str, Any]],
    made: list[dict[str, Any]],
    *,
    compare: tuple[str, str],
    examples: int,
    seeds: list[int],
    run: Path | None = None,
) -> None:
    students = [{"name": s, **STUDENTS[s]} for s in STUDENTS]
    if run is not None:
        students = [{**student, "run": str(run.resolve())} for student in students]
    config = {
        "out": f"results-{name}",
        "students": students,
        "arms": arms,
        "choice": compare[0],
        "reference": compare[1],
        "examples": examples,
        "seeds": seeds,
        "balance": ["examples"],
        "primary": made[0]["name"],
        "tasks": made,
        "train": {"epochs": 1, "learning_rate": 1e-4, "batch_examples": 4},
        "evaluate": {"dtype": "bfloat16"},
    }
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="sixteen answers a question, scored by both")
    parser.add_argument("--model", action="append", default=[], metavar="STUDENT=FOLDER")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--answers", type=int, default=64, help="examples of maths-answers")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--skip", type=int, default=0, help="problems of --answered left out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--answered", nargs="*", default=[], metavar="SOURCE")
    given = parser.parse_args()
    for text in given.model:
        student, folder = text.split("=", 1)
        STUDENTS[student]["model"] = folder
    given.out.mkdir(parents=True, exist_ok=True)
    trained = questions(given.run) if given.run else set()
    answered = tuple(given.answered)
    if answered:
        made, held_out = answered_tasks(
            given.data,
            given.out,
            trained,
            items=given.items,
            skip=given.skip,
            sources=answered,
        )
    else:
        made, held_out = tasks(given.data, given.out, trained, items=given.items)
    sets = rationales(given.data, held_out) | answers(given.data, held_out, rows=512)
    for name, rows in sets.items():
        write_jsonl(given.out / f"{name}.jsonl", rows)
        print(name, len(rows))
    files = lambda *names: [{"name": n, "file": f"{n}.jsonl"} for n in names]  # noqa: E731
    verified, many = files("verified", "all", "wrong"), files(*(f"answers_{n}" for n in (1, 4, 16)))
    examples, out, seeds = given.examples, given.out, given.seeds
    pair = ("verified", "all")
    write_config(
        out, "maths-verified", verified, made, compare=pair, examples=examples, seeds=seeds
    )
    pair = ("answers_4", "answers_1")
    write_config(
        out, "maths-answers", many, made, compare=pair, examples=given.answers, seeds=seeds
    )
    if given.run:
        pair, arms = ("choice", "random"), choosing()
        write_config(
            out,
            "maths-choice",
            arms,
            made,
            compare=pair,
            examples=examples,
            seeds=seeds,
            run=given.run,
        )


if __name__ == "__main__":
    main()
