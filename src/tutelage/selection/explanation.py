"""Explanation of the decision on one example, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data import INSTRUCTION_REFLECTION as _REWRITTEN
from tutelage.data import OK, ORIGINAL, RESPONSE_REFLECTION, SAMPLE, STEPS
from tutelage.data.schemas import columns_of, table_schema
from tutelage.selection.candidate_table import NONE, NOT_SCORED, Indexes, Pool, load_pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.decide import compared_columns, decide
from tutelage.selection.gates import shut_out
from tutelage.selection.reasons import REJECTED_BY_GATE, SHUT_OUT, STEP_NAMES, meaning_of
from tutelage.selection.srt import Comparison, compare_paper, compare_safe, passing

_CUTTING_RULES = ("ifd_top", "random", "longest", "permuted", "length_matched", "cheap", "oracle")
"""Rules that cannot be explained from one example: they need the others, or the data."""
_PAST_THE_GATE = ("permuted", "refused_version", "cheap")
"""Rules that may choose candidates that the quality gate rejected."""
_HIGHEST = {"grape": True, "rsr": False, "lark": True}
"""Direction of the metric of each rule that compares one: true where higher is better."""

_DIGITS = 4


def explain(
    candidates: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    *,
    settings: SelectSettings,
    decision: Mapping[str, Any] | None = None,
    chosen: Sequence[str] = (),
    gates: pa.Table | None = None,
) -> list[str]:
    """Explain the decision on one example.

    Args:
        candidates: The example's rows of the candidates table; other columns are not looked at.
        scores: Their rows of the scores table, of one student.
        settings: With which the decision was made.
        decision: The example's row of the decisions table. Rules that keep a share of all examples
            cannot be explained from one example alone; for the others it is worked out again.
        chosen: The ids of all its chosen candidates, where the rule keeps several.
        gates: Candidates that may not be chosen, as in `select`.

    Returns:
        Sentences, in the order of the procedure; the last says what is kept and why.

    Raises:
        DataError: The rows are of several examples, or of several students.
    """
    if not candidates:
        return ["There is no version of this example, so nothing can be kept."]
    metrics = compared_columns(settings)
    pool = _pool(candidates, scores, metrics)
    if gates is not None:
        if settings.rule in _PAST_THE_GATE:
            gates = gates.filter(pc.not_equal(gates["status"], pa.scalar(REJECTED_BY_GATE)))
        pool = shut_out(pool, gates, late=False)
    sentences = [_state(pool, row, metrics) for row in _in_order(pool)]
    if settings.rule == "srt":
        sentences += _srt(pool, settings)
    elif settings.rule in _HIGHEST or settings.best_by:
        sentences += _best(pool, settings)
    depends = settings.cuts or settings.mix is not None or settings.rule in _CUTTING_RULES
    if decision is None and depends:
        return [*sentences, "Whether it is kept depends on the other examples: see its decision."]
    if decision is None:
        verdict = decide(pool, settings)
        row, reason = int(verdict.chosen_E[0]), str(verdict.reason_E[0])
    else:
        ids = pool.candidate_ids.to_pylist()
        kept = decision["candidate_id"]
        row, reason = (ids.index(kept) if kept in ids else NONE), str(decision["reason"])
        sentences += _cut(decision)
    kept_words = "Nothing is kept" if row == NONE else f"Kept: {_name(pool, row)}"
    if len(chosen) > 1:
        kept_words += f" and {len(chosen) - 1} more"
    return [*sentences, f"{kept_words}. {meaning_of(reason)}"]


def _pool(
    candidates: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
) -> Pool:
    texts = ("candidate_id", "example_id", "parent_id", "step", "teacher", "status")
    words = ("candidate_id", "status", "student")
    numbers = tuple(dict.fromkeys((*metrics, "response_tokens")))
    return load_pool(
        candidates=pa.Table.from_pylist(
            [dict(row) for row in candidates],
            schema=table_schema(columns_of(texts, pa.string())),
        ),
        scores=pa.Table.from_pylist(
            [dict(row) for row in scores],
            schema=table_schema(columns_of(words, pa.string()), columns_of(numbers, pa.float64())),
        ),
        metrics=numbers,
    )


def _in_order(pool: Pool) -> list[int]:
    """Rows from the least to the most changed."""
    return [int(row) for row in np.argsort(pool.changed_N, kind="stable")]


def _name(pool: Pool, row: int) -> str:
    step = STEPS[pool.step_N[row]]
    name = f"the {STEP_NAMES[step]}"
    if step == RESPONSE_REFLECTION and pool.parent_N[row] != NONE:
        name += f" of {_name(pool, int(pool.parent_N[row]))}"
    several = int((pool.step_N == pool.step_N[row]).sum()) > 1
    if step == SAMPLE or (several and step != RESPONSE_REFLECTION) or _has_twin(pool, row):
        name += f" {str(pool.candidate_ids[row])[:8]}"
    return name


def _has_twin(pool: Pool, row: int) -> bool:
    """Whether another candidate has the same step and parent."""
    same_step = pool.step_N == pool.step_N[row]
    return int((same_step & (pool.parent_N == pool.parent_N[row])).sum()) > 1


def _state(pool: Pool, row: int, metrics: Sequence[str]) -> str:
    name = _capital(_name(pool, row))
    status = pool.statuses[pool.status_N[row]]
    values = {name: float(pool.numbers[name][row]) for name in metrics}
    missing = [name for name, value in values.items() if np.isnan(value)]
    if not pool.written_N[row]:
        return f"{name} has no text ({status}): it cannot be chosen."
    if status in SHUT_OUT or status != OK or missing:
        why = f"has no number ({NOT_SCORED if status == OK else status})"
        return f"{name} {SHUT_OUT.get(status, why)}: it cannot be chosen."
    if not values:
        return f"{name} was scored, so it can be chosen."
    numbers = " and ".join(f"{metric} {_show(value)}" for metric, value in values.items())
    if "ifd" not in values:
        return f"{name} has {numbers}."
    above = [metric for metric, value in values.items() if value >= 1]
    if not above:
        below = "both are" if len(values) > 1 else "this is"
        return f"{name} has {numbers}: {below} below 1, so it passes."
    meaning = {
        "ifd": "the instruction does not help the student with this response",
        "r_ifd": "this response does not help the student to guess the instruction",
    }
    return (
        f"{name} has {numbers}: it does not pass, because "
        f"{' and '.join(meaning[m] for m in above)}."
    )


def _srt(pool: Pool, settings: SelectSettings) -> list[str]:
    paper = settings.mode == "paper"
    found = compare_paper(pool) if paper else compare_safe(pool, margin=settings.margin)
    sentences = [_first(pool, found, settings)]
    winner, response = _row(found.winner_E), _row(found.response_E)
    if winner != NONE:
        sentences.append(_second(pool, found, settings))
    elif response != NONE and found.chosen_E[0] == response:
        sentences.append(
            f"{_capital(_name(pool, response))} passes, and there is no version to compare it with."
        )
    if paper and found.second_E[0] and found.chosen_E[0] == NONE:
        sentences.append("Nothing is kept: only versions with both ratios below 1 may be kept.")
    if paper and not found.second_E[0]:
        sentences.append("In paper mode only a rewritten response that wins is kept.")
    return sentences


def _first(pool: Pool, found: Comparison, settings: SelectSettings) -> str:
    original, reflected = _row(found.original_E), _row(found.reflected_E)
    takes_part = [
        row != NONE
        and bool(passing(pool)[row] if settings.mode == "safe" else pool.numbers["ifd"][row] >= 0)
        for row in (original, reflected)
    ]
    if all(takes_part):
        new, old = (float(pool.numbers["ifd"][row]) for row in (reflected, original))
        verdict = "so it wins" if found.first_E[0] else "so the original wins"
        how = _against("ifd", new, old, better="higher", won=bool(found.first_E[0]))
        margin = _margin(settings)
        return (
            f"First comparison: {_name(pool, reflected)} has {how}{margin}, "
            f"{verdict} the first comparison."
        )
    winner = _row(found.winner_E)
    if winner == NONE:
        return (
            "First comparison: skipped, because neither the original nor a rewritten "
            "instruction passes."
        )
    if reflected != NONE and takes_part[1] and winner == original:
        return (
            f"First comparison: {_name(pool, original)} has no ifd to compare with, so it "
            "enters the second comparison."
        )
    step, other = (ORIGINAL, original) if winner == reflected else (_REWRITTEN, reflected)
    absent = _absence(pool, other, step=step, metric="ifd")
    return f"First comparison: {absent}, so {_name(pool, winner)} wins it."


def _absence(pool: Pool, row: int, *, step: str, metric: str) -> str:
    """Why a candidate is not in a comparison.

    Args:
        pool: The example's candidates.
        row: The candidate, or `NONE`.
        step: Its step.
        metric: The metric that is compared.
    """
    if row == NONE:
        return f"there is no {STEP_NAMES[step]} to compare with"
    name = _name(pool, row)
    status = pool.statuses[pool.status_N[row]]
    if status in SHUT_OUT or not pool.written_N[row]:
        return f"{name} cannot be chosen"
    if np.isnan(pool.numbers[metric][row]):
        return f"{name} has no {metric}"
    return f"{name} does not pass"


def _second(pool: Pool, found: Comparison, settings: SelectSettings) -> str:
    winner, response = _row(found.winner_E), _row(found.response_E)
    if response == NONE:
        return f"Second comparison: {_name(pool, winner)} has no rewritten response."
    new, old = (float(pool.numbers["r_ifd"][row]) for row in (response, winner))
    for row, value in ((response, new), (winner, old)):
        if np.isnan(value):
            absent = _absence(pool, row, step=RESPONSE_REFLECTION, metric="r_ifd")
            return f"Second comparison: {absent}, so there is nothing to compare."
    if settings.mode == "safe" and not passing(pool)[response]:
        return f"Second comparison: {_name(pool, response)} does not pass, so it is not compared."
    won = bool(found.second_E[0])
    verdict = "so it wins" if won else f"so {_name(pool, winner)} is kept"
    how = _against("r_ifd", new, old, better="lower", won=won)
    return f"Second comparison: {_name(pool, response)} has {how}{_margin(settings)}, {verdict}."


def _best(pool: Pool, settings: SelectSettings) -> list[str]:
    metric = settings.best_by or settings.rule
    values = pool.numbers[metric]
    highest = settings.best_is == "high" if settings.best_by else _HIGHEST[settings.rule]
    best = int(pool.best(pool.usable_N, values, highest=highest)[0])
    if best == NONE:
        return []
    tied = int((pool.usable_N & (values == values[best])).sum()) > 1
    tie = "; ties go to the least changed, then to the smaller id" if tied else ""
    word = "highest" if highest else "lowest"
    return [f"{_capital(_name(pool, best))} has the {word} {metric}, {_show(values[best])}{tie}."]


def _cut(decision: Mapping[str, Any]) -> list[str]:
    """Position of the cut, for rules that record it."""
    refined, last_kept = decision.get("deviation_refined"), decision.get("deviation_cut")
    if refined is not None and last_kept is not None:
        side = "more" if refined > last_kept else "no more"
        said = (
            f"Its most usual rewrite is {_show(refined)} deviations from what is usual in "
            f"language, length and similarity: {side} than the last rewrite that is kept "
            f"({_show(last_kept)})."
        )
        return [said]
    for metric in ("ifd", "response_tokens"):
        best, cut = decision.get(f"{metric}_best"), decision.get(f"{metric}_cut")
        if best is not None and cut is not None:
            last = f"the last one kept in its group has {_show(cut)}"
            return [f"Its best candidate has {metric} {_show(best)}; {last}."]
    return []


def _against(metric: str, new: float, old: float, *, better: str, won: bool) -> str:
    """Both numbers, with enough digits to distinguish them."""
    digits = _DIGITS
    while new != old and f"{new:.{digits}f}" == f"{old:.{digits}f}" and digits < 17:  # noqa: PLR2004
        digits += 1
    how = better if won else f"not {better}"
    return f"{metric} {new:.{digits}f} compared with {old:.{digits}f}: {how}"


def _margin(settings: SelectSettings) -> str:
    by_more = settings.mode == "safe" and settings.margin > 0
    return f" by more than the margin {settings.margin:g}" if by_more else ""


def _show(value: float) -> str:
    return f"{value:.{_DIGITS}f}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _row(index_E: Indexes) -> int:
    return int(index_E[0])
