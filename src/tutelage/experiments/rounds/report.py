"""The pages over a loop of rounds and over a frontier."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import ORIGINAL
from tutelage.data.schemas import FATES
from tutelage.experiments.rounds.limits import Limit
from tutelage.experiments.rounds.rounds_dir import RoundsFolder
from tutelage.pipeline.page_file import can_draw, write_page


def write_rounds_report(folder: RoundsFolder) -> Path | None:
    """Write report.html of a loop of rounds.

    Returns:
        Its path, or None where the libraries that draw are not installed.
    """
    if not can_draw():
        return None
    from tutelage.experiments.rounds.page import (
        Moved,
        rounds_facts,
        rounds_opening,
        rounds_sections,
    )
    from tutelage.reporting import render_page

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
    return write_page(folder.run, page)


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
