"""Agreement of several students, or stages of one, on the same pool of answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import write_table, write_text
from tutelage.data.schemas import STANDINGS, STUDENT_AGREEMENT
from tutelage.data.stored_json import StoredShape, need_shape, optional
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.experiments.rank.predictors import Predictor, predictors_for
from tutelage.experiments.rank.run import RankFolder
from tutelage.pipeline.run_dir import RunFolder, sound
from tutelage.reporting import (
    Cell,
    Column,
    Fact,
    Figure,
    Section,
    Table,
    render_page,
    schema_columns,
)
from tutelage.reporting.number_format import count
from tutelage.reporting.number_format import share as in_percent
from tutelage.stats.intervals import Numbers, mean_interval, wilson
from tutelage.stats.rank_correlation import kendall, spearman, spearman_interval

# ----------------------------------------------------------------------------------------------
# Do two students, or two stages of one, judge the same pool alike?.
#
# Everything here compares the numbers of two judges on the same answers: the order of entrants, the
# answer each would choose to each question, the best part of the pool each would select.
# ----------------------------------------------------------------------------------------------


SHARES = (0.1, 0.25, 0.5)
"""Shares of the pool whose best parts are compared."""
_KEYS = ("question", "entrant", "candidate_id")


def joined(one: pa.Table, other: pa.Table, predictor: Predictor) -> tuple[pa.Table, int]:
    """Answers for which both students have numbers, with the columns `one` and `other`.

    Args:
        one: Answers of one judge, as for `rank`, with `candidate_id`.
        other: Answers scored by the other student, over the same pool.
        predictor: Computed of each answer by itself; times its sign, so that more is better.

    Returns:
        The joined answers in the order of question, entrant and id; and how many answers only one
        of the two has a number for.

    Raises:
        DataError: The two share no answer with numbers, or lack a column.
    """
    tables = []
    for name, table in (("one", one), ("other", other)):
        missing = [c for c in (*_KEYS, *predictor.columns) if c not in table.column_names]
        if missing:
            raise DataError(
                f"the answers have no column {missing[0]!r}",
                hint=f"rank both with a predictor that gives {predictor.name}",
            )
        columns = [table[c].cast(pa.float64()).to_numpy() for c in predictor.columns]
        values = predictor.sign * predictor.of_means(columns)
        kept = table.select(list(_KEYS)).append_column(name, pa.array(values))
        tables.append(kept.filter(pa.array(np.isfinite(values))))
    both = tables[0].join(tables[1], keys=list(_KEYS), join_type="inner").combine_chunks()
    if not both.num_rows:
        raise DataError(
            "the two rankings have no scored answer in common",
            hint="rank the same pool with the same questions and seed",
        )
    alone = tables[0].num_rows + tables[1].num_rows - 2 * both.num_rows
    return both.sort_by([(key, "ascending") for key in _KEYS]), alone


def choice_agreement(both: pa.Table) -> tuple[int, int, float]:
    """Number of questions on which both students choose the same answer.

    Args:
        both: As `joined` gives it.

    Returns:
        Questions with the same choice, questions with at least two answers, and the share that
        two unrelated choosers would have in common: the mean of 1 / answers. Ties go to the
        smaller candidate id.
    """
    same, of, chance = 0, 0, 0.0
    for _, (one, other) in _by_question(both):
        if len(one) > 1:
            same += int(one.argmax() == other.argmax())
            of += 1
            chance += 1 / len(one)
    return same, of, chance / of if of else 0.0


def within_agreement(both: pa.Table) -> Numbers:
    """Kendall's tau between the students within each question; undefined ones are left out."""
    found = (kendall(one, other) for _, (one, other) in _by_question(both) if len(one) > 1)
    return np.array([tau for tau in found if tau is not None], dtype=np.float64)


def overlap(both: pa.Table, *, share: float) -> tuple[int, int, int]:
    """Overlap of the best parts of a pool.

    Args:
        both: As `joined` gives it.
        share: The part that each selects, in (0, 1].

    Returns:
        Answers that both select, answers that each selects, answers in the pool. Unrelated judges
        would share selected / pool of what they select.
    """
    pool = both.num_rows
    size = max(1, round(share * pool))
    # The table is in the order of ids, and the sort keeps it where values are equal.
    best = [
        set(np.argsort(-both[name].to_numpy(), kind="stable")[:size].tolist())
        for name in ("one", "other")
    ]
    return len(best[0] & best[1]), size, pool


def _by_question(both: pa.Table) -> list[tuple[str, tuple[Numbers, Numbers]]]:
    questions = both["question"].to_pylist()
    one, other = both["one"].to_numpy(), both["other"].to_numpy()
    found: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        found.setdefault(str(question), []).append(place)
    return [(question, (one[places], other[places])) for question, places in found.items()]


# ----------------------------------------------------------------------------------------------
# Student agreement.
# ----------------------------------------------------------------------------------------------


ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Ranking folder of one student over a pool.

    Attributes:
        name: What the student is called here.
        answers: One row an answer, with its numbers.
        values: The value of each entrant, by predictor and entrant.
        weight: Weight of CAR, as it was set.
    """

    name: str
    answers: pa.Table
    values: Mapping[str, Mapping[str, float]]
    weight: float


def judged(root: Path, *, name: str | None = None) -> Judged:
    """Read the folder of a ranking.

    Raises:
        RunError: There is none.
    """
    folder = RankFolder(run=RunFolder(root=root).existing())
    for path in (folder.answers, folder.standings):
        if not path.is_file():
            raise RunError(f"{path}: does not exist", hint="`tutelage rank teachers` writes it")
    manifest = folder.run.read_manifest()
    values: dict[str, dict[str, float]] = {}
    for row in pq.read_table(sound(folder.standings)).to_pylist():
        if row["domain"] == ALL and row["value"] is not None:
            values.setdefault(row["predictor"], {})[row["entrant"]] = row["value"]
    return Judged(
        name=name or root.name,
        answers=pq.read_table(sound(folder.answers)),
        values=values,
        weight=float(need_shape(manifest["settings"], _Weight).get("car_weight", 1.0)),
    )


class _Weight(StoredShape):
    car_weight: float = optional()


def rank_agreement(
    roots: Sequence[Path], *, out: Path | None = None, predictors: Sequence[str] | None = None
) -> pa.Table:
    """Compare how several students, or checkpoints of one, score the same pool.

    Args:
        roots: Folders of `rank_teachers` or `rank_sources`, one a student, over the same pool.
        out: A folder for agreement.parquet, report.html and plots; None writes nothing.
        predictors: Which; by default all that every ranking has.

    Returns:
        The STUDENT_AGREEMENT schema: pair of students by predictor by measure. `kendall_answers`
        is the mean over questions, with the interval of its mean; `flipped` is the share of
        questions to which the two would choose different answers.

    Raises:
        SettingsError: Fewer than two rankings, or a predictor that one does not have.
        DataError: Two of them share no answer.
    """
    if len(roots) < 2:  # noqa: PLR2004  (a pair)
        raise SettingsError("agreement needs at least two rankings", hint="give their folders")
    judges = _named(roots)
    common = [
        p
        for p in predictors_for(judges[0].answers.column_names, beta=judges[0].weight)
        if all(p.name in judge.values for judge in judges)
    ]
    if predictors is not None:
        missing = set(predictors) - {p.name for p in common}
        if missing:
            raise SettingsError(
                f"not every ranking has {', '.join(sorted(missing))}",
                hint=f"all have {', '.join(p.name for p in common)}",
            )
        common = [p for p in common if p.name in predictors]
    rows = [
        {"one": one.name, "other": other.name, "predictor": predictor.name, **row}
        for one, other in combinations(judges, 2)
        for predictor in common
        for row in _compared(one, other, predictor)
    ]
    table = pa.Table.from_pylist(rows, schema=STUDENT_AGREEMENT)
    if out is not None:
        _write(out, table, judges)
    return table


def _named(roots: Sequence[Path]) -> list[Judged]:
    names = [root.name for root in roots]
    return [
        judged(root, name=root.name if names.count(root.name) == 1 else str(root)) for root in roots
    ]


def _compared(one: Judged, other: Judged, predictor: Predictor) -> list[dict[str, Any]]:
    ours, theirs = one.values[predictor.name], other.values[predictor.name]
    names = sorted(ours.keys() & theirs.keys())
    a, b = (np.array([values[name] for name in names]) for values in (ours, theirs))
    rho = spearman(a, b)
    low, high = (None, None) if rho is None else spearman_interval(rho, n=len(names))
    rows: list[dict[str, Any]] = [
        {"measure": "spearman_entrants", "value": rho, "low": low, "high": high, "chance": 0.0},
        {"measure": "kendall_entrants", "value": kendall(a, b), "chance": 0.0},
    ]
    for row in rows:
        row["n"] = len(names)
    if predictor.name in ("length", "accuracy", "reward"):
        return rows  # the answer's own, whoever reads it
    both, alone = joined(one.answers, other.answers, predictor)
    return [*rows, *_of_answers(both), {"measure": "read_by_one_only", "value": alone, "n": alone}]


def _of_answers(both: pa.Table) -> list[dict[str, Any]]:
    taus = within_agreement(both)
    rows: list[dict[str, Any]] = []
    if len(taus) > 1:
        rows.append(
            {"measure": "kendall_answers", **asdict(mean_interval(taus)), "chance": 0.0}
            | {"n": len(taus)}
        )
    same, of, chance = choice_agreement(both)
    if of:
        found = wilson(of - same, of)
        rows.append({"measure": "flipped", **asdict(found), "chance": 1 - chance, "n": of})
    for share in SHARES:
        shared, size, pool = overlap(both, share=share)
        rows.append(
            {
                "measure": f"overlap_best_{round(100 * share)}_percent",
                "value": shared / size,
                "chance": size / pool,
                "n": size,
            }
        )
    return rows


def _write(out: Path, table: pa.Table, judges: Sequence[Judged]) -> None:
    from tutelage.experiments.rank.page import write_plots

    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "agreement.parquet", table)
    sections = agreement_sections(table, judges)
    page = render_page(
        title=out.name,
        about="agreement of students",
        opening=agreement_in_words(table),
        facts=(
            Fact(value=f"{len(judges)}", label="students or stages"),
            Fact(value=f"{judges[0].answers.num_rows:,}", label="answers"),
        ),
        sections=sections,
    )
    write_text(out / "report.html", page)
    write_text(out / "agreement.json", json.dumps(table.to_pylist(), indent=2) + "\n")
    write_plots(out / "plots", sections)


def agreement_in_words(table: pa.Table) -> list[str]:
    """One sentence for each pair of students and predictor."""
    said = []
    rows = table.to_pylist()
    for flipped in (row for row in rows if row["measure"] == "flipped"):
        pair = (flipped["one"], flipped["other"], flipped["predictor"])
        rho = next(
            row["value"]
            for row in rows
            if (row["one"], row["other"], row["predictor"]) == pair
            and row["measure"] == "spearman_entrants"
        )
        ranks = (
            "" if rho is None else f" and order the entrants with a rank correlation of {rho:.2f}"
        )
        flips, low, high, by_chance = (
            in_percent(flipped[name]) for name in ("value", "low", "high", "chance")
        )
        said.append(
            f"By {pair[2]}, {pair[0]} and {pair[1]} would choose different answers to "
            f"{flips} of {count(flipped['n'], 'question')} ({low} to {high}; unrelated judges: "
            f"{by_chance}){ranks}."
        )
    nothing = "No question has two answers with numbers in both rankings: no choice is compared."
    return said or [nothing]


def agreement_sections(table: pa.Table, judges: Sequence[Judged]) -> list[Section]:
    """Table and figure of each predictor."""
    rows = table.to_pylist()
    sections = []
    for number, predictor in enumerate(dict.fromkeys(row["predictor"] for row in rows)):
        mine = [row for row in rows if row["predictor"] == predictor]
        sections.append(
            Section(
                key=f"agreement-{number}",
                title=f"By {predictor}",
                tables=(_table(mine, predictor),),
                figures=_figures(mine, judges, predictor),
            )
        )
    return sections


_SHOWN = ("one", "other", "measure", "value", "low", "high", "chance", "n")


def _table(rows: Sequence[Mapping[str, Any]], predictor: str) -> Table:
    cells: list[tuple[Cell, ...]] = [tuple(row[name] for name in _SHOWN) for row in rows]
    return Table(
        caption=f"Agreement by {predictor}",
        columns=schema_columns(STUDENT_AGREEMENT, _SHOWN),
        rows=tuple(cells),
    )


def _figures(
    rows: Sequence[Mapping[str, Any]], judges: Sequence[Judged], predictor: str
) -> tuple[Figure, ...]:
    from tutelage.experiments.rank.page import scatter_chart
    from tutelage.reporting.charts import heat_chart

    names = [judge.name for judge in judges]
    values = {
        (row["one"], row["other"]): row["value"]
        for row in rows
        if row["measure"] == "spearman_entrants"
    }
    caption = f"Rank correlation of entrants by {predictor}"
    pairs = tuple((a, b, v) for (a, b), v in values.items())
    heat = Figure(
        title=caption,
        alt=f"{caption}, student by student.",
        draw=partial(heat_chart, names, values),
        table=Table(
            caption=caption,
            columns=schema_columns(STUDENT_AGREEMENT, ("one", "other", "value")),
            rows=pairs,
        ),
        in_text=False,
    )
    one, other = judges[0], judges[1]
    ours, theirs = one.values[predictor], other.values[predictor]
    points = [(name, ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())]
    title = f"{predictor}: {one.name} and {other.name}"
    scatter = Figure(
        title=title,
        alt=f"{title}: one point an entrant.",
        draw=partial(scatter_chart, points, x=one.name, y=other.name),
        table=Table(
            caption=title,
            columns=(
                *schema_columns(STANDINGS, ("entrant",)),
                Column(name=one.name, style="number"),
                Column(name=other.name, style="number"),
            ),
            rows=tuple(points),
        ),
        in_text=False,
    )
    return heat, scatter
