"""Commands about how data and students move: drift, frontier, rounds."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import data_options, data_settings
from tutelage.cli.showing import print_json, shown_progress

_CHECKS = ("maths", "number", "choice", "exact", "code", "constraints")


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@data_options
@click.option("--student", help="Measure the likelihood of each text under this student.")
@click.option("--current", help="And under this one, such as the trained student.")
@click.option("--template", default="chat", show_default=True, help="Of both students.")
@click.option("--check", type=click.Choice(_CHECKS), help="Check responses against references.")
@click.option(
    "--embedder",
    metavar="FOLDER",
    help="Measure the spread in the space of this model2vec model; `words` needs no model.",
)
@click.option(
    "--versions",
    type=click.Choice(["all", "original", "refined"]),
    default="all",
    show_default=True,
    help="Which versions of rows that have several.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the intervals.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Also a Parquet file of lines."
)
def drift(data: tuple[Path, ...], *, out: Path | None, seed: int, **options: Any) -> None:
    """Account for how far the texts of each DATA have moved from those of the first.

    Length, word distribution, diversity, likelihood, accuracy and the share of each teacher, each
    with a 95 % interval. DATA are files, or run folders (their chosen sets); one run folder alone
    is compared with its own originals.

    \b
    Example:
      tutelage drift round-0.jsonl round-1.jsonl round-2.jsonl --student smollm2-135m
      tutelage drift runs/demo --embedder words --out drift.parquet
    """
    from tutelage.runs import drift_files

    reading = data_settings("", options)
    del reading["path"]
    job: dict[str, Any] = {"reading": reading, "versions": options["versions"], "seed": seed}
    for name in ("student", "current"):
        if options[name] is not None:
            job[name] = {"model": options[name], "template": options["template"]}
    if options["check"] is not None:
        job["check"] = {"check": options["check"]}
    if options["embedder"] is not None:
        job["embedder"] = _embedder(options["embedder"])
    with shown_progress() as progress:
        print_json(drift_files(data, job=job, out=out, progress=progress))


def _embedder(name: str) -> dict[str, str]:
    return {"kind": "words"} if name == "words" else {"kind": "model2vec", "model": name}


COMMANDS = (drift,)
