"""Results table of an evaluation, with one row per item."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tutelage.data.schemas import RESULTS
from tutelage.evaluation.config import TaskKind

UNITS: Mapping[TaskKind, str] = {
    "held_out": "log-likelihood, nats per token",
    "gain": "gain from the instruction, nats per token",
    "choice": "margin of the right choice, nats per token",
    "exact_match": "share right",
    "ifeval": "share of constraints met",
    "steps": "nats per answer token that the reasoning saves",
    "lm_eval": "the harness's own metric",
}
"""Meaning of the value, by kind of task. Higher is better in all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """Result of one item.

    Attributes:
        item_id: Item id of the item.
        status: `ok`, `no_answer` (a generated answer holds none: that is wrong), or why there is
            no value.
        value: In the unit of the task, or None.
        correct: Or None.
        text: What the student wrote or chose, or None.
        detail: For people.
    """

    item_id: str
    status: str = "ok"
    value: float | None = None
    correct: bool | None = None
    text: str | None = None
    detail: str | None = None


def results_table(results: Iterable[ItemResult], *, task: str, seed: int) -> pa.Table:
    """Table with the rows of one task.

    Args:
        results: The results.
        task: Name of the task.
        seed: Seed of the evaluation.
    """
    rows: list[dict[str, Any]] = [
        {
            "item_id": r.item_id,
            "task": task,
            "seed": seed,
            "value": r.value,
            "correct": r.correct,
            "status": r.status,
            "text": r.text,
            "detail": r.detail,
        }
        for r in results
    ]
    return pa.Table.from_pylist(rows, schema=RESULTS)
