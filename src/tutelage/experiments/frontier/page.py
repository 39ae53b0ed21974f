"""Report page of a frontier."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.experiments.frontier.learnable_band import KNOWLEDGE
from tutelage.pipeline.run_dir import RunFolder, can_draw, write_page
from tutelage.reporting.blocks import Cell, Column, Figure, Section, Table
from tutelage.reporting.charts import histogram_chart, stacked_chart
from tutelage.reporting.number_format import count, share


def write_frontier_report(
    run: RunFolder, frontiers: Sequence[tuple[str, pa.Table]], summary: dict[str, Any]
) -> Path | None:
    """Write report.html of a frontier, optionally compared with earlier ones.

    Args:
        run: The folder of the frontier.
        frontiers: A name and a FRONTIER table for each student, the earliest first.
        summary: What came out for the last of them.

    Returns:
        Its path, or None where the libraries that draw are not installed.
    """
    if not can_draw():
        return None
    from tutelage.reporting import Fact, render_page

    opening = [frontier_words(summary)]
    if summary["warning"]:
        opening.append(f"Warning: {summary['warning']}.")
    page = render_page(
        title=run.root.name,
        about="what the student knows, and what it can learn from now",
        opening=opening,
        facts=(
            Fact(value=f"{summary['placed']:,}", label="examples placed"),
            Fact(value=f"{summary['kept']:,}", label="in the band"),
        ),
        sections=frontier_sections(frontiers),
    )
    return write_page(run, page)


def frontier_words(summary: dict[str, Any]) -> str:
    """Number of kept examples, and their classes, in a sentence."""
    kept, examples = summary["kept"], summary["examples"]
    if not kept:
        return (
            f"None of {count(examples, 'example')} is in the band that this student can learn from "
            "now, so selected.jsonl is empty."
        )
    verb = "is" if kept == 1 else "are"
    place = "it is" if kept == 1 else "they are"
    return (
        f"{kept:,} of {count(examples, 'example')} {verb} what this student can learn from now; "
        f"{place} in selected.jsonl, in curriculum order."
    )


# ----------------------------------------------------------------------------------------------
# The chapter about what a student knows, and what it can learn from now.
# ----------------------------------------------------------------------------------------------


_KNOWLEDGE_TINTS = {
    "known": "chosen",
    "maybe_known": "original",
    "weakly_known": "refinement",
    "unknown": "refused",
}


_CLASSES = (
    "Known: right in the greedy answer and nearly always when sampled. Maybe known: right in the "
    "greedy answer, or at least half of the samples. Weakly known: now and then. Unknown: in no "
    "attempt."
)
_TINTS = {name.replace("_", " "): tint for name, tint in _KNOWLEDGE_TINTS.items()}


def frontier_sections(frontiers: Sequence[tuple[str, pa.Table]]) -> tuple[Section, ...]:
    """Sections about one student or several compared.

    Args:
        frontiers: A name and a table of the FRONTIER schema for each, the earliest first.
    """
    shares = []
    for name, table in frontiers:
        counts = Counter(k for k in table["knowledge"].to_pylist() if k is not None)
        shares.append((name, {k.replace("_", " "): float(counts[k]) for k in KNOWLEDGE}))
    unknown = [
        f"{name}: {share(parts['unknown'] / total)} of {count(int(total), 'example')} unknown"
        for name, parts in shares
        if (total := sum(parts.values()))
    ]
    said = (_CLASSES, "; ".join(unknown) + ".") if unknown else (_CLASSES,)
    return (
        Section(
            key="frontier",
            title="The frontier",
            paragraphs=said,
            figures=(_knowledge_figure(shares), *_rate_figures(frontiers)),
        ),
    )


def _knowledge_figure(shares: Sequence[tuple[str, Mapping[str, float]]]) -> Figure:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(int(parts[part]) for part in _TINTS)) for name, parts in shares
    )
    columns = (Column(name="student"), *(Column(name=part, style="count") for part in _TINTS))
    return Figure(
        title="What the student knows",
        alt="The share of examples in each class of knowledge, one bar a student",
        draw=lambda: stacked_chart(shares, tints=_TINTS, unit="share of placed examples (%)"),
        table=Table(caption="Examples by what is known", columns=columns, rows=rows),
    )


def _rate_figures(frontiers: Sequence[tuple[str, pa.Table]]) -> tuple[Figure, ...]:
    rates = [
        (name, [rate for rate in table["pass_rate"].to_pylist() if rate is not None])
        for name, table in frontiers
    ]
    attempted = [(name, found) for name, found in rates if found]
    if not attempted:
        return ()
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, len(found), sum(found) / len(found)) for name, found in attempted
    )
    columns = (
        Column(name="student"),
        Column(name="examples", style="count"),
        Column(name="mean pass rate", style="share"),
    )
    return (
        Figure(
            title="How often it is right",
            alt="A histogram of the pass rates of the attempted examples",
            draw=lambda: histogram_chart(attempted),
            table=Table(caption="Pass rates", columns=columns, rows=rows),
        ),
    )
