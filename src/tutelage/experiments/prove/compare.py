"""Comparisons of an experiment: every arm with the reference, with its interval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import COMPARISONS
from tutelage.experiments.prove.config import UNTRAINED, Balance, ProveSettings
from tutelage.stats.multiple_testing import fixed_sequence, holm
from tutelage.stats.paired_design import Interval, ItemValues, Paired, paired_items
from tutelage.stats.power import detectable_effect

Measure: TypeAlias = Literal["value", "right"]
CellName: TypeAlias = tuple[str, str, int, str, str, Measure]  # student arm seed balance task
_Trained: TypeAlias = tuple[str, str, int, str]  # student arm seed balance

_NAMED_CONTRASTS = (("chosen_version", "refused_version"), ("chosen", "refused"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Comparison of two arms on one outcome.

    Attributes:
        student: Name of the student; two names where their differences are compared.
        balance: What is equal between the arms.
        task: Whose items.
        measure: `value` in the unit of the task, or `right` for the share that is right.
        arm: The arm that a mean above 0 speaks for.
        against: The other one.
        interval: Interval of arm minus against.
        p_corrected: Its p-value, corrected for all comparisons of the same outcome, after Holm or
            in the fixed sequence.
        comparisons: How many there are of the same outcome, this one among them.
        detectable_corrected: The smallest true difference that is found with a chance of 80 % even
            after the correction for all of them.
        items_left_out: Items without a value in one of the cells.
        seeds_left_out: Seeds of which a finished cell has not a single value.
        mean_arm: Mean of the arm itself.
        mean_against: Mean of the other.
    """

    student: str
    balance: Balance
    task: str
    measure: Measure
    arm: str
    against: str
    interval: Interval
    p_corrected: float
    comparisons: int
    detectable_corrected: float
    items_left_out: int
    seeds_left_out: int
    mean_arm: float
    mean_against: float

    @property
    def knows_what_it_could_find(self) -> bool:
        """Whether a difference of some size would be shown: something varied, and over seeds."""
        return self.interval.standard_error > 0.0 and self.interval.seeds > 1

    def row(self) -> dict[str, Any]:
        """Row of the COMPARISONS schema."""
        i = self.interval
        return {
            "student": self.student,
            "balance": self.balance,
            "task": self.task,
            "measure": self.measure,
            "arm": self.arm,
            "against": self.against,
            "mean": i.mean,
            "low": i.low,
            "high": i.high,
            "p_value": i.p_value,
            "p_corrected": self.p_corrected,
            "detectable": i.detectable if self.knows_what_it_could_find else None,
            "detectable_corrected": self.detectable_corrected
            if self.knows_what_it_could_find
            else None,
            "seeds": i.seeds,
            "items": i.items,
            "items_left_out": self.items_left_out,
            "seeds_left_out": self.seeds_left_out,
            "mean_arm": self.mean_arm,
            "mean_against": self.mean_against,
        }


def compare_all(results: pa.Table, settings: ProveSettings) -> list[Compared]:
    """All comparisons of finished cells.

    Each arm against the reference; the choice against every other arm; and, where there are
    several students, whether the effect of choosing differs between them. Seeds count that are
    finished in all cells of a comparison.

    Args:
        results: From `read_results`.
        settings: Names the choice and the reference.
    """
    cells = cell_values(results)
    keys = _keys(results)
    found: list[Compared] = []
    outcomes = sorted({(task, measure) for *_, task, measure in cells})
    for task, measure in outcomes:
        made = list(_of_outcome(cells, keys, settings, task=task, measure=measure))
        in_order = settings.correction == "fixed_sequence"
        corrected = (fixed_sequence if in_order else holm)([c.interval.p_value for c in made])
        found += [
            replace(
                c,
                p_corrected=p,
                comparisons=len(made),
                detectable_corrected=detectable_effect(
                    c.interval.standard_error,
                    c.interval.freedom,
                    level=settings.level,
                    comparisons=1 if in_order else len(made),
                ),
            )
            for c, p in zip(made, corrected, strict=True)
        ]
    return found


def cell_values(results: pa.Table) -> dict[CellName, ItemValues]:
    """Values by item of each cell, task and measure; empty where a cell has none."""
    cells: dict[CellName, dict[str, float]] = {}
    is_right = set()
    for row in results.select(
        ["student", "arm", "train_seed", "balance", "task", "item_id", "value", "correct"]
    ).to_pylist():
        place = (row["student"], row["arm"], row["train_seed"], row["balance"], row["task"])
        values = cells.setdefault((*place, "value"), {})
        if row["value"] is not None:
            values[row["item_id"]] = row["value"]
        if row["correct"] is not None:
            is_right.add(row["task"])
            cells.setdefault((*place, "right"), {})[row["item_id"]] = float(row["correct"])
    for student, arm, seed, balance, task, _ in list(cells):
        if task in is_right:
            cells.setdefault((student, arm, seed, balance, task, "right"), {})
    # Where a value is nothing but right or wrong, one of the two is enough.
    differs = {
        name[-2]
        for name, values in cells.items()
        if name[-1] == "right" and cells[(*_place(name), "value")] != values
    }
    return {
        name: values for name, values in cells.items() if name[-1] == "value" or name[-2] in differs
    }


def _keys(results: pa.Table) -> dict[_Trained, str]:
    """Training behind each name: arms with the same rows share one."""
    names = ["student", "arm", "train_seed", "balance", "cell"]
    rows = results.select(names).to_pylist()
    return {(r["student"], r["arm"], r["train_seed"], r["balance"]): r["cell"] for r in rows}


def _place(name: CellName) -> tuple[str, str, int, str, str]:
    student, arm, seed, balance, task, _ = name
    return student, arm, seed, balance, task


def _of_outcome(
    cells: Mapping[CellName, ItemValues],
    keys: Mapping[_Trained, str],
    settings: ProveSettings,
    *,
    task: str,
    measure: Measure,
) -> Iterator[Compared]:
    students = [s.name for s in settings.students]
    seen: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = set()
    for balance in settings.balance:
        tables: dict[str, Paired] = {}
        for student in students:
            for arm, against in pairs_of(settings):
                paired = _paired(
                    cells, settings, student=student, balance=balance, arm=arm, against=against,
                    task=task, measure=measure,
                )  # fmt: skip
                if paired is None:
                    continue  # not finished
                of_arm, of_against = (
                    tuple(keys[student, name, _seed(name, seed, settings), balance]
                          for seed in paired.seeds)
                    for name in (arm, against)
                )  # fmt: skip
                same = (student, of_arm, of_against)
                if of_arm == of_against or same in seen:
                    continue  # two names of the same trainings, or of one comparison
                seen.add(same)
                yield _compared(
                    paired, settings, student=student, balance=balance, task=task,
                    measure=measure, arm=arm, against=against,
                )  # fmt: skip
                if (arm, against) == (settings.choice, settings.reference):
                    tables[student] = paired
        for one, other in combinations(tables, 2):
            between = _between(tables[one], tables[other])
            if between is not None:
                yield _compared(
                    between, settings, student=f"{one} - {other}", balance=balance, task=task,
                    measure=measure, arm=settings.choice, against=settings.reference,
                )  # fmt: skip


def pairs_of(settings: ProveSettings) -> list[tuple[str, str]]:
    """Comparisons of one student on one outcome, in the order of a fixed sequence."""
    names = [arm.name for arm in settings.arms]
    pairs = [(settings.choice, settings.reference)]
    contrasts = contrasts_of(settings)
    pairs += [(n, settings.reference) for n in names if n not in pairs[0]]
    pairs += [(settings.choice, n) for n in names if n not in pairs[0]]
    pairs += [(settings.reference, UNTRAINED)]
    return [*contrasts, *(p for p in pairs if p not in contrasts)]


def contrasts_of(settings: ProveSettings) -> list[tuple[str, str]]:
    """Contrast of the chosen and the rejected version of the same rows, which has the most power.

    They are known by their rule or, where they are files, by their names.
    """
    names = {arm.name for arm in settings.arms}
    by_name = [pair for pair in _NAMED_CONTRASTS if names.issuperset(pair)]
    by_rule: dict[str, dict[str, str]] = {"chosen_version": {}, "refused_version": {}}
    for arm in settings.arms:
        if arm.select is not None and arm.select.rule in by_rule:
            rest = arm.select.model_dump(mode="json", exclude={"rule"})
            by_rule[arm.select.rule][str([arm.chooser, sorted(rest.items())])] = arm.name
    chosen, refused = by_rule["chosen_version"], by_rule["refused_version"]
    made = [(name, refused[key]) for key, name in chosen.items() if key in refused]
    return [*made, *(pair for pair in by_name if pair not in made)]


def _seed(arm: str, seed: int, settings: ProveSettings) -> int:
    """Seed under which an arm's cell is stored: there is one untrained student."""
    return settings.seeds[0] if arm == UNTRAINED else seed


def _paired(
    cells: Mapping[CellName, ItemValues],
    settings: ProveSettings,
    *,
    student: str,
    balance: Balance,
    arm: str,
    against: str,
    task: str,
    measure: Measure,
) -> Paired | None:
    def of(name: str, seed: int) -> ItemValues | None:
        place = (student, name, _seed(name, seed, settings), balance)
        return cells.get((*place, task, measure))

    pairs = [(seed, of(arm, seed), of(against, seed)) for seed in settings.seeds]
    return paired_items(pairs)


def _between(one: Paired, other: Paired) -> Paired | None:
    """Difference of the selection's effect between two students, paired by seed and item."""
    seeds = [s for s in one.seeds if s in other.seeds]
    items = [i for i in one.items if i in set(other.items)]
    if not seeds or len(items) < 2:  # noqa: PLR2004
        return None

    def part(paired: Paired) -> np.ndarray:
        rows = [paired.seeds.index(s) for s in seeds]
        place = {name: index for index, name in enumerate(paired.items)}
        columns = [place[i] for i in items]
        difference: np.ndarray = (paired.arm_S_I - paired.against_S_I)[np.ix_(rows, columns)]
        return difference

    return Paired(
        seeds=tuple(seeds),
        items=tuple(items),
        arm_S_I=part(one),
        against_S_I=part(other),
        left_out=max(len(one.items), len(other.items)) - len(items),
        seeds_left_out=max(one.seeds_left_out, other.seeds_left_out),
    )


def _compared(
    paired: Paired,
    settings: ProveSettings,
    *,
    student: str,
    balance: Balance,
    task: str,
    measure: Measure,
    arm: str,
    against: str,
) -> Compared:
    interval = paired.interval(level=settings.level)
    return Compared(
        student=student,
        balance=balance,
        task=task,
        measure=measure,
        arm=arm,
        against=against,
        interval=interval,
        p_corrected=interval.p_value,
        comparisons=1,
        detectable_corrected=interval.detectable,
        items_left_out=paired.left_out,
        seeds_left_out=paired.seeds_left_out,
        mean_arm=float(paired.arm_S_I.mean()),
        mean_against=float(paired.against_S_I.mean()),
    )


def comparisons_table(compared: Sequence[Compared]) -> pa.Table:
    """Table of all comparisons."""
    return pa.Table.from_pylist([c.row() for c in compared], schema=COMPARISONS)
