"""Commands for results and checks: report, export, doctor."""

from pathlib import Path
from typing import Any

import click

from tutelage.cli.options import template_options, template_values
from tutelage.cli.output import inform, show_result, shown_progress
from tutelage.cli.summaries import device_text, doctor_text, export_text, truth_text
from tutelage.errors import SettingsError

_RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--text", is_flag=True, help="Print the report as text instead of writing a page.")
@click.option(
    "--compare-with",
    multiple=True,
    type=_RUN,
    help="A section about another folder: a second student's run over the same rows, an "
    "experiment of `tutelage prove`, a ranking. Repeatable.",
)
@click.option(
    "--selection",
    "selections",
    multiple=True,
    help="A selection made with `select --name`, or main. Of two, the first is shown and compared "
    "with the second.",
)
def report(
    run: Path, *, text: bool, compare_with: tuple[Path, ...], selections: tuple[str, ...]
) -> None:
    """Write the HTML report of a run.

    report.html of RUN is one self-contained page.

    \b
    Example:
      tutelage report runs/demo --text
      tutelage report runs/small --compare-with runs/large
      tutelage report runs/demo --selection main --selection strict
    """
    from tutelage.pipeline import report_text, write_report

    first, *compared = selections or (None,)
    others = tuple(filter(None, compared))

    if text:
        told = report_text(run, compare_with=compare_with, selection=first, compared=others)
        show_result({"text": told}, text=lambda found: [found["text"]])
    else:
        page = write_report(run, compare_with=compare_with, selection=first, compared=others)
        facts = {"report": str(page)}
        show_result(facts, text=lambda found: [f"Report: {found['report']}"])


@click.command()
@click.argument("run", type=_RUN)
@click.option(
    "--to",
    default="messages",
    show_default=True,
    help="messages, trl, axolotl, llamafactory, alpaca or sharegpt; preferences: dpo, kto, "
    "llamafactory-dpo or llamafactory-kto; distillation: prompts with teacher_id.",
)
@click.option(
    "--set",
    "chosen",
    default="selected",
    show_default=True,
    help="selected, or a baseline: random, random_version, longest, all_refined, all_original.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .jsonl file, or .parquet for messages.",
)
@click.option(
    "--selection", help="A selection made with `select --name`; by default the run's own."
)
@click.option(
    "--weights",
    type=click.Choice(["auto", "likelihood", "off"]),
    default="auto",
    show_default=True,
    help="The column train_weight. auto: by the rule (lark). likelihood: the student's mean "
    "probability of the response.",
)
@click.option(
    "--routes",
    type=click.Path(path_type=Path, exists=True),
    help="Distillation: the folder of `tutelage rank teachers`, or a JSON file; the teacher of "
    "each source.",
)
@click.option(
    "--pairs",
    type=click.Choice(["checked", "likelihood"]),
    help="Preferences: their source. checked (default): a verifier, a judge or a person. "
    "likelihood: the student's own, which says nothing about quality.",
)
@click.option("--check", help="Preferences: only the verdicts of this check count; default all.")
@click.option(
    "--pairs-per-prompt",
    type=click.IntRange(min=1),
    help="Preferences: the most pairs of one prompt; default all.",
)
@click.option(
    "--push-to",
    metavar="hub:NAME",
    help="Also push the set to the Hugging Face hub, with its data card; private.",
)
@click.option(
    "--push-set",
    "more",
    multiple=True,
    help="--push-to: a further set of the run, as a configuration of its own. Repeatable.",
)
@click.option(
    "--test-fraction",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    show_default=True,
    help="--push-to: the share of examples that becomes the split `test`.",
)
@click.option("--public", is_flag=True, help="--push-to: make a new dataset public.")
def export(
    run: Path,
    *,
    to: str,
    chosen: str,
    out: Path,
    selection: str | None,
    push_to: str | None,
    more: tuple[str, ...],
    test_fraction: float,
    public: bool,
    **preferences: Any,
) -> None:
    """Export a set of a run for a trainer.

    Writes a set of RUN, and prints what to paste into the configuration of the trainer.

    The formats of preferences hold responses to the same prompt, one preferred to the other, with
    the reason; they are made of all candidates of the run.

    \b
    Example:
      tutelage export runs/demo --to llamafactory --out train.jsonl
      tutelage export runs/samples --to dpo --out pairs.jsonl
      tutelage export runs/demo --out train.jsonl --push-to hub:me/chosen --push-set random
    """
    from tutelage.pipeline import RunFolder
    from tutelage.pipeline import export as write
    from tutelage.pipeline.hub_push import export_and_push

    folder = RunFolder(root=run).existing().selected_as(selection)
    job: dict[str, Any] = {"to": to, "file": out, "chosen": chosen, **preferences}
    if push_to is not None:
        found = export_and_push(
            folder,
            target=push_to,
            more=more,
            test_fraction=test_fraction,
            public=public,
            **job,
        )
    elif more or test_fraction or public:
        raise SettingsError(
            "--push-set, --test-fraction and --public belong to --push-to", hint="add --push-to"
        )
    else:
        found = write(folder, **job)
    show_result(found, text=export_text)


@click.command()
@click.option("--student", help="Also open this student and check its template.")
@click.option(
    "--template",
    default="chat",
    show_default=True,
    help="The chat template of the student, alpaca, or a file.",
)
@template_options
@click.option(
    "--trainer-truth",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="An exported file: check that TRL trains on exactly the scored tokens.",
)
@click.option(
    "--trainer-max-length", type=click.IntRange(min=1), help=("The trainer's limit on the length.")
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Compare only this many rows; default all."
)
@click.option(
    "--device",
    is_flag=False,
    flag_value="auto",
    metavar="[NAME]",
    help="Test a device with randomly initialized models: agreement with the CPU, speed, memory, "
    "training. About six minutes on a GPU, one minute on a CPU.",
)
def doctor(
    *,
    student: str | None,
    template: str,
    file: Path | None,
    trainer_max_length: int | None,
    limit: int | None,
    device: str | None,
    **options: Any,
) -> None:
    """Check the installation, the devices and a student.

    Lists versions, extras and devices. With --student, also checks its chat template.

    \b
    Example:
      tutelage doctor --student smollm2-135m
      tutelage doctor --trainer-truth train.jsonl --student smollm2-135m
      tutelage doctor --device cuda:0
    """
    if device is not None:
        if student is not None or file is not None:
            raise click.UsageError("--device tests with models of its own, without other options")
        from tutelage.pipeline.environment_check import device_report

        with shown_progress() as progress:
            found = device_report(device, progress=progress)
        show_result(found, text=device_text)
        if not found["healthy"]:
            raise SystemExit(1)
        return
    from tutelage.pipeline import examine
    from tutelage.pipeline.train_stage import trainer_truth

    findings: dict[str, Any]
    if file is None:
        findings = examine(student=student, template=template, arguments=template_values(options))
    elif student is None:
        raise click.UsageError("--trainer-truth needs --student")
    else:
        with shown_progress() as progress:
            findings = trainer_truth(
                file,
                student=student,
                template=template,
                arguments=template_values(options),
                max_length=trainer_max_length,
                limit=limit,
                progress=progress,
            )
        if left := findings["not_compared"]:
            inform(f"Warning: {left} of {findings['rows_in_file']} rows were not compared.")
    show_result(findings, text=doctor_text if file is None else truth_text)
    if not findings["healthy"]:
        raise SystemExit(1)


COMMANDS = (report, export, doctor)
