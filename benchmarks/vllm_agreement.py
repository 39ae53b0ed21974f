"""Do a real vLLM server and the packed engine read the golden rows alike?

    python -m vllm.entrypoints.openai.api_server --model FOLDER --dtype float32 --enforce-eager
    python benchmarks/vllm_agreement.py http://127.0.0.1:8000/v1 --rows 40

Both in float32. Fails where a row's mean differs by more than 5e-4 nats from either of the packed
engine or the golden scores, or a token's log-probability by more than 1e-3. The result is appended
to benchmarks/results/vllm_agreement.jsonl.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from tutelage.data import VIEW_NAMES, Candidate, Message
from tutelage.student import StudentSettings, open_student

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1] / "shared" / "golden"
MODELS = Path.home() / ".cache" / "tutelage" / "models"


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (GOLDEN / name).read_text().splitlines()]


def candidate(number: int, row: dict) -> Candidate:
    instruction = "\n".join(part for part in (row["instruction"], row["input"]) if part)
    turns = (
        Message(role="user", content=instruction),
        Message(role="assistant", content=row["output"]),
    )
    return Candidate(candidate_id=str(number), example_id=str(number), messages=turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--template", default="chat")
    parser.add_argument("--rows", type=int, default=40)
    args = parser.parse_args()
    rows = [candidate(n, row) for n, row in enumerate(lines("rows.jsonl")[: args.rows])]
    golden = lines(f"{args.model}.{args.template}.jsonl")
    read, seconds = {}, {}
    for backend, url in (("vllm", args.url), ("packed", None)):
        settings = StudentSettings(
            model=str(MODELS / args.model),
            template=args.template,
            dtype="float32",
            use_cache=False,
            backend=backend,
            base_url=url,
        )
        start = time.perf_counter()
        with open_student(settings) as student:
            read[backend] = list(student.read(rows, views=VIEW_NAMES, statistics="ranks"))
        seconds[backend] = round(time.perf_counter() - start, 1)
    worst = {"token": 0.0, "mean": 0.0, "golden": 0.0}
    tokens = other_ranks = 0
    for theirs, ours, gold in zip(read["vllm"], read["packed"], golden, strict=False):
        for view in VIEW_NAMES:
            a, b = theirs.views[view], ours.views[view]
            far = {
                "token": float(np.abs(a.logprobs_T - b.logprobs_T).max()),
                "mean": abs(a.mean_nll - b.mean_nll),
                "golden": abs(a.mean_nll - gold[f"nll_{view}"]),
            }
            worst = {name: max(worst[name], far[name]) for name in worst}
            tokens += a.tokens
            other_ranks += int((a.ranks_T != b.ranks_T).sum())
    row = {"model": args.model, "rows": len(rows), "tokens": tokens, "worst_nats": worst}
    row |= {"ranks_that_differ": other_ranks, "seconds": seconds}
    print(json.dumps(row, indent=2))
    with (HERE / "results" / "vllm_agreement.jsonl").open("a", encoding="utf-8") as file:
        print(json.dumps(row), file=file)
    if worst["token"] > 1e-3 or worst["mean"] > 5e-4 or worst["golden"] > 5e-4:
        raise SystemExit("the readings differ")


if __name__ == "__main__":
    main()
