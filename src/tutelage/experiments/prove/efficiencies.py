"""Efficiency of each arm: its part of the possible gain, if there is an oracle and an ungated arm.

The efficiency of an arm is (arm - ungated) / (oracle - ungated): 1 is as good as knowing which rows
are faulty, 0 no better than keeping every row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import EFFICIENCIES
from tutelage.experiments.prove.compare import CellName, Measure, cell_values
from tutelage.experiments.prove.config import Balance, ProveSettings
from tutelage.stats.paired_design import ItemValues, efficiency

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
        gain: Mean of arm less ungated.
        room: Mean of oracle less ungated.
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
        for found in _of_outcome(cells, settings, others, roles, task=task, measure=measure)
    ]


def _of_outcome(
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
