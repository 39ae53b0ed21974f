"""Commands for training and evaluation: train, evaluate, prove."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import (
    POOL_FLAGS,
    TEMPLATE_NAMES,
    dry_run_options,
    engine_options,
    ray_values,
    template_options,
    template_values,
    tracker_options,
)
from tutelage.cli.output import show_result, shown_progress
from tutelage.cli.summaries import estimate_text, evaluate_text, plan_text, prove_text, train_text
from tutelage.errors import SettingsError

_OUT = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--student", required=True, help="A folder, a hub id or an alias.")
@click.option("--out", required=True, type=_OUT, help="OUT/model is the trained student.")
@click.option(
    "--method",
    type=click.Choice(["full", "lora"]),
    default="full",
    show_default=True,
    help="full trains all weights; lora trains low-rank adapters.",
)
@click.option("--epochs", type=int, default=1, show_default=True, help="Passes over the rows.")
@click.option("--learning-rate", type=float, help="Default 2e-5, or 2e-4 for lora.")
@click.option(
    "--batch",
    "batch_examples",
    type=int,
    default=8,
    show_default=True,
    help="Rows per optimizer step, over all processes.",
)
@click.option(
    "--microbatch",
    "microbatch_examples",
    type=int,
    help="Rows computed at once; halved if they do not fit into memory.",
)
@click.option("--max-tokens", type=int, help="Longer rows are left out, never truncated.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the order of rows, of dropout and of the adapters.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Dtype of the matrix products; trained weights stay in float32.",
)
@click.option(
    "--base-weights",
    type=click.Choice(["auto", "float32", "bfloat16", "4bit"]),
    default="auto",
    show_default=True,
    help="lora: dtype of the weights that are not trained.",
)
@click.option(
    "--gradient-checkpointing",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Recompute activations: less memory, a third more time.",
)
@click.option(
    "--padding-free",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Join the rows of a microbatch instead of padding them.",
)
@click.option(
    "--liger",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="The fused loss of liger-kernel.",
)
@click.option(
    "--template", default="chat", show_default=True, help=("The template used for scoring.")
)
@template_options
@click.option(
    "--turns",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="last trains on the response only; all trains on every assistant turn.",
)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps or xpu."
)
@click.option("--threads", type=int, help="CPU threads.")
@click.option(
    "--checkpoint-steps",
    type=int,
    default=200,
    show_default=True,
    help="Optimizer steps between checkpoints.",
)
@click.option(
    "--set",
    "chosen",
    show_default="selected",
    help="Only if DATA is a run: selected, or a baseline such as random or all_original.",
)
@click.option("--selection", help="Only if DATA is a run: a selection made with `select`.")
@tracker_options
@click.option(
    "--weights",
    type=click.Choice(["auto", "likelihood", "off"]),
    default="auto",
    show_default=True,
    help="Weight of a row's loss. auto: its column train_weight, or by the rule of the run "
    "(lark). likelihood: a run's mean probability of the response. off: all the same.",
)
@engine_options
@dry_run_options
def train(
    data: Path,
    *,
    student: str,
    out: Path,
    chosen: str | None,
    selection: str | None,
    weights: str,
    tracker: str | None,
    tracker_project: str,
    engine: str,
    dry_run: bool,
    measure_seconds: float,
    **flags: Any,
) -> None:
    """Train the student with TRL.

    DATA is a file of rows or a run folder. The loss covers responses and their end of turn, the
    same tokens that were scored. The same command resumes an interrupted training.

    \b
    Example:
      tutelage train runs/demo --student smollm2-135m --out trained/choice
      tutelage train runs/demo --student smollm2-135m --out trained/choice --dry-run
      tutelage train runs/demo --set random --student smollm2-135m --out trained/random
      tutelage train runs/demo --student MODEL --out trained/choice --engine ray --worker-gpus 1
    """
    from tutelage.distributed import runs_on_ray
    from tutelage.pipeline.train_stage import train as work
    from tutelage.training import launched, tracked

    pool = ray_values({name: flags.pop(name) for name in POOL_FLAGS})
    arguments = template_values(flags)
    given = {n: v for n, v in flags.items() if v is not None and n not in TEMPLATE_NAMES}
    job: dict[str, Any] = {
        "model": student,
        "settings": given | arguments,
        "chosen": chosen,
        "selection": selection,
        "weights": weights,
    }
    on_ray = runs_on_ray(engine, pool)
    if dry_run:
        from tutelage.pipeline import estimate_training

        found = estimate_training(data, **job, measure_seconds=measure_seconds)
        show_result(found, text=estimate_text)
        return
    if on_ray:
        from tutelage.distributed.ray_tasks import train_on_ray

        watched: dict[str, Any] = {"tracker": tracker, "project": tracker_project}
        with shown_progress() as progress:
            done = train_on_ray(data, out=out, pool=pool, progress=progress, **watched, **job)
        show_result(done, text=train_text)
        return
    tracker = tracker if launched().is_first else None
    with tracked(tracker, project=tracker_project), shown_progress() as progress:
        done = work(data, out=out, progress=progress, **job)
    if launched().is_first:
        show_result(done, text=train_text)


@click.command()
@click.argument("student")
@click.option(
    "--task",
    "given",
    multiple=True,
    metavar="KIND=PATH",
    help="held_out, choice, exact_match, ifeval or steps with a file; lm_eval with a task's name.",
)
@click.option(
    "--tasks",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A YAML list of tasks; see docs/evaluate.md.",
)
@click.option("--out", required=True, type=_OUT, help="The folder for results and manifest.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of items per task.")
@click.option(
    "--template",
    default="chat",
    show_default=True,
    help="The chat template of the student, alpaca, or a file.",
)
@template_options
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Dtype in which the student computes.",
)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps or xpu."
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "vllm-offline"]),
    default="auto",
    show_default=True,
    help="vllm-offline: generate and compute likelihoods with vLLM in this process.",
)
@click.option(
    "--batch",
    "batch_examples",
    default="auto",
    show_default=True,
    help="Answers generated at once. auto: as many as fit into the GPU's memory; 16 on a CPU.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample of items.")
@engine_options
@dry_run_options
def evaluate(
    student: str,
    *,
    given: tuple[str, ...],
    file: Path | None,
    limit: int | None,
    engine: str,
    dry_run: bool,
    measure_seconds: float,
    **flags: Any,
) -> None:
    """Evaluate a student on tasks.

    STUDENT is a model, such as the folder OUT/model of `tutelage train`. The result of each item
    is stored.

    \b
    Example:
      tutelage evaluate trained/choice/model --task choice=arc_easy.jsonl \\
          --task held_out=references.jsonl --limit 200 --out trained/choice/evaluated
      tutelage evaluate smollm2-135m --tasks tasks.yaml --out evaluated --dry-run
    """
    from tutelage.distributed import runs_on_ray
    from tutelage.pipeline import estimate_evaluation
    from tutelage.pipeline.train_stage import evaluate as work
    from tutelage.pipeline.train_stage import tasks_of

    out = flags.pop("out")
    pool = ray_values({name: flags.pop(name) for name in POOL_FLAGS})
    arguments = template_values(flags)
    flags = {n: v for n, v in flags.items() if n not in TEMPLATE_NAMES} | arguments
    job: dict[str, Any] = {
        "tasks": tasks_of(file=file, given=given, limit=limit),
        "settings": flags,
        "out": out,
    }
    on_ray = runs_on_ray(engine, pool)
    if dry_run:
        estimated = estimate_evaluation(student, **job, measure_seconds=measure_seconds)
        show_result(estimated, text=estimate_text)
        return
    with shown_progress() as progress:
        if on_ray:
            from tutelage.distributed.ray_tasks import evaluate_on_ray

            found = evaluate_on_ray(student, **job, pool=pool, progress=progress)
        else:
            found = work(student, **job, progress=progress)
    show_result(found, text=evaluate_text)


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=_OUT, help="The folder to write, instead of the one in CONFIG.")
@click.option("--quick", is_flag=True, help="Train only the choice and the reference, in minutes.")
@click.option(
    "--most-cells",
    type=click.IntRange(min=0),
    help="Stop after this many training runs, to continue another time; 0 only reports.",
)
@click.option(
    "--selection", help=("Use this selection of each run, made with `select`, as the choice.")
)
@tracker_options
@click.option(
    "--plan",
    is_flag=True,
    help="Train nothing: print the smallest difference that can be found, the cost in hours, and "
    "whether to increase seeds or items.",
)
@click.option("--pilot", type=_OUT, help="--plan: a finished experiment that gives the variances.")
@click.option(
    "--variances", help="--plan: named variances of earlier experiments instead; see docs/prove.md."
)
@click.option(
    "--seconds-per-cell",
    type=click.FloatRange(min=0, min_open=True),
    help="--plan: seconds of one training run with its evaluation, instead of the mean of "
    "finished ones.",
)
@engine_options
@dry_run_options
def prove(
    config: Path,
    *,
    out: Path | None,
    quick: bool,
    most_cells: int | None,
    selection: str | None,
    tracker: str | None,
    tracker_project: str,
    plan: bool,
    engine: str,
    dry_run: bool,
    measure_seconds: float,
    **planning: Any,
) -> None:
    """Train on the selection and on baselines, and compare.

    CONFIG names students, arms, seeds and tasks; see docs/prove.md. Every difference between the
    selection and a baseline comes with an interval. The same command resumes an interrupted
    experiment.

    \b
    Example:
      tutelage prove experiment.yaml --plan
      tutelage prove experiment.yaml --dry-run
      tutelage prove experiment.yaml --quick
      tutelage prove experiment.yaml
      tutelage prove experiment.yaml --engine ray --workers 8 --worker-gpus 1
    """
    from tutelage.distributed import cells_elsewhere
    from tutelage.experiments.prove.forecast import forecast
    from tutelage.experiments.prove.run import prove as work
    from tutelage.training import tracked

    pool = ray_values({name: planning.pop(name) for name in POOL_FLAGS})
    given = [f"--{name.replace('_', '-')}" for name, value in planning.items() if value is not None]
    if plan:
        show_result(forecast(config, out=out, quick=quick, **planning), text=plan_text)
        return
    if given:
        raise SettingsError(f"{given[0]} belongs to --plan", hint="add --plan")
    if dry_run:
        from tutelage.experiments.prove.forecast import estimate_experiment

        with shown_progress() as progress:
            found = estimate_experiment(
                config,
                out=out,
                quick=quick,
                selection=selection,
                progress=progress,
                measure_seconds=measure_seconds,
            )
        show_result(found, text=estimate_text)
        return
    group = str(out or config)
    with (
        tracked(tracker, project=tracker_project, group=group),
        shown_progress() as progress,
    ):
        found = work(
            config,
            out=out,
            quick=quick,
            most_cells=most_cells,
            selection=selection,
            progress=progress,
            elsewhere=cells_elsewhere(engine, pool),
        )
    show_result(found, text=prove_text)


COMMANDS = (train, evaluate, prove)
