"""Word problems for the check of predicted against measured pass rates.

    python benchmarks/experiments/make_frontier.py --data FOLDER --out problems.jsonl \\
        [--without pool.jsonl] [--each 25]
    tutelage frontier problems.jsonl --student STUDENT --sampled 4 --greedy 1 --out run

As many problems of each of four sources, each with a right rationale (gpt-3.5) as the response
whose token statistics predict, and the number as the reference that attempts are checked against.
Questions of the file that --without names (what a student was trained on) are left out.
"""

import argparse
import json
from pathlib import Path

from make_configs import draw, read_jsonl, write_jsonl
from make_maths import plain

SOURCES = ("addsub", "singleeq", "svamp", "multiarith")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", type=Path, help="rows with `instruction`")
    parser.add_argument("--each", type=int, default=25)
    given = parser.parse_args()
    seen: set[str] = set()
    if given.without:
        lines = given.without.read_text(encoding="utf-8").splitlines()
        seen |= {plain(json.loads(line)["instruction"]) for line in lines}
    rows = read_jsonl(given.data / "math_word_problems" / "teacher_rationales_gpt35.jsonl.gz")
    found = []
    for source in SOURCES:
        own = [r for r in rows if r["source"] == source and r["is_correct"]]
        unique = {plain(r["question"]): r for r in own if plain(r["question"]) not in seen}
        seen |= set(unique)
        for r in draw(list(unique.values()), given.each, "question"):
            answer = str(r["pred"]).removesuffix(".0")
            said = r["rationale"].strip()
            if not said.endswith(f"The answer is {answer}."):
                said += f" The answer is {answer}."
            roles = (("user", r["question"]), ("assistant", said))
            found.append(
                {
                    "messages": [{"role": role, "content": text} for role, text in roles],
                    "reference": answer,
                    "source": source,
                }
            )
    write_jsonl(given.out, found)
    print(len(found))


if __name__ == "__main__":
    main()
