"""Functions of the Python API for rankings: rank_teachers, rank_sources, agreement."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from pydantic import BaseModel

from tutelage.api.inputs import Data, data_values, is_path
from tutelage.api.options import (
    DataOptions,
    ScoreCallOptions,
    ShownProgress,
    StudentOptions,
    grouped,
    model_values,
    names_in,
    told,
)
from tutelage.api.overloads import overload
from tutelage.api.results import Agreement, Estimate, FolderResult, Ranking, estimate_of
from tutelage.api.workspace import Workspace, student_of, workspace
from tutelage.errors import SettingsError, in_python, spelled_in_python
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress

PREDICTORS = ("rsr", "ifd", "r_ifd", "likelihood", "length")


@overload
def rank_teachers(
    pool: Data,
    student: Any,
    *,
    questions: int = ...,
    predictors: str | Sequence[str] = ...,
    by: str = ...,
    check: str | Mapping[str, Any] | None = ...,
    right_field: str | None = ...,
    reward_field: str | None = ...,
    domain_field: str | None = ...,
    car_weight: float = ...,
    own_answers: bool | Mapping[str, Any] = ...,
    grace: int | None = ...,
    level: float = ...,
    seed: int = ...,
    ask: str | Path | Sequence[Any] | None = ...,
    budget: int | None = ...,
    block: int = ...,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Ranking: ...


@overload
def rank_teachers(
    pool: Data,
    student: Any,
    *,
    questions: int = ...,
    predictors: str | Sequence[str] = ...,
    by: str = ...,
    check: str | Mapping[str, Any] | None = ...,
    right_field: str | None = ...,
    reward_field: str | None = ...,
    domain_field: str | None = ...,
    car_weight: float = ...,
    own_answers: bool | Mapping[str, Any] = ...,
    grace: int | None = ...,
    level: float = ...,
    seed: int = ...,
    ask: str | Path | Sequence[Any] | None = ...,
    budget: int | None = ...,
    block: int = ...,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Estimate: ...


@overload
def rank_teachers(
    pool: Data,
    student: Any,
    *,
    questions: int = ...,
    predictors: str | Sequence[str] = ...,
    by: str = ...,
    check: str | Mapping[str, Any] | None = ...,
    right_field: str | None = ...,
    reward_field: str | None = ...,
    domain_field: str | None = ...,
    car_weight: float = ...,
    own_answers: bool | Mapping[str, Any] = ...,
    grace: int | None = ...,
    level: float = ...,
    seed: int = ...,
    ask: str | Path | Sequence[Any] | None = ...,
    budget: int | None = ...,
    block: int = ...,
    out: str | Path | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Ranking | Estimate: ...


@spelled_in_python
def rank_teachers(
    pool: Data,
    student: Any,
    *,
    questions: int = 200,
    predictors: str | Sequence[str] = PREDICTORS,
    by: str = "rsr",
    check: str | Mapping[str, Any] | None = None,
    right_field: str | None = None,
    reward_field: str | None = None,
    domain_field: str | None = None,
    car_weight: float = 1.0,
    own_answers: bool | Mapping[str, Any] = False,
    grace: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    ask: str | Path | Sequence[Any] | None = None,
    budget: int | None = None,
    block: int = 25,
    out: str | Path | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[ScoreCallOptions],
) -> Ranking | Estimate:
    """Teachers in order of how well their answers suit the student.

    Args:
        pool: Answers of several teachers to shared questions, as a path or rows in memory (see
            `read`); with `ask`, the questions.
        student: The model that will be trained: its name or settings.
        questions: Number of questions to sample.
        predictors: Predictors to compute; `r_ifd` takes most of the time.
        by: The predictor that decides; also `car`, `accuracy`, `reward` and `style_distance` where
            there are numbers for it.
        check: Check the answers: `maths`, `number`, `choice` or `exact`.
        right_field: A field that says whether an answer is right.
        reward_field: A field with its quality, at least 0: gives `car`.
        domain_field: A field with the kind of question; by default the source.
        car_weight: Weight of the loss in `car`, at least 0.
        own_answers: Let the student answer too: gives `style_distance`.
        grace: Also compute the gradient score GRACE on this many questions, at least 10.
        level: Confidence level of the intervals, in (0, 1).
        seed: Seed of the sample and of the resampling.
        ask: Teachers to ask first: a list of settings, or a YAML file.
        budget: With `ask`: at most this many questions to each teacher; by default `questions`.
        block: With `ask`: number of questions between two checks of the ranking.
        out: A new folder; None creates a temporary one.
        dry_run: Only estimate calls, tokens, cost and time; nothing is sent.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How teachers and the student are opened; tests use it to pass fakes.
        **options: How data is read (see `read`) and how the student reads.

    Returns:
        One row for each teacher. `tables` has `standings`, `pairs`, `settling` and `answers`;
        `in_words` says whether the first place is settled. Or the estimate.

    Raises:
        SettingsError: A setting is wrong, or does not fit the pool.
        DataError: The pool contains no answer.

    Examples:
        >>> import tutelage as tt
        >>> tt.rank_teachers("pool.jsonl", "smollm2-135m", out="ranked/teachers")  # doctest: +SKIP
    """
    from tutelage.experiments.rank import rank_teachers as rank

    # A dry run leaves the folder alone.
    place = workspace(None if dry_run else out, name="ranking")
    job, doors = _job(
        pool,
        student,
        {
            "questions": questions,
            "predictors": predictors,
            "by": by,
            "check": check,
            "fields": {"right": right_field, "reward": reward_field, "domain": domain_field},
            "car_weight": car_weight,
            "own": own_answers,
            "grace": grace,
            "level": level,
            "seed": seed,
        },
        options,
        function="rank_teachers",
        place=place,
        doors=doors,
    )
    with told(progress) as shown:
        if dry_run:
            return _estimated(
                job,
                kind="teachers",
                teachers=() if ask is None else _asked(ask),
                budget=budget or questions,
                how={"progress": shown, "doors": doors, "measure_seconds": measure_seconds},
            )
        if ask is None:
            found = rank(job, progress=shown, doors=doors)
        else:
            from tutelage.experiments.rank.run import ask_and_rank

            found = ask_and_rank(
                job,
                teachers=_asked(ask),
                budget=budget or questions,
                block=block,
                progress=shown,
                doors=doors,
            )
    return _ranking(found, level=level, place=place)


@overload
def rank_sources(
    pool: Data,
    student: Any,
    *,
    questions: int = ...,
    predictors: str | Sequence[str] = ...,
    by: str = ...,
    check: str | Mapping[str, Any] | None = ...,
    right_field: str | None = ...,
    reward_field: str | None = ...,
    car_weight: float = ...,
    own_answers: bool | Mapping[str, Any] = ...,
    grace: int | None = ...,
    level: float = ...,
    seed: int = ...,
    probe: str | Path | Mapping[str, Any] | BaseModel | None = ...,
    most_cells: int | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[False] = ...,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Ranking: ...


@overload
def rank_sources(
    pool: Data,
    student: Any,
    *,
    questions: int = ...,
    predictors: str | Sequence[str] = ...,
    by: str = ...,
    check: str | Mapping[str, Any] | None = ...,
    right_field: str | None = ...,
    reward_field: str | None = ...,
    car_weight: float = ...,
    own_answers: bool | Mapping[str, Any] = ...,
    grace: int | None = ...,
    level: float = ...,
    seed: int = ...,
    probe: str | Path | Mapping[str, Any] | BaseModel | None = ...,
    most_cells: int | None = ...,
    out: str | Path | None = ...,
    dry_run: Literal[True],
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Estimate: ...


@overload
def rank_sources(
    pool: Data,
    student: Any,
    *,
    questions: int = ...,
    predictors: str | Sequence[str] = ...,
    by: str = ...,
    check: str | Mapping[str, Any] | None = ...,
    right_field: str | None = ...,
    reward_field: str | None = ...,
    car_weight: float = ...,
    own_answers: bool | Mapping[str, Any] = ...,
    grace: int | None = ...,
    level: float = ...,
    seed: int = ...,
    probe: str | Path | Mapping[str, Any] | BaseModel | None = ...,
    most_cells: int | None = ...,
    out: str | Path | None = ...,
    dry_run: bool,
    measure_seconds: float = ...,
    progress: ShownProgress = ...,
    doors: Doors | None = ...,
    **options: Unpack[ScoreCallOptions],
) -> Ranking | Estimate: ...


@spelled_in_python
def rank_sources(
    pool: Data,
    student: Any,
    *,
    questions: int = 100,
    predictors: str | Sequence[str] = PREDICTORS,
    by: str = "rsr",
    check: str | Mapping[str, Any] | None = None,
    right_field: str | None = None,
    reward_field: str | None = None,
    car_weight: float = 1.0,
    own_answers: bool | Mapping[str, Any] = False,
    grace: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    probe: str | Path | Mapping[str, Any] | BaseModel | None = None,
    most_cells: int | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    measure_seconds: float = 20.0,
    progress: ShownProgress = None,
    doors: Doors | None = None,
    **options: Unpack[ScoreCallOptions],
) -> Ranking | Estimate:
    """Sources of a dataset in order of how well they suit the student.

    With `probe`, the student is also trained on a small sample of each.

    Args:
        pool: Rows of several sources, as a path or in memory (see `read`).
        student: The model that will be trained: its name or settings.
        questions: Number of questions sampled per source.
        predictors: Predictors to compute; `r_ifd` takes most of the time.
        by: The predictor that decides.
        check: Check the answers: `maths`, `number`, `choice` or `exact`.
        right_field: A field that says whether an answer is right.
        reward_field: A field with its quality, at least 0: gives `car`.
        car_weight: Weight of the loss in `car`, at least 0.
        own_answers: Let the student answer too: gives `style_distance`.
        grace: Also compute the gradient score GRACE on this many questions, at least 10.
        level: Confidence level of the intervals, in (0, 1).
        seed: Seed of the sample and of the resampling.
        probe: Settings with tasks, or a YAML file: compare the sources by training; see
            docs/rank.md.
        most_cells: Stop after this many training runs, to continue another time.
        out: A new folder; None creates a temporary one.
        dry_run: Only estimate calls, tokens, cost and time; nothing is sent.
        measure_seconds: With `dry_run`: approximate duration of each speed measurement, in seconds;
            0 uses the last measurement.
        progress: None, True, False, or your own progress object; see `load`.
        doors: How the student is opened; tests use it to pass a fake.
        **options: How data is read (see `read`) and how the student reads.

    Returns:
        One row for each source; `tables` has `standings`, `pairs` and `answers`. Or the estimate.

    Raises:
        SettingsError: A setting is wrong, or does not fit the pool.
        DataError: The pool contains no answer.

    Examples:
        >>> import tutelage as tt
        >>> tt.rank_sources("data.jsonl", "smollm2-135m", out="ranked/sources")   # doctest: +SKIP
    """
    from tutelage.experiments.rank import rank_sources as rank

    # A dry run leaves the folder alone.
    place = workspace(None if dry_run else out, name="ranking")
    job, doors = _job(
        pool,
        student,
        {
            "questions": questions,
            "predictors": predictors,
            "by": by,
            "check": check,
            "fields": {"right": right_field, "reward": reward_field},
            "car_weight": car_weight,
            "own": own_answers,
            "grace": grace,
            "level": level,
            "seed": seed,
        },
        options,
        function="rank_sources",
        place=place,
        doors=doors,
    )
    with told(progress) as shown:
        if dry_run:
            return _estimated(
                job,
                kind="sources",
                probe=None if probe is None else _probe(probe),
                how={"progress": shown, "doors": doors, "measure_seconds": measure_seconds},
            )
        found = rank(job, progress=shown, doors=doors)
        probed = {}
        if probe is not None:
            probed = _probed(
                found, job, probe=probe, most_cells=most_cells, level=level, progress=shown
            )
    return _ranking(found, level=level, place=place, more=probed)


def _job(
    pool: Data,
    student: Any,
    asked: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    function: str,
    place: Workspace,
    doors: Doors | None,
) -> tuple[dict[str, Any], Doors]:
    """Settings of a ranking."""
    reading, seeing = grouped(options, DataOptions, StudentOptions, function=function)
    values, doors = student_of(student, seeing, doors=doors)
    check, own, grace = asked["check"], asked["own"], asked["grace"]
    job = {
        **asked,
        "data": data_values(pool, reading, folder=place.path),
        "student": values,
        "out": str(place.path),
        "predictors": names_in(_listed(asked["predictors"])),
        "fields": {name: field for name, field in asked["fields"].items() if field is not None},
        "check": {"check": check} if isinstance(check, str) else check,
        "own": None if own is False else {} if own is True else own,
        "grace": None if grace is None else {"questions": grace},
    }
    return job, doors


def _estimated(
    job: Mapping[str, Any],
    *,
    kind: Literal["teachers", "sources"],
    how: Mapping[str, Any],
    **asked: Any,
) -> Estimate:
    from tutelage.experiments.rank.dry_run import estimate_ranking

    return estimate_of(estimate_ranking(job, kind=kind, **asked, **how))


def _probe(probe: Any) -> dict[str, Any]:
    from tutelage.experiments.rank.proxy_training import probe_settings

    return dict(probe_settings(Path(probe)) if is_path(probe) else model_values(probe, {}))


def _listed(names: str | Sequence[str]) -> str | tuple[str, ...]:
    return names if isinstance(names, str) else tuple(names)


def _asked(ask: str | Path | Sequence[Any]) -> list[Any]:
    from tutelage.experiments.rank.run import teachers_of
    from tutelage.pipeline.config import checked
    from tutelage.teacher import TeacherSettings

    if isinstance(ask, str | Path):
        return teachers_of(Path(ask))
    return [checked(TeacherSettings, model_values(one, {}), place="ask") for one in ask]


def _probed(
    found: Any,
    job: Mapping[str, Any],
    *,
    probe: Any,
    most_cells: int | None,
    level: float,
    progress: Progress,
) -> dict[str, Any]:
    from tutelage.experiments.rank.proxy_page import probed_summary, write_probed
    from tutelage.experiments.rank.proxy_training import probe_sources

    probed = probe_sources(
        found,
        data=job["data"],
        student=job["student"],
        probe=_probe(probe),
        most_cells=most_cells,
        progress=progress,
    )
    write_probed(found, probed, level=level)
    return {"probes": probed_summary(found, probed)}


def _ranking(
    found: Any, *, level: float, place: Workspace, more: Mapping[str, Any] | None = None
) -> Ranking:
    from tutelage.experiments.rank.page import entrants_table, ranked_summary

    summary = {**ranked_summary(found, level=level), **(more or {})}
    tables = {name: getattr(found, name) for name in ("standings", "pairs", "settling", "answers")}
    return Ranking(
        table=entrants_table(found),
        summary=summary,
        out=place.path,
        scratch=place.scratch,
        in_words=tuple(map(in_python, summary["in_words"])),
        tables={name: table for name, table in tables.items() if table is not None},
    )


@spelled_in_python
def agreement(
    rankings: Sequence[Any],
    *,
    predictors: str | Sequence[str] | None = None,
    out: str | Path | None = None,
) -> Agreement:
    """How far several students, or stages of one student, agree on a pool of answers.

    Args:
        rankings: The results or the folders of `rank_teachers` or `rank_sources`, one for each
            student, over the same pool.
        predictors: Names, or one text with commas; by default all that every ranking has.
        out: A separate folder for the table, the report and the plots; None writes nothing.

    Returns:
        One row for each pair of students, predictor and measure.

    Raises:
        SettingsError: Fewer than two rankings, or a predictor that one does not have.
        DataError: Two of them share no answer.

    Examples:
        >>> import tutelage as tt
        >>> tt.agreement(["ranked/smollm2", "ranked/gemma3"])               # doctest: +SKIP
    """
    from tutelage.experiments.rank import rank_agreement
    from tutelage.experiments.rank.student_agreement import agreement_in_words

    if isinstance(rankings, str | Path):
        raise SettingsError("agreement needs at least two rankings", hint="give a list of them")
    roots = [one.out if isinstance(one, FolderResult) else Path(one) for one in rankings]
    names = None
    if predictors is not None:
        names = names_in(_listed(predictors))
    table = rank_agreement(roots, out=None if out is None else Path(out), predictors=names)
    words = agreement_in_words(table)
    summary: dict[str, Any] = {"in_words": words, "agreement": table.to_pylist()}
    if out is not None:
        summary |= {"out": str(out), "report": str(Path(out) / "report.html")}
    place = workspace(out, name="agreement")
    return Agreement(
        table=table,
        summary=summary,
        out=place.path,
        scratch=place.scratch,
        in_words=tuple(words),
    )
