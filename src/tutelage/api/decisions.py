"""Functions of the Python API for decisions: select, explain, export, report, view."""

import json
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Unpack

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.api.inputs import scratch_folder
from tutelage.api.options import (
    ExportOptions,
    SelectOptions,
    ShownProgress,
    grouped,
    renamed_keyword,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Estimate, Exported, Report, Run, Scores, Selection, estimate_of
from tutelage.api.table_result import BY_DECISION, BY_ROW_STATUS
from tutelage.api.workspace import loaded_run, needed_run, workspace
from tutelage.data import write_table
from tutelage.errors import MissingExtraError, SettingsError, in_python, spelled_in_python
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress


@overload
def select(
    run: Run | Scores | str | Path | Any,
    rule: str | None = ...,
    *,
    student: str | None = ...,
    name: str | None = ...,
    afresh: bool = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[SelectOptions],
) -> Selection: ...


@overload
def select(
    run: Run | Scores | str | Path | Any,
    rule: str | None = ...,
    *,
    student: str | None = ...,
    name: str | None = ...,
    afresh: bool = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[SelectOptions],
) -> Estimate: ...


@overload
def select(
    run: Run | Scores | str | Path | Any,
    rule: str | None = ...,
    *,
    student: str | None = ...,
    name: str | None = ...,
    afresh: bool = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[SelectOptions],
) -> Selection | Estimate: ...


@spelled_in_python
def select(
    run: Run | Scores | str | Path | Any,
    rule: str | None = None,
    *,
    student: str | None = None,
    name: str | None = None,
    afresh: bool = False,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[SelectOptions],
) -> Selection | Estimate:
    """The decision on every example, from stored scores.

    Settings that are not given keep their values of the last selection, if it used the same rule.
    Candidates that filters or verdicts of the run exclude are not chosen.

    Args:
        run: A run: its folder, `tutelage.Run`, or the result of another function. Or the result
            of `score` on data, from which a temporary run is made.
        rule: `srt` (default), `grape`, `rsr`, `lark` or another; docs/rules.md explains each.
        student: The fingerprint of the student whose scores decide, if there are several.
        name: Write a named selection; other selections are kept.
        afresh: Do not use the settings of the last selection.
        dry_run: Only estimate the tokens and time that the student needs to fit a quality gate, if
            it is not fitted yet.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the student is opened, if a quality gate has to be fitted.
        **options: Settings of the selection: `mode`, `margin`, `gate`, `keep_fraction` in (0, 1],
            `keep_count`, `per_source`, `quotas`, `diversity`, `seed`, ...

    Returns:
        One row for each example: the chosen candidate or none, and the reason. `selected` has the
        rows to train on, `rejected` the examples of which no version was chosen, `baselines` the
        sets
        of the same size that were chosen without the student. Or the estimate.

    Raises:
        SettingsError: A setting is wrong, or there are no scores of that student.
        RunError: There is no run, or nothing has been scored.

    Examples:
        >>> import tutelage as tt
        >>> chosen = tt.select("runs/demo", "srt", mode="paper")            # doctest: +SKIP
        >>> chosen.dropped.to_pandas()["reason"].value_counts()             # doctest: +SKIP
    """
    from tutelage.pipeline import estimate_select, select_again

    (settings,) = grouped(options, SelectOptions, function="select")
    given = settings if rule is None else {"rule": rule, **settings}
    with told(progress) as shown:
        if isinstance(run, Scores) and run.run is None:
            found = _run_of_scores(run, progress=shown)
        else:
            found = needed_run(run)
        job: dict[str, Any] = {
            "given": given,
            "student": student,
            "afresh": afresh,
            "name": name if name is not None else found.selection,
            "doors": doors,
        }
        if dry_run:
            return estimate_of(estimate_select(found.path, **job, measure_seconds=measure_seconds))
        tally = select_again(found.path, **job, progress=shown)
        notes = (tally.get("gate_note"), tally.get("quality_gate_note"))
        for line in (*notes, *tally.get("select_notes", ()), *tally.get("out_of_date", ())):
            if line:
                shown.tell(f"Note: {line}")
    if tally.get("selection") != found.selection:
        found = needed_run(found, selection=tally.get("selection") or "main")
    return Selection(table=found.decisions.table, summary=tally, outcome=BY_DECISION, run=found)


def _run_of_scores(scores: Scores, *, progress: Progress) -> Run:
    """Temporary run from the rows that were scored and their scores."""
    from tutelage.metrics import METRICS
    from tutelage.pipeline.config import checked
    from tutelage.pipeline.resources import note
    from tutelage.pipeline.stage import note_stage, score_stage
    from tutelage.student import StudentSettings

    if scores.data is None:
        raise SettingsError(
            "these scores do not name their rows",
            hint="select from the result of tutelage.score, or from a run",
        )
    data, reading = scores.data
    run = loaded_run(data, reading, place=workspace(None), progress=progress)
    table = scores.table.drop_columns(
        [name for name in ("row", "step") if name in scores.table.column_names]
    )
    write_table(run.folder.scores, _first_of_each(table))
    description = scores.summary["student"]
    note(run.folder, student=dict(description))
    stage = score_stage(
        run.folder, description, reading=checked(StudentSettings, scores.student, place="student")
    )
    metrics = [column for column in table.column_names if column in METRICS]
    tally = {"student": description["fingerprint"], "metrics": metrics, "statistics": False}
    note_stage(run.folder, stage, tally, seconds=0.0)
    return run


def _first_of_each(table: pa.Table) -> pa.Table:
    """One row per candidate: repeated input rows share their numbers."""
    table = table.filter(pc.is_valid(table["candidate_id"]))
    first: dict[object, int] = {}
    for place, name in enumerate(table["candidate_id"].to_pylist()):
        first.setdefault(name, place)
    return table.take(pa.array(list(first.values()), pa.int64()))


@spelled_in_python
def explain(
    run: Run | str | Path | Any,
    example: str | int,
    *,
    selection: str | None = None,
    full: bool = False,
) -> str:
    """One example in words: its candidates, their numbers, and the reason of the decision.

    Args:
        run: A run: its folder, `tutelage.Run`, or the result of another function.
        example: An id or its first characters, `row:N`, or N: the 0-based input row.
        selection: A named selection; by default the run's own.
        full: Show whole texts, not only their beginnings.

    Returns:
        Text of several lines, for `print`.

    Raises:
        DataError: There is no such example, or several ids begin with this text.

    Examples:
        >>> import tutelage as tt
        >>> print(tt.explain("runs/demo", "row:3"))                         # doctest: +SKIP
    """
    return needed_run(run, selection=selection).explain(example, full=full)


@spelled_in_python
def export(
    run: Run | str | Path | Any,
    to: str = "messages",
    *,
    chosen: str = "selected",
    out: str | Path | None = None,
    selection: str | None = None,
    push_to: str | None = None,
    push_sets: Sequence[str] = (),
    test_fraction: float = 0.0,
    public: bool = False,
    **options: Unpack[ExportOptions],
) -> Exported:
    """A set of a run in the format of a trainer, with configuration to paste.

    Args:
        run: A run: its folder, `tutelage.Run`, or the result of another function.
        to: `messages`, `trl`, `axolotl`, `llamafactory`, `alpaca` or `sharegpt`; `distillation`
            for the prompts with their teachers; `dpo`, `kto` or another format of preferences.
        chosen: `selected`, or a baseline: `random`, `random_version`, `longest`, `all_refined`,
            `all_original`.
        out: A file to write, `.jsonl`, or `.parquet` for messages; its data card is written next to
            it.
        selection: A named selection; by default the run's own.
        push_to: `hub:NAME` or `hub:OWNER/NAME`: also push the set to the Hugging Face hub, with
            its data card. `summary["pushed"]` then has its address and revision.
        push_sets: Further sets of the run to push, each as a separate configuration.
        test_fraction: How much of the pushed examples becomes the split `test`, in [0, 1).
        public: Make a new dataset on the hub public; by default it is private.
        **options: `weights` (`auto`, `likelihood` or `off`): the source of the column train_weight.
            `routes`: for distillation, the folder of `rank_teachers` or a JSON file. `pairs`
            (`checked` or `likelihood`), `check` and `pairs_per_prompt`: for preferences.

    Returns:
        The rows, with `snippet`, `card` and `notes`. `to_dataset()` gives a `datasets.Dataset`.

    Raises:
        SettingsError: The target, the set or the file's ending is unknown.
        RunError: Nothing was chosen.
        DataError: The target does not support a conversation.

    Examples:
        >>> import tutelage as tt
        >>> train_set = tt.export("runs/demo", "trl").to_dataset()          # doctest: +SKIP
    """
    from tutelage.pipeline import export as write
    from tutelage.pipeline.hub_push import export_and_push

    (given,) = grouped(options, ExportOptions, function="export")
    if given.get("routes") is not None:
        given["routes"] = Path(given["routes"])
    if push_to is None and (push_sets or test_fraction or public):
        raise SettingsError(
            "push_sets, test_fraction and public belong to push_to", hint="add push_to"
        )
    found = needed_run(run, selection=selection)
    with scratch_folder() as scratch:
        file = Path(out) if out is not None else Path(scratch) / "train.jsonl"
        if push_to is None:
            tally = write(found.folder, to=to, file=file, chosen=chosen, **given)
        else:
            tally = export_and_push(
                found.folder,
                target=push_to,
                to=to,
                file=file,
                chosen=chosen,
                more=push_sets,
                test_fraction=test_fraction,
                public=public,
                **given,
            )
        table, rows = _exported(file)
        card = Path(tally["card"]).read_text(encoding="utf-8")
        here = "" if out is not None else f"{scratch}/"
    plain = {k: v.replace(here, "") if here and isinstance(v, str) else v for k, v in tally.items()}
    return Exported(
        table=table,
        summary=plain,
        run=found,
        rows=rows,
        file=Path(out) if out is not None else None,
        snippet=plain["snippet"],
        card=card.replace(here, "") if here else card,
        notes=tuple(map(in_python, tally["notes"])),
    )


def _exported(file: Path) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Rows of an exported file, as a table and as stored."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        return table, table.to_pylist()
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    return pa.table(columns), rows


def _column(values: list[Any]) -> "pa.Array[Any]":
    """Column of values; those without a common type become JSON text."""
    column: pa.Array[Any]
    try:
        column = pa.array(values)
    except pa.ArrowException:
        column = pa.array([None if value is None else json.dumps(value) for value in values])
    return column


@spelled_in_python
@renamed_keyword(old="beside", new="compare_with")
def report(
    run: Run | str | Path | Any,
    *,
    text: bool = False,
    compare_with: Sequence[Run | str | Path] = (),
    selections: str | Sequence[str] = (),
    progress: ShownProgress = None,
) -> Report:
    """The report of a run: one self-contained page, or the same facts as text.

    Args:
        run: A run: its folder, `tutelage.Run`, or the result of another function.
        text: Only create the text; no page is written.
        compare_with: Other folders, each in a separate section: a second student's run over the
            same rows, an experiment of `prove`, a ranking.
        selections: Named selections, or `main`; if two are given, the first is shown and compared
            with the second.
        progress: None, True, False, or your own progress object; see `load`.

    Returns:
        The decisions, with `page` and `html`, or with `text`. A notebook shows the decisions.

    Raises:
        MissingExtraError: The plotting libraries are not installed.
        RunError: There is no run.

    Examples:
        >>> import tutelage as tt
        >>> tt.report("runs/demo").page                                     # doctest: +SKIP
        >>> print(tt.report("runs/demo", text=True))                        # doctest: +SKIP
    """
    from tutelage.pipeline import report_text, write_report

    names = (selections,) if isinstance(selections, str) else tuple(selections)
    first, others = (names or (None,))[0], names[1:]
    found = needed_run(run, selection=first)
    job: dict[str, Any] = {
        "compare_with": [one.path if isinstance(one, Run) else Path(one) for one in compare_with],
        "selection": found.selection,
        "compared": others,
    }
    has_decisions = found.folder.decisions.exists()
    shown_table = found.decisions if has_decisions else found.rows
    facts: dict[str, Any] = {
        "table": shown_table.table,
        "outcome": BY_DECISION if has_decisions else BY_ROW_STATUS,
        "run": found,
    }
    if text:
        words = report_text(found.path, **job)
        return Report(**facts, summary={"text": words}, text=words)
    with told(progress) as shown:
        page = write_report(found.path, progress=shown, **job)
    html = page.read_text(encoding="utf-8")
    return Report(**facts, summary={"report": str(page)}, page=page, html=html)


@spelled_in_python
@renamed_keyword(old="beside", new="compare_with")
def view(
    run: Run | str | Path | Any,
    *,
    row: str | int | None = None,
    compare_with: Run | str | Path | None = None,
    selections: str | Sequence[str] = (),
    embedder: str | Path | None = None,
    port: int | None = None,
    browser: bool = True,
    progress: ShownProgress = None,
    doors: Doors | None = None,
) -> None:
    """Viewer of the decisions of a run, in a browser; they can be overruled.

    Only this machine can open it, with the printed link. Returns when it is stopped:
    with Ctrl-C, or by interrupting the kernel of a notebook.

    Args:
        run: A run: its folder, `tutelage.Run`, or the result of another function.
        row: Open this example: an id, its first characters, `row:N` or N.
        compare_with: A second student's run over the same rows, to see where the two disagree.
        selections: Named selections, or `main`; if two are given, the first is shown and compared
            with the second.
        embedder: A model2vec model, a folder or a name on the hub, for the search by meaning and
            the map; without one, the map compares words only.
        port: Listen here; 8347 is tried first.
        browser: Open the link in a browser.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the student is opened; tests use it to pass a fake.

    Raises:
        MissingExtraError: The libraries of the viewer are not installed.
        RunError: There is no run, or the port is taken.
        DataError: There is no such row.

    Examples:
        >>> import tutelage as tt
        >>> tt.view("runs/demo", row=6)                                     # doctest: +SKIP
    """
    try:
        from tutelage.viewer import launch_page, serve
    except ImportError as error:
        raise MissingExtraError(
            f"the viewer cannot start: {error}", hint="pip install 'tutelage[ui]'"
        ) from error

    names = (selections,) if isinstance(selections, str) else tuple(selections)
    if len(names) + (compare_with is not None) > 2:  # noqa: PLR2004
        raise SettingsError(
            "the viewer compares at most two selections",
            hint="give two selections, or one selection and `compare_with`",
        )
    found = needed_run(run)
    first, second = (*names, None, None)[:2]
    with ExitStack() as stack:

        def opened(link: str) -> None:
            click.echo(link)
            if browser:
                # The link holds the token, and everybody can read the arguments of a process.
                page = stack.enter_context(launch_page(link))
                webbrowser.open(Path(page).as_uri())

        shown = stack.enter_context(told(progress))
        serve(
            found.path,
            port=port,
            row=f"row:{row}" if isinstance(row, int) else row,
            compare_with=None if compare_with is None else needed_run(compare_with).path,
            selection=first if first is not None else found.selection,
            compared=second,
            embedder=None if embedder is None else str(embedder),
            opened=opened,
            progress=shown,
            doors=doors,
        )
