"""Headline of a run: the same sentences and numbers on the page, in Markdown and as text."""

from collections import Counter
from dataclasses import dataclass

from tutelage.reporting.number_format import (
    count,
    duration,
    listed,
    money,
    number,
    reason_words,
    set_words,
    share,
)
from tutelage.reporting.run_summary import CHOSEN, SetTally, Summary

WITHOUT_STUDENT = frozenset(
    (
        "random",
        "longest",
        "all_original",
        "all_refined",
        "keep_all",
        "permuted",
        "length_matched",
        "refused_version",
        "cheap",
        "oracle",
    )
)
"""Rules that do not select by the student: they compare none of its numbers, or not those of the
row.
"""

_LEAST_COMPARED = 2
"""Least number of examples of a set with an interval for its means."""

_TO_THE_CHOICE = frozenset(("load", "refine", "sample", "score", "select"))
"""Stages before the decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Headline number with its label.

    Attributes:
        value: The number with its unit.
        label: Text next to the number.
    """

    value: str
    label: str


def facts(summary: Summary) -> tuple[Fact, ...]:
    """Headline numbers, the input first."""
    flow = summary.flow
    found = [Fact(value=f"{flow.rows():,}", label="input rows")]
    found.append(Fact(value=f"{flow.examples:,}", label="examples"))
    if summary.rule is not None or summary.kept:
        refined = flow.rows("kept_refined")
        found += [
            Fact(
                value=f"{summary.kept:,} ({share(summary.kept / (flow.examples or 1))})",
                label="examples kept",
            ),
            Fact(value=f"{flow.rows('kept_original'):,}", label="kept as they were"),
            Fact(value=f"{refined:,}", label="kept in a rewritten version"),
            Fact(value=f"{flow.rows('refused'):,}", label="dropped"),
        ]
    else:
        found.append(Fact(value=f"{summary.scored:,}", label="versions scored"))
    if summary.account.cost is not None:
        found.append(
            Fact(
                value=money(summary.account.cost, summary.account.currency),
                label="paid to the teacher",
            )
        )
    seconds = sum(s for name, s in summary.account.seconds if name.split()[0] in _TO_THE_CHOICE)
    if seconds:
        found.append(Fact(value=duration(seconds), label="from reading to choosing"))
    return tuple(found)


def opening(summary: Summary) -> tuple[str, ...]:
    """Opening sentences: what happened in the run."""
    paragraphs = [f"{_input(summary)} {_choice(summary)}", _beside(summary), _cost(summary)]
    return tuple(p for p in paragraphs if p)


def _input(summary: Summary) -> str:
    flow = summary.flow
    rows, examples = flow.rows(), flow.examples
    if rows == examples:
        if rows == 1:
            return "The one input row became an example."
        return f"All {count(rows, 'input row')} became examples." if rows else "There were no rows."
    ended: Counter[str] = Counter()
    for path in flow.paths:
        if path.writing is None:
            ended[path.reading] += path.rows
    reasons = listed([f"{reason_words(r)}: {n:,}" for r, n in ended.most_common(3)])
    more = " and other reasons" if len(ended) > 3 else ""  # noqa: PLR2004  (as many as are named)
    verb = "became an example" if examples == 1 else "became examples"
    return (
        f"Of {count(rows, 'input row')}, {examples:,} {verb}; the rest did not ({reasons}{more})."
    )


def _choice(summary: Summary) -> str:
    flow, student = summary.flow, summary.student
    if summary.rule is None and not summary.kept:
        if student is None:
            return "No student has scored them yet."
        return (
            f"The student {student} scored {count(summary.scored, 'version')} of them. "
            "Nothing has been chosen yet."
        )
    by_itself = (summary.rule or "").split(",")[0].strip() in WITHOUT_STUDENT
    who = f"The student {student}" if student and not by_itself else "The rule"
    kept, dropped = summary.kept, flow.rows("refused")
    reasons: Counter[str] = Counter()
    for path in flow.paths:
        if path.kind == "refused":
            reasons[path.deciding or ""] += path.rows
    words = (
        f"{who} kept {kept:,} of {count(flow.examples, 'example')} "
        f"({share(kept / (flow.examples or 1))}): {flow.rows('kept_refined'):,} in a rewritten "
        f"version and {flow.rows('kept_original'):,} as they were. It dropped {dropped:,}"
    )
    if reasons:
        reason, times = reasons.most_common(1)[0]
        words += f", most often with this reason: {reason_words(reason)} ({times:,})"
    rule = f" The rule was {summary.rule}." if summary.rule else ""
    return f"{words}.{rule}"


def _beside(summary: Summary) -> str:
    chosen = next((s for s in summary.sets if s.name == CHOSEN), None)
    others = [s for s in summary.sets if s.name != CHOSEN]
    if not others:
        return ""
    if chosen is None or not chosen.size:
        return "Nothing was kept, so there is no selection to compare with baselines."
    lengths = [f"{set_words(s.name)} {number(s.tokens.value)}" for s in others if s.tokens]
    said = ""
    if chosen.tokens and lengths:
        said = (
            f"A kept response has {number(chosen.tokens.value)} tokens on average. The averages "
            f"in sets of the same size chosen without the student: {', '.join(lengths)}. "
        )
    return f"{said}{_random(summary, chosen, others)}".strip()


def _random(summary: Summary, chosen: SetTally, others: list[SetTally]) -> str:
    random = next((s for s in others if s.name == "random"), None)
    if random is None:
        return ""
    if min(chosen.size, random.size) < _LEAST_COMPARED:
        return (
            "One example is too few for an interval, so the selection is not compared with random."
        )
    apart: list[str] = []
    alike: list[str] = []
    for name, mine, theirs in zip(summary.metrics, chosen.means, random.means, strict=True):
        if mine is None or theirs is None:
            continue
        (apart if mine.differs_from(theirs) else alike).append(name)
    parts = []
    if apart:
        parts.append(f"Compared with the random set, the selection differs in {listed(apart)}")
    if alike:
        start = (
            "but not clearly in"
            if apart
            else "Compared with the random set, there is no clear difference in"
        )
        parts.append(f"{start} {listed(alike)}")
    if not parts:
        return ""
    return (
        f"{', '.join(parts)} (95 % intervals of the difference of means). That a set looks "
        "different to the student does not prove that training on it helps."
    )


def _cost(summary: Summary) -> str:
    tally = dict(summary.account.teacher)
    said = []
    if "asked" in tally:
        who = listed(summary.teachers) or "The teacher"
        journal = tally.get("from_journal")
        from_journal = f", {journal:,} of them answered from the teacher cache" if journal else ""
        asked = tally["asked"]
        times = count(asked, "request") if isinstance(asked, int | float) else f"{asked} requests"
        said.append(f"{who} got {times}{from_journal}.")
    if summary.account.cost is not None:
        said.append(f"That cost {money(summary.account.cost, summary.account.currency)}.")
    seconds = sum(s for name, s in summary.account.seconds if name.split()[0] in _TO_THE_CHOICE)
    if seconds:
        said.append(f"The run took {duration(seconds)}.")
    return " ".join(said)
