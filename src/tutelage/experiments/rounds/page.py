"""Sections of a report on rounds: changed decisions, drift with its limits, and the frontier."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import ORIGINAL
from tutelage.data.schemas import COMPARED_LOOPS, FATES, ROUND_DRIFT, ROUND_FLIPS, ROUNDS
from tutelage.data.stored_json import StoredShape, need_shape
from tutelage.experiments.rounds.charts import (
    LOOP_WORDS,
    DriftPoint,
    GuardLine,
    drift_chart,
    measure_words,
)
from tutelage.experiments.rounds.config import Limit
from tutelage.experiments.rounds.model import RoundsFolder
from tutelage.pipeline.config import checked
from tutelage.pipeline.run_dir import can_draw, sound, write_page
from tutelage.reporting.blocks import Cell, Column, Figure, Section, Table, schema_columns
from tutelage.reporting.number_format import count, number
from tutelage.reporting.pages import Fact
from tutelage.reporting.svg import Stop, Way, draw_narrow_sankey, draw_sankey

# ----------------------------------------------------------------------------------------------
# The chapter that compares the loops, and its sentence.
# ----------------------------------------------------------------------------------------------


UNTRAINED = "untrained"


def loop_words(loop: str) -> str:
    """Name of a loop in plain words."""
    return LOOP_WORDS.get(loop, loop.replace("_", " "))


def loops_sentences(loops: pa.Table) -> tuple[str, ...]:
    """Comparison of the first loop with each other one, after the last training, in sentences."""
    return tuple(
        _sentence(row) for row in loops.to_pylist() if row["latest"] and row["against"] != UNTRAINED
    )


def loops_sections(loops: pa.Table) -> tuple[Section, ...]:
    """Sections with all comparisons; none without held-out items or with a single loop."""
    rows = loops.to_pylist()
    if not rows:
        return ()
    numbers = ("mean", "low", "high", "p_corrected", "detectable", "seeds", "items")
    columns = schema_columns(COMPARED_LOOPS, ("task", "after", "loop", "against", *numbers))
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            _task_words(row),
            row["after"],
            loop_words(row["loop"]),
            "the untrained student" if row["against"] == UNTRAINED else loop_words(row["against"]),
            *(row[name] for name in numbers),
        )
        for row in rows
    )
    return (
        Section(
            key="loops",
            title="The loops compared",
            paragraphs=(
                (
                    "Paired by seed and held-out item; values above 0 favour the first. The "
                    "p-value is corrected for all comparisons of the task after as many trainings "
                    "(Holm), and it decides what is significant: below 0.05, with two seeds or "
                    "more. The interval is not corrected and comes from a bootstrap, so the two "
                    "can differ at the edge. The minimum detectable effect is the smallest true "
                    "difference that this many items and seeds would find with a probability of "
                    "80 %, without the correction."
                ),
            ),
            tables=(Table(caption="Differences on held-out data", columns=columns, rows=cells),),
        ),
    )


def _task_words(row: Mapping[str, Any]) -> str:
    return f"{row['task']}, share right" if row["measure"] == "right" else str(row["task"])


def _sentence(row: Mapping[str, Any]) -> str:
    verdict = "this difference is significant" if row["shown"] else "no significant difference"
    return (
        f"{_task_words(row)}, after {count(row['after'], 'training run')}: "
        f"{loop_words(row['loop'])} "
        f"minus {loop_words(row['against'])} {row['mean']:+.3f} ({row['low']:+.3f} to "
        f"{row['high']:+.3f}); {verdict}."
    )


def rounds_done(rows: Sequence[Mapping[str, Any]]) -> str:
    """Number of rounds, loops and seeds, in words."""
    rounds = len({row["round"] for row in rows})
    loops = len({row["loop"] for row in rows})
    seeds = len({row["seed"] for row in rows})
    said = f"{count(rounds, 'round')} of judging and training"
    if loops * seeds > 1:
        said += f" in {count(loops, 'loop')} with {count(seeds, 'seed')} each"
    if rounds * loops * seeds != len(rows):
        said += f", {count(len(rows), 'judgement')} so far"
    return said


# ----------------------------------------------------------------------------------------------
# Page.
# ----------------------------------------------------------------------------------------------


SHOWN: tuple[tuple[str, str], ...] = (
    ("held_out", "accuracy"),
    ("held_out", "nll_human"),
    ("student", "divergence"),
    ("student", "words"),
    ("student", "distinct_2"),
    ("student", "compression_ratio"),
    ("student", "spread"),
    ("student", "js_words"),
    ("student", "nll_untrained"),
    ("data", "words"),
    ("data", "distinct_2"),
    ("data", "js_words"),
    ("data", "nll_untrained"),
    ("data", "nll_current"),
    ("data", "accuracy"),
)
"""Measures that are drawn, in this order; the table holds all of them."""

_FATES = {
    "refined": ("a rewrite kept", "refinement"),
    "original": ("the original kept", "original"),
    "refused": ("dropped", "refused"),
}
_MOST_REASONS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Results of a loop of rounds.

    Attributes:
        title: The name of the folder.
        rounds: One row a round, as in rounds.parquet.
        drift: As in drift.parquet.
        flips: As in flips.parquet.
        loops: As in loops.parquet.
        fates: `seed`, `loop`, `round`, `example_id` and `fate` (refined, original or refused).
        limits: The guard.
    """

    title: str
    rounds: pa.Table
    drift: pa.Table
    flips: pa.Table
    loops: pa.Table
    fates: pa.Table
    limits: Sequence[Limit]


def rounds_facts(moved: Moved) -> tuple[Fact, ...]:
    """Headline numbers of a loop of rounds."""
    rows = moved.rounds.to_pylist()
    trained = [row for row in rows if row["accepted"] is not None]
    refused = sum(row["accepted"] is False for row in trained)
    return (
        Fact(value=f"{len({row['loop'] for row in rows})}", label="loops"),
        Fact(value=f"{len({row['seed'] for row in rows})}", label="seeds"),
        Fact(value=f"{len(trained)}", label="training runs"),
        Fact(value=f"{refused}", label="rejected by the guard"),
    )


def rounds_opening(moved: Moved) -> tuple[str, ...]:
    """Opening sentences of a loop of rounds."""
    rows = moved.rounds.to_pylist()
    broken = Counter(row["loop"] for row in rows if row["broken"])
    said = [f"{loop_words(loop)}: {count(n, 'round')} broke a bound" for loop, n in broken.items()]
    guard = "; ".join(said) if said else "no round broke a bound of the guard"
    if not moved.limits and not said:
        guard = "there was no guard"
    ends = Counter(row["ended"] for row in rows if row["ended"])
    ended = ", ".join(f"{reason.replace('_', ' ')} ({n})" for reason, n in ends.items())
    return (
        f"{rounds_done(rows)}; {guard}.",
        f"The loops ended because of: {ended or 'nothing yet'}.",
        *loops_sentences(moved.loops),
    )


def rounds_sections(moved: Moved) -> tuple[Section, ...]:
    """Sections of a loop of rounds."""
    return (
        _account_section(moved),
        *loops_sections(moved.loops),
        *_drift_sections(moved),
        *_flow_sections(moved),
        *_reason_sections(moved),
        *_rewrite_sections(moved),
    )


def _account_section(moved: Moved) -> Section:
    columns = (
        *schema_columns(ROUNDS, ("seed", "loop", "round", "kept", "examples")),
        Column(name="changed decisions", style="count"),
        *schema_columns(ROUNDS, ("flipped_from_start",)),
        Column(name="the trained student is"),
        Column(name="why"),
    )
    verdicts: dict[bool | None, str | None] = {True: "kept", False: "rejected", None: None}
    rows: list[tuple[Cell, ...]] = []
    for row in moved.rounds.to_pylist():
        changed = None
        if row["compared"] is not None:
            changed = row["gained"] + row["lost"] + row["other_version"]
        why = "; ".join([*(row["broken"] or []), (row["ended"] or "").replace("_", " ")])
        rows.append(
            (
                row["seed"],
                loop_words(row["loop"]),
                row["round"],
                row["kept"],
                row["examples"],
                changed,
                row["flipped_from_start"],
                verdicts[row["accepted"]],
                why.strip("; "),
            )
        )
    return Section(
        key="rounds",
        title="The rounds",
        paragraphs=(
            (
                "In each round the student of that round scores every candidate; round 0 is the "
                "untrained student. The next student is trained on what it keeps."
            ),
        ),
        tables=(Table(caption="Every round", columns=columns, rows=tuple(rows)),),
    )


def _drift_sections(moved: Moved) -> tuple[Section, ...]:
    lines = moved.drift.to_pylist()
    figures = [
        figure
        for subject, measure in SHOWN
        if (figure := _drift_figure(moved, lines, subject, measure)) is not None
    ]
    if not figures:
        return ()
    return (
        Section(
            key="drift",
            title="Drift and its limits",
            paragraphs=(
                (
                    "Each point is the student after a round, with its 95 % interval over "
                    "instructions; round 0 is the untrained student or the original data. Dashed "
                    "lines are the limits that were set before the loop started."
                ),
            ),
            figures=tuple(figures),
        ),
    )


def _drift_figure(
    moved: Moved, lines: Sequence[Mapping[str, object]], subject: str, measure: str
) -> Figure | None:
    points = drift_points(lines, subject, measure)
    if len({point.round for point in points}) < 2:  # noqa: PLR2004  (nothing moves in one round)
        return None
    words, unit = measure_words(subject, measure)
    guard = guard_lines(moved.limits, points, subject, measure)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (loop_words(p.loop), p.seed, p.round, p.value, p.low, p.high) for p in points
    )
    columns = (
        *schema_columns(ROUND_DRIFT, ("loop", "seed")),
        Column(name="after round", style="count"),
        Column(name=unit, style="number"),
        *schema_columns(ROUND_DRIFT, ("low", "high")),
    )
    bounds = [f"{line.word} {number(line.at)}" for line in guard]
    return Figure(
        title=words,
        alt=f"{words} after each round, one line for each loop and seed",
        draw=lambda: drift_chart(points, guard, unit=unit),
        table=Table(caption=words, columns=columns, rows=rows),
        note=f"The guard: {', '.join(bounds)}." if bounds else "",
        in_text=False,
    )


def drift_points(
    lines: Sequence[Mapping[str, object]], subject: str, measure: str
) -> list[DriftPoint]:
    """Points of one measure: the baseline at 0, round R at R + 1.

    Args:
        lines: Rows of the drift table.
        subject: What is measured.
        measure: Name of the measure.
    """
    points = []
    for line in lines:
        if (line["subject"], line["measure"]) != (subject, measure):
            continue
        is_baseline = line["baseline"] is None
        if is_baseline and line["round"] != 0:
            continue
        points.append(
            DriftPoint(
                seed=int(str(line["seed"])),
                loop=str(line["loop"]),
                round=0 if is_baseline else int(str(line["round"])) + 1,
                value=float(str(line["value"])),
                low=None if line["low"] is None else float(str(line["low"])),
                high=None if line["high"] is None else float(str(line["high"])),
            )
        )
    return sorted(points, key=lambda p: (p.loop, p.seed, p.round))


def guard_lines(
    limits: Sequence[Limit], points: Sequence[DriftPoint], subject: str, measure: str
) -> list[GuardLine]:
    """Positions of the limits on the axis of a measure; relative ones need the baseline.

    Args:
        limits: The limits.
        points: Points of the measure.
        subject: What is measured.
        measure: Name of the measure.
    """
    base = next((point.value for point in points if point.round == 0), None)
    found = []
    for limit in limits:
        if (limit.subject, limit.measure) != (subject, measure):
            continue
        for word, bound in (("at least", limit.low), ("at most", limit.high)):
            if bound is None or (base is None and limit.of != "value"):
                continue
            at = bound
            if base is not None and limit.of == "change":
                at = base + bound
            elif base is not None and limit.of == "ratio":
                at = base * bound
            found.append(GuardLine(at=at, word=word))
    return found


def _flow_sections(moved: Moved) -> tuple[Section, ...]:
    ways_of: dict[tuple[int, str], dict[str, dict[int, str]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in moved.fates.to_pylist():
        ways_of[row["seed"], row["loop"]][row["example_id"]][row["round"]] = row["fate"]
    figures = [
        figure
        for (seed, loop), examples in ways_of.items()
        if (figure := _flow_figure(seed, loop, examples)) is not None
    ]
    if not figures:
        return ()
    return (
        Section(
            key="flips",
            title="Changed decisions",
            paragraphs=(
                (
                    "Every example from round to round: a band is as wide as the number of "
                    "examples that went this way."
                ),
            ),
            figures=tuple(figures),
        ),
    )


def _flow_figure(seed: int, loop: str, examples: Mapping[str, Mapping[int, str]]) -> Figure | None:
    rounds = sorted({number for fates in examples.values() for number in fates})
    if len(rounds) < 2:  # noqa: PLR2004  (nothing can flip)
        return None
    paths = Counter(
        tuple(fates[number] for number in rounds)
        for fates in examples.values()
        if len(fates) == len(rounds)
    )
    order = {fate: index for index, fate in enumerate(_FATES)}
    ordered = sorted(paths.items(), key=lambda item: [order[fate] for fate in item[0]])
    ways = [
        Way(
            stops=tuple(
                Stop(column=column, name=_FATES[fate][0], colour=_FATES[fate][1])
                for column, fate in enumerate(path)
            ),
            rows=n,
        )
        for path, n in ordered
    ]
    heads = [f"student {number}" if number else "untrained student" for number in rounds]
    columns = (*(Column(name=head) for head in heads), *schema_columns(ROUNDS, ("examples",)))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (*(_FATES[fate][0] for fate in path), n) for path, n in ordered
    )
    title = f"{loop_words(loop)}, seed {seed}"
    return Figure(
        title=title,
        alt=f"How the decisions of {len(examples)} examples flow between rounds: {title}",
        draw=lambda: draw_sankey(ways, heads=heads),
        draw_narrow=lambda: draw_narrow_sankey(ways),
        table=Table(caption=title, columns=columns, rows=rows),
        layout="wide",
        in_text=False,
    )


def _reason_sections(moved: Moved) -> tuple[Section, ...]:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    examples: dict[tuple[str, str, str, str], str] = {}
    for row in moved.flips.to_pylist():
        if row["kind"] == "round" and row["direction"] in ("gained", "lost", "other_version"):
            key = (row["loop"], row["direction"], row["reason_before"], row["reason_after"])
            counted[key] += 1
            examples.setdefault(key, row["example_id"])
    if not counted:
        return ()
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            loop_words(loop),
            direction.replace("_", " "),
            before.replace("_", " "),
            after.replace("_", " "),
            n,
            examples[loop, direction, before, after],
        )
        for (loop, direction, before, after), n in counted.most_common(_MOST_REASONS)
    )
    columns = (
        *schema_columns(ROUND_FLIPS, ("loop", "direction", "reason_before", "reason_after")),
        Column(name="decisions", style="count"),
        Column(name="one of them"),
    )
    note = ""
    if len(counted) > _MOST_REASONS:
        note = f"{len(counted) - _MOST_REASONS} rarer pairs of reasons are in flips.parquet."
    return (
        Section(
            key="reasons",
            title="Reasons for changed decisions",
            tables=(
                Table(caption="Changed decisions by reason", columns=columns, rows=rows, note=note),
            ),
        ),
    )


def _rewrite_sections(moved: Moved) -> tuple[Section, ...]:
    rows = [row for row in moved.rounds.to_pylist() if row["rewrites_asked"]]
    if not rows:
        return ()
    columns = (
        *schema_columns(ROUNDS, ("seed", "round", "rewrites_asked", "rewrites_won_back")),
        Column(name="share", style="share"),
    )
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row["seed"],
            row["round"],
            row["rewrites_asked"],
            row["rewrites_won_back"],
            row["rewrites_won_back"] / row["rewrites_asked"],
        )
        for row in rows
    )
    return (
        Section(
            key="rewrites",
            title="Rewrites of rejected examples",
            tables=(Table(caption="Results of the rewrites", columns=columns, rows=cells),),
        ),
    )


# ----------------------------------------------------------------------------------------------
# The pages over a loop of rounds and over a frontier.
# ----------------------------------------------------------------------------------------------


class _Guards(StoredShape):
    guard: list[dict[str, Any]]


def write_rounds_report(folder: RoundsFolder) -> Path | None:
    """Write report.html of a loop of rounds.

    Returns:
        Its path, or None where the libraries that draw are not installed.
    """
    if not can_draw():
        return None
    from tutelage.reporting import render_page

    settings = need_shape(folder.run.read_manifest()["settings"], _Guards)
    rounds = pq.read_table(sound(folder.rounds))
    moved = Moved(
        title=folder.root.name,
        rounds=rounds,
        drift=pq.read_table(sound(folder.drift)),
        flips=pq.read_table(sound(folder.flips)),
        loops=pq.read_table(sound(folder.loops)),
        fates=fates_of(folder, rounds),
        limits=[
            checked(Limit, limit, place=str(folder.run.manifest)) for limit in settings["guard"]
        ],
    )
    page = render_page(
        title=moved.title,
        about="decisions by round",
        opening=rounds_opening(moved),
        facts=rounds_facts(moved),
        sections=rounds_sections(moved),
    )
    return write_page(folder.run, page)


def fates_of(folder: RoundsFolder, rounds: pa.Table) -> pa.Table:
    """Decision of each round on each example."""
    rows: list[dict[str, Any]] = []
    for one in rounds.select(["seed", "loop", "round"]).to_pylist():
        run = folder.judged(one["seed"], one["loop"], one["round"])
        columns = ["example_id", "step", "kept"]
        for row in pq.read_table(sound(run.decisions), columns=columns).to_pylist():
            fate = "refused"
            if row["kept"]:
                fate = "original" if row["step"] == ORIGINAL else "refined"
            rows.append({**one, "example_id": row["example_id"], "fate": fate})
    return pa.Table.from_pylist(rows, schema=FATES)
