"""Tables of all rounds, the comparison of loops on held-out items, and the report over them.

    {item: value} of the student that each loop keeps after R trainings, seed by seed
        --> gate minus no gate, minus random, minus self-teaching; each minus the untrained student

A loop that has ended keeps its last student: that is the one its owner would use.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import write_table
from tutelage.data.schemas import (
    COMPARED_LOOPS,
    FLIPS,
    ROUND_DRIFT,
    ROUND_FLIPS,
    ROUND_REWRITES,
    ROUNDS,
)
from tutelage.experiments.drift import line_to_row
from tutelage.experiments.rounds.measure import UNTRAINED
from tutelage.experiments.rounds.model import RoundsFolder, flips, tally_flips
from tutelage.experiments.rounds.rewrite import chosen_ids
from tutelage.pipeline.run_dir import sound
from tutelage.stats.multiple_testing import holm
from tutelage.stats.paired_design import Interval, ItemValues, paired_items

if TYPE_CHECKING:
    from tutelage.experiments.rounds.model import Round

LEVEL = 0.95
Measure: TypeAlias = Literal["right", "value"]
_Outcome: TypeAlias = tuple[str, Measure]
_Kept: TypeAlias = dict[tuple[str, int, int], pa.Table]  # by loop, seed and number of trainings


def compare_loops(done: Sequence["Round"], untrained: pa.Table | None) -> pa.Table:
    """Compare every loop with the first, and with the untrained student, after each training.

    Args:
        done: All rounds so far, loop by loop.
        untrained: The evaluation of the untrained student; None where nothing is held out.

    Returns:
        Rows of COMPARED_LOOPS. A difference above 0 is better in every task. Seeds count that both
        sides have finished. Empty where nothing is held out.
    """
    if untrained is None:
        return pa.Table.from_pylist([], schema=COMPARED_LOOPS)
    kept, ended = _kept(done, untrained)
    loops = list(dict.fromkeys(one.loop for one in done))
    seeds = sorted({one.seed for one in done})
    latest = max((after for *_, after in kept), default=0)
    first = loops[0] if loops else ""
    pairs = [(first, other) for other in loops[1:]] + [(loop, UNTRAINED) for loop in loops]
    rows: list[dict[str, Any]] = []
    for outcome in outcomes_of(untrained):
        base = values_of(untrained, outcome)
        for after in range(1, latest + 1):

            def side(
                loop: str,
                seed: int,
                after: int = after,
                outcome: _Outcome = outcome,
                base: ItemValues = base,
            ) -> ItemValues | None:
                if loop == UNTRAINED:
                    return base
                last = ended.get((loop, seed), after)
                table = kept.get((loop, seed, min(after, last)))
                return None if table is None else values_of(table, outcome)

            rows += _of_outcome(pairs, seeds, side, place={"after": after, **_named(outcome)})
    latest_of = {(row["task"], row["loop"], row["against"]): row["after"] for row in rows}
    for row in rows:
        row["latest"] = row["after"] == latest_of[row["task"], row["loop"], row["against"]]
    return pa.Table.from_pylist(rows, schema=COMPARED_LOOPS)


def _named(outcome: _Outcome) -> dict[str, str]:
    return {"task": outcome[0], "measure": outcome[1]}


def _kept(done: Sequence["Round"], untrained: pa.Table) -> tuple[_Kept, dict[tuple[str, int], int]]:
    """Evaluation of the accepted student after each training, and the ends of loops."""
    kept: _Kept = {}
    ended: dict[tuple[str, int], int] = {}
    for one in done:
        kept.setdefault((one.loop, one.seed, 0), untrained)
        if one.accepted is not None:
            before = kept[one.loop, one.seed, one.number]
            now = one.results if one.accepted and one.results is not None else before
            kept[one.loop, one.seed, one.number + 1] = now
        if one.ended is not None:
            ended[one.loop, one.seed] = one.number + (one.accepted is not None)
    return kept, ended


def _of_outcome(
    pairs: Sequence[tuple[str, str]],
    seeds: Sequence[int],
    side: Any,
    *,
    place: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    found: list[tuple[dict[str, Any], Interval]] = []
    for loop, against in pairs:
        paired = paired_items([(seed, side(loop, seed), side(against, seed)) for seed in seeds])
        if paired is None:
            continue
        means = {
            "mean_loop": float(paired.arm_S_I.mean()),
            "mean_against": float(paired.against_S_I.mean()),
        }
        row = {**place, "loop": loop, "against": against, **means}
        found.append((row, paired.interval(level=LEVEL)))
    corrected = holm([interval.p_value for _, interval in found])
    names = ("mean", "low", "high", "p_value", "detectable", "seeds", "items")
    for (row, interval), p in zip(found, corrected, strict=True):
        shown = interval.seeds > 1 and p < 1 - LEVEL
        numbers = {name: getattr(interval, name) for name in names}
        # Nothing varied, or with one seed nothing counts as shown: no difference is detectable.
        if not interval.standard_error or interval.seeds == 1:
            numbers["detectable"] = None
        yield {**row, **numbers, "p_corrected": p, "shown": shown}


def outcomes_of(results: pa.Table) -> list[_Outcome]:
    """Outcomes, one per task: correctness where it exists, else the value."""
    tasks: dict[str, Measure] = {}
    for row in results.select(["task", "correct"]).to_pylist():
        if row["correct"] is not None:
            tasks[row["task"]] = "right"
        tasks.setdefault(row["task"], "value")
    return list(tasks.items())


def values_of(results: pa.Table, outcome: _Outcome) -> dict[str, float]:
    """Values of one outcome by item; items without one are left out."""
    task, measure = outcome
    column = "correct" if measure == "right" else "value"
    rows = results.select(["item_id", "task", column]).to_pylist()
    return {
        row["item_id"]: float(row[column])
        for row in rows
        if row["task"] == task and row[column] is not None
    }


def gained(after: pa.Table | None, before: pa.Table | None) -> bool | None:
    """Whether the share of correct answers is significantly above that of an earlier student.

    Args:
        after: The evaluation of the student in question; None where nothing is held out.
        before: That of the earlier one.

    Returns:
        Of the first task whose answers are right or wrong; None where there is none, or too few
        items.
    """
    if after is None or before is None:
        return None
    right = next((outcome for outcome in outcomes_of(after) if outcome[1] == "right"), None)
    if right is None:
        return None
    paired = paired_items([(0, values_of(after, right), values_of(before, right))])
    return None if paired is None else paired.interval(level=LEVEL).low > 0


def last_compared(table: pa.Table) -> list[dict[str, Any]]:
    """Comparisons after the last training that both sides have, for a terminal."""
    names = (
        "after",
        "task",
        "measure",
        "loop",
        "against",
        "mean",
        "low",
        "high",
        "shown",
        "detectable",
    )
    return [{name: row[name] for name in names} for row in table.to_pylist() if row["latest"]]


def write_tables(folder: RoundsFolder, done: Sequence["Round"], untrained: pa.Table | None) -> None:
    """Write the tables of the rounds so far.

    Args:
        folder: Where.
        done: All rounds, in order.
        untrained: The evaluation of the untrained student; None where nothing is held out.
    """
    write_table(folder.rounds, pa.Table.from_pylist([_round(one) for one in done], schema=ROUNDS))
    drift = [{**_place(one), **line_to_row(line)} for one in done for line in one.lines]
    write_table(folder.drift, pa.Table.from_pylist(drift, schema=ROUND_DRIFT))
    write_table(folder.flips, _flips(folder, done))
    write_table(folder.loops, compare_loops(done, untrained))
    write_table(folder.rewrites, _rewrites(folder, done))


def _place(one: "Round") -> dict[str, Any]:
    return {"seed": one.seed, "loop": one.loop, "round": one.number}


def _round(one: "Round") -> dict[str, Any]:
    judged, tally, start = one.judged, one.flips, one.flips_from_start
    steps = judged["steps_kept"]
    rewrites = judged.get("rewrites") or {}
    directions = dict(tally.by_direction) if tally else {}
    return {
        **_place(one),
        "student": judged["student"],
        "examples": judged["examples"],
        "kept": judged["kept"],
        "kept_refined": sum(n for step, n in steps.items() if step != "original"),
        "compared": tally.examples if tally else None,
        **{
            name: directions.get(name, 0) if tally else None
            for name in ("gained", "lost", "other_version")
        },
        "flipped_from_start": start.changed if start else None,
        "rewrites_asked": rewrites.get("asked"),
        "rewrites_won_back": rewrites.get("won_back"),
        "trained_rows": one.trained.get("rows"),
        "accepted": one.accepted,
        "broken": [limit.in_words() for limit in one.checked if limit.verdict == "broken"],
        "ended": one.ended,
    }


def _flips(folder: RoundsFolder, done: Sequence["Round"]) -> pa.Table:
    tables = [
        _placed(table, kind=kind, place=_place(one), against=against)
        for one in done
        for kind, against, table in _flips_of(folder, one)
    ]
    tables += _flips_of_seeds(folder, done)
    return pa.concat_tables([pa.Table.from_pylist([], schema=ROUND_FLIPS), *tables])


def _flips_of(folder: RoundsFolder, one: "Round") -> Iterator[tuple[str, int, pa.Table]]:
    if not one.number:
        return
    now = pq.read_table(sound(folder.judged(one.seed, one.loop, one.number).decisions))
    for kind, number in (("round", one.number - 1), ("start", 0)):
        then = pq.read_table(sound(folder.judged(one.seed, one.loop, number).decisions))
        yield kind, number, flips(then, now)


def _flips_of_seeds(folder: RoundsFolder, done: Sequence["Round"]) -> list[pa.Table]:
    """Noise floor of changed decisions: the same loop and round, trained with another seed."""
    found = []
    for a, b in combinations(done, 2):
        if (a.loop, a.number) == (b.loop, b.number) and a.number:
            table = flips(
                *(
                    pq.read_table(sound(folder.judged(one.seed, one.loop, one.number).decisions))
                    for one in (a, b)
                )
            )
            found.append(_placed(table, kind="seed", place=_place(a), against=b.seed))
    return found


def _placed(table: pa.Table, *, kind: str, place: dict[str, Any], against: int) -> pa.Table:
    rows = table.num_rows
    columns = {"kind": kind, **place, "against": against}
    arrays = [pa.array([columns[name]] * rows, ROUND_FLIPS.field(name).type) for name in columns]
    return pa.table([*arrays, *table.columns], schema=ROUND_FLIPS)


def _rewrites(folder: RoundsFolder, done: Sequence["Round"]) -> pa.Table:
    rows = []
    for one in done:
        run = folder.judged(one.seed, one.loop, one.number)
        files = sorted(
            path
            for path in run.root.glob("rewrite-*.parquet")
            if not path.name.endswith("-candidates.parquet")
        )
        if not files:
            continue
        chosen = chosen_ids(run)
        for file in files:
            for row in pq.read_table(sound(file)).to_pylist():
                won = row["candidate_id"] in chosen
                rows.append({**_place(one), **row, "won_back": won})
    return pa.Table.from_pylist(rows, schema=ROUND_REWRITES)


def flip_summary(table: pa.Table) -> list[dict[str, Any]]:
    """Number of changed decisions by kind, seed, loop and round."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    names = ("kind", "seed", "loop", "round", "against")
    for row in table.to_pylist():
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    found = []
    for key, rows in groups.items():
        tally = tally_flips(
            pa.Table.from_pylist(
                [{name: row[name] for name in FLIPS.names} for row in rows], schema=FLIPS
            )
        )
        found.append(
            {
                **dict(zip(names, key, strict=True)),
                "examples": tally.examples,
                "changed": tally.changed,
                "by_direction": dict(tally.by_direction),
            }
        )
    return found
