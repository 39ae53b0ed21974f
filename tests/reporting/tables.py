"""Small tables that are written by hand: what a row does not say is null."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tutelage.data.schemas import CANDIDATES, DECISIONS, EXAMPLES, NULLS, ROWS, SCORES
from tutelage.reporting import ReportTables

Row = Mapping[str, Any]


def turns(instruction: str, response: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": instruction},
        {"role": "assistant", "content": response},
    ]


def table(schema: pa.Schema, rows: Sequence[Row], *, floats: Sequence[str] = ()) -> pa.Table:
    full = pa.schema([*schema, *(pa.field(name, pa.float64()) for name in floats)])
    blank = dict.fromkeys(full.names)
    return pa.Table.from_pylist([{**blank, **row} for row in rows], schema=full)


def tables(
    *,
    rows: Sequence[Row] | None = None,
    examples: Sequence[Row] = (),
    candidates: Sequence[Row] = (),
    scores: Sequence[Row] | None = None,
    decisions: Sequence[Row] | None = None,
    nulls: Sequence[Row] | None = None,
    metrics: Sequence[str] = ("ifd", "r_ifd"),
    manifest: Mapping[str, Any] | None = None,
    title: str = "small",
) -> ReportTables:
    """A run. Candidates are `ok` with a text, scores `ok` of student `f`, unless they say so."""
    texts = turns("an instruction", "a response")
    return ReportTables(
        rows=None if rows is None else table(ROWS, rows),
        examples=table(EXAMPLES, examples),
        candidates=table(
            CANDIDATES,
            [
                {"status": "ok", "messages": texts if c.get("status", "ok") == "ok" else None, **c}
                for c in candidates
            ],
        ),
        scores=None
        if scores is None
        else table(SCORES, [{"status": "ok", "student": "f", **s} for s in scores], floats=metrics),
        decisions=None if decisions is None else table(DECISIONS, decisions),
        nulls=None if nulls is None else table(NULLS, nulls),
        manifest=manifest or {},
        title=title,
    )


def original(example: str, candidate: str | None = None, **more: Any) -> Row:
    return {
        "candidate_id": candidate or f"{example}o",
        "example_id": example,
        "step": "original",
        **more,
    }


def reflection(example: str, candidate: str | None = None, **more: Any) -> Row:
    return {
        "candidate_id": candidate or f"{example}r",
        "example_id": example,
        "parent_id": f"{example}o",
        "step": "response_reflection",
        "teacher": "t",
        **more,
    }


def kept(example: str, candidate: str, step: str = "response_reflection") -> Row:
    return {
        "example_id": example,
        "candidate_id": candidate,
        "step": step,
        "kept": True,
        "reason": f"{step}_won" if step != "original" else "original_kept",
        "rule": "srt",
    }


def refused(example: str, reason: str = "ifd_not_below_1") -> Row:
    return {"example_id": example, "kept": False, "reason": reason, "rule": "srt"}
