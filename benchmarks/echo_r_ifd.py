"""How far does a response that repeats its instruction lower r_ifd?

    python benchmarks/echo_r_ifd.py coachlm_expert_revision.jsonl.gz smollm2-135m --rows 100

Scores each original pair three times: as it is, with the instruction put before the response, and
with a restatement of it ("You asked: ..."). Also prints how often responses of a data file repeat
their instruction by themselves.
"""

import argparse
import gzip
import json
import tempfile
from pathlib import Path

import numpy as np

import tutelage as tt
from tutelage.filters.numeric import repeated_share


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="coachlm_expert_revision.jsonl.gz")
    parser.add_argument("student")
    parser.add_argument("--template", default="chat")
    parser.add_argument("--rows", type=int, default=100)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    with gzip.open(arguments.data, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pairs = [
        ("\n".join(filter(None, (row["instruction"], row["input"]))), row["original_output"])
        for row in rows
    ]
    shares = np.array(
        [repeated_share(instruction=i, response=r, ngram_words=3) or 0.0 for i, r in pairs]
    )
    print("repeats by itself:", {t: float((shares > t).mean()) for t in (0.5, 0.8, 0.9, 0.95)})
    natural = {i: s for (i, _), s in zip(pairs, shares.tolist(), strict=True)}
    taken = [pair for pair in pairs if len(pair[0]) + len(pair[1]) < 1200][: arguments.rows]
    forms = {
        "as it is": [(i, r) for i, r in taken],
        "repeated": [(i, f"{i}\n\n{r}") for i, r in taken],
        "restated": [(i, f"You asked: {i} Here is my answer. {r}") for i, r in taken],
    }
    student = tt.Student(arguments.student, template=arguments.template)
    found = {}
    for name, form in forms.items():
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as out:
            out.writelines(json.dumps({"instruction": i, "output": r}) + "\n" for i, r in form)
            out.flush()
            scores = student.score(tt.read(out.name), metrics=["r_ifd", "ifd"])
        found[name] = np.array(
            [np.nan if v is None else v for v in scores["r_ifd"].to_pylist()], dtype=float
        )
    base = found["as it is"]
    for name, values in found.items():
        both = ~np.isnan(base) & ~np.isnan(values)
        lower = (values < base)[both].mean()
        print(
            f"{name}: median r_ifd {np.median(values[both]):.3f}, lower in {lower:.2f} of",
            both.sum(),
        )
    own = np.array([natural[i] for i, _ in taken])
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        some = base[(own >= low) & (own < high) & ~np.isnan(base)]
        if len(some):
            print(f"own share {low}-{high}: {len(some)} rows, median r_ifd {np.median(some):.3f}")


if __name__ == "__main__":
    main()
