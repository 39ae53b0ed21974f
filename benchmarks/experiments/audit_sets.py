"""Audits of real data sets, and what the student read for them, for the experiments on the gate.

    python benchmarks/experiments/audit_sets.py --data FOLDER --work FOLDER --sets expert gpt4
    python benchmarks/experiments/audit_sets.py --data FOLDER --work FOLDER --sets expert \
        --fault truncation --shares 0.1 0.3 0.5

Each set is a draw of short rows, written to `WORK/NAME.jsonl` and audited into `WORK/NAME`, as
`tutelage audit` would do it. `WORK/NAME.npz` holds the features of every version and of every
planted fault, for gate_comparison.py. With `--fault` the fault is also put into a share of the rows
beforehand, so the estimate can be compared with the truth; the rows with it are nested from share
to share. Readings are cached, so a killed run continues.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gate_readings import experts
from make_configs import read_jsonl

from tutelage.data import ORIGINAL, content_hash, read
from tutelage.experiments.audit import AuditSettings, audit_data
from tutelage.experiments.audit.findings import half_of
from tutelage.experiments.audit.run import draw_sample
from tutelage.gate import PlantRow, plant
from tutelage.pipeline.config import checked
from tutelage.pipeline.gate_stage import read_material
from tutelage.pipeline.resources import opened_student
from tutelage.progress import Silent

SEEN_EXPERTS = 140
"""The rows on which the gate was developed, in the order of gate_readings.py."""
SMALL_MODELS = (
    "text_davinci_001", "phi-2", "falcon-7b-instruct", "alpaca-7b", "gemma-2b-it", "minichat-3b",
)  # fmt: skip
LONGEST_QUESTION = 160


def _expert(folder: Path) -> list[dict[str, Any]]:
    rows = {r["row_id"]: r for r in experts(folder, shortest=80, longest=300)}.values()
    ordered = sorted(rows, key=lambda r: content_hash("gate draw", r["row_id"]))
    return [
        _row(r["instruction"], r["refined"], original=r["original"]) for r in ordered[SEEN_EXPERTS:]
    ]


def _gpt4(folder: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(folder / "refined_pairs" / "alpaca_davinci003_vs_gpt4.jsonl.gz")[:650]
    return [
        _row(_asked(r), r["refined_output"], original=r["original_output"])
        for r in rows
        if not r["identical"]
    ]


def _rationales(folder: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(folder / "math_word_problems" / "teacher_rationales_gpt35.jsonl.gz")
    return [_row(r["question"], r["rationale"]) for r in rows]


def _alpaca(folder: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(folder / "instruction_sources" / "alpaca_cleaned_52k.jsonl.gz")
    return [_row(_asked(r), r["output"]) for r in rows]


def _dolly(folder: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(folder / "instruction_sources" / "dolly_3k_alpagasus.jsonl.gz")
    return [_row(_asked(r), r["output"]) for r in rows]


def _small_models(folder: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(folder / "alpaca_eval_multi_teacher" / "outputs.jsonl.gz")
    answers = [_row(r["instruction"], r["output"]) for r in rows if r["model"] in SMALL_MODELS]
    first: dict[str, dict[str, Any]] = {}  # one answer a question
    for row in sorted(answers, key=_place):
        first.setdefault(row["instruction"], row)
    return list(first.values())


SETS: Mapping[str, Callable[[Path], list[dict[str, Any]]]] = {
    "expert": _expert,
    "gpt4": _gpt4,
    "rationales": _rationales,
    "alpaca": _alpaca,
    "small_models": _small_models,
    "dolly": _dolly,
}


def _asked(row: Mapping[str, Any]) -> str:
    return f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]


def _row(instruction: str, output: str, *, original: str | None = None) -> dict[str, Any]:
    if original is None:
        return {"instruction": instruction, "output": output}
    return {
        "instruction": instruction, "original_output": original, "refined_output": output,
    }  # fmt: skip


def _answer(row: Mapping[str, Any]) -> str:
    return str(row.get("refined_output", row.get("output")))


def _place(row: Mapping[str, Any]) -> str:
    return content_hash("audit sets", row["instruction"], _answer(row))


def drawn(
    rows: Sequence[dict[str, Any]], *, count: int, shortest: int, longest: int
) -> list[dict[str, Any]]:
    """As many short rows, each instruction once, in an order that depends on their text alone."""
    short = [
        r
        for r in rows
        if shortest <= len(_answer(r)) <= longest
        and len(r["instruction"]) <= LONGEST_QUESTION
        and len(r.get("original_output", "x")) in range(1, longest + 1)
        and r.get("original_output") != _answer(r)
    ]
    unique = {r["instruction"]: r for r in sorted(short, key=_place)}
    return sorted(unique.values(), key=_place)[:count]


def faulty(
    rows: Sequence[dict[str, Any]], *, fault: str, share: float, seed: int
) -> list[dict[str, Any]]:
    """The rows, a share of them with a fault; the truth is in `truth`, which no shape reads."""
    plain = [
        PlantRow(row_id=_place(r), instruction=r["instruction"], response=_answer(r)) for r in rows
    ]
    found, wanted = [], round(share * len(rows))
    order = sorted(plain, key=lambda p: content_hash("faulty rows", seed, p.row_id))
    texts: dict[str, str] = {}
    for row in order:
        if len(texts) == wanted:
            break
        made = plant(row, fault=fault, dose="strong", others=plain, seed=seed, part="held_out")
        if made.response is not None:
            texts[row.row_id] = made.response
    name = "refined_output" if "refined_output" in rows[0] else "output"
    for row in rows:
        text = texts.get(_place(row))
        found.append({**row, "truth": text is not None} | ({} if text is None else {name: text}))
    return found


def audited(name: str, rows: Sequence[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """Audit rows into a folder, and keep what was read."""
    path = given.work / f"{name}.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    settings = checked(
        AuditSettings,
        {
            "data": {"path": str(path)},
            "student": {
                "model": given.student, "template": given.template, "dtype": "float32",
                "cache_path": given.cache,
            },
            "out": given.work / name,
            "examples": len(rows),
            "planted": given.planted,
            "seed": given.seed,
        },
        place="audit",
    )  # fmt: skip
    found = audit_data(settings, progress=Silent())
    np.savez_compressed(given.work / f"{name}.npz", **_features(settings))
    return found


def _features(settings: AuditSettings) -> dict[str, Any]:
    """What an audit read, again from the cache, as columns.

    `row_id`; `part`: the half of the crossed gates; `what`: `original`, `clean` (the last version
    as it came) or the planted fault; `features`: in the order of `tutelage.gate.NAMES`.
    """
    sample = draw_sample(
        read(settings.data.path, settings=settings.data), examples=settings.examples,
        seed=settings.seed, progress=Silent(),
    )  # fmt: skip
    with opened_student(settings.student, None) as student:
        material = read_material(
            sample.candidates, settings.gate, student=student, progress=Silent(),
            doses=("strong",), held_out_fraction=0.5,
        )  # fmt: skip
    rewritten = {c.example_id for c in sample.candidates if c.step != ORIGINAL}
    kept = [
        (
            v.example_id,
            "original" if v.step == ORIGINAL and v.example_id in rewritten else "clean",
            v.features_F,
        )
        for v in material.versions
    ] + [(r.example_id, str(r.fault), r.features_F) for r in material.planted if r.measured]
    return {
        "row_id": np.array([row_id for row_id, *_ in kept]),
        "part": np.array([half_of(row_id, seed=settings.seed) for row_id, *_ in kept]),
        "what": np.array([what for _, what, _ in kept]),
        "features": np.stack([features_F for *_, features_F in kept]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), required=True)
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--template", default="chat")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--planted", type=int, default=70)
    parser.add_argument("--shortest", type=int, default=60)
    parser.add_argument("--longest", type=int, default=220)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault")
    parser.add_argument("--shares", nargs="+", type=float, default=[])
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        rows = drawn(
            SETS[name](given.data), count=given.rows, shortest=given.shortest,
            longest=given.longest,
        )  # fmt: skip
        for share in given.shares or [0.0]:
            tag = name if given.fault is None else f"{name}-{given.fault}-{round(100 * share)}"
            made = rows
            if given.fault is not None:
                made = faulty(rows, fault=given.fault, share=share, seed=given.seed)
            found = audited(tag, made, given)
            print(tag, len(rows), "rows", flush=True)
            print(found["in_words"], flush=True)


if __name__ == "__main__":
    main()
