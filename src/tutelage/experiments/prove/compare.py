"""Comparisons of an experiment: every arm with the reference, with intervals and efficiencies.

The efficiency of an arm is (arm - ungated) / (oracle - ungated), its part of the possible gain: 1
is as good as knowing which rows are faulty, 0 no better than keeping every row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import COMPARISONS, EFFICIENCIES
from tutelage.experiments.prove.config import UNTRAINED, Balance, ProveSettings
from tutelage.stats.multiple_testing import fixed_sequence, holm
from tutelage.stats.paired_design import Interval, ItemValues, Paired, efficiency, paired_items
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
    chosen, rejected = by_rule["chosen_version"], by_rule["refused_version"]
    made = [(name, rejected[key]) for key, name in chosen.items() if key in rejected]
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


ORACLE, UNGATED = "oracle", "ungated"
OK, NO_ROOM, ORACLE_WORSE = "ok", "no_room", "oracle_worse"
_LEAST_ITEMS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEfficiency:
    """Efficiency of one arm on one outcome; the fields are columns of EFFICIENCIES.

    Attributes:
        student: Name of the student.
        balance: What is equal between the arms.
        task: Whose items.
        measure: `value` in the unit of the task, or `right` for the share that is right.
        arm: The arm.
        status: `ok`; `no_room` where oracle and ungated cannot be told apart; `oracle_worse` where
            the oracle is below ungated, so that there is no gain to reach.
        efficiency: The ratio; None unless the status is ok, like the next two.
        low: Lower end of Fieller's interval.
        high: Its upper end.
        gain: Mean of arm minus ungated.
        room: Mean of oracle minus ungated.
        seeds: Seeds that all three arms have.
        items: Items that all three arms have.
    """

    student: str
    balance: Balance
    task: str
    measure: Measure
    arm: str
    status: str
    efficiency: float | None
    low: float | None
    high: float | None
    gain: float
    room: float
    seeds: int
    items: int


def roles_of(settings: ProveSettings) -> tuple[str, str] | None:
    """Names of the oracle arm and of the ungated arm; None unless both exist.

    An arm is known by its name, `oracle` or `ungated`; else by its rule, where there is one such
    arm: `oracle`, and `all_refined` without a quality gate.
    """
    names = {arm.name for arm in settings.arms}
    by_rule: dict[str, list[str]] = {ORACLE: [], UNGATED: []}
    for arm in settings.arms:
        if arm.select is not None and arm.select.rule == "oracle":
            by_rule[ORACLE].append(arm.name)
        elif (
            arm.select is not None
            and arm.select.rule == "all_refined"
            and arm.select.quality_gate == "off"
        ):
            by_rule[UNGATED].append(arm.name)
    found = [
        role if role in names else (by_rule[role][0] if len(by_rule[role]) == 1 else None)
        for role in (ORACLE, UNGATED)
    ]
    oracle, ungated = found
    return None if oracle is None or ungated is None or oracle == ungated else (oracle, ungated)


def efficiencies(results: pa.Table, settings: ProveSettings) -> list[ArmEfficiency]:
    """Efficiencies of all other arms, the selection first; empty without oracle and ungated arm.

    Args:
        results: From `read_results`.
        settings: The experiment.
    """
    roles = roles_of(settings)
    if roles is None:
        return []
    cells = cell_values(results)
    others = [arm.name for arm in settings.arms if arm.name not in roles]
    others.sort(key=lambda name: name != settings.choice)
    outcomes = sorted({(task, measure) for *_, task, measure in cells})
    return [
        found
        for task, measure in outcomes
        for found in _efficiencies_of_outcome(
            cells, settings, others, roles, task=task, measure=measure
        )
    ]


def _efficiencies_of_outcome(
    cells: Mapping[CellName, ItemValues],
    settings: ProveSettings,
    arms: Sequence[str],
    roles: tuple[str, str],
    *,
    task: str,
    measure: Measure,
) -> Iterator[ArmEfficiency]:
    for student in settings.students:
        for balance in settings.balance:
            for arm in arms:
                values = [
                    [
                        cells.get((student.name, name, seed, balance, task, measure)) or {}
                        for name in (arm, *roles)
                    ]
                    for seed in settings.seeds
                ]
                measured = _measured(values, level=settings.level)
                if measured is not None:
                    yield ArmEfficiency(
                        student=student.name, balance=balance, task=task, measure=measure,
                        arm=arm, **measured,
                    )  # fmt: skip


def _measured(values: Sequence[Sequence[ItemValues]], *, level: float) -> dict[str, Any] | None:
    """Efficiency from the seeds and items of all three arms; None where there are too few."""
    complete = [of_seed for of_seed in values if all(of_seed)]
    if not complete:
        return None
    items = sorted(set.intersection(*(set(arm) for of_seed in complete for arm in of_seed)))
    if len(items) < _LEAST_ITEMS:
        return None
    arm_S_I, oracle_S_I, ungated_S_I = (
        np.array([[of_seed[at][item] for item in items] for of_seed in complete]) for at in range(3)
    )
    gain = float((arm_S_I - ungated_S_I).mean())
    room = float((oracle_S_I - ungated_S_I).mean())
    found = efficiency(
        choice_S_I=arm_S_I, oracle_S_I=oracle_S_I, ungated_S_I=ungated_S_I, level=level
    )
    status = NO_ROOM if found is None else OK if room > 0 else ORACLE_WORSE
    ratio = found if status == OK else None
    return {
        "status": status,
        "efficiency": None if ratio is None else ratio.ratio,
        "low": None if ratio is None else ratio.low,
        "high": None if ratio is None else ratio.high,
        "gain": gain,
        "room": room,
        "seeds": len(complete),
        "items": len(items),
    }


def efficiency_table(found: Sequence[ArmEfficiency]) -> pa.Table:
    """Table of all efficiencies."""
    return pa.Table.from_pylist([asdict(one) for one in found], schema=EFFICIENCIES)
