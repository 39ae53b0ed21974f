"""Commands for decisions: select, explain, view."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    counts_by_name,
    dry_run_options,
    setting_option,
    setting_schema,
    weights_by_name,
)
from tutelage.cli.output import inform, print_json, show, show_result, shown_progress, wants_json
from tutelage.cli.summaries import estimate_text, select_text
from tutelage.errors import MissingExtraError

_RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run", type=_RUN)
@setting_option(
    "select.rule",
    default=None,
    type=str,
    help="The selection rule, such as srt or grape; docs/rules.md explains each.",
)
@click.option("--function", help="extension: the rule's name in the file of --extensions.")
@setting_option("select.of", default=None, type=str)
@setting_option("select.truth")
@click.option(
    "--truth-clean",
    "truth_clean",
    multiple=True,
    help="oracle: a value of --truth that means no fault, instead of the usual ones; repeatable.",
)
@setting_option("select.mode", default=None)
@setting_option("select.margin", default=None)
@setting_option("select.gate", default=None)
@setting_option("select.gate_check")
@setting_option("select.gate_order", default=None)
@setting_option("select.quality_gate", default=None)
@setting_option("select.max_false_refusals", default=None)
@setting_option("select.quality_gate_examples", default=None)
@setting_option("select.quality_gate_rejected")
@click.option(
    "--use-filters/--ignore-filters",
    default=None,
    help="Whether candidates that filters.parquet dropped are left out.",
)
@setting_option("select.keep_per_example", default=None)
@click.option(
    "--one-teacher/--any-teacher",
    default=None,
    help=setting_schema("select.one_teacher")["description"],
)
@setting_option("select.best_by")
@setting_option("select.best_is", default=None)
@click.option(
    "--mix",
    metavar="BY:A=1,B=4",
    help="Shares of the kinds of responses in the set. BY is length (long, short) or teacher "
    "(their names); each kind gets a weight.",
)
@setting_option("select.keep_fraction")
@setting_option("select.keep_count", type=int)
@click.option(
    "--per-source/--overall",
    default=None,
    help=setting_schema("select.per_source")["description"],
)
@click.option(
    "--quota",
    "quotas",
    multiple=True,
    metavar="SOURCE=N",
    help="How many examples to keep of a source; * means every other source. Repeatable.",
)
@setting_option("select.diversity")
@setting_option(
    "select.seed", default=None, help="Seed of all random draws, including the baselines."
)
@setting_option(
    "select.max_unscored_fraction", "--max-unscored", "max_unscored_fraction", default=None
)
@click.option("--student", help="Fingerprint of the student whose scores decide, if several.")
@click.option(
    "--name", help="Write to RUN/selections/NAME, without replacing the other selections."
)
@click.option("--afresh", is_flag=True, help="Forget the settings of the last selection.")
@dry_run_options
def select(
    run: Path,
    *,
    student: str | None,
    name: str | None,
    afresh: bool,
    dry_run: bool,
    measure_seconds: float,
    **flags: Any,
) -> None:
    """Select again from the stored scores of a run.

    Settings that are not given keep their values of the last selection, if it used the same rule.
    Neither the teacher nor the student is called, except to fit a quality gate for the first time.
    Candidates that the filters or verdicts of RUN exclude are not chosen. Writes the tables of
    decisions, chosen candidates and baselines, selected.jsonl and rejected.jsonl.

    \b
    Example:
      tutelage select runs/demo --rule srt --mode paper
      tutelage select runs/samples --rule grape --gate right --keep-per-example 4
      tutelage select runs/demo --mode paper --name strict
      tutelage select runs/demo --quality-gate calibrated --dry-run
    """
    from tutelage.pipeline import estimate_select, select_again

    given = {name: value for name, value in flags.items() if value is not None}
    if not flags["truth_clean"]:
        del given["truth_clean"]
    given["quotas"] = counts_by_name(flags["quotas"], option="--quota")
    if not given["quotas"]:
        del given["quotas"]
    if flags["mix"] is not None:
        given["mix"] = _mix(flags["mix"])
    if dry_run:
        found = estimate_select(
            run,
            given=given,
            student=student,
            afresh=afresh,
            name=name,
            measure_seconds=measure_seconds,
        )
        show_result(found, text=estimate_text)
        return
    with shown_progress() as progress:
        tally = select_again(
            run, given=given, student=student, progress=progress, afresh=afresh, name=name
        )
    for note in ("gate_note", "quality_gate_note"):
        if line := tally.get(note):
            inform(f"Note: {line}.")
    for line in tally.get("select_notes", ()):
        inform(f"Note: {line}.")
    for line in tally.get("out_of_date", ()):
        inform(f"Note: {line}")
    show_result(tally, text=partial(select_text, run=run))


def _mix(text: str) -> dict[str, Any]:
    by, _, shares = text.partition(":")
    parts = [part for part in shares.split(",") if part]
    return {"by": by, "shares": weights_by_name(parts, option="--mix")}


@click.command()
@click.argument("run", type=_RUN)
@click.argument("example")
@click.option(
    "--selection", help="A selection made with `select --name`; by default the run's own."
)
@click.option("--full", is_flag=True, help="Show whole texts, not only their beginnings.")
def explain(run: Path, example: str, *, selection: str | None, full: bool) -> None:
    """Explain the decision on one example of a run.

    Shows the candidates of EXAMPLE in RUN, their metrics, and the reason for the decision.

    EXAMPLE is an id (its first characters are enough) or `row:N`, the 0-based input row.

    \b
    Example:
      tutelage explain runs/demo row:3
    """
    from tutelage.pipeline import explain_example
    from tutelage.pipeline.explanation import example_facts

    if wants_json():
        print_json(example_facts(run, example, selection=selection))
    else:
        show(explain_example(run, example, full=full, selection=selection))


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--row", help="Open this example: an id, its beginning, or row:N.")
@click.option(
    "--compare-with",
    type=click.Path(path_type=Path, file_okay=False),
    help="A second student's run over the same rows, to see where the two disagree.",
)
@click.option(
    "--selection",
    "selections",
    multiple=True,
    help="A selection made with `select --name`, or main. Of two, the first is shown and compared "
    "with the second.",
)
@click.option(
    "--embedder",
    metavar="MODEL",
    help="A model2vec model, a folder or a name on the hub: for the search by meaning and the map.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help=("The port; by default 8347 if it is free.")
)
@click.option("--browser/--no-browser", default=True, help="Whether to open the link in a browser.")
def view(
    run: Path,
    *,
    row: str | None,
    compare_with: Path | None,
    selections: tuple[str, ...],
    embedder: str | None,
    port: int | None,
    browser: bool,
) -> None:
    """Browse the decisions of a run, and correct them.

    Prints a link to a local page that shows the decisions of RUN. It can be opened on this machine
    only. The first start writes an index next to the tables of the run. Ctrl-C stops it.

    \b
    Example:
      tutelage view runs/demo --row row:6
      tutelage view runs/small --compare-with runs/large
      tutelage view runs/demo --selection main --selection strict
      tutelage view runs/demo --embedder models/potion-base-8M
    """
    try:
        from tutelage.viewer import launch_page, serve
    except ImportError as error:
        raise MissingExtraError(
            f"the viewer cannot start: {error}", hint="pip install 'tutelage[ui]'"
        ) from error

    if len(selections) + (compare_with is not None) > 2:  # noqa: PLR2004
        raise click.UsageError(
            "the viewer compares two: give --selection twice, or --compare-with once"
        )
    first, second = (*selections, None, None)[:2]
    with ExitStack() as stack, ExitStack() as preparing:

        def opened(link: str) -> None:
            preparing.close()  # nothing is prepared any more: the viewer waits for its reader
            show_result({"link": link}, text=lambda found: [found["link"]])
            inform("Ctrl-C stops the viewer.")
            if browser:
                # The link holds the token, and everybody can read the arguments of a process.
                page = stack.enter_context(launch_page(link))
                click.launch(str(page))

        progress = preparing.enter_context(shown_progress())
        serve(
            run,
            port=port,
            row=row,
            compare_with=compare_with,
            selection=first,
            compared=second,
            embedder=embedder,
            opened=opened,
            progress=progress,
        )


COMMANDS = (select, explain, view)
