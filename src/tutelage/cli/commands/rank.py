"""Commands for rankings: rank teachers, rank sources, rank agreement."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from tutelage.cli.options import (
    Function,
    data_options,
    data_settings,
    dry_run_options,
    student_options,
    student_values,
)
from tutelage.cli.output import show_result, shown_progress
from tutelage.cli.summaries import agreement_text, estimate_text, ranking_text

_OUT = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_CHECKS = ("maths", "number", "choice", "exact")


_LEVEL = click.option(
    "--level",
    type=float,
    default=0.95,
    show_default=True,
    help="Confidence level of the intervals.",
)
_SEED = click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the sample of questions and of the bootstrap.",
)


def _rank_options(*, questions: int) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        options = (
            click.option(
                "--questions",
                type=click.IntRange(min=1),
                default=questions,
                show_default=True,
                help="Number of questions to sample; per source, for sources.",
            ),
            click.option(
                "--predictors",
                default="rsr,ifd,r_ifd,likelihood,length",
                show_default=True,
                help="Predictors to compute; r_ifd takes most of the time.",
            ),
            click.option(
                "--by",
                default="rsr",
                show_default=True,
                help=(
                    "The deciding predictor; also car, accuracy, reward or style_distance, if "
                    "available."
                ),
            ),
            click.option("--check", type=click.Choice(_CHECKS), help="Check answers."),
            click.option("--right-field", help="A field that says whether an answer is right."),
            click.option("--reward-field", help="A field with its quality, at least 0: gives car."),
            click.option(
                "--car-weight",
                type=click.FloatRange(min=0),
                default=1.0,
                show_default=True,
                help="Weight of the loss in CAR.",
            ),
            click.option(
                "--own-answers",
                is_flag=True,
                help="Let the student answer too: gives style_distance.",
            ),
            click.option(
                "--grace",
                type=click.IntRange(min=10),
                help=(
                    "Also compute the gradient score GRACE, on this many questions; for small "
                    "students."
                ),
            ),
            _LEVEL,
            _SEED,
            click.option("--out", required=True, type=_OUT, help="The folder to write."),
            dry_run_options,
        )
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _job(pool: str, options: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "right": options["right_field"],
        "reward": options["reward_field"],
        "domain": options.get("domain_field"),
    }
    return {
        "data": data_settings(pool, options),
        "student": student_values(options),
        "out": str(options["out"]),
        "questions": options["questions"],
        "predictors": [p.strip() for p in options["predictors"].split(",") if p.strip()],
        "by": options["by"],
        "fields": {name: value for name, value in fields.items() if value is not None},
        "check": None if options["check"] is None else {"check": options["check"]},
        "car_weight": options["car_weight"],
        "own": {} if options["own_answers"] else None,
        "grace": None if options["grace"] is None else {"questions": options["grace"]},
        "level": options["level"],
        "seed": options["seed"],
    }


def _estimate(
    pool: str,
    kind: Literal["teachers", "sources"],
    options: dict[str, Any],
    *,
    ask: Path | None = None,
    budget: int | None = None,
    probe: Path | None = None,
) -> None:
    from tutelage.experiments.rank.dry_run import estimate_ranking
    from tutelage.experiments.rank.proxy_training import probe_settings
    from tutelage.experiments.rank.run import teachers_of

    with shown_progress() as progress:
        found = estimate_ranking(
            _job(pool, options),
            kind=kind,
            teachers=() if ask is None else teachers_of(ask),
            budget=budget or options["questions"],
            probe=None if probe is None else probe_settings(probe),
            progress=progress,
            measure_seconds=options["measure_seconds"],
        )
    show_result(found, text=estimate_text)


@click.group()
def rank() -> None:
    """Rank teachers or sources by how well they suit the student.

    \b
    Example:
      tutelage rank teachers pool.jsonl --student smollm2-135m --out ranked/teachers
      tutelage rank sources data.jsonl --student smollm2-135m --out ranked/sources
      tutelage rank agreement ranked/one ranked/other --out ranked/agreement
    """


@rank.command()
@click.argument("pool")
@data_options
@student_options()
@click.option("--domain-field", help="A field with the kind of question; default: the source.")
@click.option(
    "--ask",
    type=_FILE,
    help="A YAML list of teachers: POOL holds questions, and these are asked first.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    help="With --ask: the most questions to each teacher; default --questions.",
)
@click.option(
    "--block",
    type=click.IntRange(min=1),
    default=25,
    show_default=True,
    help="With --ask: the ranking is updated after each block of this many questions.",
)
@_rank_options(questions=200)
def teachers(pool: str, *, ask: Path | None, **options: Any) -> None:
    """Rank the teachers whose answers are in POOL.

    POOL holds the answers of several teachers to the same questions. The result has one row per
    teacher: each metric of its answers with an interval over questions, and its best and worst
    possible rank.

    \b
    Example:
      tutelage rank teachers pool.jsonl --student smollm2-135m --right-field is_correct \\
          --out ranked/teachers
      tutelage rank teachers questions.jsonl --ask teachers.yaml --budget 200 \\
          --student smollm2-135m --out ranked/asked
    """
    from tutelage.experiments.rank import rank_teachers
    from tutelage.experiments.rank.page import ranked_summary

    budget, block = options.pop("budget"), options.pop("block")
    if options["dry_run"]:
        _estimate(pool, "teachers", options, ask=ask, budget=budget)
        return
    with shown_progress() as progress:
        if ask is None:
            found = rank_teachers(_job(pool, options), progress=progress)
        else:
            from tutelage.experiments.rank.run import ask_and_rank, teachers_of

            asked = teachers_of(ask)
            limit = budget or options["questions"]
            found = ask_and_rank(
                _job(pool, options), teachers=asked, budget=limit, block=block, progress=progress
            )
    show_result(ranked_summary(found, level=options["level"]), text=ranking_text)


@rank.command()
@click.argument("pool")
@data_options
@student_options()
@_rank_options(questions=100)
@click.option(
    "--probe",
    type=_FILE,
    help="A YAML file with tasks: compare the sources by training; see docs/rank.md.",
)
@click.option(
    "--most-cells",
    type=click.IntRange(min=0),
    help="Stop after this many training runs, to continue another time.",
)
def sources(pool: str, *, probe: Path | None, most_cells: int | None, **options: Any) -> None:
    """Rank the sources of POOL.

    With --probe, the student is also trained on small samples: successive halving finds the best
    source, and a sweep trains on the best 1, 2, 4, 8 and all. The measured gain of the winner is
    corrected for selection bias.

    \b
    Example:
      tutelage rank sources data.jsonl --student smollm2-135m --out ranked/sources
      tutelage rank sources data.jsonl --student smollm2-135m --probe probe.yaml \\
          --out ranked/sources --dry-run
    """
    from tutelage.experiments.rank import rank_sources
    from tutelage.experiments.rank.page import ranked_summary

    if options["dry_run"]:
        _estimate(pool, "sources", options, probe=probe)
        return
    job = _job(pool, options)
    with shown_progress() as progress:
        found = rank_sources(job, progress=progress)
        summary = ranked_summary(found, level=options["level"])
        if probe is not None:
            from tutelage.experiments.rank.proxy_page import probed_summary, write_probed
            from tutelage.experiments.rank.proxy_training import probe_settings, probe_sources

            probed = probe_sources(
                found,
                data=job["data"],
                student=job["student"],
                probe=probe_settings(probe),
                most_cells=most_cells,
                progress=progress,
            )
            write_probed(found, probed, level=options["level"])
            summary |= {"probes": probed_summary(found, probed)}
    show_result(summary, text=ranking_text)


@rank.command()
@click.argument("rankings", nargs=-1, required=True, type=_OUT)
@click.option("--predictors", help="Comma-separated; default all that every ranking has.")
@click.option("--out", required=True, type=_OUT, help="The folder to write.")
def agreement(rankings: tuple[Path, ...], *, predictors: str | None, out: Path) -> None:
    """Compare rankings of one pool by several students.

    RANKINGS are folders of `rank teachers` or `rank sources`. Reports rank correlations, how often
    the students would choose different answers, and what their selected sets have in common.

    \b
    Example:
      tutelage rank agreement ranked/smollm2 ranked/gemma3 --out ranked/agreement
    """
    from tutelage.experiments.rank import rank_agreement
    from tutelage.experiments.rank.student_agreement import agreement_in_words

    names = None if predictors is None else [p.strip() for p in predictors.split(",")]
    table = rank_agreement(list(rankings), out=out, predictors=names)
    found = {
        "in_words": agreement_in_words(table),
        "out": str(out),
        "report": str(out / "report.html"),
        "agreement": table.to_pylist(),
    }
    show_result(found, text=agreement_text)


COMMANDS = (rank,)
