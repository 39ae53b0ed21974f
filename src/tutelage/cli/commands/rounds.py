"""Commands for repeated training and drift: drift, frontier, rounds."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    data_options,
    data_settings,
    dry_run_options,
    override_of,
    override_option,
    student_options,
    student_values,
    template_options,
    template_values,
    tracker_options,
)
from tutelage.cli.output import fail_if_away, inform, show_result, shown_progress
from tutelage.cli.summaries import drift_text, estimate_text, frontier_text, rounds_text

_CHECKS = ("maths", "number", "choice", "exact", "code", "constraints")


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@data_options
@click.option("--student", help="Measure the likelihood of each text under this student.")
@click.option("--current", help="Measure it under a second student, too, such as the trained one.")
@click.option("--template", default="chat", show_default=True, help="Template of both students.")
@template_options
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
    help="The versions to use of rows that have several.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the intervals.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help=("Also write the measures to this Parquet file."),
)
def drift(data: tuple[Path, ...], *, out: Path | None, seed: int, **options: Any) -> None:
    """Measure how far datasets have changed from the first one.

    Compares length, word distribution, diversity, likelihood, accuracy and the share of each
    teacher, each with a 95 % interval. DATA are files or run folders (their selected sets); a
    single run folder is compared with its own originals.

    \b
    Example:
      tutelage drift round-0.jsonl round-1.jsonl round-2.jsonl --student smollm2-135m
      tutelage drift runs/demo --embedder words --out drift.parquet
    """
    from tutelage.experiments.drift import drift_files

    reading = data_settings("", options)
    del reading["path"]
    job: dict[str, Any] = {"reading": reading, "versions": options["versions"], "seed": seed}
    for name in ("student", "current"):
        if options[name] is not None:
            job[name] = {
                "model": options[name],
                "template": options["template"],
                **template_values(options),
            }
    if options["check"] is not None:
        job["check"] = {"check": options["check"]}
    if options["embedder"] is not None:
        job["embedder"] = _embedder(options["embedder"])
    with shown_progress() as progress:
        found = drift_files(data, job=job, out=out, progress=progress)
    show_result(found, text=drift_text)


def _embedder(name: str) -> dict[str, str]:
    return {"kind": "words"} if name == "words" else {"kind": "model2vec", "model": name}


@click.command()
@click.argument("data")
@data_options
@student_options()
@click.option(
    "--base-url",
    help="Ask the student at this OpenAI-compatible endpoint instead of in this process.",
)
@click.option("--served-as", help="The student's name at that endpoint.")
@click.option(
    "--sampled",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Sampled answers per question.",
)
@click.option(
    "--greedy",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Greedy answers per question.",
)
@click.option(
    "--shots",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Examples that are shown before each question.",
)
@click.option(
    "--temperature",
    type=float,
    default=0.8,
    show_default=True,
    help="Temperature of sampled answers.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Token limit of an answer.",
)
@click.option("--system", help="A system prompt, to ask for short answers for example.")
@click.option(
    "--attempted",
    type=click.IntRange(min=1),
    help="Attempt only this many examples, and classify the others by prediction.",
)
@click.option(
    "--check",
    type=click.Choice(_CHECKS),
    default="maths",
    show_default=True,
    help="How answers are compared with references.",
)
@click.option(
    "--keep",
    "keep_fraction",
    type=float,
    default=0.5,
    show_default=True,
    help="Share of the classified examples to keep (adaptive band).",
)
@click.option("--low", type=float, help="A fixed band: its lowest pass rate.")
@click.option("--high", type=float, help="A fixed band: its highest pass rate.")
@click.option(
    "--order",
    type=click.Choice(["easy_first", "hard_first", "band_first"]),
    default="easy_first",
    show_default=True,
    help="Order of the exported set.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sampled answers.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Answers generated at once in this process.",
)
@click.option(
    "--compare-with",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="The folder of an earlier frontier, to compare with in the report. Repeatable.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write.",
)
@dry_run_options
def frontier(
    data: str, *, out: Path, dry_run: bool, measure_seconds: float, **options: Any
) -> None:
    """Select examples that the student solves only sometimes.

    The student answers each example of DATA that has a reference several times. Examples are
    classified as known, maybe known, weakly known or unknown. Those with a pass rate inside the
    band are written to OUT/selected.jsonl, in the order of a curriculum.

    \b
    Example:
      tutelage frontier problems.jsonl --student smollm2-135m --sampled 4 --out runs/frontier
    """
    from tutelage.experiments.frontier import find_frontier
    from tutelage.experiments.frontier.run import estimate_frontier

    job = _frontier_job(data, out, options)
    with shown_progress() as progress:
        if dry_run:
            found = estimate_frontier(job, progress=progress, measure_seconds=measure_seconds)
            show_result(found, text=estimate_text)
            return
        found = find_frontier(job, progress=progress)
    if found["warning"]:
        inform(f"Warning: {found['warning']}.")
    show_result(found, text=frontier_text)
    fail_if_away(found["answers"])


def _frontier_job(data: str, out: Path, options: dict[str, Any]) -> dict[str, Any]:
    attempts = ("sampled", "greedy", "shots", "temperature", "max_tokens", "system", "seed")
    bands = ("keep_fraction", "low", "high", "order")
    asked = None
    if options["base_url"] is not None:
        asked = {
            "model": options["served_as"] or options["student"],
            "base_url": options["base_url"],
            "concurrency": options["batch"],
        }
    return {
        "data": data_settings(data, options),
        "student": student_values(options),
        "asked_through": asked,
        "batch": options["batch"],
        "attempts": {name: options[name] for name in attempts},
        "attempted": options["attempted"],
        "check": {"check": options["check"]},
        "band": {name: options[name] for name in bands if options[name] is not None},
        "compare_with": options["compare_with"],
        "out": str(out),
    }


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The folder to write."
)
@override_option("rounds=5")
@tracker_options
@dry_run_options
def rounds(
    config: Path,
    *,
    out: Path | None,
    overrides: tuple[str, ...],
    tracker: str | None,
    tracker_project: str,
    dry_run: bool,
    measure_seconds: float,
) -> None:
    """Repeat selection and training, as CONFIG says.

    In each round the current student scores every candidate, and is trained on those it selects.
    The drift of each round is compared with limits that are set in CONFIG: a round that exceeds
    one is not accepted. The same loop can be run without the gate, with a random selection,
    and with the student as its own teacher. Resumes an interrupted run.

    \b
    Example:
      tutelage rounds rounds.yaml --dry-run
      tutelage rounds rounds.yaml --set rounds=3
    """
    from tutelage.experiments.rounds import load_rounds_settings, run_rounds
    from tutelage.training import tracked

    values = dict(override_of(text) for text in overrides)
    if out is not None:
        values["out"] = str(out)
    settings = load_rounds_settings(config, overrides=values)
    if dry_run:
        from tutelage.experiments.rounds.loop import estimate_rounds

        with shown_progress() as progress:
            estimated = estimate_rounds(
                settings, progress=progress, measure_seconds=measure_seconds
            )
        show_result(estimated, text=estimate_text)
        return
    with (
        tracked(tracker, project=tracker_project, group=str(settings.out)),
        shown_progress() as progress,
    ):
        found = run_rounds(settings, progress=progress)
    show_result(found, text=rounds_text)


COMMANDS = (drift, frontier, rounds)
