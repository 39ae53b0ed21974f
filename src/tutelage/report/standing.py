"""The chapter about what a student knows, and what it can learn from now."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from tutelage.drift import KNOWLEDGE
from tutelage.report.charting import stacked_chart
from tutelage.report.moving_charts import histogram_chart
from tutelage.report.section import Cell, Column, Figure, Section, Table
from tutelage.report.wording import share

_KNOWLEDGE_TINTS = {
    "known": "chosen",
    "maybe_known": "original",
    "weakly_known": "refinement",
    "unknown": "refused",
}


def frontier_sections(frontiers: Sequence[tuple[str, pa.Table]]) -> tuple[Section, ...]:
    """Where one student stands, or several beside each other.

    Args:
        frontiers: A name and a table of the FRONTIER schema for each, the earliest first.
    """
    shares = []
    rates = []
    for name, table in frontiers:
        counts = Counter(k for k in table["knowledge"].to_pylist() if k is not None)
        parts = {k.replace("_", " "): float(counts[k]) for k in KNOWLEDGE}
        shares.append((name, parts))
        rates.append((name, [r for r in table["pass_rate"].to_pylist() if r is not None]))
    tints = {k.replace("_", " "): _KNOWLEDGE_TINTS[k] for k in KNOWLEDGE}
    placed = [(name, sum(parts.values())) for name, parts in shares]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(int(parts[part]) for part in tints)) for name, parts in shares
    )
    columns = (Column(name="student"), *(Column(name=part, style="count") for part in tints))
    attempted = [(name, found) for name, found in rates if found]
    histogram: tuple[tuple[Cell, ...], ...] = tuple(
        (name, len(found), sum(found) / len(found)) for name, found in attempted
    )
    unknown = [
        f"{name}: {share(parts['unknown'] / total)} of {total:.0f} are unknown"
        for (name, parts), (_, total) in zip(shares, placed, strict=True)
        if total
    ]
    figures = [
        Figure(
            title="What the student knows",
            alt="The share of examples in each class of knowledge, one bar a student",
            draw=lambda: stacked_chart(shares, tints=tints, unit="share of placed examples (%)"),
            table=Table(caption="Examples by what is known", columns=columns, rows=rows),
        )
    ]
    if attempted:
        figures.append(
            Figure(
                title="How often it is right",
                alt="A histogram of the pass rates of the attempted examples",
                draw=lambda: histogram_chart(attempted),
                table=Table(
                    caption="Pass rates",
                    columns=(
                        Column(name="student"),
                        Column(name="examples", style="count"),
                        Column(name="mean pass rate", style="share"),
                    ),
                    rows=histogram,
                ),
            )
        )
    return (
        Section(
            key="frontier",
            title="The frontier",
            paragraphs=(
                (
                    "Known: right in the greedy answer and nearly always when sampled. Maybe "
                    "known: right in the greedy answer, or at least half of the samples. "
                    "Weakly known: now and then. Unknown: in no attempt."
                ),
                *(["; ".join(unknown) + "."] if unknown else []),
            ),
            figures=tuple(figures),
        ),
    )
