"""Write and run the experiments of docs/experiments/where-choosing-pays.md: room, and where choosing pays.

    python benchmarks/experiments/make_map.py pool --data FOLDER --out WORK
    tutelage score WORK/pool-mismatch-0.5.jsonl --student smollm2-135m --metrics ifd,r_ifd,grape,rsr --out WORK/pool-mismatch-0.5.parquet
    python benchmarks/experiments/make_map.py e1 --out WORK --fault mismatch --share 0.5
    python benchmarks/experiments/make_map.py seeds --out WORK --config e1-mismatch-0.5.yaml

With a run of the same pool (`tutelage run`) whose quality gate is calibrated (`gate --run RUN`, on rows without a fault with `--clean-rows`), `e1 --run RUN` adds
the gated choice. `pool` also writes
pool-clean.jsonl, which `e0` needs with its scores, and held-out pairs that the first trials have not used.
`again` has new seeds, those pairs as the primary outcome, and `choice` against `permuted` alone; with `--run` it has
the gated choice against `permuted_gated`, and `cheap`.
`seeds` runs an experiment seed by seed, so that one that is ended early is balanced; an arm whose file has `{seed}`
in its name has a set of its own for each.

The pool: experts' revisions with an unchanged instruction. A planted fault replaces the revised answer of a
fixed share of the rows, the same rows for every fault. Arms are files over the same questions, so a seed draws the
same ones for all, and arms of two faults that come to the same rows share a training.
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

POOL, HELD = 208, 50
CHARACTERS = (60, 280)
"""Of a revised answer; an original may have a third of the lower bound."""
MOST_INSTRUCTION = 150
REFERENCES, REFERENCE_CHARACTERS = 100, (40, 250)
SHARE = 0.5
BAND_ROWS = 32
"""Rows of like length among which `permuted` exchanges decisions."""
BY_ORIGINAL = ("truncated",)
"""Faults that the length of a revision gives away: there rows are alike by the length of the original."""
LONGEST_NEW = 320
"""Of a revised answer among the new held-out pairs: those of the pool are used up below that."""
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
        if same_instruction(row)
        and shortest <= len(row["refined_output"]) <= longest
        and shortest / 3 <= len(row["original_output"]) <= longest
        and len(joined(row)) <= MOST_INSTRUCTION
    ]
    return sorted(kept, key=lambda row: rank(f"map {row['pair_id']}"))


def new_pairs(data: Path, used: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Clean pairs that no experiment has used: any original, and a revised answer a little longer."""
    ids, questions = {row["pair_id"] for row in used}, {joined(row) for row in used}
    rows = read_jsonl(data / "refined_pairs" / "coachlm_expert_revision.jsonl.gz")
    return [
        row
        for row in rows
        if same_instruction(row)
        and row["pair_id"] not in ids
        and joined(row) not in questions
        and CHARACTERS[0] <= len(row["refined_output"]) <= LONGEST_NEW
        and len(joined(row)) <= MOST_INSTRUCTION
    ]


def same_instruction(row: dict[str, Any]) -> bool:
    """Whether the experts left the instruction alone and changed the answer."""
    before = (row["instruction"], row["input"], row["original_output"].strip())
    after = (row["refined_instruction"], row["refined_input"], row["refined_output"].strip())
    return before[:2] == after[:2] and before[2] != after[2]


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


def pool(data: Path, out: Path, *, share: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = clean_pairs(data)
    train, held = rows[:POOL], rows[POOL : POOL + HELD]
    write_jsonl(out / "pairs.jsonl", train)
    new = new_pairs(data, rows)
    for name, pairs in (("gain_pairs", held), ("gain_pairs_new", new)):
        write_jsonl(
            out / f"{name}.jsonl",
            [{"instruction": joined(row), "output": row["refined_output"]} for row in pairs],
        )
    for fault in ("clean", *FAULTS):
        _, answers = mixed(train, fault, share=0 if fault == "clean" else share)
        pairs = [
            {
                "instruction": joined(row),
                "original_output": row["original_output"],
                "refined_output": text,
            }
            for row, text in zip(train, answers, strict=True)
        ]
        write_jsonl(pool_of(out, fault, share, "jsonl"), pairs)
    open_rows = read_jsonl(data / "eval" / "instruction_prompts.jsonl")
    shortest, longest = REFERENCE_CHARACTERS
    open_rows = [
        r
        for r in open_rows
        if r.get("reference")
        and shortest < len(r["reference"]) <= longest
        and len(r["instruction"]) <= MOST_INSTRUCTION
    ]
    open_rows = sorted(open_rows, key=lambda r: rank(f"draw {r['id']}"))[:REFERENCES]
    write_jsonl(
        out / "open_references.jsonl",
        [{"instruction": r["instruction"], "output": r["reference"]} for r in open_rows],
    )
    print(
        f"{len(rows)} pairs with an unchanged instruction; {len(train)} to train, "
        f"{len(held)} held out, {len(new)} new ones; {len(open_rows)} references"
    )


def pool_of(out: Path, fault: str, share: float, ending: str) -> Path:
    """Where a pool stands, or its scores."""
    return out / f"pool-{fault if fault == 'clean' else f'{fault}-{share:g}'}.{ending}"


def mixed(rows: list[dict[str, Any]], fault: str, *, share: float) -> tuple[list[bool], list[str]]:
    """Which rows are faulty, the same ones for every fault, and the revised answers."""
    if share == 0:
        return [False] * len(rows), [row["refined_output"] for row in rows]
    order = sorted(rows, key=lambda row: rank(f"bad {row['pair_id']}"))
    bad = {row["pair_id"] for row in order[: round(share * len(rows))]}
    faulty = [row["pair_id"] in bad for row in rows]
    answers = [
        text if is_bad else row["refined_output"]
        for row, text, is_bad in zip(rows, planted(rows, fault), faulty, strict=True)
    ]
    return faulty, answers


def scores(path: Path) -> list[dict[str, dict[str, Any]]]:
    """The scores of both versions of each row of a pool."""
    found: list[dict[str, dict[str, Any]]] = [{} for _ in range(POOL)]
    for score in pq.read_table(path).to_pylist():
        found[score["row"]][score["step"]] = score
    return found


def examples_of(run: Path) -> dict[int, str]:
    """The example of each row of a run."""
    rows = pq.read_table(run / "rows.parquet").to_pylist()
    return {row["row"]: row["example_id"] for row in rows}


def gate_passes(run: Path) -> list[bool]:
    """Whether the calibrated gate of a run lets the revision of each row of its pool pass."""
    passed = {
        row["candidate_id"]: row["passed"]
        for row in pq.read_table(run / "quality_gate.parquet").to_pylist()
    }
    example = examples_of(run)
    revised = {
        row["example_id"]: row["candidate_id"]
        for row in pq.read_table(run / "candidates.parquet").to_pylist()
        if row["step"] == "response_reflection"
    }
    return [bool(passed[revised[example[row]]]) for row in range(POOL)]


def takes_refinement(versions: dict[str, dict[str, Any]]) -> bool:
    """The rule `srt`, mode safe, for two versions; where none passes the original stays."""
    original = versions.get("original", {})
    refined = versions.get("response_reflection", {})
    if refined.get("status") != "ok" or not (refined["ifd"] < 1 and refined["r_ifd"] < 1):
        return False
    passes = original.get("status") == "ok" and original["ifd"] < 1 and original["r_ifd"] < 1
    return not passes or refined["r_ifd"] < original["r_ifd"]


def permuted(takes: list[bool], lengths: list[int], *, draw: str = "") -> list[bool]:
    """The same decisions, exchanged among rows of like length; each draw is another exchange."""
    order = sorted(range(len(takes)), key=lambda i: (lengths[i], i))
    result = list(takes)
    for start in range(0, len(order), BAND_ROWS):
        band = order[start : start + BAND_ROWS]
        shuffled = [takes[i] for i in band]
        random.Random(f"permuted {start}{draw}").shuffle(shuffled)
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


def drawn_arms(
    out: Path, prefix: str, rows: list[dict[str, Any]], answers: dict[int, list[str]]
) -> dict[str, str]:
    """An arm with a set of its own for each seed."""
    for seed, texts in answers.items():
        arm = arms_file(out, f"{prefix}-{seed}", rows, texts)
    file = arm["file"].removesuffix(f"-{seed}.jsonl") + "-{seed}.jsonl"
    return {"name": prefix.rpartition("--")[2], "file": file}


def config(
    out: Path, name: str, arms: list[dict[str, str]], *, choice: str, reference: str,
    seeds: list[int], examples: int, rate: float, model: str, gain: str = "gain_pairs",
    primary: str = "open_references",
) -> None:  # fmt: skip
    settings = {
        "out": f"results-{name}",
        "students": [{"name": "smollm2", "model": model}],
        "arms": arms,
        "choice": choice,
        "reference": reference,
        "seeds": seeds,
        "examples": examples,
        "balance": ["examples"],
        "primary": primary,
        "tasks": [
            {"name": "open_references", "kind": "held_out", "path": "open_references.jsonl"},
            {"name": gain, "kind": "gain", "path": f"{gain}.jsonl"},
        ],
        "train": {
            "epochs": 1,
            "learning_rate": rate,
            "batch_examples": 4,
            "dtype": "float32",
            "threads": 1,
        },
        "evaluate": {"dtype": "float32"},
        "correction": "fixed_sequence",
    }
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    print(path)


def e0(out: Path, *, seeds: list[int], examples: int, rate: float, model: str) -> None:
    """All originals, all revisions, the versions that are chosen, and the others of the same rows."""
    rows = read_jsonl(out / "pairs.jsonl")
    takes = [takes_refinement(v) for v in scores(pool_of(out, "clean", 0, "parquet"))]
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
    config(
        out, f"e0-{examples}-{rate:g}", arms, choice="chosen", reference="refused", seeds=seeds,
        examples=examples, rate=rate, model=model,
    )  # fmt: skip


def e1(
    out: Path, *, fault: str, share: float, seeds: list[int], run: Path | None,
    left_out: list[str], again: bool, **size: Any,
) -> None:  # fmt: skip
    """A fixed share of the revisions is faulty; the arms differ in what they do about it."""
    rows = read_jsonl(out / "pairs.jsonl")
    faulty, refined = mixed(rows, fault, share=share)
    lengths = [len(text) for text in refined]
    banded = [len(row["original_output"]) for row in rows] if fault in BY_ORIGINAL else lengths
    takes = [takes_refinement(v) for v in scores(pool_of(out, fault, share, "parquet"))]
    decisions = {
        "ungated": [True] * len(rows),
        "choice": takes,
        "oracle": [not is_bad for is_bad in faulty],
        "cheap": cheap(rows, refined, refuse=len(rows) - sum(takes)),
    }
    exchanged = {"permuted": takes}
    if run is not None:
        gate = gate_passes(run)
        gated = [t and passes for t, passes in zip(takes, gate, strict=True)]
        decisions |= {
            "gated": gated,
            "gate_alone": gate,
            "permuted_by_revision": permuted(gated, lengths),
        }
        exchanged["permuted_gated"] = gated
    draws = {
        name: {seed: permuted(kept, banded, draw=f" {seed}") for seed in seeds}
        for name, kept in exchanged.items()
    }
    prefix = f"e1-{fault}-{share:g}" + ("-again" if again else "")
    rates: dict[str, Any] = {name: rates_of(kept, faulty) for name, kept in decisions.items()}
    for name, by_seed in draws.items():
        rates[name] = mean_rates([rates_of(kept, faulty) for kept in by_seed.values()])
    (out / f"{prefix}.rates.json").write_text(json.dumps(rates, indent=1) + "\n")
    print(json.dumps(rates))

    def answers(kept: list[bool]) -> list[str]:
        return [
            new if keep else row["original_output"]
            for keep, new, row in zip(kept, refined, rows, strict=True)
        ]

    arms = [arms_file(out, f"{prefix}--{n}", rows, answers(kept)) for n, kept in decisions.items()]
    for name, by_seed in draws.items():
        sets = {seed: answers(kept) for seed, kept in by_seed.items()}
        arms.append(drawn_arms(out, f"{prefix}--{name}", rows, sets))
    arms.append(arms_file(out, f"{prefix}--clean", rows, [row["refined_output"] for row in rows]))
    if again:
        tried = ("choice", "permuted") if run is None else ("gated", "permuted_gated", "cheap")
        left_out = [arm["name"] for arm in arms if arm["name"] not in tried]
        size |= {"gain": "gain_pairs_new", "primary": "gain_pairs_new"}
    config(
        out, prefix, [arm for arm in arms if arm["name"] not in left_out],
        choice="choice" if run is None else "gated",
        reference="permuted" if run is None else "permuted_gated", seeds=seeds, **size,
    )  # fmt: skip


def cheap(rows: list[dict[str, Any]], refined: list[str], *, refuse: int) -> list[bool]:
    """All but the rows whose answer shares least with the instruction."""
    document = Counter(w for text in refined for w in set(re.findall(r"\w{3,}", text.lower())))
    similar = [
        overlap(joined(row), text, document, len(rows))
        for row, text in zip(rows, refined, strict=True)
    ]
    worst = set(sorted(range(len(rows)), key=lambda i: (similar[i], i))[:refuse])
    return [i not in worst for i in range(len(rows))]


def rates_of(kept: list[bool], faulty: list[bool]) -> dict[str, Any]:
    """How many faulty and clean revisions are refused."""
    both = list(zip(kept, faulty, strict=True))
    return {
        "faulty": sum(faulty),
        "faulty refused": sum(not k for k, f in both if f),
        "clean": len(faulty) - sum(faulty),
        "clean refused": sum(not k for k, f in both if not f),
    }


def mean_rates(rates: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of several draws."""
    return {name: round(sum(r[name] for r in rates) / len(rates), 1) for name in rates[0]}


def calibrate(run: Path, *, examples: int, student: str, without: set[int]) -> None:
    """The calibrated gate of a run, fitted on the strong dose of each fault alone.

    `tutelage select --quality-gate calibrated` also plants the mild doses, which costs twice the readings.
    Rows in `without` are judged, but neither their revisions nor plants in them are fitted on.
    """
    import numpy as np

    from tutelage.data import OK, ORIGINAL
    from tutelage.gate import fit_gate
    from tutelage.pipeline.gate_results import write_gate, write_results
    from tutelage.pipeline.gate_stage import read_material
    from tutelage.pipeline.run_dir import RunFolder
    from tutelage.pipeline.stages import stored_candidates
    from tutelage.progress import Silent
    from tutelage.selection import SelectSettings
    from tutelage.student import StudentSettings, open_student

    folder = RunFolder(root=run)
    settings = SelectSettings(quality_gate="calibrated", quality_gate_examples=examples)
    written = [c for c in stored_candidates(folder.candidates) if c.status == OK]
    reader = open_student(StudentSettings(model=student, dtype="float32"))
    material = read_material(
        written, settings, student=reader, progress=Silent(), doses=("strong",)
    )
    budget = settings.max_false_refusals
    left_out = {example for row, example in examples_of(run).items() if row in without}
    faulty = {
        version.features_F.tobytes()
        for version in material.versions
        if version.example_id in left_out and version.step != ORIGINAL
    }
    clean = [row for row in material.clean if row.features_F.tobytes() not in faulty]
    planted_rows = [row for row in material.planted if row.example_id not in left_out]
    gate = fit_gate([*clean, *planted_rows], max_false_refusals=budget, seed=settings.seed)
    about = {"status": "fitted", "student": reader.fingerprint, "max_false_refusals": budget}
    write_gate(folder.quality_gate, {**about, "gate": gate.as_json()})
    judged = gate.judge(np.stack([v.features_F for v in material.versions]))
    found = {v.candidate_id: j for v, j in zip(material.versions, judged, strict=True)}
    write_results(folder, written, found, material.unread, student=reader.fingerprint)
    reader.close()
    print(f"{gate.false_refusals} of the held-out clean versions refused; {gate.suspected}")


def seed_by_seed(path: Path) -> None:
    """Run an experiment, all arms of a seed before the next seed; the manifest in the end names all cells."""
    from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
    from tutelage.experiments.prove.run import report_experiment, run_experiment
    from tutelage.progress import Silent

    def of_seed(settings: ProveSettings, seed: int) -> ProveSettings:
        arms = tuple(
            arm.model_copy(update={"file": Path(str(arm.file).replace("{seed}", str(seed)))})
            for arm in settings.arms
        )
        return settings.model_copy(update={"arms": arms, "seeds": (seed,)})

    settings = load_prove_settings(path)
    manifest = settings.out / "manifest.json"
    cells: list[dict[str, Any]] = []
    for count, seed in enumerate(settings.seeds, start=1):
        done = run_experiment(of_seed(settings, seed), progress=Silent())
        print(count, done, flush=True)
        about = json.loads(manifest.read_text())
        known = {cell["arm"] for cell in cells} & {"untrained"}
        cells += [cell for cell in about["cells"] if cell["arm"] not in known]
        so_far = settings.model_copy(update={"seeds": settings.seeds[:count]})
        manifest.write_text(
            json.dumps(
                {**about, "settings": so_far.model_dump(mode="json"), "cells": cells}, indent=2
            )
        )
        report_experiment(so_far, {"cells": len(cells), "done": len(cells)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("pool", "gate", "e0", "e1", "again", "seeds"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fault", choices=sorted(FAULTS), default="mismatch")
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--seeds", type=int, default=6, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--run", type=Path, help="of the same pool, with a calibrated gate")
    parser.add_argument("--gate-examples", type=int, default=90)
    parser.add_argument("--clean-rows", action="store_true", help="gate: fit on rows without fault")
    parser.add_argument("--leave-out", nargs="*", default=[], help="arms")
    parser.add_argument("--config", help="seeds: which experiment")
    given = parser.parse_args()
    size = {
        "seeds": list(range(given.first_seed, given.first_seed + given.seeds)), "examples": given.examples, "rate": given.rate, "model": given.model,
    }  # fmt: skip
    if given.what == "pool":
        pool(given.data, given.out, share=given.share)
    elif given.what == "gate":
        faulty, _ = mixed(read_jsonl(given.out / "pairs.jsonl"), given.fault, share=given.share)
        calibrate(
            given.run, examples=given.gate_examples, student=given.model,
            without={row for row, bad in enumerate(faulty) if bad and given.clean_rows},
        )  # fmt: skip
    elif given.what == "e0":
        e0(given.out, **size)
    elif given.what in ("e1", "again"):
        e1(
            given.out, fault=given.fault, share=given.share, run=given.run,
            left_out=given.leave_out, again=given.what == "again", **size,
        )  # fmt: skip
    else:
        seed_by_seed(given.out / given.config)


if __name__ == "__main__":
    main()
