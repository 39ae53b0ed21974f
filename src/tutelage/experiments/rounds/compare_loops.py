"""Comparison of the loops of rounds on held-out items.

    {item: value} of the student that each loop keeps after R trainings, seed by seed
        --> gate less no gate, less random, less self-teaching; each less the untrained student

A loop that has ended keeps its last student: that is the one its owner would use.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

from tutelage.data.schemas import COMPARED_LOOPS
from tutelage.experiments.rounds.measure import UNTRAINED
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
