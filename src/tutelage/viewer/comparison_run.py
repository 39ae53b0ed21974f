"""Second student in the viewer: the same rows, judged in another run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tutelage.pipeline import RunFolder
from tutelage.pipeline.run_dir import sound
from tutelage.reporting.number_format import STEP_WORDS, reason_words
from tutelage.viewer.index import text

CASES: dict[str, str] = {
    "same": "both keep the same version",
    "other": "they keep different versions",
    "only_first": "only the first keeps one",
    "only_second": "only the second keeps one",
    "neither": "neither keeps one",
}
_COMPARED = """
create or replace table beside as
select e.n, case
    when a.kept and b.kept and a.candidate_id = b.candidate_id then 'same'
    when a.kept and b.kept then 'other' when a.kept then 'only_first'
    when b.kept then 'only_second' else 'neither' end as beside
from ix.e e join read_parquet({mine}) a on a.example_id = e.example_id
join read_parquet({theirs}) b on b.example_id = e.example_id
"""
_SCORES = "select * from read_parquet({scores}) where candidate_id in (select unnest($ids)) {whose}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """Run of the second student.

    Attributes:
        run: Its folder.
        name: What the page calls the student.
        student: The fingerprint of its scores.
    """

    run: RunFolder
    name: str
    student: str | None

    def compare(self, tables: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
        """Create the table `beside` with the decisions of both students on each example.

        Raises:
            RunError: One of the two has no decisions.
        """
        mine, theirs = (text(sound(r.need(r.decisions))) for r in (run, self.run))
        tables.execute(_COMPARED.format(mine=mine, theirs=theirs))

    def about(
        self, tables: duckdb.DuckDBPyConnection, example_id: str, ids: list[str]
    ) -> dict[str, Any]:
        """Decision of the second student on one example, and its numbers by candidate.

        Args:
            tables: The connection.
            example_id: The example.
            ids: Ids of its candidates.
        """
        query = f"select * from read_parquet({text(self.run.decisions)}) where example_id = $id"
        found = tables.sql(query, params={"id": example_id}).to_arrow_table().to_pylist()
        decision = found[0] if found else None
        return {
            "name": self.name,
            "candidate_id": decision["candidate_id"] if decision else None,
            "step_words": _words(decision["step"]) if decision else None,
            "reason_words": reason_words(decision["reason"]) if decision else None,
            "judged": decision is not None,
            "numbers": self._numbers(tables, ids),
        }

    def _numbers(
        self, tables: duckdb.DuckDBPyConnection, ids: list[str]
    ) -> dict[str, dict[str, float]]:
        if not self.run.scores.exists():
            return {}
        whose = f"and student = {text(self.student)}" if self.student else ""
        query = _SCORES.format(scores=text(self.run.scores), whose=whose)
        rows = tables.sql(query, params={"ids": ids}).to_arrow_table().to_pylist()
        return {
            row["candidate_id"]: {
                name: value
                for name, value in row.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            for row in rows
        }


def _words(step: str | None) -> str | None:
    return None if step is None else STEP_WORDS.get(step, step)


def second_selection(run: RunFolder, name: str) -> Second:
    """Another selection of the same run.

    Raises:
        SettingsError: There is no selection of that name.
    """
    other = run.selected_as(name)
    student = other.shown_manifest().get("stages", {}).get("select", {}).get("tally", {})
    return Second(run=other, name=f"selection {name}", student=student.get("student"))


def open_second(root: Path) -> Second:
    """Open the run of a second student.

    Raises:
        RunError: There is no run.
    """
    run = RunFolder(root=root).existing()
    student = run.read_manifest().get("student", {})
    name = Path(str(student.get("model") or root)).name
    return Second(run=run, name=name, student=student.get("fingerprint"))
