"""The report page of a frontier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.pipeline.page_file import can_draw, write_page
from tutelage.pipeline.run_dir import RunFolder


def write_frontier_report(
    run: RunFolder, frontiers: Sequence[tuple[str, pa.Table]], summary: dict[str, Any]
) -> Path | None:
    """Write report.html of a frontier, perhaps beside earlier ones.

    Args:
        run: The folder of the frontier.
        frontiers: A name and a FRONTIER table for each student, the earliest first.
        summary: What came out for the last of them.

    Returns:
        Its path, or None where the libraries that draw are not installed.
    """
    if not can_draw():
        return None
    from tutelage.experiments.frontier.sections import frontier_sections
    from tutelage.reporting import Fact, render_page

    opening = [frontier_words(summary)]
    if summary["warning"]:
        opening.append(f"Warning: {summary['warning']}.")
    page = render_page(
        title=run.root.name,
        about="what the student knows, and what it can learn from now",
        opening=opening,
        facts=(
            Fact(value=f"{summary['placed']}", label="examples placed"),
            Fact(value=f"{summary['kept']}", label="in the band"),
        ),
        sections=frontier_sections(frontiers),
    )
    return write_page(run, page)


def frontier_words(summary: dict[str, Any]) -> str:
    """How many examples a frontier keeps, and where they are."""
    kept, examples = summary["kept"], summary["examples"]
    if not kept:
        return (
            f"None of {examples} examples is in the band that this student can learn from now, so "
            "selected.jsonl is empty."
        )
    verb = "example is" if kept == 1 else "examples are"
    place = "it is" if kept == 1 else "they are"
    return (
        f"{kept} of {examples} {verb} what this student can learn from now; {place} in "
        "selected.jsonl, in the order of a curriculum."
    )
