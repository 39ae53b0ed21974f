"""Report section about the quality gate: what it rejected, and how reliable it is.

Every number in its sentences is also in its tables.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from tutelage.data import ORIGINAL
from tutelage.data.schemas import QUALITY_GATE
from tutelage.errors import DataError, RunError
from tutelage.gate import CalibratedGate, FaultResult
from tutelage.pipeline.gate_results import JUDGED, gate_document, read_gate
from tutelage.pipeline.run_dir import RunFolder

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
    def refused(self) -> Mapping[str, int]:
        """Rejected versions by fault, the most frequent first."""
        both = Counter(self.originals) + Counter(self.others)
        return dict(sorted(both.items(), key=lambda item: (-item[1], item[0])))


def count_gate(run: RunFolder) -> GateCounts:
    """Count the results of a run's gate."""
    columns = ["candidate_id", "status", "passed", "fault"]
    rows = pq.read_table(run.need(run.quality_gate_table), columns=columns).to_pylist()
    steps = pq.read_table(run.need(run.candidates), columns=["candidate_id", "step"]).to_pylist()
    step_of = {row["candidate_id"]: row["step"] for row in steps}
    refused = [row for row in rows if row["status"] == JUDGED and not row["passed"]]
    originals = [row for row in refused if step_of.get(row["candidate_id"]) == ORIGINAL]
    others = [row for row in refused if step_of.get(row["candidate_id"]) != ORIGINAL]
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
        tables=(*_refused_table(counts), _held_out_table(gate)),
    )


def _sentences(gate: CalibratedGate, counts: GateCounts, *, in_force: bool) -> Iterator[str]:
    from tutelage.reporting.number_format import count, share

    refused = sum(counts.refused.values())
    said = f"The gate rejected {refused:,} of {count(counts.judged, 'judged version')}"
    if refused:
        fault, most = next(iter(counts.refused.items()))
        said += f" ({share(refused / counts.judged)}), most often for {_plain(fault)} ({most:,})"
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


def _refused_table(counts: GateCounts) -> "Iterator[Table]":
    from tutelage.reporting import Column, Table, schema_columns

    if not counts.refused:
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
            for fault, n in counts.refused.items()
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
