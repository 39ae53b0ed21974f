"""Choose word problems for the sixteen-answers experiment: the same ones every time.

    python benchmarks/sixteen_questions.py problems.jsonl.gz questions.jsonl --per-source 18

Reads `math_word_problems/problems.jsonl.gz` (fields `id`, `source`, `question`, `answer_num`),
takes from each source the questions with the smallest hash of seed and id, and none twice, and
writes rows of `instruction`, `reference`, `source` and `question_id` for `tutelage sample`.
"""

import argparse
import gzip
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

SOURCES = ("singleop", "addsub", "multiarith", "svamp")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-source", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    with gzip.open(arguments.problems, "rt", encoding="utf-8") as file:
        problems = [json.loads(line) for line in file]

    def draw(problem: dict[str, object]) -> str:
        return hashlib.sha256(f"{arguments.seed}:{problem['id']}".encode()).hexdigest()

    taken: Counter[str] = Counter()
    seen: set[str] = set()
    rows = []
    for problem in sorted(problems, key=draw):
        source = problem["source"]
        text = re.sub(r"\W+", " ", problem["question"].lower()).strip()
        if source not in SOURCES or taken[source] == arguments.per_source or text in seen:
            continue
        if problem["answer_num"] is None:
            continue
        seen.add(text)
        taken[source] += 1
        rows.append(
            {
                "instruction": problem["question"],
                "reference": f"{problem['answer_num']:g}",
                "source": source,
                "question_id": problem["id"],
            }
        )
    rows.sort(key=lambda row: (SOURCES.index(row["source"]), row["question_id"]))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    arguments.out.write_text(text, encoding="utf-8")
    print(f"{len(rows)} questions: {dict(taken)}")


if __name__ == "__main__":
    main()
