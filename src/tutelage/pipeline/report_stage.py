"""Report stage: the tables of a run as a page or as text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import write_text
from tutelage.data.schemas import METRIC_AGREEMENT, OVERRIDDEN
from tutelage.errors import MissingExtraError, RunError
from tutelage.metrics import METRICS
from tutelage.pipeline.explanation import deciding_student, settings_of
from tutelage.pipeline.overrides import overrides_of
from tutelage.pipeline.report_sections import fault_section, gate_section
from tutelage.pipeline.run_dir import MAIN, RunFolder, sound
from tutelage.pipeline.select_stage import decided
from tutelage.pipeline.stage import Stage, note_stage
from tutelage.pipeline.staleness import report_reads, stale_outputs
from tutelage.pipeline.tables import open_tables
from tutelage.progress import Progress, Silent
from tutelage.stats.rank_correlation import spearman, spearman_interval

if TYPE_CHECKING:
    from tutelage.reporting import Figure, ReportTables, Section, Table


# ----------------------------------------------------------------------------------------------
# Further sections of a report: a second student, an experiment, a ranking.
# ----------------------------------------------------------------------------------------------


_CASES = (
    ("same version", "chosen"),
    ("another version", "refinement"),
    ("only this one", "original"),
    ("only the other", "lost"),
    ("neither", "refused"),
)
_COMPARED = """
select case
    when a.kept and b.kept and a.candidate_id = b.candidate_id then 0
    when a.kept and b.kept then 1 when a.kept then 2 when b.kept then 3 else 4 end as at,
  a.step as mine, b.step as other, count(*) as n
from mine a join other b on a.example_id = b.example_id group by all
"""
_SCORES = """
select a.example_id, {columns} from read_parquet($mine) a join read_parquet($other) b
on a.candidate_id = b.candidate_id
where a.student = $a and b.student = $b and a.status = 'ok' and b.status = 'ok'
"""


def comparison_sections(
    run: RunFolder, others: Sequence[Path] = (), *, compared: Sequence[str] = ()
) -> "list[Section]":
    """Sections that compare a run with other selections, students and experiments.

    Args:
        run: The run that is reported on.
        others: Folders of other runs over the same data, of experiments, or of rankings.
        compared: Names of other selections of the run.

    Raises:
        RunError: A folder is none of these.
    """
    found = [
        *gate_section(run, in_force=_gate_in_force(run)),
        *fault_section(run),
        *_stale(run),
        *_overruled(run),
        *_other_students(run),
    ]
    found += [_other_selection(run, name, at) for at, name in enumerate(compared)]
    for at, folder in enumerate(others):
        if (folder / "comparisons.parquet").exists():
            found.append(_experiment(folder, at))
        elif (folder / "standings.parquet").exists():
            found.append(_ranking(folder, at))
        else:
            other = RunFolder(root=folder).existing()
            other.need(other.decisions)
            found.append(_second_run(run, other, at))
    return found


def _gate_in_force(run: RunFolder) -> bool:
    """Whether the current decisions were made behind the quality gate."""
    tally = run.shown_manifest().get("stages", {}).get("select", {}).get("tally", {})
    return bool(tally.get("rule", {}).get("quality_gate") == "calibrated")


def _overruled(run: RunFolder) -> "Iterator[Section]":
    from tutelage.reporting import Column, Section, Table, schema_columns

    found = sorted(overrides_of(run).values(), key=lambda o: o.time)
    if not found:
        return
    rows = tuple(
        (
            o.example_id,
            o.was_reason or "",
            "keeps nothing" if o.candidate_id is None else f"keeps {o.candidate_id}",
            o.note,
            o.time,
        )
        for o in found
    )
    names = ("the rule's reason", "a person", "note", "when")
    yield Section(
        key="overruled",
        title="Manual overrides",
        paragraphs=(
            (
                f"Decisions overridden manually: {len(found):,}. All numbers of this report "
                "include these overrides; decisions.parquet has the decisions of the rule."
            ),
        ),
        tables=(
            Table(
                caption="Manual decisions, oldest first",
                columns=(
                    *schema_columns(OVERRIDDEN, ("example_id",)),
                    *(Column(name=name) for name in names),
                ),
                rows=rows,
            ),
        ),
        folded=len(rows) > 8,  # noqa: PLR2004  (a list that does not push the rest away)
    )


def _other_students(run: RunFolder) -> "Iterator[Section]":
    """Students other than the deciding one with scores in the same table."""
    if not (run.scores.exists() and run.decisions.exists()):
        return
    manifest = run.shown_manifest()
    mine = manifest.get("stages", {}).get("select", {}).get("tally", {}).get("student")
    names = pq.read_table(run.scores, columns=["student"])["student"].unique().to_pylist()
    for at, other in enumerate(sorted(str(n) for n in names if n not in (mine, None))):
        settings = settings_of(run, manifest).model_copy(
            update={"max_unscored_fraction": 1.0, "quality_gate": "off"}
        )
        theirs = decided(run, settings=settings, student=other).decisions
        yield _second_student(
            run, theirs, scores=run.scores, student=other, name=other[:8], key=f"student-{at}"
        )


def _stale(run: RunFolder) -> "Iterator[Section]":
    """Section about outputs that are older than their inputs."""
    from tutelage.reporting import Section

    lines = [line.text for line in stale_outputs(run) if line.path != run.report]
    if lines:
        yield Section(
            key="stale",
            title="Some files are out of date",
            paragraphs=tuple(lines),
        )


def _other_selection(run: RunFolder, name: str, at: int) -> "Section":
    """Comparison with another selection of the same run."""
    from tutelage.reporting import Column, Section, Table

    other = run.selected_as(name)
    mine, theirs = run.selection or MAIN, other.selection or MAIN
    with duckdb.connect() as tables:
        for view, folder in (("mine", run), ("other", other)):
            tables.read_parquet(str(folder.need(folder.decisions))).create_view(view)
        cases: Counter[int] = Counter()
        steps: Counter[tuple[str, str]] = Counter()
        for case, a, b, n in tables.execute(_COMPARED).fetchall():
            cases[case] += n
            steps[str(a or "nothing"), str(b or "nothing")] += n
        kept = [
            tables.execute(f"select count(*) from {view} where kept").fetchall()[0][0]  # noqa: S608
            for view in ("mine", "other")
        ]
    total = cases.total()
    rules = [settings_of(folder, folder.shown_manifest()).rule for folder in (run, other)]
    return Section(
        key=f"selection-{at}",
        title=f"Compared with the selection {theirs}",
        paragraphs=(
            (
                f"The selection {mine} (rule {rules[0]}) keeps {kept[0]:,} of {total:,} examples, "
                f"the selection {theirs} (rule {rules[1]}) keeps {kept[1]:,}. They agree on "
                f"{cases[0] + cases[4]:,} of them."
            ),
        ),
        tables=(
            Table(
                caption=f"Decisions of {mine} and of {theirs}",
                columns=(Column(name="case"), Column(name="examples", style="count")),
                rows=(
                    ("both keep the same version", cases[0]),
                    ("both keep a version, but not the same", cases[1]),
                    (f"only {mine} keeps one", cases[2]),
                    (f"only {theirs} keeps one", cases[3]),
                    ("neither keeps one", cases[4]),
                ),
            ),
            _steps_table(steps, theirs, mine=mine),
        ),
    )


def _second_run(run: RunFolder, other: RunFolder, at: int) -> "Section":
    manifest = other.read_manifest()
    student = manifest.get("student", {})
    return _second_student(
        run,
        pq.read_table(other.decisions),
        scores=other.scores,
        student=str(student.get("fingerprint")),
        name=Path(str(student.get("model") or other.root)).name,
        key=f"beside-{at}",
    )


def _second_student(
    run: RunFolder, theirs: pa.Table, *, scores: Path, student: str, name: str, key: str
) -> "Section":
    from tutelage.reporting import Section

    mine = str(deciding_student(run.shown_manifest()))
    with duckdb.connect() as tables:
        tables.read_parquet(str(run.need(run.decisions))).create_view("mine")
        tables.register("other", theirs)
        cases: Counter[int] = Counter()
        steps: Counter[tuple[str, str]] = Counter()
        for case, a, b, n in tables.execute(_COMPARED).fetchall():
            cases[case] += n
            steps[str(a or "nothing"), str(b or "nothing")] += n
    total = cases.total()
    if not total:
        raise RunError(
            f"{run.root}: shares no example with the run of {name}",
            hint="--compare-with takes a run over the same rows",
        )
    alike = (cases[0] + cases[4]) / total
    return Section(
        key=key,
        title=f"A second student: {name}",
        paragraphs=(
            (
                f"Of {total:,} examples that both students judged, they agree on "
                f"{cases[0] + cases[4]:,} ({100 * alike:.1f} %). Decisions depend on the student: "
                "where the two differ, a version suits only one of them."
            ),
        ),
        figures=(_agreement_figure(cases, total, name),),
        tables=(_steps_table(steps, name), *_correlations(run, scores, mine, student, name)),
    )


def _agreement_figure(cases: Counter[int], total: int, name: str) -> "Figure":
    from tutelage.reporting import Column, Figure, Table
    from tutelage.reporting.charts import stacked_chart

    parts = {words: float(cases[at]) for at, (words, _) in enumerate(_CASES)}
    rows = tuple((words, int(n), n / total) for words, n in parts.items())
    return Figure(
        title=f"{100 * parts[_CASES[0][0]] / total:.0f} % of the rows keep the same version "
        "for both students",
        alt=f"How often this student and {name} keep the same version, another one, or nothing.",
        draw=partial(
            stacked_chart,
            [("all examples", parts)],
            tints=dict(_CASES),
            unit="share of examples (%)",
        ),
        table=Table(
            caption="Decisions of both students",
            columns=(
                Column(name="case"),
                Column(name="examples", style="count"),
                Column(name="share", style="share"),
            ),
            rows=rows,
        ),
        note="Only this one, only the other: exactly one of the two students keeps a version.",
        layout="beside",
    )


def _steps_table(
    steps: Counter[tuple[str, str]], name: str, *, mine: str = "this student"
) -> "Table":
    from tutelage.reporting import Column, Table
    from tutelage.reporting.number_format import step_words

    there = sorted({s for pair in steps for s in pair}, key=lambda s: (s == "nothing", s))
    words = {s: s if s == "nothing" else step_words(s) for s in there}
    return Table(
        caption=f"What {mine} keeps (rows) and what {name} keeps (columns)",
        columns=(
            Column(name=mine),
            *(Column(name=words[s], style="count") for s in there),
        ),
        rows=tuple((words[a], *(steps[a, b] for b in there)) for a in there),
    )


def _correlations(
    run: RunFolder, scores: Path, mine: str, other: str, name: str
) -> "Iterator[Table]":
    """Rank correlations of two students over the same versions."""
    from tutelage.reporting import Column, Table, schema_columns

    if not (run.scores.exists() and scores.exists()):
        return
    both = [set(pq.read_schema(path).names) for path in (run.scores, scores)]
    metrics = [n for n in METRICS if n in both[0] & both[1]]
    if not metrics:
        return
    columns = ", ".join(f'a."{m}" as "a_{m}", b."{m}" as "b_{m}"' for m in metrics)
    given = {"mine": str(run.scores), "other": str(scores), "a": mine, "b": other}
    with duckdb.connect() as tables:
        found: Any = tables.sql(_SCORES.format(columns=columns), params=given).to_arrow_table()
    rows = []
    for metric in metrics:
        a, b = (np.asarray(found[f"{side}_{metric}"].to_numpy(), dtype=np.float64) for side in "ab")
        there = np.isfinite(a) & np.isfinite(b)
        value = spearman(a[there], b[there])
        if value is not None:
            # Versions of one example are no independent observations.
            examples = len(pc.unique(found["example_id"].filter(pa.array(there))))
            low, high = spearman_interval(value, n=examples)
            rows.append((metric, int(there.sum()), value, low, high))
    if rows:
        yield Table(
            caption=f"Each metric of this student against that of {name}",
            columns=(
                *schema_columns(METRIC_AGREEMENT, ("a",)),
                Column(name="versions", style="count"),
                *schema_columns(METRIC_AGREEMENT, ("spearman", "low", "high")),
            ),
            rows=tuple(rows),
        )


def _experiment(folder: Path, at: int) -> "Section":
    """Comparisons of `tutelage prove`."""
    from tutelage.reporting import Section

    outcome = ("student", "balance", "task", "measure", "arm")
    shown = (*outcome, "against", "mean", "low", "high")
    reached = (*outcome, "status", "efficiency", "low", "high", "gain", "room")
    return Section(
        key=f"proved-{at}",
        title=f"Experiment {folder.name}",
        paragraphs=(
            (
                "Students were trained on the sets and compared; a difference is the arm minus "
                "the arm it is compared with. The complete results are in report.html of that "
                "folder."
            ),
        ),
        tables=(
            _as_table(folder / "comparisons.parquet", "Arms compared", shown),
            *(
                _as_table(path, "Part of the oracle's gain that each arm reaches", reached)
                for path in (folder / "efficiency.parquet",)
                if path.exists()
            ),
        ),
    )


def _ranking(folder: Path, at: int) -> "Section":
    """Standings of `tutelage rank`."""
    from tutelage.reporting import Section

    shown = ("domain", "predictor", "entrant", "rank", "value", "low", "high")
    return Section(
        key=f"ranked-{at}",
        title=f"Ranking {folder.name}",
        paragraphs=("The complete ranking is in report.html of that folder.",),
        tables=(_as_table(folder / "standings.parquet", "Standings", shown),),
        folded=True,
    )


def _as_table(path: Path, caption: str, shown: Sequence[str]) -> "Table":
    from tutelage.reporting import Table, schema_columns

    table = pq.read_table(path)
    names = [n for n in shown if n in table.column_names]
    return Table(
        caption=caption,
        columns=schema_columns(table.schema, names),
        rows=tuple(tuple(row[n] for n in names) for row in table.select(names).to_pylist()),
    )


# ----------------------------------------------------------------------------------------------
# Report stage.
# ----------------------------------------------------------------------------------------------


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
        progress: Notified when it is done.
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
    """Report of a run as text for a terminal.

    Args:
        root: The run folder.
        compare_with: Folders of experiments.
        selection: Name of the selection; None for the main one.
        compared: Names of other selections.

    Raises:
        RunError: There is no run.
    """
    from tutelage.reporting import render_text, summarise

    run = RunFolder(root=root).existing().selected_as(selection)
    return render_text(
        summarise(tables_of(run)), more=comparison_sections(run, compare_with, compared=compared)
    )


def tables_of(run: RunFolder) -> "ReportTables":
    """Paths of the tables that the run has, so that texts are not held in memory."""
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
    """Manifest without the digests by which stages recognise their inputs and outputs."""
    stages = {
        name: {key: value for key, value in done.items() if key not in ("made", "read")}
        for name, done in manifest.get("stages", {}).items()
        if isinstance(done, dict)
    }
    return {**manifest, "stages": stages} if "stages" in manifest else manifest
