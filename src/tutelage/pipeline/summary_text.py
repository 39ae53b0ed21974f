"""What a run came to, in a few sentences."""

from collections.abc import Mapping
from typing import Any

ASKED_AGAIN = frozenset(("teacher_failed", "over_budget", "not_in_journal"))
"""Statuses that the next run may mend."""


def in_words(summary: Mapping[str, Any]) -> str:
    """The tallies of a run as a person would say them.

    Args:
        summary: What `run_all` returns.

    Returns:
        A few lines of text.
    """
    load, select = summary["load"], summary["select"]
    lines = [
        _rows(load),
        *_teacher(summary["refine"]),
        *_scores(summary["score"]),
        *_quality_gate(summary.get("quality_gate")),
        *_choice(select),
    ]
    if summary["report"]:
        lines.append(f"Report: {summary['report']}")
    return "\n".join(lines)


def _rows(load: Mapping[str, Any]) -> str:
    others = {k: n for k, n in load["rows_by_status"].items() if k != "ok"}
    aside = f" ({_counted(others)})" if others else ""
    return f"Rows: {load['rows']} read, {_of(load['examples'], 'example')}{aside}."


def _teacher(refine: Mapping[str, Any]) -> list[str]:
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
    aside = f"; the others are no candidates ({_counted(bad)})" if bad else ""
    paid = refine["teacher"]
    cost = ""
    if paid["currency"] and paid["answered"]:
        cost = f" for {paid['cost']:.4f} {paid['currency']}"
    asked = f"{paid['answered']} new calls, {paid['from_journal']} cached{cost}"
    lines = [f"Teacher: {good} of {total} reflections are usable ({asked}){aside}."]
    if refine.get("away"):
        lines.append(f"Teacher: {refine['away']}.")
    if refine.get("capped"):
        lines.append(f"Teacher: {refine['capped']}.")
    if bad.keys() & ASKED_AGAIN:
        lines.append("The same command asks again, and only for what the teacher failed to answer.")
    return lines


def _scores(score: Mapping[str, Any]) -> list[str]:
    statuses = score["scores_by_status"]
    unscored = {k: n for k, n in statuses.items() if k != "ok"}
    aside = f"; not scored, and never chosen: {_counted(unscored)}" if unscored else ""
    return [f"Student: {_of(statuses.get('ok', 0), 'candidate')} scored{aside}."]


def _quality_gate(gate: Mapping[str, Any] | None) -> list[str]:
    if gate is None:
        return []
    if not gate["fitted"]:
        return [f"Quality gate: not fitted, so nothing is refused by it ({gate['detail']})."]
    share = gate["false_refusals"]
    refused = f"{sum(gate['refused'].values())} of {gate['judged']} candidates refused"
    interval = f"95 % CI {share['low']:.1%} to {share['high']:.1%}"
    held_out = f"of held-out clean candidates {share['share']:.1%} were refused ({interval})"
    return [
        f"Quality gate: {refused} ({_counted(gate['refused']) or 'none'}).",
        f"Quality gate: {held_out}.",
    ]


def _choice(select: Mapping[str, Any]) -> list[str]:
    kept, examples = select["kept"], select["examples"]
    names = {
        "original": "the original",
        "instruction_reflection": "the instruction reflection",
        "response_reflection": "the response reflection",
        "sample": "a sampled response",
    }
    steps = ", ".join(f"{names.get(k, k)} {n}" for k, n in select["steps_kept"].items())
    chosen = f"Choice: {kept} of {_of(examples, 'example')} kept"
    lines = [f"{chosen}: {steps}." if steps else f"{chosen}."]
    lines += [f"  {n:>6}  {reason}" for reason, n in select["reasons"].items()]
    if select.get("overruled"):
        lines.append(f"A person overruled {select['overruled']} of these (overrides.jsonl).")
    return lines


def _of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{n} {name}" for name, n in ordered)
