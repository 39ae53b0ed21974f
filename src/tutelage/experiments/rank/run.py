"""Run of `tutelage rank`: rankings of teachers or sources for a student.

answers    pool      -> answers.parquet     (the student reads; answers are checked)
rank       answers   -> standings, pairs, settling, report.html
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import content_hash, write_table
from tutelage.errors import SettingsError
from tutelage.experiments.rank.answer_features import (
    Graced,
    answers_table,
    grace_scores,
    style_of,
    with_grace,
)
from tutelage.experiments.rank.answer_pool import EntrantKind, Pool, Ranked, pool_answers
from tutelage.experiments.rank.config import RankSettings
from tutelage.experiments.rank.predictors import Predictor, predictors_for
from tutelage.experiments.rank.standings import WatchSettings, first_place_by_questions, rank
from tutelage.pipeline import stages
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import Doors, begin, note, opened_student
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stage import Stage, Tally, run_stage
from tutelage.pipeline.teacher_routes import routes_of, write_routes
from tutelage.progress import Progress, Silent

LOOK_EVERY_QUESTIONS = 5
_NOT_IN_ANSWERS = {"out", "by", "level", "draws", "student", "predictors", "report", "grace"}
"""Settings that do not change the table of answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFolder:
    """Paths of a ranking's tables."""

    run: RunFolder

    @property
    def answers(self) -> Path:
        """Answers, one row each, with their numbers."""
        return self.run.root / "answers.parquet"

    @property
    def standings(self) -> Path:
        """Standings by domain, predictor and entrant."""
        return self.run.root / "standings.parquet"

    @property
    def pairs(self) -> Path:
        """Pairs of entrants, and whether they can be distinguished."""
        return self.run.root / "pairs.parquet"

    @property
    def settling(self) -> Path:
        """Leader after each number of questions."""
        return self.run.root / "settling.parquet"


def rank_teachers(
    job: Mapping[str, Any], *, progress: Progress | None = None, doors: Doors | None = None
) -> Ranked:
    """Rank the teachers of a pool of answers to shared questions, for one student.

    Continues where it stopped: readings are in the cache, the student's answers in the journal.

    Args:
        job: See `RankSettings`.
        progress: Told how far each stage is.
        doors: How the student is reached.

    Raises:
        SettingsError: Some settings are wrong, or do not fit the pool.
        DataError: The pool holds no answer.
    """
    return rank_pool(job, kind="teachers", progress=progress, doors=doors)


def rank_sources(
    job: Mapping[str, Any], *, progress: Progress | None = None, doors: Doors | None = None
) -> Ranked:
    """Rank the sources of a dataset for one student; arguments as for `rank_teachers`.

    Args:
        job: The settings of the ranking.
        progress: Gets the progress.
        doors: Factories of teacher and student; None for the usual ones.
    """
    return rank_pool(job, kind="sources", progress=progress, doors=doors)


def rank_pool(
    job: Mapping[str, Any],
    *,
    kind: EntrantKind,
    progress: Progress | None = None,
    doors: Doors | None = None,
) -> Ranked:
    """Rank the entrants of a pool of answers.

    Args:
        job: The settings of the ranking.
        kind: Teachers or sources.
        progress: Gets the progress.
        doors: Factories of teacher and student; None for the usual ones.
    """
    settings = checked(RankSettings, job, place="rank")
    progress, doors = progress or Silent(), doors or Doors()
    folder = RankFolder(run=RunFolder(root=Path(settings.out)).create())
    run = folder.run
    with run.locked():
        inputs = stages.input_checksums(settings.data)
        values = {"kind": kind, **settings.model_dump(mode="json")}
        begin(run, settings=values, inputs=inputs, seed=settings.seed)
        tally = _answer(folder, settings, kind, inputs, doors=doors, progress=progress)
        scores = None
        if settings.grace is not None:
            scores = grace_scores(
                _pool(settings, kind).answers,
                settings.grace,
                student=settings.student,
                folder=run.root / "gradients",
                seed=settings.seed,
                progress=progress,
            )
        return ranked_of(folder, settings, kind, tally, graced=scores)


def _answer(
    folder: RankFolder,
    settings: RankSettings,
    kind: EntrantKind,
    inputs: Mapping[str, str],
    *,
    doors: Doors,
    progress: Progress,
) -> Tally:
    run = folder.run
    with opened_student(settings.student, doors) as student:
        described = dict(student.describe())
        note(run, student=described)
        shown = settings.model_dump(
            mode="json",
            exclude={"out", "by", "level", "draws", "student", "predictors", "report", "grace"},
        )
        stage = Stage(
            name="answers",
            key=content_hash("rank", kind, inputs, shown, settings.metrics, described),
            outputs=(folder.answers,),
        )

        def work() -> Tally:
            pool = _pool(settings, kind)
            answers = pool.answers
            style = None
            if settings.own is not None:
                style = style_of(
                    answers, settings.own, settings, run=run, doors=doors, progress=progress
                )
            table = answers_table(
                answers, settings, student=student, progress=progress, style=style
            )
            write_table(folder.answers, table)
            return {**answers_tally(table), "rows_left_out": pool.left_out}

        return run_stage(run, stage, work)


def _pool(settings: RankSettings, kind: EntrantKind) -> Pool:
    return pool_answers(
        settings.data,
        kind=kind,
        fields=settings.fields,
        questions=settings.questions,
        seed=settings.seed,
    )


def ranked_of(
    folder: RankFolder,
    settings: RankSettings,
    kind: EntrantKind,
    tally: Tally,
    *,
    graced: Mapping[str, Graced] | None = None,
) -> Ranked:
    """Rank the answers of a folder, and write the tables and the report.

    Args:
        folder: The folder of the ranking.
        settings: The ranking.
        kind: Teachers or sources.
        tally: Counts of the answers.
        graced: GRACE by entrant, if computed.
    """
    answers = pq.read_table(folder.answers)
    predictors = predictors_for(answers.column_names, beta=settings.car_weight)
    main = watched(predictors, settings.by)
    found = rank(
        answers,
        predictors,
        paired=kind == "teachers",
        level=settings.level,
        draws=settings.draws,
        seed=settings.seed,
    )
    standings = found.table if graced is None else with_grace(found.table, graced)
    write_table(folder.standings, standings)
    write_table(folder.pairs, found.pairs)
    watch = None
    if kind == "teachers":
        watch = first_place_by_questions(
            answers,
            main,
            looks=range(LOOK_EVERY_QUESTIONS, tally["questions"] + 1, LOOK_EVERY_QUESTIONS),
            settings=WatchSettings(level=settings.level),
            seed=settings.seed,
        )
        write_table(folder.settling, watch)
        write_routes(folder.run.root, routes_of(standings, found.pairs, by=main.name), by=main.name)
    manifest = folder.run.read_manifest()
    seconds = manifest["stages"]["answers"]["seconds"]
    ranked = Ranked(
        kind=kind,
        by=main.name,
        answers=answers,
        standings=standings,
        pairs=found.pairs,
        settling=watch,
        student=manifest["student"],
        tally={**tally, "seconds": seconds},
        out=str(folder.run.root),
    )
    if settings.report:
        from tutelage.experiments.rank.page import write_ranking

        write_ranking(ranked, level=settings.level)
    return ranked


def answers_tally(table: pa.Table) -> Tally:
    """Counts of answers by entrant, question and status."""
    return {
        "answers": table.num_rows,
        "by_status": dict(sorted(Counter(table["status"].to_pylist()).items())),
        "questions": pc.count_distinct(table["question"]).as_py(),
        "entrants": pc.count_distinct(table["entrant"]).as_py(),
        "response_tokens": int(pc.sum(table["response_tokens"]).as_py() or 0),
    }


def watched(predictors: tuple[Predictor, ...], name: str) -> Predictor:
    """Predictor of this name.

    Raises:
        SettingsError: There are no numbers for it.
    """
    for predictor in predictors:
        if predictor.name == name:
            return predictor
    raise SettingsError(
        f"by {name}: the answers have no numbers for it",
        hint=f"choose one of {', '.join(p.name for p in predictors)}",
    )
