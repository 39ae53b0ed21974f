"""The report stage: the tables of a run to a page, or to text."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from tutelage.data import write_text
from tutelage.errors import MissingExtraError
from tutelage.pipeline.overrides import overrides_of
from tutelage.pipeline.report_comparisons import comparison_sections
from tutelage.pipeline.run_dir import RunFolder, sound
from tutelage.pipeline.sql_views import open_tables
from tutelage.pipeline.stage import Stage, note_stage
from tutelage.pipeline.staleness import report_reads
from tutelage.progress import Progress, Silent

if TYPE_CHECKING:
    from tutelage.reporting import ReportTables


def write_report(
    root: Path,
    *,
    compare_with: Sequence[Path] = (),
    progress: Progress | None = None,
    selection: str | None = None,
    compared: Sequence[str] = (),
) -> Path:
    """Write report.html of a run.

    Args:
        root: The run folder.
        compare_with: Other runs over the same data, experiments and rankings, each a chapter.
        progress: Told when it is done.
        selection: The named selection that is reported on; None is the run's own.
        compared: Other selections of the run, each a chapter.

    Returns:
        Its path.

    Raises:
        MissingExtraError: The libraries that draw are not installed.
        RunError: There is no run.
    """
    run = RunFolder(root=root).existing().selected_as(selection)
    progress = progress or Silent()
    started = monotonic()
    progress.begin("report", total=1, unit="page")
    try:
        from tutelage.reporting import render_html, summarise
    except ImportError as error:
        raise MissingExtraError(
            f"the report cannot be drawn: {error}", hint="pip install 'tutelage[report]'"
        ) from error
    page = render_html(
        summarise(tables_of(run)), more=comparison_sections(run, compare_with, compared=compared)
    )
    write_text(run.report, page)
    stage = Stage(
        name="report" if run.selection is None else f"report:{run.selection}",
        key="drawn",
        outputs=(run.report,),
        reads=tuple(report_reads(run)),
    )
    note_stage(run, stage, {}, seconds=monotonic() - started)
    progress.advance()
    progress.end()
    return run.report


def report_text(
    root: Path,
    *,
    compare_with: Sequence[Path] = (),
    selection: str | None = None,
    compared: Sequence[str] = (),
) -> str:
    """The same facts as the page, for a terminal; the arguments are those of `write_report`.

    Raises:
        RunError: There is no run.
    """
    from tutelage.reporting import render_text, summarise

    run = RunFolder(root=root).existing().selected_as(selection)
    return render_text(
        summarise(tables_of(run)), more=comparison_sections(run, compare_with, compared=compared)
    )


def tables_of(run: RunFolder) -> "ReportTables":
    """Whatever tables the run has, by path, so that texts are not held in memory."""
    from tutelage.reporting import ReportTables

    names = ("rows", "examples", "candidates", "scores", "decisions", "chosen", "nulls")
    paths = {name: getattr(run, name) for name in names}
    there = {name: path for name, path in paths.items() if path.exists()}
    for path in there.values():
        sound(path)
    more: dict[str, Any] = dict(there)
    if "decisions" in there and overrides_of(run):
        tables = open_tables(run)
        try:
            for name in ("decisions", "chosen"):
                more[name] = tables.sql(f"select * from {name}").to_arrow_table()  # noqa: S608
        finally:
            tables.close()
    return ReportTables(
        **more,
        manifest=_for_people(run.shown_manifest()),
        title=run.root.name if run.selection is None else f"{run.root.name}, {run.selection}",
    )


def _for_people(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without the digests by which stages know their inputs and outputs."""
    stages = {
        name: {key: value for key, value in done.items() if key not in ("made", "read")}
        for name, done in manifest.get("stages", {}).items()
        if isinstance(done, dict)
    }
    return {**manifest, "stages": stages} if "stages" in manifest else manifest
