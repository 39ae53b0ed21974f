"""Why a decision fell as it did, and how it would fall otherwise; from stored scores alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tutelage.data.tables import CANDIDATES, SCORES
from tutelage.errors import DataError, SettingsError, TutelageError
from tutelage.report.wording import STEP_WORDS, reason_words
from tutelage.runs.settings import checked
from tutelage.selection import SelectSettings, explain, needed_metrics, select
from tutelage.web.shelf import Shelf

ALTERNATIVES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("srt, safe", {"rule": "srt", "mode": "safe"}),
    ("srt, paper", {"rule": "srt", "mode": "paper"}),
    ("grape", {"rule": "grape"}),
    ("rsr", {"rule": "rsr"}),
    ("all refined", {"rule": "all_refined"}),
    ("all original", {"rule": "all_original"}),
)
"""Rules that decide on an example from itself alone."""
CUTTING = ("ifd_top", "random", "longest")
_RULE = ("rule", "mode", "margin")


def judgement_of(shelf: Shelf, example_id: str) -> dict[str, Any]:
    """The recorded decision in words, with the numbers it rested on.

    Raises:
        DataError: There is no such example.
    """
    candidates, scores = _tables(shelf, example_id)
    recorded = _settings(shelf)
    decision = _recorded(shelf, example_id)
    try:
        told = explain(candidates, scores, settings=recorded, decision=decision)
    except (TutelageError, KeyError) as error:
        told = [f"The decision cannot be explained from what is stored: {error}."]
    return {
        "rule": recorded.rule,
        "mode": recorded.mode if recorded.rule == "srt" else None,
        "margin": recorded.margin,
        "sentences": told,
        "evidence": {k: v for k, v in (decision or {}).items() if isinstance(v, float)},
        "cutting": recorded.rule in CUTTING,
    }


def otherwise(shelf: Shelf, example_id: str) -> dict[str, Any]:
    """What every other rule would decide, and where the margin turns the decision.

    Raises:
        DataError: There is no such example.
    """
    candidates, scores = _tables(shelf, example_id)
    recorded = _settings(shelf)
    others = [
        {"name": name, **_outcome(candidates, scores, SelectSettings(**values))}
        for name, values in ALTERNATIVES
        if not _is_recorded(recorded, values)
    ]
    return {"others": others, "turns": _turning_points(candidates, scores, recorded)}


def would_be(shelf: Shelf, example_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What another rule, mode or margin would decide on one example, in words.

    Raises:
        DataError: There is no such example.
        SettingsError: The settings are wrong.
    """
    base = {name: getattr(_settings(shelf), name) for name in _RULE}
    settings = checked(SelectSettings, {**base, **values}, place="rule")
    if settings.rule in CUTTING:
        raise SettingsError(
            f"{settings.rule} keeps a share of all examples: one alone does not tell",
            hint=f"tutelage select {shelf.run.root} --rule {settings.rule}",
        )
    candidates, scores = _tables(shelf, example_id)
    outcome = _outcome(candidates, scores, settings)
    try:
        told = explain(candidates, scores, settings=settings)
    except TutelageError as error:
        told = [str(error)]
    return {**outcome, "sentences": told}


def _is_recorded(recorded: SelectSettings, values: Mapping[str, Any]) -> bool:
    same = all(getattr(recorded, name) == value for name, value in values.items())
    return same and (recorded.margin == 0 or recorded.rule != "srt")


def _settings(shelf: Shelf) -> SelectSettings:
    """Those of the decisions that stand, or the defaults where nothing was decided."""
    tally = shelf.manifest.get("stages", {}).get("select", {}).get("tally", {})
    try:
        return SelectSettings(**tally.get("rule", {}))
    except ValueError:  # of a newer or an older release
        return SelectSettings()


def _recorded(shelf: Shelf, example_id: str) -> dict[str, Any] | None:
    if not shelf.run.decisions.exists():
        return None
    query = "select * from read_parquet($path) where example_id = $id"
    with shelf.cursor() as tables:
        found = tables.sql(query, params={"path": str(shelf.run.decisions), "id": example_id})
        rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    return rows[0] if rows else None


def _tables(shelf: Shelf, example_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    query = "select k, s from ix.c where n = (select n from ix.e where example_id = $id)"
    found = shelf.ask(query, {"id": example_id})
    if not found and not shelf.ask("select 1 from e where example_id = $id", {"id": example_id}):
        raise DataError(f"there is no example {example_id!r} in this run")
    candidates = shelf.candidates.take([k for k, _ in found])
    rows = [s for _, s in found if s is not None]
    return candidates, shelf.scores.take(rows) if shelf.scores is not None else []


def _outcome(
    candidates: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    settings: SelectSettings,
) -> dict[str, Any]:
    """The chosen version and the reason, or why this rule cannot decide here."""
    settings = settings.model_copy(update={"max_unscored_fraction": 1.0})
    names = [n for n in CANDIDATES.names if n != "messages"]
    schema = pa.schema([CANDIDATES.field(n) for n in names])
    rows = [{n: c[n] for n in names} for c in candidates]
    wanted = [*needed_metrics(settings.rule), "response_tokens"]
    missing = [n for n in wanted if scores and n not in scores[0]]
    if missing or not candidates:
        why = f"not scored: {', '.join(missing)}" if missing else "no versions"
        return {"candidate_id": None, "why_not": why}
    fields = [SCORES.field(n) for n in ("candidate_id", "example_id", "student", "status")]
    numbers = [pa.field(n, pa.float64()) for n in wanted]
    kept = [f.name for f in (*fields, *numbers)]
    try:
        found = select(
            candidates=pa.Table.from_pylist(rows, schema=schema),
            scores=pa.Table.from_pylist(
                [{n: s.get(n) for n in kept} for s in scores], schema=pa.schema([*fields, *numbers])
            ),
            settings=settings,
        )
    except DataError as error:
        return {"candidate_id": None, "why_not": str(error)}
    row = found.decisions.to_pylist()[0]
    return {
        "candidate_id": row["candidate_id"],
        "kept": row["kept"],
        "step_words": STEP_WORDS.get(row["step"] or "", row["step"]),
        "reason": row["reason"],
        "reason_words": reason_words(row["reason"]),
    }


def _turning_points(
    candidates: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    recorded: SelectSettings,
) -> list[dict[str, Any]]:
    """From which margins on the safe srt rule decides otherwise, the first one from 0 on.

    A decision can only change where the margin equals a gain between two versions: a version wins
    while its gain is larger than the margin.
    """
    if recorded.rule != "srt" or recorded.mode != "safe":
        return []
    by_id = {s["candidate_id"]: s for s in scores}
    usable = [by_id[c["candidate_id"]] for c in candidates if c["candidate_id"] in by_id]
    gains = {
        a[metric] - b[metric]
        for metric in ("ifd", "r_ifd")
        for a in usable
        for b in usable
        if a.get(metric) is not None and b.get(metric) is not None and a[metric] > b[metric]
    }
    points: list[dict[str, Any]] = []
    for margin in [0.0, *sorted(gains)[:_MOST_MARGINS]]:
        settings = SelectSettings(rule="srt", mode="safe", margin=margin)
        outcome = _outcome(candidates, scores, settings)
        if not points or outcome["candidate_id"] != points[-1]["candidate_id"]:
            points.append({"margin": margin, **outcome})
    return points


_MOST_MARGINS = 12
"""Gains that are tried; with more versions the largest margins are left out."""
