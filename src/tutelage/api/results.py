"""Result classes of the Python API."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.api.opened_run import Run, ScratchFolder
from tutelage.api.table_result import Result, table_html
from tutelage.data.schemas import WORK


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


class Findings(Result):
    """What `doctor` found: one row for each finding."""

    @property
    def healthy(self) -> bool:
        """Whether the student can be used, or a trainer trains on the scored tokens."""
        return bool(self.summary["healthy"])
