"""Commands about the student's numbers: score, metrics."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.console import say_notes, shown_progress
from tutelage.cli.options import (
    data_options,
    data_settings,
    doors_with_workers,
    engine_options,
    ray_values,
    student_options,
    student_values,
)
from tutelage.cli.terminal import print_json, show
from tutelage.errors import DataError, SettingsError


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
    from tutelage.pipeline import score_data, score_run

    names = _names(metrics)
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
            doors=doors_with_workers(),
        )
    say_notes(tally)
    print_json(tally)
    if tally.get("unanswered"):
        raise DataError(
            f"{', '.join(tally['unanswered'])}: no row has a response, so none was scored",
            hint="name the column with --map response=NAME; the other files are in the table",
        )


@click.command()
@click.argument("statistics", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--metrics", required=True, help="Comma-separated; `tutelage metrics` lists them.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The scores table to write.",
)
def recompute(statistics: Path, *, metrics: str, out: Path) -> None:
    """Compute metrics from stored token STATISTICS, without a model.

    \b
    Example:
      tutelage recompute t.parquet --metrics upd,high_entropy_sum --out more.parquet

    where `tutelage score data.jsonl --student smollm2-135m --statistics t.parquet --out s.parquet`
    has written the statistics.
    """
    from tutelage.pipeline import recompute as computed

    with shown_progress() as progress:
        tally = computed(statistics, metrics=_names(metrics), out=out, progress=progress)
    print_json(tally)


@click.command()
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("current", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A Parquet file with a row for each candidate.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resampling.")
def delta(base: Path, current: Path, *, out: Path | None, seed: int) -> None:
    """What did training change? The loss under the student BASE less that under CURRENT.

    Both are run folders or scores tables of the same candidates. Above 0 a response has become
    likelier. Nats per token, with a 95 % interval over examples.

    \b
    Example:
      tutelage delta before.parquet after.parquet --out deltas.parquet
    """
    from tutelage.pipeline import delta_losses

    print_json(delta_losses(base, current, out=out, seed=seed))


@click.command()
@click.option(
    "--agreement",
    type=click.Path(path_type=Path),
    help="A run folder or a scores table: how do its metrics agree, and follow length?",
)
@click.option("--metrics", "names", help="Comma-separated; by default all the table has.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def metrics(agreement: Path | None, names: str | None, *, as_json: bool) -> None:
    """List every metric: what it measures, which direction is better, where it comes from.

    With --agreement: Spearman's rank correlation of each pair of metrics and of each with the
    length of the response, with its 95 % interval over examples.

    \b
    Example:
      tutelage metrics
      tutelage metrics --agreement scores.parquet
    """
    if agreement is not None:
        _print_agreement(agreement, _names(names or ""), as_json=as_json)
        return
    from tutelage.metrics import METRICS

    if as_json:
        shown = ("name", "summary", "formula", "better", "level", "statistics", "needs", "source")
        rows = [{key: getattr(spec, key) for key in shown} for spec in METRICS.values()]
        print_json({"metrics": rows})
        return
    for name, spec in METRICS.items():
        show(f"{name:<22} {spec.level:<10} better: {spec.better:<8} {spec.summary}")


def _print_agreement(source: Path, names: list[str], *, as_json: bool) -> None:
    from tutelage.pipeline import metric_agreement

    rows = metric_agreement(source, metrics=names)
    if as_json:
        print_json({"agreement": rows})
        return
    student = None
    for row in rows:
        if row["student"] != student:
            student = row["student"]
            show(f"student {student}: Spearman, 95 % interval, candidates, examples")
        value = "     no order"
        if row["spearman"] is not None:
            value = f"{row['spearman']:+.3f}  [{row['low']:+.3f}, {row['high']:+.3f}]"
        show(f"{row['a']:<20} {row['b']:<20} {value:<26} n {row['n']:<7} of {row['examples']}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


COMMANDS = (score, recompute, delta, metrics)
