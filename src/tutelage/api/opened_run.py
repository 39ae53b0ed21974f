"""Run folders in Python: tables, manifest and explanations of decisions."""

import html
import json
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.api.table_result import (
    BY_DECISION,
    BY_ROW_STATUS,
    BY_STATUS,
    BY_VERDICT,
    Outcome,
    Result,
)
from tutelage.pipeline.run_dir import RunFolder

# ----------------------------------------------------------------------------------------------
# A temporary folder that lives as long as the objects that hold it.
# ----------------------------------------------------------------------------------------------


class ScratchFolder:
    """Temporary folder that is removed with the last reference to it or at exit.

    `tempfile.TemporaryDirectory` warns when it is cleaned up that way; here it is the purpose.
    """

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="tutelage-"))
        self._removal = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


# ----------------------------------------------------------------------------------------------
# Opened run.
# ----------------------------------------------------------------------------------------------


class Run:
    """A run folder: everything that was done to some data, with every decision and its reason.

    Tables are read from the folder at each access, so they show what other
    functions have written since.

    Args:
        path: The folder that `tutelage run`, `load`, `refine` or `sample` wrote.
        selection: Show the decisions of this named selection; by default the run's own.

    Raises:
        RunError: There is no run in the folder.
        SettingsError: The run has no such selection.

    Examples:
        >>> import tutelage as tt
        >>> run = tt.Run("runs/demo")                       # doctest: +SKIP
        >>> run.decisions.dropped.to_pandas()               # doctest: +SKIP
        >>> print(run.explain("row:3"))                     # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        *,
        selection: str | None = None,
        _scratch: ScratchFolder | None = None,
    ) -> None:
        self._folder = RunFolder(root=Path(path)).existing().selected_as(selection)
        self._scratch = _scratch  # removed with the last object that needs it

    @property
    def path(self) -> Path:
        """Path of the run folder."""
        return self._folder.root

    @property
    def selection(self) -> str | None:
        """The named selection whose decisions are shown; None is the run's own."""
        return self._folder.selection

    @property
    def is_temporary(self) -> bool:
        """Whether the folder is deleted with this object, because it was created without `out`."""
        return self._scratch is not None

    @property
    def folder(self) -> RunFolder:
        """The paths of the files in the folder."""
        return self._folder

    @property
    def manifest(self) -> dict[str, Any]:
        """The settings, versions, seeds and checksums of the run, and what each stage did."""
        return self._folder.shown_manifest()

    @property
    def selections(self) -> list[str]:
        """The names of the selections other than the run's own."""
        return self._folder.selections()

    @property
    def rows(self) -> Result:
        """One row for each input row: its example, or why it could not be read."""
        return self._stored(self._folder.rows, outcome=BY_ROW_STATUS)

    @property
    def examples(self) -> Result:
        """One row for each example."""
        return self._stored(self._folder.examples)

    @property
    def candidates(self) -> Result:
        """One row for each version of an example, with the status of those without a text."""
        return self._stored(self._folder.candidates, outcome=BY_STATUS)

    @property
    def scores(self) -> Result:
        """One row for each candidate and student."""
        return self._stored(self._folder.scores, outcome=BY_STATUS)

    @property
    def verdicts(self) -> Result:
        """One row for each candidate and check."""
        return self._stored(self._folder.verdicts, outcome=BY_VERDICT)

    @property
    def filters(self) -> Result:
        """One row for each candidate: what the filters decided."""
        return self._stored(self._folder.filters, outcome=BY_DECISION)

    @property
    def quality_gate(self) -> Result:
        """One row for each candidate: what the calibrated gate decided."""
        return self._stored(self._folder.quality_gate_table)

    @property
    def decisions(self) -> Result:
        """One row for each example: the chosen candidate or none, and the reason.

        Manual overrides is in force here.
        """
        return self._in_force("decisions", outcome=BY_DECISION)

    @property
    def chosen(self) -> Result:
        """One row for each chosen candidate; some rules keep several of an example."""
        return self._in_force("chosen")

    @property
    def baselines(self) -> Result:
        """The baseline sets: sets of the same size that were chosen without the student."""
        return self._stored(self._folder.nulls)

    @property
    def selected(self) -> Result:
        """The rows to train on: `messages` with columns on the origin of each row."""
        return self.chosen_set("selected")

    @property
    def rejected(self) -> Result:
        """The examples of which no version was chosen, each with its reason."""
        from tutelage.pipeline.set_rows import rejected_rows

        self._folder.need(self._folder.decisions)
        return Result(table=pa.Table.from_pylist(list(rejected_rows(self._folder))))

    def chosen_set(self, name: str) -> Result:
        """The rows of a set of this run, ready to train on.

        Args:
            name: `selected`, or a baseline: `random`, `random_version`, `longest`, `all_refined`
                or `all_original`.

        Raises:
            SettingsError: There is no such set.
        """
        from tutelage.data.schemas import MESSAGES, columns_of, table_schema
        from tutelage.pipeline.set_rows import PROVENANCE, TEMPLATE_ARGS, WEIGHT, chosen_rows

        rows = list(chosen_rows(self._folder, chosen=name))
        more = [n for n in ("tools", TEMPLATE_ARGS) if rows and n in rows[0]]
        if TEMPLATE_ARGS in more:
            rows = [{**row, TEMPLATE_ARGS: json.dumps(row[TEMPLATE_ARGS])} for row in rows]
        schema = table_schema(
            columns_of(["messages"], MESSAGES),
            columns_of([*more, *PROVENANCE], pa.string()),
            columns_of([WEIGHT], pa.float64()),
        )
        return Result(table=pa.Table.from_pylist(rows, schema=schema))

    def explain(self, example: str | int, *, full: bool = False) -> str:
        """One example in words: its candidates, their numbers, and the reason of the decision.

        Args:
            example: An id or its first characters, `row:N`, or N: the 0-based input row.
            full: Show whole texts, not only their beginnings.

        Raises:
            DataError: There is no such example, or several ids begin with this text.
        """
        from tutelage.pipeline import explain_example

        name = f"row:{example}" if isinstance(example, int) else example
        return explain_example(self.path, name, full=full, selection=self.selection)

    def __repr__(self) -> str:
        words = ", ".join(f"{name} {count:,}" for name, count in self._counts().items())
        return f"Run {str(self.path)!r}: {words or 'nothing has been done yet'}"

    def _repr_html_(self) -> str:
        shown = f"<p><b>{html.escape(repr(self))}</b></p>"
        if not self._folder.decisions.exists():
            return f"<div>{shown}</div>"
        return f"<div>{shown}{self.decisions._repr_html_()}</div>"

    def _counts(self) -> Mapping[str, int]:
        names = ("rows", "examples", "candidates", "scores", "verdicts", "filters", "decisions")
        paths = {name: getattr(self._folder, name) for name in names}
        return {n: pq.read_metadata(p).num_rows for n, p in paths.items() if p.exists()}

    def _stored(self, path: Path, *, outcome: Outcome | None = None) -> Result:
        return Result(table=pq.read_table(self._folder.need(path)), outcome=outcome)

    def _in_force(self, view: str, *, outcome: Outcome | None = None) -> Result:
        from tutelage.pipeline.sql_views import open_tables

        self._folder.need(self._folder.decisions)
        tables = open_tables(self._folder)
        try:
            found = tables.table(view).to_arrow_table()
        finally:
            tables.close()
        return Result(table=found, outcome=outcome)
