"""Command `audit`: whether selection is likely to pay, before any training."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.console import say_notes, shown_progress
from tutelage.cli.options import (
    data_options,
    data_settings,
    dry_run_options,
    student_options,
    student_values,
)
from tutelage.cli.output import inform, show_result
from tutelage.cli.summaries import estimate_text


@click.command()
@click.argument("data")
@data_options
@student_options()
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=600,
    show_default=True,
    help="Number of examples to sample and score.",
)
@click.option(
    "--planted",
    type=click.IntRange(min=60),
    default=120,
    show_default=True,
    help="Number of these into which faults are planted; each takes about 12 scored texts.",
)
@click.option(
    "--max-false-refusals",
    type=click.FloatRange(min=0.0, max=0.5, min_open=True),
    default=0.05,
    show_default=True,
    help="The share of clean rows that the gate may reject.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for audit.html, audit.json and gate.json; by default audit-NAME.",
)
@dry_run_options
def audit(
    data: str, *, out: Path | None, dry_run: bool, measure_seconds: float, **options: Any
) -> None:
    """Estimate what share of the rows of DATA is faulty.

    Takes minutes and trains nothing: known faults are planted into a sample of your rows, and the
    student's numbers show how well it finds them. Works on rows with an original and a rewrite, on
    sampled responses and on plain rows. Ends with one recommendation and its basis.

    \b
    Example:
      tutelage audit pairs.jsonl --student smollm2-135m
      tutelage audit pairs.jsonl --student smollm2-135m --dry-run
      tutelage audit rows.parquet --student models/mine --examples 300 --out audits/mine
    """
    from tutelage.experiments.audit import AuditSettings, audit_data, default_out
    from tutelage.pipeline.config import checked

    values = {
        "data": data_settings(data, options),
        "student": student_values(options),
        "out": default_out(data) if out is None else out,
        **{n: options[n] for n in ("examples", "planted", "max_false_refusals", "seed")},
    }
    settings = checked(AuditSettings, values, place="audit")
    if dry_run:
        from tutelage.experiments.audit.dry_run import estimate_audit

        with shown_progress() as progress:
            estimated = estimate_audit(settings, progress=progress, measure_seconds=measure_seconds)
        show_result(estimated, text=estimate_text)
        return
    with shown_progress() as progress:
        found = audit_data(settings, progress=progress)
    say_notes(found)
    words = found.pop("in_words")
    inform("Note: the audit is experimental; its estimate is too low where one fault is frequent.")
    show_result(found, text=lambda _: [words])


COMMANDS = (audit,)
