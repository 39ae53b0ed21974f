"""Reads rows and faults planted into them, for the experiments on the calibrated gate.

    python benchmarks/experiments/gate_readings.py --data FOLDER --set expert --student smollm2-135m \
        --cache readings.sqlite --out readings.pickle

Every reading is kept in the cache, so a killed run continues; `--out` is written after each block of
rows with what there is until then. Rows are split in two halves, A and B, by a hash of their text:
each half has wordings of its own, so that a gate can be fitted on either and measured on the other.
"""

import argparse
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from make_configs import read_jsonl

from tutelage.data import (
    ORIGINAL,
    VIEW_NAMES,
    Candidate,
    Message,
    Reading,
    TokenStats,
    content_hash,
)
from tutelage.gate import DOSES, FAULTS, PlantRow, ScoredText, plant
from tutelage.gate.planted_faults import Part
from tutelage.student import StudentSettings, open_student

BLOCK = 20
MOST_INSTRUCTION = 160


@dataclass(frozen=True, kw_only=True)
class ReadText:
    """One version as the student read it.

    Attributes:
        row_id: The row.
        part: `fit` (half A) or `held_out` (half B).
        what: `original`, `clean`, or the fault.
        dose: The dose of a fault.
        text: Reading and texts; the token that ends the turn is not in the reading.
        end_nats: Surprise of the token that ends the turn, after the instruction.
        end_alone_nats: The same without the instruction.
    """

    row_id: str
    part: str
    what: str
    dose: str | None
    text: ScoredText
    end_nats: float
    end_alone_nats: float


def experts(folder: Path, *, shortest: int, longest: int) -> list[dict[str, str]]:
    """Expert revisions with an unchanged instruction and short answers."""
    rows = read_jsonl(folder / "refined_pairs" / "coachlm_expert_revision.jsonl.gz")
    return [
        _pair(row["instruction"], row["input"], row["original_output"], row["refined_output"])
        for row in rows
        if row["instruction"] == row["refined_instruction"]
        and row["input"] == row["refined_input"]
        and row["original_output"] != row["refined_output"]
        and _fits(row, shortest=shortest, longest=longest)
    ]


def gpt4(folder: Path, *, shortest: int, longest: int) -> list[dict[str, str]]:
    """GPT-4's answers beside those of text-davinci-003, of the ordinary slice."""
    rows = read_jsonl(folder / "refined_pairs" / "alpaca_davinci003_vs_gpt4.jsonl.gz")[:650]
    return [
        _pair(row["instruction"], row["input"], row["original_output"], row["refined_output"])
        for row in rows
        if not row["identical"] and _fits(row, shortest=shortest, longest=longest)
    ]


SETS = {"expert": experts, "gpt4": gpt4}


def _fits(row: dict[str, Any], *, shortest: int, longest: int) -> bool:
    return (
        shortest <= len(row["refined_output"]) <= longest
        and 1 <= len(row["original_output"]) <= longest
        and len(row["instruction"]) + len(row["input"]) <= MOST_INSTRUCTION
    )


def _pair(instruction: str, given: str, original: str, refined: str) -> dict[str, str]:
    asked = f"{instruction}\n{given}" if given else instruction
    row_id = content_hash("gate experiment", asked, refined)
    return {"row_id": row_id, "instruction": asked, "original": original, "refined": refined}


def part_of_row(row_id: str) -> Part:
    """Half A is `fit`, half B `held_out`."""
    return "fit" if int(content_hash("gate half", row_id), 16) % 2 else "held_out"


def versions(
    rows: Sequence[dict[str, str]], *, seed: int, doses: Sequence[str]
) -> Iterator[tuple[dict[str, str], str, str | None, Candidate]]:
    """Original, clean refinement and plants of each row, with what they are."""
    plain = [PlantRow(row_id=r["row_id"], instruction=r["instruction"], response=r["refined"])
             for r in rows]  # fmt: skip
    for row, asked in zip(rows, plain, strict=True):
        yield row, "original", None, _candidate(row, row["original"], "original")
        yield row, "clean", None, _candidate(row, row["refined"], "clean")
        for fault in FAULTS:
            for dose in DOSES:
                if dose not in doses:
                    continue
                found = plant(asked, fault=fault, dose=dose, others=plain, seed=seed,
                              part=part_of_row(row["row_id"]))  # fmt: skip
                if found.response is not None:
                    made = _candidate(row, found.response, f"{fault} {dose}")
                    yield row, fault, dose, made


def _candidate(row: dict[str, str], response: str, what: str) -> Candidate:
    return Candidate(
        candidate_id=content_hash("gate experiment", row["row_id"], what),
        example_id=row["row_id"],
        step=ORIGINAL if what == "original" else "response_reflection",
        messages=(
            Message(role="user", content=row["instruction"]),
            Message(role="assistant", content=response),
        ),
    )


def without_end(reading: Reading) -> tuple[Reading, float, float]:
    """The reading without the token that ends the turn, and that token's two surprises."""
    views = dict(reading.views)
    ends = []
    for name in ("response_given_instruction", "response"):
        stats = views[name]
        ends.append(-float(stats.logprobs_T[-1]))
        views[name] = TokenStats(
            logprobs_T=stats.logprobs_T[:-1],
            ranks_T=stats.ranks_T[:-1],
            entropies_T=stats.entropies_T[:-1],
            sum_squares_T=stats.sum_squares_T[:-1],
        )
    starts_T = reading.response_starts_T
    assert starts_T is not None
    return replace(reading, views=views, response_starts_T=starts_T[:-1]), ends[0], ends[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=sorted(SETS), default="expert")
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--template", default="chat")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--shortest", type=int, default=80)
    parser.add_argument("--longest", type=int, default=300)
    parser.add_argument("--doses", nargs="+", default=["strong"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = SETS[given.set](given.data, shortest=given.shortest, longest=given.longest)
    rows = list({row["row_id"]: row for row in rows}.values())
    rows.sort(key=lambda r: content_hash("gate draw", r["row_id"]))
    rows = rows[: given.rows]
    settings = StudentSettings(model=given.student, template=given.template, dtype="float32",
                               score_end_of_turn=True, cache_path=given.cache)  # fmt: skip
    everything = list(versions(rows, seed=given.seed, doses=given.doses))
    print(f"{len(rows)} rows, {len(everything)} texts", flush=True)
    found: list[ReadText] = []
    started = time.monotonic()
    with open_student(settings) as student:
        for first in range(0, len(rows), BLOCK):
            block = {r["row_id"] for r in rows[first : first + BLOCK]}
            wanted = [v for v in everything if v[0]["row_id"] in block]
            outcomes = student.read([v[3] for v in wanted], views=VIEW_NAMES, statistics="full")
            for (row, what, dose, candidate), outcome in zip(wanted, outcomes, strict=True):
                if not isinstance(outcome, Reading) or outcome.views["response"].tokens < 2:
                    print(f"not read: {what} {dose}: {outcome}", flush=True)
                    continue
                reading, end, end_alone = without_end(outcome)
                text = ScoredText(reading=reading, instruction=row["instruction"],
                                  response=candidate.response)  # fmt: skip
                found.append(ReadText(row_id=row["row_id"], part=part_of_row(row["row_id"]),
                                      what=what, dose=dose, text=text, end_nats=end,
                                      end_alone_nats=end_alone))  # fmt: skip
            partial = given.out.with_suffix(".part")
            partial.write_bytes(pickle.dumps(found))
            partial.rename(given.out)
            done = min(first + BLOCK, len(rows))
            print(f"{done} rows, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
