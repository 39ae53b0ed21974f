"""Report page of an audit: findings in words, tables, figures and examples."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from tutelage.data import Candidate
from tutelage.data.schemas import FAULT_SHARES
from tutelage.experiments.audit.findings import (
    CrossedGates,
    KindFinding,
    SideFinding,
    break_even_table,
)
from tutelage.experiments.audit.words import (
    KIND_WORDS,
    REASONS,
    even_range,
    interval,
    missed_words,
    noun_of,
    range_of,
)
from tutelage.gate import FEATURES
from tutelage.reporting import (
    Column,
    Comparison,
    Figure,
    Section,
    Side,
    Table,
    render_page,
    schema_columns,
)
from tutelage.reporting.blocks import difference, whole
from tutelage.reporting.charts import interval_chart
from tutelage.reporting.number_format import count, share

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
