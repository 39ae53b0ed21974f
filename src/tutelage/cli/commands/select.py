"""Commands about decisions: select, explain."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.console import shown_progress
from tutelage.cli.options import counts_by_name, weights_by_name
from tutelage.cli.terminal import print_json, say, show

_RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--rule", help="srt, grape, rsr, lark or another; docs/rules.md explains each.")
@click.option("--of", help="permuted, length_matched: the rule that they are made from.")
@click.option("--mode", type=click.Choice(["safe", "paper"]), help="The truth table of srt.")
@click.option("--margin", type=float, help="srt: how much better a refinement must be.")
@click.option("--gate", type=click.Choice(["off", "not_wrong", "right"]), help="Which verdicts.")
@click.option("--gate-check", help="Which check feeds the gate; by default the last one done.")
@click.option("--gate-order", type=click.Choice(["before", "after"]), help="The rule, or after it.")
@click.option(
    "--quality-gate",
    type=click.Choice(["off", "calibrated"]),
    help="Refuse versions in which fitted detectors find a fault.",
)
@click.option("--max-false-refusals", type=float, help="Of clean versions, by the quality gate.")
@click.option("--use-filters/--ignore-filters", default=None, help="What filters.parquet says.")
@click.option("--keep-per-example", type=click.IntRange(min=1), help="Most candidates of each.")
@click.option("--one-teacher/--any-teacher", default=None, help="All of an example by one teacher.")
@click.option("--best-by", help="best_of_n: a column of the scores.")
@click.option("--best-is", type=click.Choice(["high", "low"]), help="best_of_n: its better end.")
@click.option("--mix", metavar="BY:A=1,B=4", help="length, or teacher with a weight for each.")
@click.option("--keep-fraction", type=float, help="Share of examples to keep.")
@click.option("--keep-count", type=int, help="Number of examples to keep.")
@click.option("--per-source/--overall", default=None, help="Within each source, or not.")
@click.option("--quota", "quotas", multiple=True, metavar="SOURCE=N", help="* is every other one.")
@click.option(
    "--diversity",
    type=click.Choice(["k_center", "facility_location"]),
    help="Keep examples that cover the others.",
)
@click.option("--seed", type=int, help="Of every draw and of the nulls.")
@click.option("--max-unscored", "max_unscored_fraction", type=float, help="Stop above this share.")
@click.option("--student", help="Fingerprint of the student whose scores decide, if several.")
@click.option("--name", help="Write to RUN/selections/NAME; the other selections stay.")
@click.option("--afresh", is_flag=True, help="Forget the settings of the last selection.")
def select(run: Path, *, student: str | None, name: str | None, afresh: bool, **flags: Any) -> None:
    """Decide again on every example of RUN, from the stored scores alone.

    Settings that are not given are those of the last selection, where it had the same rule.
    Neither the teacher nor the student is asked, except to fit a quality gate for the first
    time. What filters and verdicts of RUN refuse is not chosen. Writes decisions, chosen, nulls,
    selected and rejected.

    \b
    Example:
      tutelage select runs/demo --rule srt --mode paper
      tutelage select runs/samples --rule grape --gate right --keep-per-example 4
      tutelage select runs/demo --mode paper --name strict
    """
    from tutelage.pipeline import select_again

    given = {name: value for name, value in flags.items() if value is not None}
    given["quotas"] = counts_by_name(flags["quotas"], option="--quota")
    if not given["quotas"]:
        del given["quotas"]
    if flags["mix"] is not None:
        given["mix"] = _mix(flags["mix"])
    with shown_progress() as progress:
        tally = select_again(
            run, given=given, student=student, progress=progress, afresh=afresh, name=name
        )
    if line := tally.get("gate_note"):
        say(f"Note: {line}.")
    for line in tally.get("out_of_date", ()):
        say(f"Note: {line}")
    print_json(tally)


def _mix(text: str) -> dict[str, Any]:
    by, _, shares = text.partition(":")
    parts = [part for part in shares.split(",") if part]
    return {"by": by, "shares": weights_by_name(parts, option="--mix")}


@click.command()
@click.argument("run", type=_RUN)
@click.argument("example")
@click.option("--selection", help="A selection made with `select --name`; default the run's own.")
@click.option("--full", is_flag=True, help="Show the texts whole, not their beginnings.")
def explain(run: Path, example: str, *, selection: str | None, full: bool) -> None:
    """Show one EXAMPLE of RUN: its candidates, their numbers, and why the decision fell as it did.

    EXAMPLE is an id (its first characters are enough) or `row:N`, the 0-based input row.

    \b
    Example:
      tutelage explain runs/demo row:3
    """
    from tutelage.pipeline import explain_example

    show(explain_example(run, example, full=full, selection=selection))


COMMANDS = (select, explain)
