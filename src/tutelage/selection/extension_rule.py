"""The rule of an extension: a user's function decides on the versions of each example."""

from typing import Any

import numpy as np

from tutelage.data import STEPS
from tutelage.data.extensions import extension_named
from tutelage.errors import DataError
from tutelage.selection.arrow_columns import NONE, Indexes
from tutelage.selection.candidate_table import Pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import CHOSEN_BY_EXTENSION, DROPPED_BY_EXTENSION, NO_CANDIDATES
from tutelage.selection.rule_result import Verdict, words


def decide_extension(pool: Pool, settings: SelectSettings) -> Verdict:
    """Ask the function once an example; it is given only versions that may be chosen.

    Raises:
        DataError: It failed, or named a version that it was not given.
    """
    rule = extension_named("rule", settings.function)
    metrics = tuple(rule.options.get("metrics", ()))
    chosen_E: Indexes = np.full(pool.examples, NONE, dtype=np.int64)
    reason_E = words(pool, NO_CANDIDATES)
    ids = pool.candidate_ids.to_pylist()
    examples = pool.example_ids.to_pylist()
    ends = [*pool.starts_E[1:].tolist(), len(ids)]
    for example, (start, end) in enumerate(zip(pool.starts_E.tolist(), ends, strict=True)):
        rows = [row for row in range(start, end) if pool.usable_N[row]]
        if not rows:
            continue
        about = f"example {examples[example]}"
        wanted = rule.call([_version(pool, row, ids, metrics) for row in rows], about=about)
        by_id = {ids[row]: row for row in rows}
        if wanted is None:
            reason_E[example] = DROPPED_BY_EXTENSION
        elif wanted in by_id:
            chosen_E[example], reason_E[example] = by_id[wanted], CHOSEN_BY_EXTENSION
        else:
            raise DataError(
                f"extension rule {rule.name}: chose {wanted!r} for {about}",
                hint="give the candidate_id of one of the versions, or None",
            )
    evidence = {f"{name}_chosen": pool.at(name, chosen_E) for name in metrics}
    return Verdict(chosen_E=chosen_E, reason_E=reason_E, evidence=evidence)


def _version(pool: Pool, row: int, ids: list[Any], metrics: tuple[str, ...]) -> dict[str, Any]:
    """A version as the function sees it."""
    teacher = pool.teacher_N[row]
    numbers = {name: float(pool.numbers[name][row]) for name in metrics}
    return {
        "candidate_id": ids[row],
        "step": STEPS[pool.step_N[row]],
        "teacher": None if teacher == NONE else pool.teachers[teacher],
        **{name: None if np.isnan(value) else value for name, value in numbers.items()},
    }
