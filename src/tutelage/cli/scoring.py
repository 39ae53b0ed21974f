"""Commands about the student's numbers: score, metrics."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    data_options,
    data_settings,
    engine_options,
    ray_values,
    student_options,
    student_values,
)
from tutelage.cli.showing import print_json, shown_progress
from tutelage.errors import SettingsError


@click.command()
@click.argument("data")
@data_options
@student_options()
@click.option(
    "--metrics",
    default="ifd,ifd_loss,r_ifd,ppl,grape,rsr",
    show_default=True,
    help="Comma-separated; `tutelage metrics` lists them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A Parquet file to write; without it DATA is a run folder, and its candidates are scored.",
)
@click.option(
    "--statistics",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also keep what the student thought of each token in this Parquet file.",
)
@engine_options
def score(
    data: str,
    *,
    metrics: str,
    out: Path | None,
    statistics: Path | None,
    engine: str,
    **options: Any,
) -> None:
    """Let the student read DATA and write its numbers to OUT, one row per input row, in order.

    What could not be computed is null, with a status that says why.

    \b
    Example:
      tutelage score data.jsonl --student smollm2-135m --metrics ifd,r_ifd --out scores.parquet
      tutelage score runs/samples --student smollm2-135m --metrics grape,lark
    """
    from tutelage.runs import score_data, score_run

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if out is None:
        if statistics is not None or engine != "local":
            raise SettingsError(
                "a run's candidates are scored in this process, without --statistics",
                hint="give --out, or set score.statistics and score.engine in the run's YAML file",
            )
        with shown_progress() as progress:
            student = student_values(options)
            print_json(score_run(Path(data), student=student, metrics=names, progress=progress))
        return
    with shown_progress() as progress:
        tally = score_data(
            data=data_settings(data, options),
            student=student_values(options),
            metrics=names,
            out=out,
            progress=progress,
            statistics=statistics,
            engine=engine,
            ray=ray_values(options),
        )
    print_json(tally)


@click.command()
def metrics() -> None:
    """List every metric: what it measures, which direction is better, where it comes from.

    \b
    Example:
      tutelage metrics
    """
    from tutelage.metrics import METRICS

    for name, spec in METRICS.items():
        click.echo(f"{name:<22} {spec.level:<10} better: {spec.better:<8} {spec.summary}")


COMMANDS = (score, metrics)
