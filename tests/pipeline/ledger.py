"""What has to hold of a run folder whatever happened on the way."""

import json
import math
from typing import Any

import pyarrow.parquet as pq

from tutelage.data.schemas import plain_turns
from tutelage.pipeline import RunFolder

METRICS = ("ifd", "ifd_loss", "r_ifd", "ppl", "grape", "rsr")


def check_ledger(run: RunFolder) -> None:
    """Every row, example and candidate is accounted for, once, and no failure is a number."""
    names = ("rows", "examples", "candidates", "scores", "decisions")
    rows, examples, candidates, scores, decisions = (
        pq.read_table(getattr(run, name)).to_pylist() for name in names
    )
    assert [row["row"] for row in rows] == list(range(len(rows)))
    ids = sorted(example["example_id"] for example in examples)
    assert ids == sorted(decision["example_id"] for decision in decisions)
    by_id = {candidate["candidate_id"]: candidate for candidate in candidates}
    numbers = {score["candidate_id"]: score for score in scores}
    assert len(by_id) == len(candidates)
    assert numbers.keys() == by_id.keys()
    _check_candidates(by_id)
    for score in scores:
        if score["status"] != "ok":
            figures = [n for n in score if n.startswith("nll") or n in METRICS]
            assert all(score[name] is None for name in figures)
    kept = {d["example_id"]: d["candidate_id"] for d in decisions if d["kept"]}
    for example_id, candidate_id in kept.items():
        assert by_id[candidate_id]["status"] == numbers[candidate_id]["status"] == "ok"
        assert by_id[candidate_id]["example_id"] == example_id
        assert all(math.isfinite(numbers[candidate_id][name]) for name in ("ifd", "r_ifd"))
    selected, rejected = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (run.selected, run.rejected)
    )
    assert {row["example_id"]: row["candidate_id"] for row in selected} == kept
    assert sorted(row["example_id"] for row in [*selected, *rejected]) == ids
    assert all(
        row["messages"] == plain_turns(by_id[row["candidate_id"]]["messages"]) for row in selected
    )


def _check_candidates(by_id: dict[str, dict[str, Any]]) -> None:
    for candidate in by_id.values():
        if candidate["status"] != "ok":
            assert not candidate["messages"]
            continue
        if candidate["step"] == "original":
            continue
        was, now = (c["messages"] for c in (by_id[candidate["parent_id"]], candidate))
        assert now[-1]["content"] != was[-1]["content"]
        new_instruction = candidate["step"] == "instruction_reflection"
        assert (now[:-1] != was[:-1]) is new_instruction
