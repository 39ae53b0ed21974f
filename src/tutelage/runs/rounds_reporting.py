"""The pages over a loop of rounds and over a frontier."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import ORIGINAL, write_text
from tutelage.drift import Limit
from tutelage.runs.folder import RunFolder
from tutelage.runs.rounds_folder import RoundsFolder

_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("seed", pa.int64()),
    ("loop", pa.string()),
    ("round", pa.int32()),
    ("example_id", pa.string()),
    ("fate", pa.string()),  # refined, original or refused
)
FATES = pa.schema([pa.field(name, kind) for name, kind in _COLUMNS])


def write_rounds_report(folder: RoundsFolder) -> Path | None:
    """Write report.html of a loop of rounds.

    Returns:
        Its path, or None where the libraries that draw are not installed.
    """
    if not _can_draw():
        return None
    from tutelage.report import render_page
    from tutelage.report.moving import Moved, rounds_facts, rounds_opening, rounds_sections

    settings = folder.run.read_manifest()["settings"]
    rounds = pq.read_table(folder.rounds)
    moved = Moved(
        title=folder.root.name,
        rounds=rounds,
        drift=pq.read_table(folder.drift),
        flips=pq.read_table(folder.flips),
        loops=pq.read_table(folder.loops),
        fates=fates_of(folder, rounds),
        limits=[Limit.model_validate(limit) for limit in settings["guard"]],
    )
    page = render_page(
        title=moved.title,
        about="how the choice moved with the student",
        opening=rounds_opening(moved),
        facts=rounds_facts(moved),
        sections=rounds_sections(moved),
    )
    return _write(folder.run, page)


def fates_of(folder: RoundsFolder, rounds: pa.Table) -> pa.Table:
    """What each round took of each example."""
    rows: list[dict[str, Any]] = []
    for one in rounds.select(["seed", "loop", "round"]).to_pylist():
        run = folder.judged(one["seed"], one["loop"], one["round"])
        columns = ["example_id", "step", "kept"]
        for row in pq.read_table(run.decisions, columns=columns).to_pylist():
            fate = "refused"
            if row["kept"]:
                fate = "original" if row["step"] == ORIGINAL else "refined"
            rows.append({**one, "example_id": row["example_id"], "fate": fate})
    return pa.Table.from_pylist(rows, schema=FATES)


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
    if not _can_draw():
        return None
    from tutelage.report import Fact, render_page
    from tutelage.report.standing import frontier_sections

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
    return _write(run, page)


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


def _can_draw() -> bool:
    return all(find_spec(name) is not None for name in ("altair", "vl_convert"))


def _write(run: RunFolder, page: str) -> Path:
    write_text(run.report, page)
    return run.report
