"""Explanation of a decision, and the decisions of other rules, from stored scores alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data.schemas import CANDIDATES, GATES, SCORES, columns_of, only_columns, table_schema
from tutelage.errors import DataError, SettingsError, TutelageError
from tutelage.pipeline.config import checked
from tutelage.pipeline.select_stage import with_pool_metrics
from tutelage.pipeline.tables import feeding_check
from tutelage.reporting.number_format import STEP_WORDS, reason_words
from tutelage.selection import SelectSettings, compared_columns, explain, gate
from tutelage.selection.candidate_table import load_pool
from tutelage.selection.decide import decide
from tutelage.selection.gates import shut_out
from tutelage.viewer.index import text
from tutelage.viewer.run_store import Shelf

ALTERNATIVES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("srt, safe", {"rule": "srt", "mode": "safe"}),
    ("srt, paper", {"rule": "srt", "mode": "paper"}),
    ("srt, pairwise", {"rule": "srt_pairwise"}),
    ("grape", {"rule": "grape"}),
    ("rsr", {"rule": "rsr"}),
    ("all rewritten", {"rule": "all_refined"}),
    ("all original", {"rule": "all_original"}),
)
"""Rules that decide on each example separately."""
CUTTING = ("ifd_top", "random", "longest", "permuted", "length_matched", "cheap", "oracle")
"""Rules that depend on other examples or on the data: they keep a share of all examples, match
another rule, or read columns.
"""
_OF_ONE_EXAMPLE = frozenset(
    (
        "rule",
        "mode",
        "margin",
        "use_filters",
        "quality_gate",
        "max_false_refusals",
        "quality_gate_examples",
        "quality_gate_rejected",
        "gate",
        "gate_check",
        "gate_order",
        "of",
        "function",
        "keep_per_example",
        "one_teacher",
        "best_by",
        "best_is",
    )
)
_GATES = ("use_filters", "quality_gate", "gate", "gate_order", "gate_check")
_MOST_MARGINS = 12
"""Margins that are tried; with more versions the largest ones are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Tables that decide on one example.

    Attributes:
        candidates: Its rows of the candidates table.
        scores: Their rows of the scores table, of the student that decides.
        filters: Their rows of filters.parquet; None where the run has none.
        verdicts: Their rows of verdicts.parquet; None where the run has none.
        quality: Their rows of quality_gate.parquet; None where the run has none.
    """

    candidates: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    filters: pa.Table | None
    verdicts: pa.Table | None
    quality: pa.Table | None = None

    def gates(self, settings: SelectSettings) -> pa.Table:
        """Candidates excluded under these settings."""
        if self.filters is None and self.verdicts is None and self.quality is None:
            return GATES.empty_table()
        return gate(
            candidates=_without_texts(self.candidates),
            settings=settings,
            filters=self.filters,
            verdicts=self.verdicts,
            quality=self.quality,
        )


def judgement_of(shelf: Shelf, example_id: str) -> dict[str, Any]:
    """Recorded decision in words, with the numbers that it used.

    Raises:
        DataError: There is no such example.
    """
    evidence, recorded = _evidence(shelf, example_id), _recorded(shelf)
    decision = next(_rows_of(shelf, shelf.run.decisions, "example_id", [example_id]), None)
    chosen = [
        str(row["candidate_id"])
        for row in _rows_of(shelf, shelf.run.chosen, "example_id", [example_id])
    ]
    try:
        gates = evidence.gates(recorded)
        told = explain(
            evidence.candidates,
            with_pool_metrics(evidence.scores, gates, recorded),
            settings=recorded,
            decision=decision,
            chosen=chosen,
            gates=gates,
        )
    except (TutelageError, KeyError) as error:
        told = [f"The decision cannot be explained from what is stored: {error}."]
    return {
        "rule": recorded.rule,
        "sentences": told,
        "evidence": {k: v for k, v in (decision or {}).items() if isinstance(v, float)},
        "cuts": _cuts(recorded),
    }


def otherwise(shelf: Shelf, example_id: str) -> dict[str, Any]:
    """Decisions of all other rules, and the margins at which the decision changes.

    Raises:
        DataError: There is no such example.
    """
    evidence, recorded = _evidence(shelf, example_id), _recorded(shelf)
    wanted = [(name, _like(recorded, **v)) for name, v in ALTERNATIVES]
    others = [(name, s) for name, s in wanted if not _same_rule(recorded, s)]
    outcomes = _outcomes(evidence, [s for _, s in others])
    named = [{"name": name, **o} for (name, _), o in zip(others, outcomes, strict=True)]
    return {"others": named, "turns": _turning_points(evidence, recorded)}


def would_be(shelf: Shelf, example_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Decision of another rule, mode or margin on one example, in words.

    Args:
        shelf: The opened run.
        example_id: The example.
        values: The changed settings.

    Raises:
        DataError: There is no such example.
        SettingsError: The settings are wrong.
    """
    recorded = _recorded(shelf)
    base = {name: getattr(recorded, name) for name in ("rule", "mode", "margin", *_GATES)}
    settings = checked(SelectSettings, {**base, **values}, place="rule")
    if settings.rule in CUTTING:
        raise SettingsError(
            f"{settings.rule} {_why_all(settings.rule)}: one alone does not decide",
            hint=f"`tutelage select {shelf.run.root} --rule {settings.rule}`",
        )
    evidence = _evidence(shelf, example_id)
    (outcome,) = _outcomes(evidence, [settings])
    try:
        gates = evidence.gates(settings)
        scores = with_pool_metrics(evidence.scores, gates, settings)
        told = explain(evidence.candidates, scores, settings=settings, gates=gates)
    except (TutelageError, KeyError) as error:
        told = [str(error)]
    return {**outcome, "sentences": told}


def _why_all(rule: str) -> str:
    share = rule in ("ifd_top", "random", "longest")
    return "keeps a share of all examples" if share else "depends on the other examples"


def _recorded(shelf: Shelf) -> SelectSettings:
    """Settings of the current decisions, or the defaults without any."""
    tally = shelf.manifest.get("stages", {}).get("select", {}).get("tally", {})
    try:
        return SelectSettings(**tally.get("rule", {}))
    except ValueError:  # of another release
        return SelectSettings()


def _like(recorded: SelectSettings, **values: Any) -> SelectSettings:
    """Another rule with the same gates."""
    return SelectSettings(**{name: getattr(recorded, name) for name in _GATES}, **values)


def _same_rule(a: SelectSettings, b: SelectSettings) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in ("rule", "mode", "margin"))


def _cuts(settings: SelectSettings) -> bool:
    """Whether the decision also depended on the other examples."""
    if settings.rule in CUTTING:
        return True
    plain, given = SelectSettings().model_dump(), settings.model_dump()
    unused = {"embedder", "diversity_of", "truth", "truth_clean"}  # without diversity and oracle
    apart = _OF_ONE_EXAMPLE | unused | {"seed", "max_unscored_fraction"}
    return any(given[name] != plain[name] for name in plain if name not in apart)


def _evidence(shelf: Shelf, example_id: str) -> Evidence:
    found = shelf.ask(
        "select k, s from ix.c where n = (select n from ix.e where example_id = $id)",
        {"id": example_id},
    )
    if not found and not shelf.ask("select 1 from e where example_id = $id", {"id": example_id}):
        raise DataError(f"there is no example {example_id!r} in this run")
    candidates = shelf.candidates.take([k for k, _ in found])
    rows = [s for _, s in found if s is not None]
    ids = [str(c["candidate_id"]) for c in candidates]
    return Evidence(
        candidates=candidates,
        scores=shelf.scores.take(rows) if shelf.scores is not None else [],
        filters=_part(shelf, shelf.run.filters, ids),
        verdicts=_verdicts(shelf, ids),
        quality=_part(shelf, shelf.run.quality_gate_table, ids),
    )


def _verdicts(shelf: Shelf, ids: list[str]) -> pa.Table | None:
    """Verdicts of the check that the gate uses."""
    found = _part(shelf, shelf.run.verdicts, ids)
    if found is None or "check" not in found.column_names:
        return found
    check = feeding_check(shelf.run, _recorded(shelf).gate_check)
    return None if check is None else found.filter(pc.equal(found["check"], pa.scalar(check)))


def _part(shelf: Shelf, path: Path, ids: list[str]) -> pa.Table | None:
    if not path.exists():
        return None
    query = f"select * from read_parquet({text(path)}) where candidate_id in (select unnest($ids))"
    with shelf.cursor() as tables:
        found: pa.Table = tables.sql(query, params={"ids": ids}).to_arrow_table()
        return found


def _rows_of(shelf: Shelf, path: Path, column: str, ids: list[str]) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    query = f"select * from read_parquet({text(path)}) where {column} in (select unnest($ids))"
    with shelf.cursor() as tables:
        yield from tables.sql(query, params={"ids": ids}).to_arrow_table().to_pylist()


def _without_texts(candidates: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = [n for n in CANDIDATES.names if n != "messages"]
    schema = only_columns(CANDIDATES, names)
    return pa.Table.from_pylist([{n: c[n] for n in names} for c in candidates], schema=schema)


def _outcomes(evidence: Evidence, wanted: Sequence[SelectSettings]) -> list[dict[str, Any]]:
    """Choice and reason of each rule before any budget, or why it cannot decide here."""
    there = set(evidence.scores[0]) if evidence.scores else set()
    columns = sorted({c for s in wanted for c in compared_columns(s) if c in there})
    if not evidence.candidates:
        return [{"candidate_id": None, "why_not": "no versions"} for _ in wanted]
    try:
        pool = load_pool(
            candidates=_without_texts(evidence.candidates),
            scores=_numbers(evidence.scores, columns),
            metrics=columns,
        )
    except DataError as error:
        return [{"candidate_id": None, "why_not": str(error)} for _ in wanted]
    gates = {key: evidence.gates(s) for key, s in {_gate_key(s): s for s in wanted}.items()}
    found: list[dict[str, Any]] = []
    for settings in wanted:
        missing = [c for c in compared_columns(settings) if c not in columns]
        if missing:
            found.append({"candidate_id": None, "why_not": f"not scored: {', '.join(missing)}"})
            continue
        verdict = decide(shut_out(pool, gates[_gate_key(settings)], late=False), settings)
        at, reason = int(verdict.chosen_E[0]), str(verdict.reason_E[0])
        chosen = None if at < 0 else str(pool.candidate_ids[at])
        steps = {c["candidate_id"]: c["step"] for c in evidence.candidates}
        step = None if chosen is None else steps[chosen]
        found.append(
            {
                "candidate_id": chosen,
                "kept": chosen is not None,
                "step_words": None if step is None else STEP_WORDS.get(step, step),
                "reason": reason,
                "reason_words": reason_words(reason),
            }
        )
    return found


def _gate_key(settings: SelectSettings) -> tuple[object, ...]:
    return tuple(getattr(settings, name) for name in _GATES)


def _numbers(scores: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    words = only_columns(SCORES, ("candidate_id", "example_id", "student", "status"))
    schema = table_schema(words, columns_of(columns, pa.float64()))
    return pa.Table.from_pylist(
        [{n: row.get(n) for n in schema.names} for row in scores], schema=schema
    )


def _turning_points(evidence: Evidence, recorded: SelectSettings) -> list[dict[str, Any]]:
    """Margins at which the safe srt rule changes its decision, ascending from 0.

    A decision can only change where the margin equals a gain between two versions: a version wins
    while its gain is larger than the margin.
    """
    if recorded.rule != "srt" or recorded.mode != "safe":
        return []
    gains = {
        a[metric] - b[metric]
        for metric in ("ifd", "r_ifd")
        for a in evidence.scores
        for b in evidence.scores
        if a.get(metric) is not None and b.get(metric) is not None and a[metric] > b[metric]
    }
    margins = [0.0, *sorted(gains)[:_MOST_MARGINS]]
    wanted = [_like(recorded, rule="srt", mode="safe", margin=margin) for margin in margins]
    points: list[dict[str, Any]] = []
    for margin, outcome in zip(margins, _outcomes(evidence, wanted), strict=True):
        if not points or outcome["candidate_id"] != points[-1]["candidate_id"]:
            points.append({"margin": margin, **outcome})
    return points
