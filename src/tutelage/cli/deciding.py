"""Commands about decisions: select, explain."""

from pathlib import Path

import click

from tutelage.cli.showing import print_json, shown_progress

_RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--rule", help="srt, grape, rsr, ifd_top, or a null; docs/rules.md explains each.")
@click.option("--mode", type=click.Choice(["safe", "paper"]), help="The truth table of srt.")
@click.option("--margin", type=float, help="srt: how much better a refinement must be.")
@click.option("--keep-fraction", type=float, help="ifd_top: share of examples to keep.")
@click.option("--keep-count", type=int, help="ifd_top: number of examples to keep.")
@click.option("--per-source/--overall", default=None, help="ifd_top: within each source, or not.")
@click.option("--seed", type=int, help="Of the random rule and of the nulls.")
@click.option("--max-unscored", "max_unscored_fraction", type=float, help="Stop above this share.")
@click.option("--student", help="Fingerprint of the student whose scores decide, if several.")
def select(run: Path, *, student: str | None, **flags: object) -> None:
    """Decide again on every example of RUN, from the stored scores alone.

    Neither the teacher nor the student is asked. Writes decisions, nulls, selected and rejected.

    \b
    Example:
      tutelage select runs/demo --rule srt --mode paper
    """
    from tutelage.runs import select_again

    given = {name: value for name, value in flags.items() if value is not None}
    with shown_progress() as progress:
        tally = select_again(run, given=given, student=student, progress=progress)
    print_json(tally)


@click.command()
@click.argument("run", type=_RUN)
@click.argument("example")
@click.option("--full", is_flag=True, help="Show the texts whole, not their beginnings.")
def explain(run: Path, example: str, *, full: bool) -> None:
    """Show one EXAMPLE of RUN: its candidates, their numbers, and why the decision fell as it did.

    EXAMPLE is an id (its first characters are enough) or `row:N`, the 0-based input row.

    \b
    Example:
      tutelage explain runs/demo row:3
    """
    from tutelage.runs import explain_example

    click.echo(explain_example(run, example, full=full))


COMMANDS = (select, explain)
