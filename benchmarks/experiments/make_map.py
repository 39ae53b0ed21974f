"""Write the experiments of docs/experiments/map.md: is there room, and where does choosing pay?

    python benchmarks/experiments/make_map.py pool --data FOLDER --out WORK
    tutelage score WORK/pool-clean.jsonl --student smollm2-135m --metrics ... --out WORK/pool-clean.parquet
    tutelage score WORK/pool-mismatch.jsonl ... --out WORK/pool-mismatch.parquet      (one for each fault)
    python benchmarks/experiments/make_map.py e0 --out WORK
    python benchmarks/experiments/make_map.py e1 --out WORK --fault mismatch --share 0.5
    tutelage prove WORK/e0.yaml

The pool: experts' revisions with an unchanged instruction. A planted fault replaces the revised answer of a
fixed share of the rows. Arms are files over the same questions, so a seed draws the same ones for all.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

POOL, HELD = 512, 80
CHARACTERS = (60, 1200)
REFERENCES, ARC = 100, 120
BAND_ROWS = 32
"""Rows of like length among which `permuted` exchanges decisions."""
REFUSALS = (
    "I'm sorry, but I am not able to help with that request.",
    "Unfortunately, I cannot answer this. Please consult a professional.",
    "As a language model, I have to decline to respond to this.",
)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rank(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def clean_pairs(data: Path) -> list[dict[str, Any]]:
    """Rows whose instruction the experts left alone, in an order that depends on their ids alone."""
    rows = read_jsonl(data / "refined_pairs" / "coachlm_expert_revision.jsonl.gz")
    shortest, longest = CHARACTERS
    kept = [
        row
        for row in rows
        if (row["instruction"], row["input"]) == (row["refined_instruction"], row["refined_input"])
        and row["original_output"].strip() != row["refined_output"].strip()
        and shortest <= len(row["refined_output"]) <= longest
        and len(row["original_output"]) <= longest
    ]
    return sorted(kept, key=lambda row: rank(f"map {row['pair_id']}"))


def joined(row: dict[str, Any]) -> str:
    return f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]


# ---- faults, the strong dose of each ------------------------------------------------------------


def mismatch(rows: list[dict[str, Any]], at: int, _: random.Random) -> str:
    """The answer of the row that is next in length."""
    order = sorted(
        range(len(rows)), key=lambda i: (len(rows[i]["refined_output"]), rows[i]["pair_id"])
    )
    place = order.index(at)
    return rows[order[place + 1 if place + 1 < len(order) else place - 1]]["refined_output"]


def scrambled(rows: list[dict[str, Any]], at: int, draw: random.Random) -> str:
    """30 % of the words exchanged."""
    words = re.split(r"(\s+)", rows[at]["refined_output"])
    places = [i for i in range(0, len(words), 2) if words[i]]
    moved = draw.sample(places, k=max(2, round(0.3 * len(places)))) if len(places) > 1 else []
    texts = [words[i] for i in moved]
    for place, text in zip(moved, texts[1:] + texts[:1], strict=True):
        words[place] = text
    return "".join(words)


def truncated(rows: list[dict[str, Any]], at: int, _: random.Random) -> str:
    """The first eight words."""
    return " ".join(rows[at]["refined_output"].split()[:8])


def echo(rows: list[dict[str, Any]], at: int, _: random.Random) -> str:
    """The instruction pasted in front."""
    return f"{joined(rows[at])}\n\n{rows[at]['refined_output']}"


def refusal(_: list[dict[str, Any]], __: int, draw: random.Random) -> str:
    return draw.choice(REFUSALS)


FAULTS = {
    "mismatch": mismatch,
    "scrambled": scrambled,
    "truncated": truncated,
    "echo": echo,
    "refusal": refusal,
}


def planted(rows: list[dict[str, Any]], fault: str) -> list[str]:
    """The revised answers, each with the fault."""
    return [
        FAULTS[fault](rows, at, random.Random(rank(f"{fault} {row['pair_id']}")))
        for at, row in enumerate(rows)
    ]


# ---- what is written ----------------------------------------------------------------------------


def pool(data: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = clean_pairs(data)
    train, held = rows[:POOL], rows[POOL : POOL + HELD]
    write_jsonl(out / "pairs.jsonl", train)
    write_jsonl(
        out / "gain_pairs.jsonl",
        [{"instruction": joined(row), "output": row["refined_output"]} for row in held],
    )
    for fault in ("clean", *FAULTS):
        answers = (
            [row["refined_output"] for row in train] if fault == "clean" else planted(train, fault)
        )
        pairs = [
            {
                "instruction": joined(row),
                "original_output": row["original_output"],
                "refined_output": text,
            }
            for row, text in zip(train, answers, strict=True)
        ]
        write_jsonl(out / f"pool-{fault}.jsonl", pairs)
    arc = read_jsonl(data / "eval" / "mcq" / "arc_easy_test.jsonl")
    write_jsonl(out / "arc_easy.jsonl", sorted(arc, key=lambda r: rank(f"arc {r['id']}"))[:ARC])
    open_rows = read_jsonl(data / "eval" / "instruction_prompts.jsonl")
    open_rows = [r for r in open_rows if r.get("reference") and 40 < len(r["reference"]) < 1200]
    open_rows = sorted(open_rows, key=lambda r: rank(f"draw {r['id']}"))[:REFERENCES]
    write_jsonl(
        out / "open_references.jsonl",
        [{"instruction": r["instruction"], "output": r["reference"]} for r in open_rows],
    )
    print(
        f"{len(rows)} pairs with an unchanged instruction; {len(train)} to train, {len(held)} held out"
    )


def scores(out: Path, fault: str) -> list[dict[str, dict[str, Any]]]:
    """The scores of both versions of each row of a pool."""
    found: list[dict[str, dict[str, Any]]] = [{} for _ in range(POOL)]
    for score in pq.read_table(out / f"pool-{fault}.parquet").to_pylist():
        found[score["row"]][score["step"]] = score
    return found


def takes_refinement(versions: dict[str, dict[str, Any]]) -> bool:
    """The rule `srt`, mode safe, for two versions; where none passes the original stays."""
    original = versions.get("original", {})
    refined = versions.get("response_reflection", {})
    if refined.get("status") != "ok" or not (refined["ifd"] < 1 and refined["r_ifd"] < 1):
        return False
    passes = original.get("status") == "ok" and original["ifd"] < 1 and original["r_ifd"] < 1
    return not passes or refined["r_ifd"] < original["r_ifd"]


def permuted(takes: list[bool], lengths: list[int]) -> list[bool]:
    """The same decisions, exchanged among rows of like length."""
    order = sorted(range(len(takes)), key=lambda i: (lengths[i], i))
    result = list(takes)
    for start in range(0, len(order), BAND_ROWS):
        band = order[start : start + BAND_ROWS]
        shuffled = [takes[i] for i in band]
        random.Random(f"permuted {start}").shuffle(shuffled)
        for place, take in zip(band, shuffled, strict=True):
            result[place] = take
    return result


def overlap(instruction: str, answer: str, document: Counter[str], count: int) -> float:
    """Share of the answer's rare words that the instruction has: what a model-free check sees."""
    import math

    words = lambda text: set(re.findall(r"\w{3,}", text.lower()))  # noqa: E731
    ours, theirs = words(instruction), words(answer)
    weight = lambda word: math.log((1 + count) / (1 + document[word]))  # noqa: E731
    total = sum(weight(word) for word in ours)
    return sum(weight(word) for word in ours & theirs) / total if total else 0.0


def arms_file(
    out: Path, name: str, rows: list[dict[str, Any]], answers: list[str]
) -> dict[str, str]:
    path = write_jsonl(
        out / f"arm-{name}.jsonl",
        [
            {"instruction": joined(row), "output": answer}
            for row, answer in zip(rows, answers, strict=True)
        ],
    )
    return {"name": name.rpartition("--")[2], "file": path.name}


def config(
    out: Path, name: str, arms: list[dict[str, str]], *, choice: str, reference: str, seeds: int,
    examples: int, rate: float,
) -> None:  # fmt: skip
    settings = {
        "out": f"results-{name}",
        "students": [{"name": "smollm2", "model": "smollm2-135m"}],
        "arms": arms,
        "choice": choice,
        "reference": reference,
        "seeds": list(range(seeds)),
        "examples": examples,
        "balance": ["examples"],
        "primary": "open_references",
        "tasks": [
            {"name": "open_references", "kind": "held_out", "path": "open_references.jsonl"},
            {"name": "open_gain", "kind": "gain", "path": "open_references.jsonl"},
            {"name": "gain_pairs", "kind": "gain", "path": "gain_pairs.jsonl"},
            {"name": "arc_easy", "kind": "choice", "path": "arc_easy.jsonl"},
        ],
        "train": {"epochs": 1, "learning_rate": rate, "batch_examples": 4},
        "evaluate": {"dtype": "float32"},
    }
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    print(path)


def e0(out: Path, *, seeds: int, examples: int, rate: float) -> None:
    """All originals, all revisions, the versions that are chosen, and the others of the same rows."""
    rows = read_jsonl(out / "pairs.jsonl")
    takes = [takes_refinement(versions) for versions in scores(out, "clean")]
    both = [(row["original_output"], row["refined_output"]) for row in rows]
    arms = [
        arms_file(out, "e0--refined", rows, [refined for _, refined in both]),
        arms_file(out, "e0--original", rows, [original for original, _ in both]),
        arms_file(
            out, "e0--chosen", rows, [pair[take] for pair, take in zip(both, takes, strict=True)]
        ),
        arms_file(
            out,
            "e0--refused",
            rows,
            [pair[not take] for pair, take in zip(both, takes, strict=True)],
        ),
    ]
    print(f"srt takes the revision of {sum(takes)} of {len(takes)} rows")
    name = f"e0-{examples}-{rate:g}"
    config(
        out,
        name,
        arms,
        choice="chosen",
        reference="refused",
        seeds=seeds,
        examples=examples,
        rate=rate,
    )


def e1(out: Path, *, fault: str, share: float, seeds: int, examples: int, rate: float) -> None:
    """A fixed share of the revisions is faulty; the arms differ in what they do about it."""
    rows = read_jsonl(out / "pairs.jsonl")
    bad = {
        row["pair_id"]
        for row in sorted(rows, key=lambda row: rank(f"bad {fault} {row['pair_id']}"))[
            : round(share * len(rows))
        ]
    }
    faulty = [row["pair_id"] in bad for row in rows]
    clean_answers, bad_answers = [row["refined_output"] for row in rows], planted(rows, fault)
    refined = [
        b if is_bad else c for is_bad, b, c in zip(faulty, bad_answers, clean_answers, strict=True)
    ]
    original = [row["original_output"] for row in rows]
    mixed = zip(faulty, scores(out, fault), scores(out, "clean"), strict=True)
    takes = [takes_refinement(b if is_bad else c) for is_bad, b, c in mixed]
    document = Counter(w for text in refined for w in set(re.findall(r"\w{3,}", text.lower())))
    similar = [
        overlap(joined(row), text, document, len(rows))
        for row, text in zip(rows, refined, strict=True)
    ]
    worst = sorted(range(len(rows)), key=lambda i: (similar[i], i))[: len(rows) - sum(takes)]
    cheap = [i not in set(worst) for i in range(len(rows))]

    def versions(decisions: list[bool]) -> list[str]:
        return [r if take else o for take, r, o in zip(decisions, refined, original, strict=True)]

    prefix = f"e1-{fault}-{share:g}"
    arms = [
        arms_file(out, f"{prefix}--ungated", rows, refined),
        arms_file(out, f"{prefix}--choice", rows, versions(takes)),
        arms_file(
            out, f"{prefix}--permuted", rows, versions(permuted(takes, [len(t) for t in refined]))
        ),
        arms_file(out, f"{prefix}--cheap", rows, versions(cheap)),
        arms_file(out, f"{prefix}--oracle", rows, versions([not is_bad for is_bad in faulty])),
        arms_file(out, f"{prefix}--clean", rows, clean_answers),
    ]
    rates = {
        "faulty": sum(faulty),
        "refused of the faulty": sum(not t for t, f in zip(takes, faulty, strict=True) if f)
        / max(1, sum(faulty)),
        "refused of the clean": sum(not t for t, f in zip(takes, faulty, strict=True) if not f)
        / max(1, len(rows) - sum(faulty)),
        "cheap refuses of the faulty": sum(not t for t, f in zip(cheap, faulty, strict=True) if f)
        / max(1, sum(faulty)),
    }
    (out / f"{prefix}.rates.json").write_text(json.dumps(rates, indent=1))
    print(rates)
    config(
        out,
        prefix,
        arms,
        choice="choice",
        reference="permuted",
        seeds=seeds,
        examples=examples,
        rate=rate,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("pool", "e0", "e1"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fault", choices=sorted(FAULTS), default="mismatch")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--rate", type=float, default=5e-5)
    given = parser.parse_args()
    if given.what == "pool":
        pool(given.data, given.out)
    elif given.what == "e0":
        e0(given.out, seeds=given.seeds, examples=given.examples, rate=given.rate)
    else:
        e1(
            given.out, fault=given.fault, share=given.share, seeds=given.seeds,
            examples=given.examples, rate=given.rate,
        )  # fmt: skip


if __name__ == "__main__":
    main()
