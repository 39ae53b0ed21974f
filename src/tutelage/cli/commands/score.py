"""Commands for scores and metrics: score, recompute, delta, metrics."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    data_options,
    data_settings,
    doors_with_workers,
    dry_run_options,
    engine_options,
    ray_values,
    student_options,
    student_values,
)
from tutelage.cli.output import say_notes, show_result, shown_progress
from tutelage.cli.summaries import (
    delta_text,
    estimate_text,
    metric_agreement_text,
    metrics_text,
    recompute_text,
    score_text,
)
from tutelage.errors import DataError, RunError, SettingsError


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
    help="Also write the statistics of each token to this Parquet file.",
)
@engine_options
@dry_run_options
def score(
    data: str,
    *,
    metrics: str,
    out: Path | None,
    statistics: Path | None,
    engine: str,
    dry_run: bool,
    measure_seconds: float,
    **options: Any,
) -> None:
    """Score data with the student model.

    Writes OUT with one row per input row of DATA, in the same order, and one for each version if a
    row has several. What cannot be computed is null, with a status that says why. Without --out,
    DATA is a run folder.

    \b
    Example:
      tutelage score data.jsonl --student smollm2-135m --metrics ifd,r_ifd --out scores.parquet
      tutelage score data.jsonl --student smollm2-135m --out scores.parquet --dry-run
      tutelage score runs/samples --student smollm2-135m --metrics grape,lark
    """
    from tutelage.pipeline import estimate_score, score_data, score_run

    names = _names(metrics)
    if dry_run:
        is_run = out is None
        with shown_progress() as progress:
            found = estimate_score(
                student=student_values(options),
                metrics=names,
                data=None if is_run else data_settings(data, options),
                run=Path(data) if is_run else None,
                progress=progress,
                measure_seconds=measure_seconds,
            )
        show_result(found, text=estimate_text)
        return
    if out is None:
        if statistics is not None or engine != "local":
            raise SettingsError(
                "a run's candidates are scored in this process, without --statistics",
                hint="give --out, or set score.statistics and score.engine in the run's YAML file",
            )
        if not Path(data).exists():
            raise RunError(
                f"{data}: there is no such file or folder",
                hint="give a run folder; a file or a dataset of the hub needs --out",
            )
        with shown_progress() as progress:
            student = student_values(options)
            tally = score_run(Path(data), student=student, metrics=names, progress=progress)
        say_notes(tally)
        show_result(tally, text=score_text)
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
    show_result(tally, text=score_text)
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
    """Compute metrics from stored token statistics.

    No model is loaded.

    \b
    Example:
      tutelage recompute t.parquet --metrics upd,high_entropy_sum --out more.parquet

    where `tutelage score data.jsonl --student smollm2-135m --statistics t.parquet --out s.parquet`
    has written the statistics.
    """
    from tutelage.pipeline import recompute as computed

    with shown_progress() as progress:
        tally = computed(statistics, metrics=_names(metrics), out=out, progress=progress)
    show_result(tally, text=recompute_text)


@click.command()
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("current", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A Parquet file with a row for each candidate.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--by",
    type=click.Choice(["source", "step", "teacher"]),
    help="Also each group separately, with its loss before and after.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="With --by: the scored rows, if neither is a run folder.",
)
def delta(
    base: Path, current: Path, *, out: Path | None, seed: int, by: Any, data: Path | None
) -> None:
    """Compare the loss on the same rows before and after training.

    BASE and CURRENT are run folders or scores tables of the same candidates. The difference is the
    loss under BASE minus the loss under CURRENT, in nats per token, with a 95 % interval over
    examples: above 0, a response has become more likely.

    \b
    Example:
      tutelage delta before.parquet after.parquet --out deltas.parquet
      tutelage delta before.parquet after.parquet --by source --data data.jsonl
    """
    from tutelage.pipeline import delta_losses

    found = delta_losses(base, current, out=out, seed=seed, by=by, data=data)
    show_result(found, text=delta_text)


@click.command()
@click.option(
    "--agreement",
    type=click.Path(path_type=Path),
    help="A run folder or a scores table whose metrics are compared.",
)
@click.option("--metrics", "names", help="Comma-separated; by default all the table has.")
def metrics(agreement: Path | None, names: str | None) -> None:
    """List the metrics, or measure how they agree.

    The list says what each metric measures and which direction is better. With --agreement:
    Spearman's rank correlation between metrics, and with the length of the response, each with
    its 95 % interval over examples.

    \b
    Example:
      tutelage metrics
      tutelage metrics --agreement scores.parquet
    """
    from tutelage.metrics import METRICS
    from tutelage.pipeline import metric_agreement

    if agreement is not None:
        rows = metric_agreement(agreement, metrics=_names(names or ""))
        show_result({"agreement": rows}, text=metric_agreement_text)
        return
    shown = ("name", "summary", "formula", "better", "level", "statistics", "needs", "source")
    rows = [{key: getattr(spec, key) for key in shown} for spec in METRICS.values()]
    show_result({"metrics": rows}, text=metrics_text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


COMMANDS = (score, recompute, delta, metrics)
