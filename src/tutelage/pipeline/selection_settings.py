"""Settings of a new selection in a run folder, and notes on those that surprise."""

from collections.abc import Mapping
from typing import Any

from tutelage.pipeline.config import checked
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stage import noted
from tutelage.selection import SelectSettings


def selection_settings(run: RunFolder, *, given: Mapping[str, Any], afresh: bool) -> SelectSettings:
    """The settings of a new selection: those that are given, else those of the last one.

    Args:
        run: A run folder with scores, and the selection to write.
        given: Settings that differ from those of the last selection.
        afresh: Whether what is not given is the default.

    Raises:
        RunError: Nothing has been scored.
        SettingsError: A setting is wrong.
    """
    run.need(run.scores)
    before = last_settings(run)
    if afresh or given.get("rule", before.get("rule")) != before.get("rule"):
        before = {}
    return checked(SelectSettings, {**before, **given}, place="select")


def last_settings(run: RunFolder) -> dict[str, Any]:
    """Settings of the last selection in a run folder; empty where there is none."""
    before = dict(run.read_manifest().get("settings", {}).get("select", {}))
    last = noted(run, run.select_stage)
    if run.selection is not None and last is not None:
        before = dict(last["tally"].get("rule", {}))
    return before


_OF_SELECTIONS = (
    "gate",
    "gate_check",
    "quality_gate",
    "use_filters",
    "keep_per_example",
    "one_teacher",
    "keep_fraction",
    "keep_count",
    "per_source",
    "quotas",
    "diversity",
)
"""Settings that mean the same with every rule."""


def reset_notes(
    before: Mapping[str, Any], settings: SelectSettings, given: Mapping[str, Any]
) -> list[str]:
    """Note on settings of the last selection that another rule sets back to their defaults.

    Args:
        before: Settings of the last selection.
        settings: Settings of the new one.
        given: Those that were given.

    Returns:
        One sentence, or nothing.
    """
    now = settings.model_dump(mode="json")
    if not before or before.get("rule") == now["rule"]:
        return []
    lost = [
        f"{name} (was {before[name]})"
        for name in _OF_SELECTIONS
        if name in before and name not in given and before[name] != now[name]
    ]
    if not lost:
        return []
    return [f"the new rule resets these settings to their defaults: {', '.join(lost)}"]


def shortfall_notes(tally: Mapping[str, Any], settings: SelectSettings) -> list[str]:
    """Note on a count of examples that the run cannot give."""
    wanted, kept = settings.keep_count, tally.get("kept")
    if wanted is None or settings.per_source or kept is None or kept >= wanted:
        return []
    return [f"keep_count is {wanted:,}, but only {kept:,} examples could be kept"]
