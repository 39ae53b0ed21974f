"""Command `view`, which opens a run in a browser."""

from contextlib import ExitStack
from pathlib import Path

import click

from tutelage.cli.console import shown_progress
from tutelage.cli.output import inform, show_result
from tutelage.errors import MissingExtraError


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


COMMANDS = (view,)
