"""Report sections of a run: its quality gate, and drop rates by teacher, step and kind of fault.

Every number in the sentences about the gate is also in its tables. A candidate counts once for
each fault that was found in it, so the rates of one teacher and step need not add up to the share
of its candidates with any fault.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from tutelage.data import ORIGINAL
from tutelage.data.schemas import CANDIDATES, QUALITY_GATE
from tutelage.errors import DataError, RunError
from tutelage.gate import CalibratedGate, FaultResult
from tutelage.pipeline.gate_results import JUDGED, gate_document, read_gate
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import student_with_scores
from tutelage.pipeline.tables import UNNAMED, open_tables

if TYPE_CHECKING:
    from tutelage.reporting import Figure, Section, Table

_STRONG = "strong"
_TITLE = "What the quality gate rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCounts:
    """Counts of a run's versions by the gate's judgement.

    Attributes:
        judged: Versions that were judged.
        originals: Rejected originals by their most likely fault.
        others: Rejected versions of every other step.
        unjudged: Versions that were not judged, by status.
    """

    judged: int
    originals: Mapping[str, int]
    others: Mapping[str, int]
    unjudged: Mapping[str, int]

    @property
    def rejected(self) -> Mapping[str, int]:
        """Rejected versions by fault, the most frequent first."""
        both = Counter(self.originals) + Counter(self.others)
        return dict(sorted(both.items(), key=lambda item: (-item[1], item[0])))


def count_gate(run: RunFolder) -> GateCounts:
    """Count the results of a run's gate."""
    columns = ["candidate_id", "status", "passed", "fault"]
    rows = pq.read_table(run.need(run.quality_gate_table), columns=columns).to_pylist()
    steps = pq.read_table(run.need(run.candidates), columns=["candidate_id", "step"]).to_pylist()
    step_of = {row["candidate_id"]: row["step"] for row in steps}
    rejected = [row for row in rows if row["status"] == JUDGED and not row["passed"]]
    originals = [row for row in rejected if step_of.get(row["candidate_id"]) == ORIGINAL]
    others = [row for row in rejected if step_of.get(row["candidate_id"]) != ORIGINAL]
    return GateCounts(
        judged=sum(row["status"] == JUDGED for row in rows),
        originals=Counter(str(row["fault"]) for row in originals),
        others=Counter(str(row["fault"]) for row in others),
        unjudged=Counter(str(row["status"]) for row in rows if row["status"] != JUDGED),
    )


def gate_section(run: RunFolder, *, in_force: bool) -> "Iterator[Section]":
    """Section about the gate; none where the run has no gate.

    Args:
        run: The run folder.
        in_force: Whether the decisions that are reported on use the gate.
    """
    from tutelage.reporting import Section

    if not run.quality_gate.exists() or not run.quality_gate_table.exists():
        return
    try:
        gate, document = read_gate(run), gate_document(run)
    except (DataError, RunError) as error:  # of another version, or cut short
        said = f"The quality gate of this run cannot be read: {error}."
        yield Section(key="gate", title=_TITLE, paragraphs=(said,))
        return
    if gate is None:
        said = f"No gate was fitted, so nothing was rejected: {document.get('detail')}."
        yield Section(key="gate", title=_TITLE, paragraphs=(said,))
        return
    counts = count_gate(run)
    yield Section(
        key="gate",
        title=_TITLE,
        paragraphs=tuple(_sentences(gate, counts, in_force=in_force)),
        figures=_figure(gate.results),
        tables=(*_rejected_table(counts), _held_out_table(gate)),
    )


def _sentences(gate: CalibratedGate, counts: GateCounts, *, in_force: bool) -> Iterator[str]:
    from tutelage.reporting.number_format import count, share

    rejected = sum(counts.rejected.values())
    said = f"The gate rejected {rejected:,} of {count(counts.judged, 'judged version')}"
    if rejected:
        fault, most = next(iter(counts.rejected.items()))
        said += f" ({share(rejected / counts.judged)}), most often for {_plain(fault)} ({most:,})"
    yield f"{said}."
    if not in_force:
        yield "The decisions of this report do not use the gate: they were made with it off."
    if counts.unjudged:
        versions = count(sum(counts.unjudged.values()), "version")
        yield f"Not judged, and so not rejected: {versions} ({_listed(counts.unjudged)})."
    clean = gate.false_refusals
    yield (
        f"Of {count(clean.rows, 'clean version')} that were held out of the fit, it rejected "
        f"{share(clean.fraction)} (95 % interval {share(clean.low)} to {share(clean.high)}); "
        f"{share(gate.max_false_refusals)} were allowed."
    )
    left_out = [r for r in gate.results if r.left_out_auc is not None and r.dose == _STRONG]
    if left_out:
        hardest = min(left_out, key=lambda r: (r.left_out_auc or 0.0, r.fault))
        yield (
            "Each fault was also left out of the fit, as if it had never been planted. The fault "
            f"that is then hardest to distinguish from clean versions is {_plain(hardest.fault)} "
            f"(strong dose): AUC {hardest.left_out_auc:.3f}, where 0.5 is chance level."
        )
    if gate.suspected:
        versions = count(sum(gate.suspected.values()), "version")
        yield (
            f"Before the fit {versions} of your own looked faulty and did not count as clean: "
            f"{_listed(gate.suspected)}."
        )
    for fault, why in gate.skipped.items():
        yield f"No detector for {_plain(fault)}: {why}."


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_plain(name)} {n:,}" for name, n in counts.items())


def _rejected_table(counts: GateCounts) -> "Iterator[Table]":
    from tutelage.reporting import Column, Table, schema_columns

    if not counts.rejected:
        return
    yield Table(
        caption="Rejected versions by their most likely fault",
        columns=(
            *schema_columns(QUALITY_GATE, ("fault",)),
            Column(name="originals", style="count"),
            Column(name="other versions", style="count"),
            Column(name="all", style="count"),
            Column(name="of all judged", style="share"),
        ),
        rows=tuple(
            (
                _plain(fault),
                counts.originals.get(fault, 0),
                counts.others.get(fault, 0),
                n,
                n / counts.judged,
            )
            for fault, n in counts.rejected.items()
        ),
        note="The fault whose detector is furthest above its threshold. tutelage explain and the "
        "viewer show the numbers behind each verdict.",
    )


def _held_out_table(gate: CalibratedGate) -> "Table":
    from tutelage.reporting import Column, Table, schema_columns

    clean = gate.false_refusals
    return Table(
        caption="Planted faults in held-out rows, with the fault in the fit and left out of it",
        columns=(
            *schema_columns(QUALITY_GATE, ("fault",)),
            Column(name="dose"),
            Column(name="rows", style="count"),
            Column(name="rejected", style="share"),
            Column(name="from", style="share"),
            Column(name="to", style="share"),
            Column(name="AUC", style="number"),
            Column(name="rejected, left out", style="share"),
            Column(name="AUC, left out", style="number"),
        ),
        rows=(
            (
                "none (clean)",
                None,
                clean.rows,
                clean.fraction,
                clean.low,
                clean.high,
                None,
                None,
                None,
            ),
            *(
                (
                    _plain(r.fault),
                    r.dose,
                    r.refused.rows,
                    r.refused.fraction,
                    r.refused.low,
                    r.refused.high,
                    r.auc,
                    None if r.left_out_refused is None else r.left_out_refused.fraction,
                    r.left_out_auc,
                )
                for r in gate.results
            ),
        ),
        note="Left out: results without the detector and planted rows of this fault, as for a "
        "fault that was never planted. AUC: the probability that a faulty version is further above "
        "the thresholds than a clean one.",
    )


def _figure(results: Sequence[FaultResult]) -> "tuple[Figure, ...]":
    from tutelage.reporting import Column, Figure, Table, schema_columns

    strong = sorted(
        (r for r in results if r.dose == _STRONG), key=lambda r: (-r.refused.fraction, r.fault)
    )
    if not strong:
        return ()
    rows = tuple(
        (_plain(r.fault), r.refused.fraction, r.refused.low, r.refused.high) for r in strong
    )
    caption = "Share of held-out planted faults rejected, strong dose"
    return (
        Figure(
            title=caption,
            alt=f"{caption}, with the 95 % interval of each fault.",
            draw=partial(_draw, rows),
            table=Table(
                caption=caption,
                columns=(
                    *schema_columns(QUALITY_GATE, ("fault",)),
                    *(Column(name=n, style="share") for n in ("rejected", "from", "to")),
                ),
                rows=rows,
            ),
            in_text=False,
        ),
    )


def _draw(rows: Sequence[tuple[str, float, float, float]]) -> str:
    from tutelage.reporting.charts import interval_chart

    return interval_chart(rows, unit="share rejected", first=())


def _plain(name: Any) -> str:
    return str(name).replace("_", " ")


_OWN_TEXT = "the user's own text"
_ROWS_BEFORE_FOLDING = 24

_WRITTEN = """
select candidate_id, 'writing' as stage, status as fault from candidates where status <> 'ok'
"""
_SCORED = """
select c.candidate_id, 'scoring', s.status
from candidates c join scores s on s.candidate_id = c.candidate_id
where c.status = 'ok' and s.status <> 'ok'
"""
_FILTERED = """
select c.candidate_id, 'filter', coalesce(f.reason, 'filtered_out')
from candidates c join filters f on f.candidate_id = c.candidate_id
where c.status = 'ok' and not f.kept
"""
_GATED = """
select c.candidate_id, 'quality gate', coalesce(q.fault, 'quality_gate')
from candidates c join quality q on q.candidate_id = c.candidate_id
where c.status = 'ok' and not q.passed
"""
_VERIFIED = """
select c.candidate_id, 'check ' || {check}, v.verdict
from candidates c join verdicts v on v.candidate_id = c.candidate_id
where c.status = 'ok' and v.verdict in ('wrong', 'no_answer')
"""
_RATES = """
with faults as ({faults}),
written as (select teacher, step, count(*) as n from candidates group by all),
found as (
    select c.teacher, c.step, f.stage, f.fault, count(distinct c.candidate_id) as n
    from faults f join candidates c on c.candidate_id = f.candidate_id group by all
),
faulty as (
    select c.teacher, c.step, count(distinct c.candidate_id) as n
    from faults f join candidates c on c.candidate_id = f.candidate_id group by all
)
select w.teacher, w.step, w.n, f.stage, f.fault, f.n, y.n
from written w
join found f on f.teacher is not distinct from w.teacher and f.step = w.step
join faulty y on y.teacher is not distinct from w.teacher and y.step = w.step
order by w.teacher nulls first, w.step, f.n desc, f.stage, f.fault
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRate:
    """Rate of one kind of fault among the candidates of one teacher and step.

    Attributes:
        teacher: The teacher that wrote them; None for the user's own text.
        step: How they were made.
        candidates: How many there are, those that could not be written among them.
        stage: Where the fault was found: writing, scoring, filter, quality gate or check NAME.
        fault: The status, the reason of the filter, the fault or the verdict.
        count: Candidates with it, at least 1.
        faulty: Candidates of this teacher and step with any fault.
    """

    teacher: str | None
    step: str
    candidates: int
    stage: str
    fault: str
    count: int
    faulty: int

    @property
    def fraction(self) -> float:
        """Share of the candidates with this fault, in (0, 1]."""
        return self.count / self.candidates


def fault_rates(run: RunFolder) -> list[FaultRate]:
    """Rates of all faults by teacher and step, the most frequent first.

    Scores are those of the student that decided. A check that could not be made is no fault.
    """
    if not run.candidates.exists():
        return []
    student = student_with_scores(run)
    parts = [_WRITTEN]
    with open_tables(run, student=student) as tables:
        if student is not None:
            parts.append(_SCORED)
        if run.filters.exists():
            parts.append(_FILTERED)
        if run.quality_gate_table.exists():
            tables.read_parquet(str(run.need(run.quality_gate_table))).create_view("quality")
            parts.append(_GATED)
        if run.verdicts.exists():
            there = {name for name, *_ in tables.execute("describe verdicts").fetchall()}
            parts.append(_VERIFIED.format(check='"check"' if "check" in there else f"'{UNNAMED}'"))
        found = tables.execute(_RATES.format(faults=" union all ".join(parts))).fetchall()
    names = ("teacher", "step", "candidates", "stage", "fault", "count", "faulty")
    return [FaultRate(**dict(zip(names, row, strict=True))) for row in found]


def fault_section(run: RunFolder) -> "Iterator[Section]":
    """Report section about faults by teacher; none where nothing is faulty."""
    from tutelage.reporting import Column, Section, Table, schema_columns
    from tutelage.reporting.number_format import count, reason_words, step_words

    rates = fault_rates(run)
    if not rates:
        return
    most = max(rates, key=lambda rate: (rate.count, rate.fraction))
    who = most.teacher or _OWN_TEXT
    yield Section(
        key="faults",
        title="Faults by teacher, step and kind",
        paragraphs=(
            (
                f"Most often: {reason_words(most.fault)} ({most.stage}) in {most.count:,} of the "
                f"{count(most.candidates, 'candidate')} of {who}, step {step_words(most.step)}. A "
                "candidate counts once for each fault, so the rates of one teacher and step need "
                "not add up to those with any fault."
            ),
        ),
        tables=(
            Table(
                caption="Share of the candidates of a teacher and step in which a fault was found",
                columns=(
                    *schema_columns(CANDIDATES, ("teacher", "step")),
                    Column(name="found by"),
                    *schema_columns(QUALITY_GATE, ("fault",)),
                    Column(name="name in the tables"),
                    Column(name="candidates with this fault", style="count"),
                    Column(name="all candidates", style="count"),
                    Column(name="rate", style="share"),
                    Column(name="with any fault", style="share"),
                ),
                rows=tuple(
                    (
                        rate.teacher or (_OWN_TEXT if rate.step == ORIGINAL else None),
                        step_words(rate.step),
                        rate.stage,
                        reason_words(rate.fault),
                        rate.fault,
                        rate.count,
                        rate.candidates,
                        rate.fraction,
                        rate.faulty / rate.candidates,
                    )
                    for rate in rates
                ),
            ),
        ),
        folded=len(rates) > _ROWS_BEFORE_FOLDING,
    )
