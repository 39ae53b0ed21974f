"""Text of an estimate: the sentences that `--dry-run` prints and that an `Estimate` shows."""

from collections.abc import Iterator, Mapping
from typing import Any


def estimate_facts(found: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on the data and on the teacher.

    Args:
        found: What a function such as `estimate_run` returns.
    """
    if "rows" in found:
        nothing = " Nothing was sent to the teacher." if "calls" in found else ""
        yield f"Data: {_counted(found['rows'], 'row')} read.{nothing}"
    if "candidates" in found:
        nothing = " Nothing was sent to the teacher." if "calls" in found else ""
        yield f"Candidates: {found['candidates']:,}.{nothing}"
    if "cells" in found:
        yield f"Cells: {found['cells']:,}, {found['done']:,} of them done."
    if "tasks" in found:
        yield f"Tasks: {found['tasks']:,}, {found['done']:,} of them done."
    if "calls" not in found:
        return
    calls, cached = _counted(found["calls"], "call"), found["calls_in_journal"]
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
        yield f"Time: {known}, and what is not known yet: {', '.join(unknown)}."
    else:
        yield f"Time: about {duration(found['seconds'])} on this machine."
    if "note" in found:
        yield f"Note: {found['note']}."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
