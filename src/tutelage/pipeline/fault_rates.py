"""Drop rates of candidates by teacher, step and kind of fault, from the tables of a run.

A candidate counts once for each fault that was found in it, so the rates of one teacher and step
need not add up to the share of its candidates with any fault.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tutelage.data import ORIGINAL
from tutelage.data.schemas import CANDIDATES, QUALITY_GATE
from tutelage.pipeline.row_weights import student_with_scores
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sql_views import open_tables
from tutelage.pipeline.verdict_parts import UNNAMED

if TYPE_CHECKING:
    from tutelage.reporting import Section

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
