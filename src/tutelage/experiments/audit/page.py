"""Report page of an audit and its sentences: recommendation, headline, tables and examples."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from tutelage.data import ORIGINAL, Candidate, content_hash
from tutelage.data.schemas import FAULT_SHARES
from tutelage.experiments.audit.findings import (
    BEYOND,
    BreakEven,
    CrossedGates,
    KindFinding,
    Recommendation,
    SideFinding,
    break_even_table,
)
from tutelage.gate import FEATURES, Prevalence, Share
from tutelage.reporting import (
    Column,
    Comparison,
    Fact,
    Figure,
    Section,
    Side,
    Table,
    render_page,
    schema_columns,
)
from tutelage.reporting.blocks import difference, whole
from tutelage.reporting.charts import interval_chart
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
    yield f"Far beyond the student ({noun}): {interval(side.beyond)} of {count(side.read, 'text')}."


def _padded(found: Prevalence | None) -> str:
    if found is None:
        return "not known"
    return f"{share(found.share):>6}   ({share(found.low)} to {share(found.high)})"


_STRONG = "Planted faults have the strong dose of docs/quality-gate.md; milder ones are found less"
SHOWN = 3
"""Examples of each kind on the page."""


def _shares_table(side: SideFinding, *, noun: str) -> Table:
    rows = [_kind_row(k) for k in side.kinds]
    rows.append(
        (
            "any of these",
            None if side.estimate is None else side.estimate.share,
            range_of(side.estimate),
            None if side.refused is None else side.refused.fraction,
            None if side.hit_rate is None else side.hit_rate.share,
            None,
        )
    )
    return Table(
        caption=f"Share of {noun} with each fault",
        columns=(
            *schema_columns(FAULT_SHARES, ("kind",)),
            *schema_columns(FAULT_SHARES, ("share",), style="share"),
            Column(name="95 % interval"),
            Column(name="rejected by the gate", style="share"),
            Column(name="planted ones rejected", style="share"),
            Column(name="scores like a typical planted row", style="share"),
        ),
        rows=tuple(rows),
        note=f"Measured on {count(side.measured, 'text')}, each judged by a gate fitted on "
        "others. The estimate corrects the rejected share for the gate's misses, false rejections "
        f"and confusions between faults (Rogan and Gladen). {_STRONG} often, so the true share "
        "of all faults, mild ones included, can be higher. Kinds without an estimate are not in "
        "the last line. The last column is the share of rows to which a detector gives at least "
        "the score of its median planted row. About half of the rows with the fault should reach "
        "it, and few others. If this share is above the interval, either the estimate is too low "
        f"or clean rows look like the fault.{_missed_note(side)}",
    )


def _missed_note(side: SideFinding) -> str:
    missed = [k.missed for k in side.kinds if k.missed is not None]
    if not missed:
        return ""
    start = missed_words(missed)
    return (
        f" {start[:1].upper()}{start[1:]}: either this student can hardly see it, or many of these "
        "texts have it already, and the estimate is too low."
    )


def _kind_row(k: KindFinding) -> tuple[str | float | None, ...]:
    return (
        KIND_WORDS[k.kind],
        None if k.estimate is None else k.estimate.share,
        REASONS[k.reason] if k.reason else range_of(k.estimate),
        k.named.fraction,
        None if k.hit_rate is None else k.hit_rate.fraction,
        None if k.alike is None else k.alike.fraction,
    )


def _side_section(side: SideFinding, *, noun: str, key: str) -> Section:
    beyond = (
        f"Far beyond the student: {interval(side.beyond)} of {count(side.read, 'text')} that were "
        "read. Even with the instruction, the mean probability that the student gives to a token "
        "of these texts is below one in a hundred (geometric mean; texts of 8 or more tokens that "
        "were not rejected as faulty)."
    )
    if side.false_refusals is None:
        return Section(key=key, title=f"Faulty {noun}", paragraphs=(beyond,))
    rows = [
        (KIND_WORDS[k.kind].partition(":")[0], k.estimate.share, k.estimate.low, k.estimate.high)
        for k in side.kinds
        if k.estimate is not None
    ]
    table = _shares_table(side, noun=noun)
    figure = Figure(
        title=f"Estimated share of {noun} with each fault",
        alt=f"Shares with 95 % intervals: {', '.join(f'{n} {share(v)}' for n, v, *_ in rows)}.",
        draw=partial(interval_chart, rows, unit="share of rows, 0 to 1", first=()),
        table=table,
        layout="beside",
    )
    return Section(
        key=key,
        title=f"Faulty {noun}",
        paragraphs=(beyond,),
        figures=(figure,) if rows else (),
        tables=() if rows else (table,),
    )


def _gate_section(main: SideFinding, gates: CrossedGates, *, noun: str) -> Section:
    first, second = gates.both
    said = (
        f"The gate rejects {interval(main.hit_rate)} of strong planted faults (the mean over the "
        f"kinds) and {interval(main.false_refusals)} of clean {noun}. It was allowed "
        f"{share(first.max_false_refusals)} false rejections. The examples were divided into two "
        f"halves ({first.fit_examples:,} and {second.fit_examples:,} to fit on), and each half was "
        "judged by the gate that was fitted on the other."
    )
    aside = sum(main.suspected.values())
    more = [said]
    if aside:
        kinds = ", ".join(f"{name} {n}" for name, n in sorted(main.suspected.items()))
        more.append(
            f"{count(aside, 'text')} looked so much like a planted fault that they did not count "
            f"as clean: {kinds}."
        )
    return Section(
        key="gate",
        title="How well the gate finds faults here",
        paragraphs=tuple(more),
        tables=(
            Table(
                caption="By planted fault, on held-out examples",
                columns=(
                    *schema_columns(FAULT_SHARES, ("kind",)),
                    Column(name="dose"),
                    Column(name="planted rows", style="count"),
                    Column(name="rejected", style="share"),
                    Column(name="AUC", style="number"),
                    Column(name="rejected, fault left out of training", style="share"),
                ),
                rows=tuple(
                    (
                        r.fault.replace("_", " "),
                        r.dose,
                        r.refused.rows,
                        r.refused.fraction,
                        r.auc,
                        None if r.left_out_refused is None else r.left_out_refused.fraction,
                    )
                    for r in gates.results
                ),
                note="; ".join(
                    f"no detector for {n}: {why}"
                    for n, why in {**first.skipped, **second.skipped}.items()
                ),
            ),
        ),
        folded=True,
    )


def _break_even_section(main: SideFinding, *, noun: str, has_originals: bool) -> Section:
    instead = "its original" if has_originals else "leaving it out"
    return Section(
        key="break-even",
        title="When choosing pays",
        paragraphs=(
            (
                "With the share q of faulty rows, the harm H of training on a faulty one and the "
                f"benefit B of a clean one (both compared with {instead}), choosing pays where "
                "q / (1 - q) > (FPR / TPR) (B / H). The gate's false rejections (FPR) and hit rate "
                "(TPR) are measured here. B and H are not, since that needs training (`tutelage "
                "prove`), so the table gives the break-even share for several ratios."
            ),
        ),
        tables=(
            Table(
                caption=f"Break-even share of faulty {noun}",
                columns=(
                    Column(name="B / H", style="number"),
                    Column(name="choosing pays above", style="share"),
                    Column(name="by the gate's intervals"),
                    Column(name="is the estimated share above it?"),
                ),
                rows=tuple(
                    (
                        row.ratio,
                        "never" if row.share is None else row.share,
                        even_range(row),
                        row.is_above,
                    )
                    for row in break_even_table(main)
                ),
                note="yes, no: the whole 95 % interval of the estimated share is on that side, "
                "for all rates of the gate within their intervals.",
            ),
        ),
    )


def _examples_section(shown: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        key="examples",
        title="Examples of each kind",
        paragraphs=(
            (
                f"For each kind, up to {SHOWN} random rows that the gate rejected (false "
                f"rejections included) and up to {SHOWN} that passed but look like planted faults. "
                "The table under each example lists the features that contributed most to the "
                "verdict; log-odds above 0 indicate the fault."
            ),
        ),
        comparisons=tuple(_comparison(example) for example in shown),
    )


def _comparison(example: Mapping[str, Any]) -> Comparison:
    version: Candidate = example["version"]
    original: Candidate | None = example["original"]
    before = None
    asked, answer = whole(version.instruction), whole(version.response)
    if original is not None:
        old_asked, asked = difference(original.instruction, version.instruction)
        old_answer, answer = difference(original.response, version.response)
        before = Side(title="Original", instruction=old_asked, response=old_answer)
    evidence: Mapping[str, tuple[float | None, float]] = example["evidence"]
    return Comparison(
        title=f"Row {example['row']}: {KIND_WORDS[example['kind']]}",
        about=example["about"],
        before=before,
        after=Side(title=example["title"], instruction=asked, response=answer),
        table=Table(
            caption="Evidence for the fault",
            columns=(
                Column(name="number"),
                Column(name="value", style="number"),
                Column(name="log-odds", style="number"),
            ),
            rows=tuple((_feature(name), value, odds) for name, (value, odds) in evidence.items()),
        ),
    )


def _feature(name: str) -> str:
    plain = name.removesuffix("_less_original")
    more = ", minus that of the original" if plain != name else ""
    return f"{FEATURES.get(plain, plain)}{more}"


def page_of(report: Mapping[str, Any], *, shown: Sequence[Mapping[str, Any]]) -> str:
    """Self-contained HTML page of an audit; without a drawing library, figures become tables.

    Args:
        report: `title`, `sides`, `gates`, `opening`, `facts` and `limits`, as `audit_run` has them.
        shown: The examples, with `version`, `original`, `row`, `kind`, `about` and `evidence`.
    """
    sides: Sequence[SideFinding] = report["sides"]
    gates: CrossedGates | None = report["gates"]
    alone = len(sides) == 1
    noun = noun_of(sides[0], alone=alone)
    sections = [
        _side_section(side, noun=noun_of(side, alone=alone), key=f"faulty-{side.side}")
        for side in sides
    ]
    if gates is not None and sides[0].false_refusals is not None:
        sections.append(_break_even_section(sides[0], noun=noun, has_originals=not alone))
        sections.append(_gate_section(sides[0], gates, noun=noun))
    if shown:
        sections.append(_examples_section(shown))
    sections.append(
        Section(key="limits", title="Limits of this audit", paragraphs=report["limits"])
    )
    return render_page(
        title=report["title"],
        about="an audit before training",
        opening=report["opening"],
        facts=report["facts"],
        sections=sections,
        pictures=all(find_spec(name) for name in ("altair", "vl_convert")),
    )


def shown_first(found: Sequence[dict[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    """Examples with a description; a few of each kind, rejected or not, are `shown` on the page."""
    drawn = sorted(found, key=lambda e: content_hash("audit example", seed, e["candidate_id"]))
    shown: Counter[tuple[str, bool]] = Counter()
    for example in sorted(drawn, key=lambda e: e["step"] == ORIGINAL):
        group = (example["kind"], example["fault"] is not None)
        shown[group] += 1
        example["shown"] = shown[group] <= SHOWN
    return [_with_words(e) for e in sorted(drawn, key=lambda e: (e["kind"], not e["shown"]))]


def _with_words(example: dict[str, Any]) -> dict[str, Any]:
    title = example["title"]
    if example["fault"] is not None:
        fault = example["fault"].replace("_", " ")
        about = (
            f"{title}: most like the planted fault “{fault}”, {example['excess']:.2f} above its "
            "threshold."
        )
    elif example["kind"] != BEYOND:
        about = f"{title}: not rejected, but its text or its scores look like planted ones."
    else:
        about = "Far beyond the student: very surprising even with the instruction."
    return {**example, "about": about}
