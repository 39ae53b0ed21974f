"""Summaries of runs, and estimates of what a run would ask and take, in a few sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

ASKED_AGAIN = frozenset(
    (
        *("teacher_failed", "over_budget", "not_in_journal"),
        *("waiting_for_batch", "batch_expired", "batch_cancelled"),
    )
)
"""Statuses that the next run may resolve."""


def in_words(summary: Mapping[str, Any]) -> str:
    """Summary of a run's tallies in sentences.

    Args:
        summary: What `run_all` returns.

    Returns:
        A few lines of text.
    """
    lines = [
        *sentences(summary),
        *(f"  {n:>6,}  {reason}" for reason, n in summary["select"]["reasons"].items()),
        *overruled(summary["select"]),
    ]
    if summary["report"]:
        lines.append(f"Report: {summary['report']}")
    return "\n".join(lines)


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """Summary without the reasons, for output that shows these as a table."""
    return [
        rows_read(summary["load"]),
        *rewritten(summary["refine"]),
        *_scores(summary["score"]),
        *_quality_gate(summary.get("quality_gate")),
        chosen(summary["select"]),
        *([f"Note: {note}."] if (note := summary["select"].get("gate_note")) else []),
    ]


def rows_read(load: Mapping[str, Any]) -> str:
    """Number of rows read, and the outcome of rows that are not examples."""
    others = {k: n for k, n in load["rows_by_status"].items() if k != "ok"}
    aside = f"; {_explained(others)}" if others else ""
    return f"Rows: {load['rows']:,} read, {_of(load['examples'], 'example')}{aside}."


def rewritten(refine: Mapping[str, Any]) -> list[str]:
    """Outcome of the teacher's rewrites and their cost; empty without a teacher."""
    written = refine["teacher_candidates"]
    if not written:
        return []
    good = sum(n for key, n in written.items() if key.endswith(":ok"))
    bad: dict[str, int] = {}
    for key, n in written.items():
        status = key.partition(":")[2]
        if status != "ok":
            bad[status] = bad.get(status, 0) + n
    total = sum(written.values())
    aside = f"; not usable: {_counted(bad)}" if bad else ""
    paid = refine["teacher"]
    cost = ""
    if paid["currency"] and paid["answered"]:
        cost = f" for {paid['cost']:.4f} {paid['currency']}"
    asked = f"{_of(paid['answered'], 'new call')}, {paid['from_journal']:,} cached{cost}"
    lines = [f"Teacher: {good:,} of {_of(total, 'rewrite')} usable ({asked}){aside}."]
    if refine.get("away"):
        lines.append(f"Teacher: {refine['away']}.")
    if refine.get("capped"):
        lines.append(f"Teacher: {refine['capped']}.")
    if set(bad) & ASKED_AGAIN == {"waiting_for_batch"}:
        lines.append("Run the same command again later to collect the batch.")
    elif bad.keys() & ASKED_AGAIN:
        lines.append("Run the same command again to retry only the calls that failed.")
    return lines


def _scores(score: Mapping[str, Any]) -> list[str]:
    statuses = score["scores_by_status"]
    unscored = {k: n for k, n in statuses.items() if k != "ok"}
    aside = f"; not scored: {_counted(unscored)}" if unscored else ""
    return [f"Student: {_of(statuses.get('ok', 0), 'candidate')} scored{aside}."]


def _quality_gate(gate: Mapping[str, Any] | None) -> list[str]:
    if gate is None:
        return []
    if not gate["fitted"]:
        return [f"Quality gate: not fitted, so it rejects nothing ({gate['detail']})."]
    from tutelage.reporting.number_format import share

    found = gate["false_refusals"]
    rejected = f"{sum(gate['refused'].values()):,} of {_of(gate['judged'], 'candidate')} rejected"
    interval = f"95 % CI {share(found['low'])} to {share(found['high'])}"
    held_out = f"{share(found['share'])} of held-out clean candidates were rejected ({interval})"
    return [
        f"Quality gate: {rejected} ({_counted(gate['refused']) or 'none'}).",
        f"Quality gate: {held_out}.",
    ]


def chosen(select: Mapping[str, Any]) -> str:
    """Number of examples kept, by version."""
    kept, examples = select["kept"], select["examples"]
    names = {
        "original": "original",
        "instruction_reflection": "rewritten instruction",
        "response_reflection": "rewritten response",
        "sample": "sampled response",
    }
    steps = ", ".join(f"{names.get(k, k)} {n:,}" for k, n in select["steps_kept"].items())
    counted = f"Choice: {kept:,} of {_of(examples, 'example')} kept"
    return f"{counted}: {steps}." if steps else f"{counted}."


def overruled(select: Mapping[str, Any]) -> list[str]:
    """Number of manually changed decisions; empty without any."""
    changed = select.get("overruled")
    return (
        [f"A person changed {changed:,} of these decisions (overrides.jsonl)."] if changed else []
    )


def _of(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{n:,} {name}" for name, n in ordered)


def notes_in(tally: Mapping[str, Any]) -> Iterator[str]:
    """Notes about the data that was read.

    Args:
        tally: Tally of the stage that read it, or of several stages by name.
    """
    for stage in (tally, tally.get("load", {}), tally.get("score", {})):
        yield from stage.get("notes", ()) if isinstance(stage, Mapping) else ()


def _explained(counts: Mapping[str, int]) -> str:
    from tutelage.reporting.number_format import reason_words

    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{n:,} {name} ({reason_words(name)})" for name, n in ordered)


def estimate_facts(found: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on the data and on the teacher.

    Args:
        found: What a function such as `estimate_run` returns.
    """
    if "rows" in found:
        nothing = " Nothing was sent to the teacher." if "calls" in found else ""
        yield f"Data: {_of(found['rows'], 'row')} read.{nothing}"
    if "candidates" in found:
        nothing = " Nothing was sent to the teacher." if "calls" in found else ""
        yield f"Candidates: {found['candidates']:,}.{nothing}"
    if "cells" in found:
        yield f"Cells: {found['cells']:,}, {found['done']:,} of them done."
    if "tasks" in found:
        yield f"Tasks: {found['tasks']:,}, {found['done']:,} of them done."
    if "calls" not in found:
        return
    calls, cached = _of(found["calls"], "call"), found["calls_in_journal"]
    waiting = found.get("calls_in_batches")
    batches = f", {waiting:,} waiting in batches" if waiting else ""
    yield f"Teacher: {calls} to send, {cached:,} answered from the teacher cache{batches}."
    tokens = f"about {found['prompt_tokens']:,} prompt tokens"
    yield f"Tokens: {tokens}, at most {found['max_completion_tokens']:,} completion tokens."
    if found["currency"] is None or found["cost_expected"] is None:
        yield "Cost: unknown, because no prices are set (--prices, or teacher.prices)."
    else:
        expected, most = found["cost_expected"], found["cost_at_most"]
        yield f"Cost: about {expected:.4f} {found['currency']}, at most {most:.4f}."


def estimate_parts(found: Mapping[str, Any]) -> Iterator[str]:
    """One line for each part of the work.

    Args:
        found: What a function such as `estimate_run` returns.
    """
    for part in found["work"]:
        tokens = "" if part["tokens"] is None else f", {part['tokens']:,} tokens"
        count = f"{part['count']:,} {part['unit']}"
        yield f"{part['stage']}: {count}{tokens}, {part_time(part)} ({part['basis']})"


def part_time(part: Mapping[str, Any]) -> str:
    """The time of one part of the work, in words."""
    from tutelage.reporting.number_format import duration

    return "unknown" if part["seconds"] is None else duration(part["seconds"])


def estimate_total(found: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on the time of the whole job.

    Args:
        found: What a function such as `estimate_run` returns.
    """
    from tutelage.reporting.number_format import duration

    unknown = [part["stage"] for part in found["work"] if part["seconds"] is None]
    if unknown:
        known = duration(found["seconds_known"])
        yield f"Time: {known}, without parts whose time is not known yet: {', '.join(unknown)}."
    else:
        yield f"Time: about {duration(found['seconds'])} on this machine."
    if "note" in found:
        yield f"Note: {found['note']}."
