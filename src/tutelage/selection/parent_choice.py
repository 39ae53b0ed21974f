"""Choice between instructions, before responses are rewritten."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data import INSTRUCTION_REFLECTION, ORIGINAL
from tutelage.selection.candidate_table import NONE, Indexes, Pool, load_pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.decide import needed_metrics
from tutelage.selection.pool_rules import decide_grape, decide_rsr
from tutelage.selection.srt import compare_paper, compare_safe


def choose_parents(
    *, candidates: pa.Table, scores: pa.Table, settings: SelectSettings
) -> Mapping[str, str]:
    """Choose the version of each example whose response the teacher rewrites.

    With `srt` it is the winner of the first comparison; with `grape` and `rsr` the better of the
    two by that metric; with the other rules the original. Where none passes, the original goes
    on if it has text, since a new response may repair it, and else the rewritten instruction.

    Args:
        candidates: Originals and rewritten instructions, in the CANDIDATES schema.
        scores: Their scores, with the metrics of the rule.
        settings: The rule that will decide in the end.

    Returns:
        Candidate id by example id; an example of which nothing has text is left out.

    Raises:
        DataError: A metric that the rule needs was not computed.
    """
    pool = load_pool(
        candidates=candidates,
        scores=scores,
        metrics=(*needed_metrics(settings.rule), "response_tokens"),
    )
    best_E = _best(pool, settings)
    # In paper mode an original without text can be the winner: nobody could reflect on it.
    best_E = np.where((best_E != NONE) & pool.written_N[best_E], best_E, NONE)
    for step in (ORIGINAL, INSTRUCTION_REFLECTION):
        written_N = pool.of_step(step) & pool.written_N
        first_E = pool.consider((written_N,), pool.numbers["response_tokens"], highest=True)
        best_E = np.where(best_E == NONE, first_E, best_E)
    ids: list[Any] = pool.candidate_ids.to_pylist()
    names: list[Any] = pool.example_ids.to_pylist()
    return {names[example]: ids[row] for example, row in enumerate(best_E.tolist()) if row != NONE}


def _best(pool: Pool, settings: SelectSettings) -> Indexes:
    if settings.rule == "srt" and settings.mode == "paper":
        return compare_paper(pool).winner_E
    if settings.rule == "srt":
        return compare_safe(pool, margin=settings.margin).winner_E
    if settings.rule == "grape":
        return decide_grape(pool, settings).chosen_E
    if settings.rule == "rsr":
        return decide_rsr(pool, settings).chosen_E
    return np.full(pool.examples, NONE, dtype=np.int64)
