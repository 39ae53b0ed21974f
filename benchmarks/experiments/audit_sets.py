"""Audits of real data sets, and what the student read for them, for the experiments on the gate.

    python benchmarks/experiments/audit_sets.py --data FOLDER --work FOLDER --cache readings.sqlite \
        --sets expert gpt4
    python benchmarks/experiments/audit_sets.py ... --sets dolly --only-read --planted 0

Each set is a draw of short rows, written to `WORK/NAME.jsonl` and audited into `WORK/NAME`, as
`tutelage audit` would do it. `WORK/NAME.npz` holds the features of every version and of every
planted fault, for gate_comparison.py. `--only-read` makes no audit, and reads the faults of
`--faults` alone. Readings are cached, so a killed run continues; `--only-cached` takes what was read
before it was killed, and counts the rest as not read. `--dose mild` plants the mild dose instead, into
`WORK/NAME-mild.npz`, for gate_doses.py.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gate_readings import experts
from make_configs import read_jsonl

from tutelage.data import ORIGINAL, Candidate, Unscored, content_hash, read
from tutelage.experiments.audit import AuditSettings, audit_data
from tutelage.experiments.audit.findings import half_of
from tutelage.experiments.audit.run import PLANTS, draw_sample
from tutelage.gate import FAULTS, MIN_EXAMPLES
from tutelage.gate.planted_faults import DOSES, Dose
from tutelage.pipeline import gate_stage
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import Doors, opened_student
from tutelage.progress import Silent
from tutelage.student import StudentSettings, open_student

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


def _small_models(folder: Path, *, answer: int = 0) -> list[dict[str, Any]]:
    rows = read_jsonl(folder / "alpaca_eval_multi_teacher" / "outputs.jsonl.gz")
    answers = [_row(r["instruction"], r["output"]) for r in rows if r["model"] in SMALL_MODELS]
    by_question: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(answers, key=_place):
        by_question.setdefault(row["instruction"], []).append(row)
    return [found[answer] for found in by_question.values() if len(found) > answer]


SETS: Mapping[str, Callable[[Path], list[dict[str, Any]]]] = {
    "expert": _expert,
    "gpt4": _gpt4,
    "rationales": _rationales,
    "alpaca": _alpaca,
    "small_models": _small_models,
    "dolly": _dolly,
    "small_models_2": partial(_small_models, answer=1),
    "small_models_3": partial(_small_models, answer=2),
    "small_models_4": partial(_small_models, answer=3),
    "small_models_5": partial(_small_models, answer=4),
}
"""The answers of six small models are of one model a question; the last four sets of four others."""


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


class Recalled:
    """A student that reads nothing new: what its cache lacks, it could not read."""

    def __init__(self, settings: StudentSettings) -> None:
        self._student = open_student(settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._student, name)

    def read(self, candidates: Iterable[Candidate], **wanted: Any) -> Iterator[Any]:
        asked = list(candidates)
        known = self._student.recall(asked, views=wanted["views"])
        for candidate, outcome in zip(asked, known, strict=True):
            yield outcome or Unscored(candidate_id=candidate.candidate_id, reason="not_cached")


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
            "planted": max(given.planted, MIN_EXAMPLES),
            "seed": given.seed,
        },
        place="audit",
    )  # fmt: skip
    doors = Doors(open_student=Recalled) if given.only_cached else Doors()
    found = {} if given.only_read else audit_data(settings, progress=Silent(), doors=doors)
    columns = _features(
        settings, doors, faults=given.faults, read_plants=given.planted > 0, dose=given.dose
    )
    ending = "" if given.dose == "strong" else f"-{given.dose}"
    np.savez_compressed(given.work / f"{name}{ending}.npz", **columns)
    return found


def _features(
    settings: AuditSettings, doors: Doors, *, faults: Sequence[str], read_plants: bool, dose: Dose
) -> dict[str, Any]:
    """What an audit reads, as columns; from the cache, if it read it.

    `row_id`; `part`: the half of the crossed gates; `what`: `original`, `clean` (the last version
    as it came) or the planted fault; `features`: in the order of `tutelage.gate.NAMES`.
    """
    sample = draw_sample(
        read(settings.data.path, settings=settings.data), examples=settings.examples,
        seed=settings.seed, progress=Silent(),
    )  # fmt: skip
    drawn_from = gate_stage._sample(sample.candidates, settings.gate)  # noqa: SLF001
    plants = [
        p
        for p in gate_stage._plants(  # noqa: SLF001
            drawn_from, settings.gate, (dose,), PLANTS["held_out_fraction"]
        )
        if p[1] in faults and read_plants
    ]
    with opened_student(settings.student, doors) as student:
        versions, _ = gate_stage.read_versions(
            sample.candidates, student=student, progress=Silent()
        )
        originals = {v.example_id: v.features_F for v in versions if v.step == ORIGINAL}
        planted = gate_stage._planted_rows(plants, originals, student, Silent())  # noqa: SLF001
    rewritten = {c.example_id for c in sample.candidates if c.step != ORIGINAL}
    kept = [
        (
            v.example_id,
            "original" if v.step == ORIGINAL and v.example_id in rewritten else "clean",
            v.features_F,
        )
        for v in versions
    ] + [(r.example_id, str(r.fault), r.features_F) for r in planted if r.measured]
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
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--dose", choices=DOSES, default="strong")
    parser.add_argument("--only-read", action="store_true")
    parser.add_argument("--only-cached", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        rows = drawn(
            SETS[name](given.data), count=given.rows, shortest=given.shortest,
            longest=given.longest,
        )  # fmt: skip
        found = audited(name, rows, given)
        print(name, len(rows), "rows", flush=True)
        print(found.get("in_words", "read"), flush=True)


if __name__ == "__main__":
    main()
