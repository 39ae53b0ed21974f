"""Result classes of the Python API: an opened run folder, and what each function returns."""

import html
import json
import shutil
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    table_html,
)
from tutelage.data.schemas import WORK
from tutelage.errors import spelled_in_python
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


@spelled_in_python
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

        Manual overrides are in force here.
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
        from tutelage.pipeline.tables import open_tables

        self._folder.need(self._folder.decisions)
        tables = open_tables(self._folder)
        try:
            found = tables.table(view).to_arrow_table()
        finally:
            tables.close()
        return Result(table=found, outcome=outcome)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RunResult(Result):
    """A result of a stage, with the run it is part of.

    Attributes:
        run: The run folder; None where the result is of a file and not of a run.
    """

    run: Run | None = None


class Loaded(RunResult):
    """The input rows: each with its example, or the reason why it could not be read."""


class Candidates(RunResult):
    """The versions of every example, with the status of those that have no text."""


class Estimate(Result):
    """The calls, tokens, cost and time of a job, estimated before it runs (`dry_run=True`).

    The table has one row with all figures. `print(estimate)` shows them as text.
    """

    @property
    def seconds(self) -> float | None:
        """Time of the whole job on this machine; None if the time of a part is unknown."""
        return _number(self.summary.get("seconds"))

    @property
    def seconds_known(self) -> float:
        """Time of the parts whose time is known."""
        return _number(self.summary.get("seconds_known")) or 0.0

    @property
    def tokens(self) -> int | None:
        """Tokens read, trained on or written; None if those of a part are unknown."""
        found = _number(self.summary.get("tokens"))
        return None if found is None else int(found)

    @property
    def calls(self) -> int:
        """Calls to send to the teacher; 0 for a job without a teacher."""
        return int(self.summary.get("calls", 0))

    @property
    def cost_expected(self) -> float | None:
        """Expected price of the calls in `currency`; None without prices; 0 without calls."""
        return self._cost("cost_expected")

    @property
    def cost_at_most(self) -> float | None:
        """Highest price of the calls in `currency`; None without prices; 0 without calls."""
        return self._cost("cost_at_most")

    @property
    def currency(self) -> str | None:
        """Currency of the teacher's prices; None without prices."""
        found = self.summary.get("currency")
        return None if found is None else str(found)

    @property
    def work(self) -> pa.Table:
        """One row for each part of the job, with its time and where that comes from (`basis`)."""
        return pa.Table.from_pylist(list(self.summary.get("work", ())), schema=WORK)

    def _cost(self, name: str) -> float | None:
        return _number(self.summary.get(name)) if self.calls else 0.0

    def __str__(self) -> str:
        from tutelage.pipeline.summary_text import estimate_facts, estimate_parts, estimate_total

        parts = (f"  {line}" for line in estimate_parts(self.summary))
        return "\n".join(
            [*estimate_facts(self.summary), *parts, *estimate_total(self.summary)],
        )

    def __repr__(self) -> str:
        return f"Estimate:\n{self}"

    def _repr_html_(self) -> str:
        from tutelage.pipeline.summary_text import estimate_facts, estimate_total

        before, after = (
            "".join(f"<p>{html.escape(line)}</p>" for line in lines)
            for lines in (estimate_facts(self.summary), estimate_total(self.summary))
        )
        return f"<div>{before}{table_html(self.work)}{after}</div>"


def estimate_of(figures: Mapping[str, Any]) -> Estimate:
    """The figures of a dry run as a result."""
    return Estimate(table=pa.Table.from_pylist([dict(figures)]), summary=figures)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Scores(RunResult):
    """The student's numbers: one row for each input row, or for each candidate of a run.

    Attributes:
        statistics: The statistics of every token, if they were requested.
        data: The rows that were scored, unless the result is that of a run.
        student: The settings of the student.
    """

    statistics: pa.Table | None = None
    data: Any = None
    student: Mapping[str, Any] = field(default_factory=dict)


class Verdicts(RunResult):
    """Verdicts on responses, with the evidence."""


class Filtered(RunResult):
    """What the filters decided on each candidate, with the reason."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FilterComparison(RunResult):
    """Filters compared with each other: one row for each filter.

    Attributes:
        overlaps: One row for each pair of filters.
        by_reason: One row for each filter and reason.
    """

    overlaps: pa.Table = field(default_factory=lambda: pa.table({}))
    by_reason: pa.Table = field(default_factory=lambda: pa.table({}))


class Selection(RunResult):
    """The decision on every example, with its reason."""

    @property
    def selected(self) -> pa.Table:
        """The rows to train on."""
        return self._of_run().selected.table

    @property
    def rejected(self) -> pa.Table:
        """The examples of which no version was chosen, each with its reason."""
        return self._of_run().rejected.table

    @property
    def baselines(self) -> pa.Table:
        """Sets of the same size that were chosen without the student."""
        return self._of_run().baselines.table

    def _of_run(self) -> Run:
        if self.run is None:
            raise TypeError("a selection is made of a run")
        return self.run


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Exported(RunResult):
    """A set in the format of a trainer.

    Attributes:
        rows: The rows as the file holds them; the table has them as columns, and as JSON text if
            the values of a column have several types.
        file: The file that was written; None if no file was requested.
        snippet: What to paste into the configuration of the trainer.
        card: The data card, in Markdown.
        notes: Notes to read before training.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    file: Path | None = None
    snippet: str = ""
    card: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Report(RunResult):
    """The report of a run: its decisions, with the page and the same facts as text.

    Attributes:
        page: The file `report.html`; None if only the text was requested.
        html: The page itself.
        text: The same facts for a terminal.
    """

    page: Path | None = None
    html: str = ""
    text: str = ""

    def __str__(self) -> str:
        return self.text or str(self.page)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FolderResult(Result):
    """A result with a folder of its own: a training, an evaluation, a ranking, an experiment.

    Attributes:
        out: The folder; it goes away with this object where none was asked for.
        in_words: The findings as sentences.
        tables: Further tables, by name.
    """

    out: Path
    in_words: Sequence[str] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    scratch: ScratchFolder | None = field(default=None)

    @property
    def report(self) -> Path | None:
        """The page `report.html`, where one was written."""
        page = self.out / "report.html"
        return page if page.exists() else None


class Trained(FolderResult):
    """A trained student, with the rows that were left out."""

    @property
    def model(self) -> Path:
        """The folder of the trained student."""
        return Path(str(self.summary["path"]))


class Evaluated(FolderResult):
    """The results of an evaluation: one row for each item of each task."""


class Proof(FolderResult):
    """The comparison of a selection with its baselines: one row for each difference."""


class Ranking(FolderResult):
    """Teachers or sources in order of how well they suit the student."""


class Agreement(FolderResult):
    """How far several students, or stages of one student, agree on a pool of answers."""


class Rounds(FolderResult):
    """Rounds of selection and training: one row for each round, loop and seed."""


class Frontier(FolderResult):
    """What the student knows: one row for each example, with its class and its pass rate."""


class Audit(FolderResult):
    """The audit of a dataset: one row for each of its sides and kinds of fault."""

    @property
    def report(self) -> Path:
        """Path of the page `audit.html`."""
        return self.out / "audit.html"


class Findings(Result):
    """What `doctor` found: one row for each finding."""

    @property
    def healthy(self) -> bool:
        """Whether the student can be used, or a trainer trains on the scored tokens."""
        return bool(self.summary["healthy"])
