"""Commands for data and its checks: load, sample, verify, filter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    data_options,
    data_settings,
    doors_with_workers,
    dry_run_options,
    engine_options,
    optional_teacher_options,
    ray_values,
    teacher_values,
)
from tutelage.cli.output import fail_if_away, say_notes, show_result, shown_progress
from tutelage.cli.summaries import (
    compared_filters_text,
    estimate_text,
    filter_text,
    load_text,
    sample_text,
    verify_text,
)
from tutelage.errors import SettingsError

_RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("data")
@data_options
@click.option("--out", required=True, type=_RUN, help="The run folder.")
def load(data: str, *, out: Path, **options: Any) -> None:
    """Read rows into a run folder, and do nothing else.

    Reads DATA, for example a pool of answers by several models, and writes the run folder OUT.
    Neither a teacher nor a student is needed.

    \b
    Example:
      tutelage load answers.jsonl --out runs/pool
      tutelage verify runs/pool
      tutelage score runs/pool --student smollm2-135m --metrics grape
      tutelage select runs/pool --rule grape --gate right
    """
    from tutelage.pipeline import load_data

    with shown_progress() as progress:
        tally = load_data(data=data_settings(data, options), out=out, progress=progress)
    say_notes(tally)
    show_result(tally, text=load_text)


CHECKS = (
    "maths",
    "number",
    "choice",
    "exact",
    "code",
    "constraints",
    "judge",
    "agreement",
    "extension",
)


@click.command()
@click.argument("data")
@data_options
@optional_teacher_options
@click.option(
    "--teachers",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Instead of --teacher: a YAML list of teachers, each with a `share`.",
)
@click.option(
    "--n",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Responses to each instruction; with --accepted, the most that are requested.",
)
@click.option(
    "--accepted",
    type=click.IntRange(min=1),
    help="Sample until this many responses to an instruction pass --accept.",
)
@click.option(
    "--accept",
    type=click.Choice(["maths", "number", "choice", "exact"]),
    help="Check that a response must pass to count for --accepted.",
)
@click.option(
    "--temperature",
    type=float,
    default=0.8,
    show_default=True,
    help="Temperature of the responses.",
)
@click.option(
    "--max-tokens", type=int, default=1024, show_default=True, help="Token limit of a response."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the responses.")
@click.option("--system", help="A system prompt for the teacher only; not kept in the data.")
@click.option(
    "--keep-reasoning",
    is_flag=True,
    help="Store the teacher's thinking as the `reasoning` of the turn.",
)
@click.option("--out", required=True, type=_RUN, help="The run folder.")
@click.option("--dry-run", is_flag=True, help="Estimate the cost, and stop.")
@engine_options
def sample(
    data: str,
    *,
    out: Path,
    teachers: Path | None,
    dry_run: bool,
    engine: str,
    **options: Any,
) -> None:
    """Let teachers answer each instruction several times.

    Reads the instructions of DATA and writes N responses to each into the run folder OUT. Run it
    again with another teacher and the same OUT to add that teacher's responses. Equal responses
    to one instruction from the same command are stored once.

    \b
    Example:
      tutelage sample problems.jsonl --teacher qwen --base-url http://127.0.0.1:8081/v1 \\
          --n 16 --out runs/samples
      tutelage sample problems.jsonl --teachers teachers.yaml --n 32 --accepted 4 \\
          --accept maths --out runs/four-right
    """
    from tutelage.pipeline import estimate_sample, sample_data

    names = ("n", "accepted", "temperature", "max_tokens", "seed", "system", "keep_reasoning")
    with shown_progress() as progress:
        job: dict[str, Any] = {
            "data": data_settings(data, options),
            "teachers": _teachers(teachers, options),
            "sample": {name: options[name] for name in names if options[name] is not None},
            "accept": None if options["accept"] is None else {"check": options["accept"]},
            "out": out,
            "progress": progress,
        }
        if dry_run:
            show_result(estimate_sample(**job), text=estimate_text)
            return
        tally = sample_data(
            **job, engine=engine, ray=ray_values(options), doors=doors_with_workers()
        )
    say_notes(tally)
    show_result(tally, text=sample_text)
    fail_if_away(tally["sample"])


def _teachers(path: Path | None, options: Mapping[str, Any]) -> list[Any]:
    from tutelage.pipeline import yaml_file

    if (path is None) == (options["teacher"] is None):
        raise SettingsError("give either --teacher or --teachers", hint="see docs/teachers.md")
    if path is None:
        return [teacher_values(options)]
    listed = yaml_file(path)
    if not isinstance(listed, list):
        raise SettingsError(
            f"{path}: expected a list of teachers", hint="each as under `teacher`, with a `share`"
        )
    if options["batch"]:
        return [{**one, "batch": True} if isinstance(one, dict) else one for one in listed]
    return listed


@click.command()
@click.argument("data")
@data_options
@click.option(
    "--check",
    type=click.Choice(CHECKS),
    default="maths",
    show_default=True,
    help="What decides whether a response is right. agreement: the majority of the example's "
    "answers, for run folders only.",
)
@optional_teacher_options
@click.option(
    "--instruction",
    default="instruction",
    show_default=True,
    help="judge: field of the instruction.",
)
@click.option("--response", default="response", show_default=True, help="Field of the response.")
@click.option("--reference", default="reference", show_default=True, help="Field of the reference.")
@click.option("--candidate-id", help="The field of an id to copy to the verdicts.")
@click.option(
    "--choices", default="choices", show_default=True, help="choice: field of the choices."
)
@click.option("--tests", default="tests", show_default=True, help="code: field of the tests.")
@click.option("--processes", type=click.IntRange(min=1), help="Rows checked at once.")
@click.option(
    "--time-limit", type=click.IntRange(min=1), help=("Time limit of one row's step, in seconds.")
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A Parquet file; without it DATA is a run folder, and its candidates are checked.",
)
@click.option("--name", help="Name of these verdicts in the run; by default the check.")
@click.option("--function", help="extension: the check's name in the file of --extensions.")
@dry_run_options
def verify(
    data: str,
    *,
    check: str,
    out: Path | None,
    name: str | None,
    dry_run: bool,
    measure_seconds: float,
    **options: Any,
) -> None:
    """Check whether responses are correct.

    Writes a verdict with its evidence for each row: right, wrong, no_answer or cannot_check. DATA
    is a file or a run folder. A run folder keeps the verdicts of each check; `tutelage select
    --gate-check` says which of them is used.

    \b
    Example:
      tutelage verify data.jsonl --check maths --reference gold --response output --out V.parquet
      tutelage verify runs/samples
      tutelage verify runs/samples --check judge --teacher qwen --base-url http://127.0.0.1:8081/v1
    """
    from tutelage.pipeline import (
        estimate_verify_file,
        estimate_verify_run,
        verify_file,
        verify_run,
    )

    limits = {"processes": options["processes"], "time_limit_seconds": options["time_limit"]}
    limits["function"] = options["function"]
    settings = {"check": check} | {n: v for n, v in limits.items() if v is not None}
    names = ("instruction", "response", "reference", "candidate_id", "choices", "tests")
    with shown_progress() as progress:
        job: dict[str, Any] = {"check": settings, "teacher": _judge(options), "progress": progress}
        of_file: dict[str, Any] = (
            {}
            if out is None
            else {
                "data": data_settings(data, options),
                "fields": {name: options[name] for name in names if options[name] is not None},
                "out": out,
            }
        )
        if dry_run:
            job["measure_seconds"] = measure_seconds
            found = (
                estimate_verify_file(**job, **of_file)
                if of_file
                else estimate_verify_run(Path(data), **job)
            )
            show_result(found, text=estimate_text)
            return
        tally = (
            verify_file(**job, **of_file) if of_file else verify_run(Path(data), name=name, **job)
        )
    show_result(tally, text=verify_text)


def _judge(options: Mapping[str, Any]) -> dict[str, Any] | None:
    return None if options["teacher"] is None else teacher_values(options)


@click.command(name="filter")
@click.argument("run", type=_RUN)
@click.option(
    "--config",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A YAML file with a list `filters`; see docs/filters.md.",
)
@click.option(
    "--compare", is_flag=True, help="Apply each filter on its own and compare them; writes nothing."
)
@optional_teacher_options
@click.option(
    "--dry-run", is_flag=True, help="Estimate the calls and their cost, and stop. Nothing is sent."
)
def filter_candidates(
    run: Path, *, config: Path, compare: bool, dry_run: bool, **options: Any
) -> None:
    """Filter by length, duplicates, contamination and more.

    Writes filters.parquet of RUN, with the decision on each candidate and its reason. Removes
    nothing; `tutelage select` uses the decisions.

    \b
    Example:
      tutelage filter runs/demo --config filters.yaml
      tutelage filter runs/demo --config filters.yaml --compare

    A filter that asks a teacher (teacher_rating) needs --teacher.
    """
    from tutelage.pipeline import compare_filters, estimate_filter, filter_run

    teacher = _judge(options)
    with shown_progress() as progress:
        if dry_run:
            job: dict[str, Any] = {"config": config, "teacher": teacher, "compare": compare}
            show_result(estimate_filter(run, **job, progress=progress), text=estimate_text)
            return
        if not compare:
            tally = filter_run(run, config=config, teacher=teacher, progress=progress)
            show_result(tally, text=filter_text)
            return
        found = compare_filters(run, config=config, teacher=teacher, progress=progress)
    tables = ("filters", "overlaps", "reasons")
    facts = {name: getattr(found, name).to_pylist() for name in tables}
    show_result(facts, text=compared_filters_text)


COMMANDS = (load, sample, verify, filter_candidates)
