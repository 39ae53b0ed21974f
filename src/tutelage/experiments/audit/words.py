"""Sentences of an audit: recommendation, headline numbers and terminal text."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from tutelage.experiments.audit.findings import (
    BEYOND,
    BreakEven,
    Recommendation,
    SideFinding,
    break_even_table,
)
from tutelage.gate import Prevalence, Share
from tutelage.reporting import Fact
from tutelage.reporting.number_format import count, duration, listed, share

KIND_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "mismatched": "mismatched: answers something else",
        "other_language": "in another language",
        "truncated": "truncated",
        "echoing": "echoing the instruction",
        "repetitive": "repetitive",
        "low_effort": "low-effort: a refusal",
        "corrupted": "corrupted: scrambled, misspelt or broken markup",
        "template_or_turns": "with template text or invented turns",
        BEYOND: "far beyond the student",
    }
)
"""Name of each kind of fault."""
SIDE_WORDS: Mapping[str, str] = MappingProxyType(
    {"rewritten": "rewrites", "sampled": "sampled responses", "original": "original rows"}
)
REASONS = {
    "no_detector": "not estimated: too few of these rows could be given this fault",
    "low_hit_rate": "not estimated: the gate rejects fewer than half of the planted ones",
}


def interval(found: Prevalence | Share | None) -> str:
    """Share with its interval.

    Examples:
        >>> interval(Prevalence(share=0.12, low=0.08, high=0.17))
        '12 % (95 % interval 8.0 % to 17 %)'
    """
    if found is None:
        return "not known"
    value = found.share if isinstance(found, Prevalence) else found.fraction
    return f"{share(value)} (95 % interval {share(found.low)} to {share(found.high)})"


def noun_of(side: SideFinding, *, alone: bool) -> str:
    """Name of the versions of a side; rows where there are no versions."""
    return "rows" if alone and side.side == "original" else SIDE_WORDS[side.side]


def headline(
    advice: Recommendation | None, side: SideFinding, *, noun: str, detail: str | None
) -> list[str]:
    """Recommendation and its basis, in sentences.

    Args:
        advice: What is recommended, or None.
        side: The side it is about.
        noun: Noun for its versions.
        detail: Why no gate was fitted, where none was.
    """
    if advice is None:
        why = detail or f"no {noun} are left to measure it on"
        return [f"No recommendation. The gate that finds faulty {noun} could not be used: {why}."]
    return [f"{label_of(advice, noun=noun)}.", _basis(advice, side, noun=noun)]


def label_of(advice: Recommendation, *, noun: str) -> str:
    """Recommendation in a few words."""
    return {
        "choose": "Choosing is likely to pay",
        "verify_first": "Verify first",
        "keep_all": f"Keep all {noun}",
    }[advice.advice]


def _basis(advice: Recommendation, side: SideFinding, *, noun: str) -> str:
    found = f"An estimated {interval(side.estimate)} of the {noun} look faulty"
    bar = "harm and benefit are not measured"
    for row in break_even_table(side):
        if row.ratio == 1.0:
            bar = (
                f"if a faulty one harms as much as a clean one helps, which is not measured, "
                f"choosing pays above {share(row.share)} ({even_range(row)})"
            )
    return {
        "many_faults": f"{found}; {bar}. The gate finds {interval(side.hit_rate)} of planted "
        "faults.",
        "has_references": f"{found}, too few for choosing alone to be likely to pay. Most of these "
        "examples have a reference answer, and the gate cannot see fluent wrong answers: check "
        "them with `tutelage verify`.",
        "unclear": f"{found}; {bar}. So this sample does not show whether choosing pays: read "
        "some of the rejected ones, or audit more rows (--examples) if there are more.",
        "doubtful": f"{found}, but {_doubts(side)}. Either many rows have the fault, "
        "or your rows are like this by nature; the gate cannot tell which. Read the examples.",
        "gate_blind": f"The gate finds only {interval(side.hit_rate)} of the faults that were "
        f"planted into these {noun}: either this student cannot tell faulty ones, or most of the "
        f"{noun} are faulty already. Read some of them.",
        "few_faults": f"{found}; {bar}. Choosing has little to remove here.",
    }[advice.because]


def _doubts(side: SideFinding) -> str:
    """Kinds for which more rows look faulty than estimated, with their shares."""
    told = " and ".join(
        f"{share(k.alike.fraction)} look {KIND_WORDS[k.kind].partition(':')[0]}"
        for k in side.kinds
        if k.looks_more_frequent and k.alike is not None
    )
    if told:
        return f"{told} (they score like a typical planted row)"
    return missed_words([k.missed for k in side.kinds if k.missed is not None])


def missed_words(missed: Sequence[tuple[str, Share]]) -> str:
    """Planted faults that the gate often misses, in words."""
    told = listed([f"{share(rate.fraction)} of planted `{fault}`" for fault, rate in missed])
    return f"the gate finds only {told}"


def range_of(found: Prevalence | None) -> str | None:
    """Interval without its share."""
    return None if found is None else f"{share(found.low)} to {share(found.high)}"


def even_range(row: BreakEven) -> str:
    """Break-even share at the ends of the gate's intervals."""
    low, high = ("never" if x is None else share(x) for x in (row.low, row.high))
    return f"{low} to {high}"


def facts_of(sides: Sequence[SideFinding], *, examples: int, seconds: float) -> tuple[Fact, ...]:
    """Headline numbers of an audit.

    Args:
        sides: Findings on each side, the main one first.
        examples: Examples read.
        seconds: Duration.
    """
    main = sides[0]
    found = [Fact(value=f"{examples:,}", label="examples read")]
    if main.estimate is not None:
        found.append(Fact(value=share(main.estimate.share), label="estimated to look faulty"))
    if main.hit_rate is not None and main.false_refusals is not None:
        found.append(Fact(value=share(main.hit_rate.share), label="planted faults found"))
        found.append(Fact(value=share(main.false_refusals.fraction), label="clean ones rejected"))
    found.append(Fact(value=share(main.beyond.fraction), label="far beyond the student"))
    return (*found, Fact(value=duration(seconds), label="time"))


def text_of(sides: Sequence[SideFinding], *, opening: Sequence[str], start: str, page: str) -> str:
    """Text of an audit for a terminal.

    Args:
        sides: Findings on each side.
        opening: The recommendation, in sentences.
        start: The first line.
        page: Path of the page.
    """
    lines = [start, "", *opening]
    alone = len(sides) == 1
    for side in sides:
        lines += ["", *_side_lines(side, noun=noun_of(side, alone=alone))]
    main = sides[0]
    if rows := break_even_table(main):
        lines += [
            "",
            "Break-even share: choosing pays if more are faulty than this. B is the benefit",
        ]
        lines += ["of a clean one and H the harm of a faulty one; neither is measured:"]
        lines += [
            f"  B / H = {row.ratio:<4g} {'never' if row.share is None else share(row.share):>7}"
            f"   ({even_range(row)})   is the estimated share above it? {row.is_above}"
            for row in rows
        ]
    return "\n".join([*lines, "", f"Page: {page}"])


def _side_lines(side: SideFinding, *, noun: str) -> Iterator[str]:
    if side.estimate is not None:
        texts = count(side.measured, "text")
        yield f"Estimated share of {noun} that look faulty, from {texts}:"
        yield f"  {'any fault':<50} {_padded(side.estimate)}"
    for k in side.kinds:
        told = REASONS[k.reason] if k.reason else _padded(k.estimate)
        if k.looks_more_frequent and k.alike is not None:
            told += f"; doubtful: {share(k.alike.fraction)} score like a typical planted row"
        elif k.missed is not None and k.reason is None:
            told += f"; doubtful: {missed_words([k.missed])}"
        yield f"  {KIND_WORDS[k.kind]:<50} {told}"
    if side.false_refusals is not None:
        rates = f"The gate rejects {interval(side.hit_rate)} of planted faults and "
        clean = f"{interval(side.false_refusals)} of {noun} that do not look like one."
        yield rates + clean
    yield f"Far beyond the student: {interval(side.beyond)} of {count(side.read, 'text')}."


def _padded(found: Prevalence | None) -> str:
    if found is None:
        return "not known"
    return f"{share(found.share):>6}   ({share(found.low)} to {share(found.high)})"
