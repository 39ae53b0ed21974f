"""Source, step or teacher of each candidate, from a run folder or from rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from tutelage.data import read
from tutelage.errors import DataError
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sql_views import open_tables

Group: TypeAlias = Literal["source", "step", "teacher"]
GROUPS: tuple[Group, ...] = ("source", "step", "teacher")

_IN_A_RUN = """
select c.candidate_id, e.source, c.step, c.teacher
from candidates c left join examples e on e.example_id = c.example_id
"""


def groups_of(places: Sequence[Path], *, by: Group, data: Path | None) -> dict[str, str | None]:
    """What each candidate belongs to, by its id; None where nothing is named.

    Args:
        places: Run folders, or scores tables, which do not say it.
        by: What tells the groups apart.
        data: Rows to read instead, as they were scored.

    Raises:
        DataError: None of the places is a run folder, and there are no rows.
    """
    at = GROUPS.index(by)
    found: dict[str, str | None] = {}
    if data is not None:
        for row in read(str(data)):
            source = None if row.example is None else row.example.source
            for candidate in (*row.candidates, *row.repeated):
                found[candidate.candidate_id] = (source, candidate.step, candidate.teacher)[at]
        return found
    runs = [RunFolder(root=place) for place in places if place.is_dir()]
    if not runs:
        raise DataError(
            f"--by {by}: scores tables do not name the {by} of a candidate",
            hint="--data FILE gives the rows that were scored, or give a run folder",
        )
    for run in runs:
        run.need(run.candidates)
        with open_tables(run) as tables:
            for name, *values in tables.execute(_IN_A_RUN).fetchall():
                found.setdefault(name, values[at])
    return found
